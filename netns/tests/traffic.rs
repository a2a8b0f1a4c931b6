//! Who reaches whom: real connections between real namespaces.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use pactown_netns::{Edge, Egress, LoopbackForward, Network, Policy};

use crate::host::{hear, heard, node, on_a_host, publication, refused, run, serve, spec, tcp, within};

#[test]
fn declared_edges_pass_and_everything_else_is_refused_at_once() {
    on_a_host(|directory| {
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let (web, api, db) = (
            node(&spec, "web", 10, &[8000]),
            node(&spec, "api", 11, &[8000]),
            node(&spec, "db", 12, &[8000]),
        );
        let paths = [&web, &api, &db].map(|node| network.attach(node).expect("attach"));
        let edges = vec![
            Edge {
                from: web.address,
                to: api.address,
                port: tcp(8000),
            },
            Edge {
                from: api.address,
                to: db.address,
                port: tcp(8000),
            },
        ];
        network
            .apply(&Policy {
                edges,
                ..Policy::default()
            })
            .expect("apply");
        serve(&paths[1], "0.0.0.0", 8000, "api");
        serve(&paths[1], "0.0.0.0", 9000, "hidden");
        serve(&paths[2], "127.0.0.1", 8000, "db");
        let (api_address, db_address) = (api.address.to_string(), db.address.to_string());
        within(&paths[0], || {
            heard(&api_address, 8000, "api");
            refused(&api_address, 9000);
            refused(&db_address, 8000);
        });
        within(&paths[1], || heard(&db_address, 8000, "db"));
        within(&paths[2], || refused(&api_address, 8000));
        network.remove().expect("remove");
    });
}

#[test]
fn published_ports_answer_on_the_host_and_nowhere_else() {
    on_a_host(|directory| {
        let lan = directory.join("lan");
        std::fs::File::create(&lan).expect("file");
        run(
            "sh",
            &[
                "-c",
                &format!(
                    "unshare -n sh -c 'mount --bind /proc/self/ns/net {0}' && ip link add lan0 type veth peer name lan1 && \
             nsenter --net={0} true && ip link set lan1 netns {0} && ip addr add 192.0.2.1/24 dev lan0 && ip link set lan0 up && \
             nsenter --net={0} sh -c 'ip link set lo up; ip addr add 192.0.2.2/24 dev lan1; ip link set lan1 up; ip route add 10.99.0.0/16 via 192.0.2.1; echo 1 > /proc/sys/net/ipv4/conf/lan1/route_localnet; ip route add 127.0.0.9/32 via 192.0.2.1'",
                    lan.display()
                ),
            ],
        );
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let (one, two) = (node(&spec, "one", 10, &[8000]), node(&spec, "two", 11, &[8000]));
        let paths = [&one, &two].map(|node| network.attach(node).expect("attach"));
        serve(&paths[0], "0.0.0.0", 8000, "one");
        serve(&paths[1], "127.0.0.1", 8000, "two");
        let publications = vec![
            publication("127.0.0.1", 8001, &one, 8000),
            publication("0.0.0.0", 8002, &two, 8000),
        ];
        network
            .apply(&Policy {
                publications,
                ..Policy::default()
            })
            .expect("apply");
        heard("127.0.0.1", 8001, "one");
        heard("127.0.0.1", 8002, "two");
        heard("192.0.2.1", 8002, "two");
        heard(&one.address.to_string(), 8000, "one");
        let direct = one.address.to_string();
        within(&lan, || {
            heard("192.0.2.1", 8002, "two");
            assert!(hear("192.0.2.1", 8001).0.is_err(), "published on 127.0.0.1 only");
            assert!(
                hear(&direct, 8000).0.is_err(),
                "a route to the sandbox is not enough"
            );
            assert!(hear("127.0.0.9", 8001).0.is_err(), "nor are martian packets");
        });
        network.remove().expect("remove");
        run("umount", &[lan.to_str().expect("path")]);
    });
}

#[test]
fn the_host_is_closed_unless_a_port_is_opened() {
    on_a_host(|directory| {
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let node = node(&spec, "one", 10, &[]);
        let path = network.attach(&node).expect("attach");
        let open = TcpListener::bind("0.0.0.0:7001").expect("bind");
        let closed = TcpListener::bind("0.0.0.0:7002").expect("bind");
        let host_access = vec![(node.address, tcp(7001))];
        let egress = vec![(node.address, Egress::All)];
        network
            .apply(&Policy {
                host_access,
                egress,
                ..Policy::default()
            })
            .expect("apply");
        let host = spec.subnet.uplink().to_string();
        within(&path, || {
            assert!(std::net::TcpStream::connect((host.as_str(), 7001)).is_ok());
            refused(&host, 7002);
            refused("127.0.0.1", 7002);
        });
        drop((open, closed));
        network.remove().expect("remove");
    });
}

