//! Other programs that flush, delete and move what belongs to a network.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pactown_netns::{Anchors, Edge, Egress, Network, NetworkSpec, Policy};

use crate::host::{hear, heard, node, on_a_host, publication, run, serve, spec, tcp, within};

/// A peer in the host's network, at 192.0.2.2, which has every route that it could wish for.
fn lan(directory: &Path) -> PathBuf {
    let lan = directory.join("lan");
    std::fs::File::create(&lan).expect("file");
    let script = format!(
        "unshare -n sh -c 'mount --bind /proc/self/ns/net {0}'
         ip link add lan0 type veth peer name lan1; ip link set lan1 netns {0}
         ip addr add 192.0.2.1/24 dev lan0; ip link set lan0 up; ip route add default via 192.0.2.2
         nsenter --net={0} sh -ec 'ip link set lo up; ip addr add 192.0.2.2/24 dev lan1; ip link set lan1 up
             ip route add 10.99.0.0/16 via 192.0.2.1; echo 1 > /proc/sys/net/ipv4/conf/lan1/route_localnet
             ip route add 127.0.0.9/32 via 192.0.2.1'",
        lan.display()
    );
    run("sh", &["-ec", &script]);
    lan
}

/// An instance with one declared edge, `web` to `api`, `api` published, and everything else forbidden.
struct Town {
    spec: NetworkSpec,
    policy: Policy,
    /// Namespaces of `web`, `api`, `db`.
    paths: [PathBuf; 3],
    lan: PathBuf,
    _service: TcpListener,
}

impl Town {
    fn of(directory: &Path) -> (Self, Network) {
        let lan = lan(directory);
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let nodes = ["web", "api", "db"].map(|name| {
            let number = 10 + u32::from(name.as_bytes()[0]);
            node(&spec, name, number, &[8000])
        });
        let paths = [0, 1, 2].map(|one| network.attach(&nodes[one]).expect("attach"));
        serve(&paths[1], "0.0.0.0", 8000, "api");
        serve(&paths[2], "0.0.0.0", 8000, "db");
        let policy = Policy {
            edges: vec![Edge {
                from: nodes[0].address,
                to: nodes[1].address,
                port: tcp(8000),
            }],
            publications: vec![publication("127.0.0.1", 8001, &nodes[1], 8000)],
            egress: nodes.iter().map(|node| (node.address, Egress::All)).collect(),
            ..Policy::default()
        };
        network.apply(&policy).expect("apply");
        let town = Self {
            spec,
            policy,
            paths,
            lan,
            _service: TcpListener::bind("0.0.0.0:7001").expect("bind"),
        };
        (town, network)
    }

    fn address(&self, node: usize) -> String {
        let name = ["web", "api", "db"][node];
        let number = 10 + u32::from(name.as_bytes()[0]);
        self.spec.subnet.host(number).expect("address").to_string()
    }

    /// Who is where, and where nobody may get from there: a service's neighbour, the host by its own address in the
    /// outside's network, and a service from there.
    fn forbidden(&self) -> Vec<(&Path, String, u16)> {
        vec![
            (&self.paths[0], self.address(2), 8000),
            (&self.paths[0], "192.0.2.1".to_owned(), 7001),
            (&self.lan, self.address(1), 8000),
            (&self.lan, "127.0.0.9".to_owned(), 8001),
        ]
    }

