//! Making, adopting and removing networks: what `ip` and `nft` see before, during and after.

use std::path::Path;

use pactown_netns::ruleset;
use pactown_netns::{Edge, Egress, Network, Policy, Publication, Spread};

use crate::host::{node, on_a_host, publication, run, spec, tcp};

/// Everything of the host that a network could change.
fn facts() -> String {
    let settings = run(
        "sh",
        &[
            "-c",
            "grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/{forwarding,route_localnet} 2>/dev/null; true",
        ],
    );
    [
        run("ip", &["-o", "link"]),
        run("ip", &["route", "show", "table", "all"]),
        run("nft", &["list", "ruleset"]),
        settings,
    ]
    .concat()
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn after_delete_the_host_is_as_before_even_twice() {
    on_a_host(|directory| {
        run(
            "sh",
            &[
                "-c",
                "ip link add wan0 type veth peer name wan1 && ip link set wan0 addrgenmode none && ip link set wan1 addrgenmode none && ip addr add 192.0.2.1/24 dev wan0 && ip link set wan0 up && ip link set wan1 up && ip route add default via 192.0.2.254",
            ],
        );
        // The kernel notices the carrier a moment later, and that is among the facts.
        run(
            "sh",
            &[
                "-c",
                "for link in wan0 wan1; do for try in $(seq 500); do ip -o link show $link | grep -q 'state UP' && break; sleep 0.01; done; done",
            ],
        );
        let before = facts();
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let api = node(&spec, "api", 10, &[8000]);
        network.attach(&api).expect("attach");
        let policy = Policy {
            publications: vec![publication("0.0.0.0", 8080, &api, 8000)],
            egress: vec![(api.address, Egress::All)],
            ..Policy::default()
        };
        network.apply(&policy).expect("apply");
        network.apply(&policy).expect("a second time");
        assert!(run("ip", &["-o", "link"]).contains("pt0a0b0c0d"));
        assert_eq!(
            run("sh", &["-c", "cat /proc/sys/net/ipv4/conf/wan0/forwarding"]).trim(),
            "1"
        );
        assert_eq!(
            run("sh", &["-c", "cat /proc/sys/net/ipv4/ip_forward"]).trim(),
            "0",
            "never the global switch"
        );
        drop(network);
        Network::create(&spec)
            .expect("adopt")
            .detach("api")
            .expect("detach");
        Network::delete(&spec).expect("delete");
        assert_eq!(facts(), before);
        assert_eq!(files(&spec.directory), Vec::<String>::new());
        Network::delete(&spec).expect("delete twice");
        assert_eq!(facts(), before);
    });
}

#[test]
fn two_instances_share_forwarding_and_the_last_one_restores_it() {
    on_a_host(|directory| {
        run(
            "sh",
            &[
                "-c",
                "ip link add wan0 type veth peer name wan1 && ip addr add 192.0.2.1/24 dev wan0 && ip link set wan0 up && ip link set wan1 up && ip route add default via 192.0.2.254",
            ],
        );
        let forwarding = || {
            run("sh", &["-c", "cat /proc/sys/net/ipv4/conf/wan0/forwarding"])
                .trim()
                .to_owned()
        };
        let specs = [spec(directory, "10000001"), spec(directory, "20000002")];
        for spec in &specs {
            let mut network = Network::create(spec).expect("create");
            let egress = vec![(spec.subnet.host(10).expect("address"), Egress::All)];
            network
                .apply(&Policy {
                    egress,
                    ..Policy::default()
                })
                .expect("apply");
        }
        Network::delete(&specs[0]).expect("delete");
        assert_eq!(forwarding(), "1");
        Network::delete(&specs[1]).expect("delete");
        assert_eq!(forwarding(), "0");
    });
}

#[test]
fn the_kernel_has_the_rules_that_were_asked_for() {
    on_a_host(|directory| {
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let (web, api) = (node(&spec, "web", 10, &[80]), node(&spec, "api", 11, &[8000]));
        let policy = Policy {
            edges: vec![Edge {
                from: web.address,
                to: api.address,
                port: tcp(8000),
            }],
            publications: vec![
                publication("127.0.0.1", 8080, &web, 80),
                Publication {
                    to: vec![api.address, web.address],
                    ..publication("0.0.0.0", 8081, &api, 8000)
                },
            ],
            spreads: vec![Spread {
                address: spec.subnet.host(12).expect("address"),
                ports: vec![tcp(8000)],
                to: vec![api.address, web.address],
                inhabited: false,
            }],
            host_access: vec![(web.address, tcp(5432))],
            ..Policy::default()
        };
        network.apply(&policy).expect("apply");
        let plain = |text: &str| {
            let text = text
                .replace("priority raw", "priority -300")
                .replace("priority dstnat", "priority -100");
            let text = text
                .replace("priority filter", "priority 0")
                .replace("priority srcnat", "priority 100");
            // The owner's program is not asked for, and nft(8) 1.0.6 does not know the other flag.
            let text: String = text
                .lines()
                .map(|line| line.split(" # ").next().unwrap_or("").to_owned() + "\n")
                .collect();
            let text = text.replace("flags owner,persist", "flags owner");
            let text = text
                .replace("counter packets 0 bytes 0 ", "counter ")
                .replace("reject with icmp port-unreachable", "reject");
            let text = text
                .replace("meta l4proto tcp counter reject with tcp reset", "TCPRESET")
                .replace("counter reject with tcp reset", "TCPRESET");
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let seen = plain(&run("nft", &["list", "table", "ip", "pactown_0a0b0c0d"]));
        assert_eq!(seen, plain(&ruleset::host(&spec, &policy).to_string()));
        let router = format!("--net={}", spec.directory.join(".router").display());
        let seen = plain(&run(
            "nsenter",
            &[&router, "nft", "list", "table", "ip", "pactown"],
        ));
        assert_eq!(seen, plain(&ruleset::router(&spec, &policy).to_string()));
        network.remove().expect("remove");
    });
}

#[test]
fn a_table_that_is_not_there_does_not_look_as_if_it_had_no_rules() {
    on_a_host(|directory| {
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let api = node(&spec, "api", 10, &[8000]);
        let path = network.attach(&api).expect("attach");
        let rules = || pactown_netns::in_force(&spec, &path, &[api.address]);
        let error = rules().expect_err("nothing was applied yet");
        assert_eq!(error.to_string(), "list the rules of `pactown`");
        network.apply(&Policy::default()).expect("apply");
        assert!(!rules().expect("rules").is_empty());
        network.remove().expect("remove");
    });
}

#[test]
fn dockers_chain_lets_the_uplink_through_while_it_lives() {
    on_a_host(|directory| {
        let docker = "table ip filter { chain DOCKER-USER { counter return ; } ; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER ; } ; }";
        run("sh", &["-c", &format!("echo '{docker}' | nft -f -")]);
        let before = run("nft", &["list", "table", "ip", "filter"]);
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let policy = Policy {
            egress: vec![(spec.subnet.host(10).expect("address"), Egress::All)],
            ..Policy::default()
        };
        network.apply(&policy).expect("apply");
        network.apply(&policy).expect("a second time adds nothing");
        let during = run("nft", &["list", "chain", "ip", "filter", "DOCKER-USER"]);
        assert_eq!(during.matches("pt0a0b0c0d").count(), 2, "{during}");
        network.remove().expect("remove");
        assert_eq!(run("nft", &["list", "table", "ip", "filter"]), before);
    });
}

#[test]
fn features_are_there_and_leave_nothing() {
    on_a_host(|_| {
        let before = facts();
        let missing: Vec<_> = pactown_netns::support::features()
            .into_iter()
            .filter(|f| f.missing.is_some())
            .collect();
        assert_eq!(missing, Vec::new());
        assert_eq!(facts(), before);
        assert_eq!(pactown_netns::leftovers::list().expect("list"), Vec::new());
    });
}