#[test]
fn localhost_inside_leads_to_a_dependency() {
    on_a_host(|directory| {
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let api = node(&spec, "api", 10, &[8003]);
        let mut web = node(&spec, "web", 11, &[8000]);
        web.loopback = vec![LoopbackForward {
            port: tcp(8003),
            to: api.address,
            to_port: 8003,
        }];
        let paths = [&api, &web].map(|node| network.attach(node).expect("attach"));
        serve(&paths[0], "127.0.0.1", 8003, "api");
        serve(&paths[1], "127.0.0.1", 8000, "web itself");
        let edges = vec![Edge {
            from: web.address,
            to: api.address,
            port: tcp(8003),
        }];
        network
            .apply(&Policy {
                edges,
                ..Policy::default()
            })
            .expect("apply");
        within(&paths[1], || {
            heard("127.0.0.1", 8003, "api");
            heard("127.0.0.1", 8000, "web itself");
        });
        network.remove().expect("remove");
    });
}

#[test]
fn egress_is_all_or_nothing_or_a_list() {
    on_a_host(|directory| {
        let wan = directory.join("wan");
        std::fs::File::create(&wan).expect("file");
        run(
            "sh",
            &[
                "-c",
                &format!(
                    "unshare -n sh -c 'mount --bind /proc/self/ns/net {0}' && ip link add wan0 type veth peer name wan1 && ip link set wan1 netns {0} && \
             ip addr add 192.0.2.1/24 dev wan0 && ip link set wan0 up && ip route add default via 192.0.2.2 && \
             nsenter --net={0} sh -c 'ip link set lo up; ip addr add 192.0.2.2/24 dev wan1; ip addr add 203.0.113.9/32 dev lo; ip addr add 169.254.169.254/32 dev lo; ip link set wan1 up'",
                    wan.display()
                ),
            ],
        );
        serve(&wan, "0.0.0.0", 80, "outside");
        serve(&wan, "0.0.0.0", 81, "outside too");
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let nodes = [
            node(&spec, "all", 10, &[]),
            node(&spec, "none", 11, &[]),
            node(&spec, "some", 12, &[]),
        ];
        let paths = [0, 1, 2].map(|number| network.attach(&nodes[number]).expect("attach"));
        let only = Egress::Only(vec![(
            pactown_netns::Subnet::host_only(Ipv4Addr::new(203, 0, 113, 9)),
            80,
        )]);
        let egress = vec![
            (nodes[0].address, Egress::All),
            (nodes[1].address, Egress::None),
            (nodes[2].address, only),
        ];
        network
            .apply(&Policy {
                egress,
                ..Policy::default()
            })
            .expect("apply");
        within(&paths[0], || {
            heard("203.0.113.9", 80, "outside");
            heard("203.0.113.9", 81, "outside too");
            refused("169.254.169.254", 80);
        });
        within(&paths[1], || refused("203.0.113.9", 80));
        within(&paths[2], || {
            heard("203.0.113.9", 80, "outside");
            refused("203.0.113.9", 81);
        });
        network.remove().expect("remove");
        run("umount", &[wan.to_str().expect("path")]);
    });
}

#[test]
fn fifty_nodes_are_attached_quickly_and_their_rules_load_at_once() {
    on_a_host(|directory| {
        let spec = spec(directory, "0a0b0c0d");
        let mut network = Network::create(&spec).expect("create");
        let nodes: Vec<_> = (0..50)
            .map(|number| node(&spec, &format!("n{number}"), 10 + number, &[8000]))
            .collect();
        let started = Instant::now();
        nodes.iter().for_each(|node| {
            network.attach(node).expect("attach");
        });
        let attached = started.elapsed() / 50;
        let edges = nodes.windows(2).map(|pair| Edge {
            from: pair[0].address,
            to: pair[1].address,
            port: tcp(8000),
        });
        let probes = nodes.iter().map(|node| (node.address, tcp(8000)));
        let started = Instant::now();
        network
            .apply(&Policy {
                edges: edges.collect(),
                probes: probes.collect(),
                ..Policy::default()
            })
            .expect("apply");
        println!("attach {attached:?} each, rules of 50 {:?}", started.elapsed());
        assert_eq!(
            run(
                "nsenter",
                &[
                    &format!("--net={}", spec.directory.join(".router").display()),
                    "ip",
                    "-o",
                    "link"
                ]
            )
            .lines()
            .count(),
            52
        );
        network.remove().expect("remove");
    });
}