    /// Forbidden connections that succeed while `meanwhile` runs, and failures of the published port and the edge.
    fn scan(&self, meanwhile: impl FnOnce()) -> Scan {
        let (over, tries) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (open, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let connects = |address: &str, port: u16| {
            let address = std::net::SocketAddr::new(address.parse().expect("address"), port);
            let patience = std::time::Duration::from_millis(50);
            std::net::TcpStream::connect_timeout(&address, patience).is_ok()
        };
        std::thread::scope(|scope| {
            for (from, to, port) in self.forbidden() {
                let (over, tries, open) = (&over, &tries, &open);
                scope.spawn(move || {
                    within(from, || {
                        while !over.load(Ordering::Relaxed) {
                            tries.fetch_add(1, Ordering::Relaxed);
                            open.fetch_add(usize::from(connects(&to, port)), Ordering::Relaxed);
                        }
                    });
                });
            }
            let api = self.address(1);
            let (over, failed, web) = (&over, &failed, &self.paths[0]);
            let fails = |address: &str, port| usize::from(hear(address, port).0.as_deref() != Ok("api"));
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    failed.fetch_add(fails("127.0.0.1", 8001), Ordering::Relaxed);
                    failed.fetch_add(within(web, || fails(&api, 8000)), Ordering::Relaxed);
                }
            });
            meanwhile();
            over.store(true, Ordering::Relaxed);
        });
        Scan {
            tries: tries.into_inner(),
            open: open.into_inner(),
            failed: failed.into_inner(),
        }
    }

    fn end(self) {
        run("umount", &[self.lan.to_str().expect("path")]);
    }
}

#[derive(Debug)]
struct Scan {
    tries: usize,
    open: usize,
    failed: usize,
}

fn router(spec: &NetworkSpec) -> String {
    format!("--net={}", spec.directory.join(".router").display())
}

/// What another program may do to rules, on the host and in the router.
fn flush(spec: &NetworkSpec) {
    run("nft", &["flush", "ruleset"]);
    run("nsenter", &[&router(spec), "nft", "flush", "ruleset"]);
}

#[test]
fn a_flush_of_everything_opens_nothing_and_closes_nothing() {
    on_a_host(|directory| {
        let (town, network) = Town::of(directory);
        let scan = town.scan(|| (0..50).for_each(|_| flush(&town.spec)));
        println!("50 flushes: {scan:?}");
        assert!(scan.tries > 100 && scan.open == 0 && scan.failed == 0, "{scan:?}");
        for change in [
            "delete table ip pactown_0a0b0c0d",
            "flush table ip pactown_0a0b0c0d",
            "flush chain ip pactown_0a0b0c0d input",
            "add table ip pactown_0a0b0c0d { flags dormant; }",
            "insert rule ip pactown_0a0b0c0d input accept",
        ] {
            run("sh", &["-c", &format!("! nft '{change}'")]);
        }
        network.remove().expect("remove");
        town.end();
    });
}

#[test]
fn rules_outlive_the_process_that_made_them_while_another_holds_their_socket() {
    on_a_host(|directory| {
        let (town, network) = Town::of(directory);
        let held = network.anchors().descriptors().expect("descriptors");
        drop(network);
        let scan = town.scan(|| (0..10).for_each(|_| flush(&town.spec)));
        assert!(scan.open == 0 && scan.failed == 0, "{scan:?}");
        // Its file is not what the router lives by.
        let file = town.spec.directory.join(".router");
        run("sh", &["-c", &format!("umount -l {0} && rm {0}", file.display())]);
        let anchors = Anchors::of(held).expect("the same three");
        let mut network = Network::adopt(&town.spec, anchors).expect("adopt");
        let mut policy = town.policy.clone();
        policy.edges.clear();
        network.apply(&policy).expect("apply");
        heard("127.0.0.1", 8001, "api");
        let api = town.address(1);
        within(&town.paths[0], || assert!(hear(&api, 8000).0.is_err()));
        run("nsenter", &[&router(&town.spec), "ip", "link"]);
        network.remove().expect("remove");
        town.end();
    });
}

/// Since Linux 6.9 rules stay when their owner ends; before, they go, and then nothing passes at all.
#[test]
fn when_their_owner_is_gone_nothing_forbidden_passes() {
    on_a_host(|directory| {
        let (town, network) = Town::of(directory);
        let stay = || run("nft", &["list", "tables"]).contains("pactown_0a0b0c0d");
        let before = run("nsenter", &[&router(&town.spec), "nft", "list", "tables"]);
        drop(network);
        // A thread of its own closes the socket meanwhile: before, after and in between nothing forbidden is to pass.
        let first = town.scan(|| std::thread::sleep(std::time::Duration::from_millis(500)));
        let scan = town.scan(|| std::thread::sleep(std::time::Duration::from_millis(500)));
        println!("rules {}, {scan:?}", if stay() { "stay" } else { "are gone" });
        assert_eq!(stay(), !before.contains("pactown_latch"), "{before}");
        assert!(
            scan.tries > 10 && first.open + scan.open == 0,
            "{first:?} {scan:?}"
        );
        assert_eq!(scan.failed == 0, stay(), "{scan:?}");
        Network::create(&town.spec)
            .expect("adopt")
            .remove()
            .expect("remove");
        town.end();
    });
}

