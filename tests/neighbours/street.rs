//! A machine on a network of the host's.

use super::*;

#[test]
fn a_machine_on_the_network_reaches_nothing_that_is_not_published_there() {
    let machine = Machine::take();
    let lan = Lan::new();
    let peer = lan.machine.path();
    let town = Town::new("street", YAML, &[("s.md", SERVER)]);
    assert!(all_zero(&settings("route_localnet")));
    town.ok(&["up", "-d"]);
    assert!(
        all_zero(&settings("route_localnet")),
        "only on the instance's own link"
    );
    let (b, port) = (address(&town, "b"), published(&town, "b"));
    assert_eq!(connect(None, &[("127.0.0.1", port)]), ["ok"]);

    let open = TcpListener::bind((HOST_ON_LAN, 0)).expect("a listener on the network");
    let control = open.local_addr().expect("an address").port();
    assert_eq!(
        connect(Some(&peer), &[(HOST_ON_LAN, control), (HOST_ON_LAN, port)]),
        ["ok", "ECONNREFUSED"],
        "what anybody listens on can be reached, what is published on loopback cannot"
    );
    lan.machine.ip(&format!("route add {b}/32 via {HOST_ON_LAN}"));
    assert_eq!(connect(None, &[(&b, 8000)]), ["ok"], "the host may");
    assert_ne!(
        connect(Some(&peer), &[(&b, 8000)]),
        ["ok"],
        "with a route to its address"
    );

    // Packets for 127.0.0.1 that arrive by the wire. They only leave where loopback is a network like any other.
    let set = ["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"];
    assert!(within(&peer, &set).status().expect("sysctl").success());
    lan.machine.ip("route del local 127.0.0.0/8 dev lo table local");
    lan.machine.ip("route del local 127.0.0.1 dev lo table local");
    lan.machine
        .ip(&format!("route add 127.0.0.1/32 via {HOST_ON_LAN} src {LAN}"));
    // What arrives is not answered across: one way is enough to see.
    let loopback = UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback");
    loopback
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a limit");
    let control = loopback.local_addr().expect("an address").port().to_string();
    let arrives = || {
        const SEND: &str =
            "import socket, sys; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', int(sys.argv[1])))";
        python(Some(&peer), SEND, &[&control]);
        loopback.recv(&mut [0; 8]).is_ok()
    };
    assert!(!arrives(), "packets for loopback that come by the wire");
    assert_ne!(connect(Some(&peer), &[("127.0.0.1", port)]), ["ok"]);
    let setting = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", lan.link);
    fs::write(setting, "1").expect("sysctl");
    assert!(arrives(), "on a host that is set up so, they do");
    assert_ne!(
        connect(Some(&peer), &[("127.0.0.1", port)]),
        ["ok"],
        "and lead to nothing published"
    );
    drop((open, loopback));
    town.ok(&["down"]);
    // The kernel takes the router's links apart a moment after its last holder has ended.
    eventually(
        "only the link that was set up so is",
        Duration::from_secs(10),
        || {
            let left = settings("route_localnet");
            left.iter().all(|(link, value)| value == "0" || *link == lan.link)
        },
    );
    drop(lan);
    machine.assert_clean();
}
