//! One address for several sandboxes: who takes the connections, and what happens when nobody does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pactown_netns::{Edge, Egress, Network, NetworkSpec, Node, Policy, Publication, Spread};

use crate::host::{hear, heard, node, on_a_host, publication, refused, serve, spec, tcp, within};

/// A client, and three sandboxes that each answer their own name on port 8000.
struct Scene {
    spec: NetworkSpec,
    network: Network,
    client: Node,
    inside: PathBuf,
    replicas: [Node; 3],
}

impl Scene {
    fn new(directory: &std::path::Path) -> Self {
        let spec = spec(directory, "0a0b0c0d");
        let network = Network::create(&spec).expect("create");
        let client = node(&spec, "web", 10, &[]);
        let inside = network.attach(&client).expect("attach");
        let replicas = [("a", 21), ("b", 22), ("c", 23)].map(|(name, number)| {
            let replica = node(&spec, name, number, &[8000]);
            serve(
                &network.attach(&replica).expect("attach"),
                "127.0.0.1",
                8000,
                name,
            );
            replica
        });
        Self {
            spec,
            network,
            client,
            inside,
            replicas,
        }
    }

    /// The client may open port 8000 of all; `ready` take connections.
    fn apply(&mut self, ready: &[usize], inhabited: bool) {
        let to: Vec<_> = ready.iter().map(|index| self.replicas[*index].address).collect();
        let edges = self.replicas.iter().map(|replica| Edge {
            from: self.client.address,
            to: replica.address,
            port: tcp(8000),
        });
        let mut edges: Vec<_> = edges.collect();
        let address = if inhabited {
            self.replicas[0].address
        } else {
            self.shared()
        };
        edges.push(Edge {
            from: self.client.address,
            to: address,
            port: tcp(8000),
        });
        let replicas = self.replicas.iter();
        let policy = Policy {
            edges,
            probes: replicas
                .clone()
                .map(|replica| (replica.address, tcp(8000)))
                .collect(),
            // With the default route open, an address that nobody has would lead to the host.
            egress: replicas
                .chain([&self.client])
                .map(|node| (node.address, Egress::All))
                .collect(),
            publications: vec![Publication {
                to: to.clone(),
                ..publication("127.0.0.1", 8080, &self.client, 8000)
            }],
            spreads: vec![Spread {
                address,
                ports: vec![tcp(8000)],
                to,
                inhabited,
            }],
            ..Policy::default()
        };
        self.network.apply(&policy).expect("apply");
    }

    fn shared(&self) -> std::net::Ipv4Addr {
        self.spec.subnet.host(11).expect("address")
    }
}

/// How often each answered.
fn answers(address: &str, port: u16, count: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        *seen.entry(hear(address, port).0.expect("an answer")).or_default() += 1;
    }
    seen
}

fn even(names: &[&str], each: usize) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), each)).collect()
}

#[test]
fn connections_go_to_each_in_turn_and_to_nobody_else() {
    on_a_host(|directory| {
        let mut scene = Scene::new(directory);
        let address = scene.shared().to_string();
        scene.apply(&[0, 1, 2], false);
        let path = scene.inside.clone();
        let inside = || within(&path, || answers(&address, 8000, 30));
        assert_eq!(inside(), even(&["a", "b", "c"], 10));
        assert_eq!(answers("127.0.0.1", 8080, 30), even(&["a", "b", "c"], 10));
        assert_eq!(answers(&address, 8000, 30), even(&["a", "b", "c"], 10));
        scene.apply(&[0, 2], false);
        assert_eq!(inside(), even(&["a", "c"], 15));
        assert_eq!(answers("127.0.0.1", 8080, 30), even(&["a", "c"], 15));
        scene.apply(&[], false);
        within(&scene.inside, || refused(&address, 8000));
        refused("127.0.0.1", 8080);
        refused(&address, 8000);
        scene.network.remove().expect("remove");
    });
}

#[test]
fn what_is_not_declared_stays_closed_behind_the_shared_address() {
    on_a_host(|directory| {
        let mut scene = Scene::new(directory);
        let address = scene.shared().to_string();
        scene.apply(&[0, 1, 2], false);
        within(&scene.inside, || refused(&address, 9000));
        // A replica is no dependent of its service: neither by the shared address nor by another's own.
        let path = scene.spec.directory.join("a");
        let other = scene.replicas[1].address.to_string();
        within(&path, || {
            refused(&address, 8000);
            refused(&other, 8000);
        });
        scene.network.remove().expect("remove");
    });
}

#[test]
fn an_address_that_a_sandbox_has_itself_is_taken_over_when_others_are_ready() {
    on_a_host(|directory| {
        let mut scene = Scene::new(directory);
        let address = scene.replicas[0].address.to_string();
        scene.apply(&[], true);
        within(&scene.inside, || heard(&address, 8000, "a"));
        scene.apply(&[1, 2], true);
        within(&scene.inside, || {
            assert_eq!(answers(&address, 8000, 10), even(&["b", "c"], 5));
        });
        heard(&address, 8000, "a");
        scene.network.remove().expect("remove");
    });
}