/// The scan can fail: it does when nobody holds the socket.
#[test]
fn rules_that_nobody_holds_can_be_flushed_and_are_put_back_by_the_next() {
    on_a_host(|directory| {
        let (town, network) = Town::of(directory);
        drop(network);
        let scan = town.scan(|| {
            while run("nft", &["list", "tables"]).contains("pactown_") {
                flush(&town.spec);
            }
            flush(&town.spec);
            std::thread::sleep(std::time::Duration::from_millis(300));
        });
        assert!(scan.open > 0, "{scan:?}");
        let mut network = Network::create(&town.spec).expect("adopt");
        network.apply(&town.policy).expect("apply");
        flush(&town.spec);
        // No second scan: it would come upon connections that are established since the first.
        assert!(run("nft", &["list", "tables"]).contains("pactown_0a0b0c0d"));
        heard("127.0.0.1", 8001, "api");
        network.remove().expect("remove");
        town.end();
    });
}

#[test]
fn links_addresses_and_routes_are_put_back_as_soon_as_the_kernel_tells() {
    on_a_host(|directory| {
        let docker = "table ip filter { chain DOCKER-USER { counter return ; } ; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER ; } ; }";
        let docker = format!("echo '{docker}' | nft -f -");
        run("sh", &["-c", &docker]);
        let (town, network) = Town::of(directory);
        // What whoever was killed over the making of a node leaves: nothing hangs there.
        for (record, link) in [(".early.link", ""), (".late.link", "s0a0b0c0d")] {
            std::fs::write(town.spec.directory.join(record), link).expect("record");
        }
        assert_eq!(network.mend().expect("mend"), Vec::<String>::new());
        let watch = network.watch().expect("watch");
        let (inside, uplink, exceptions) = (
            router(&town.spec),
            "the link `pt0a0b0c0d`",
            "its exceptions in another firewall's rules",
        );
        let in_router = |script: &str| format!("nsenter {inside} {script}");
        let node = format!(
            "s{:08x}",
            u32::from(town.address(1).parse::<std::net::Ipv4Addr>().expect("address"))
        );
        let cases = [
            ("ip link delete pt0a0b0c0d".to_owned(), uplink),
            ("ip link set pt0a0b0c0d down".to_owned(), uplink),
            ("ip address flush dev pt0a0b0c0d".to_owned(), uplink),
            ("ip route delete 10.99.8.0/22".to_owned(), uplink),
            (in_router("ip link delete up0"), uplink),
            (in_router("ip route delete default"), uplink),
            (in_router(&format!("ip link delete {node}")), "the link of `api`"),
            (
                in_router(&format!("ip link set {node} down")),
                "the link of `api`",
            ),
            ("nft flush chain ip filter DOCKER-USER".to_owned(), exceptions),
            (format!("nft delete table ip filter; {docker}"), exceptions),
        ];
        for (script, what) in cases {
            // What was heard of the case before.
            while !network.mend().expect("mend").is_empty() {}
            run("sh", &["-ec", &script]);
            let started = std::time::Instant::now();
            let mut mended = Vec::new();
            while mended.is_empty() {
                watch.wait().expect("wait");
                mended = network.mend().expect("mend");
            }
            println!("{script}: {:?}", started.elapsed());
            assert_eq!(mended, [what], "{script}");
            heard("127.0.0.1", 8001, "api");
            let api = town.address(1);
            within(&town.paths[0], || heard(&api, 8000, "api"));
        }
        network.remove().expect("remove");
        assert_eq!(network_left(), "");
        town.end();
    });
}

/// Links and rules of networks on this host.
fn network_left() -> String {
    run(
        "sh",
        &[
            "-c",
            "nft list ruleset | grep pt0a || true; ip -o link | grep pt0a || true",
        ],
    )
}
