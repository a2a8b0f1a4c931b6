//! Beside other programs that steer the network: Docker, firewalls that drop by default, VPNs, hosts without IPv6 and
//! without forwarding. Each host here is a network namespace of the test's own, with a way to an Internet that is another;
//! the machine's own network is left alone.

mod docker;
mod firewalls;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::netns::Netns;
use crate::support::observe::{eventually, http_get, patient, processes};
use crate::support::town::{Machine, Town};

/// An address of the Internet, and the host's own there.
const FAR: &str = "203.0.113.9";
const NEAR: &str = "198.51.100.2";

/// A host, and the Internet that it has: a web server at [`FAR`], and a name server at the machine's name servers'
/// addresses that knows the web server by every name.
struct Host {
    inside: Netns,
    outside: Netns,
}

impl Host {
    fn new() -> Self {
        let (inside, outside) = (Netns::new("cohost"), Netns::new("cowan"));
        inside.ip(&format!(
            "link add wan0 type veth peer name lan0 netns {}",
            outside.name()
        ));
        inside.ip(&format!("addr add {NEAR}/24 dev wan0"));
        inside.ip("link set wan0 up");
        outside.ip("addr add 198.51.100.1/24 dev lan0");
        outside.ip("link set lan0 up");
        outside.ip(&format!("addr add {FAR}/32 dev lo"));
        inside.ip("route add default via 198.51.100.1");
        let host = Self { inside, outside };
        host.set("ipv4/ip_forward", "0");
        host.serve();
        host
    }

    /// `/proc/sys/net` is that of the thread that looks.
    fn set(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.inside
            .within(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    fn get(&self, name: &str) -> String {
        let path = format!("/proc/sys/net/{name}");
        let text = self
            .inside
            .within(|| fs::read_to_string(&path).expect("a setting"));
        text.trim().to_owned()
    }

    fn serve(&self) {
        let web = self.outside.within(|| TcpListener::bind((FAR, 80)).expect("web"));
        std::thread::spawn(move || web.incoming().flatten().for_each(answer));
        let text = fs::read_to_string("/etc/resolv.conf").expect("resolv.conf");
        let servers = text
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
        for server in servers.filter(|server: &IpAddr| server.is_ipv4()) {
            let place = if server.is_loopback() {
                &self.inside
            } else {
                &self.outside
            };
            if !server.is_loopback() {
                self.outside.ip(&format!("addr add {server}/32 dev lo"));
            }
            let socket = place.within(|| UdpSocket::bind((server, 53)).expect("name server"));
            std::thread::spawn(move || resolve(&socket));
        }
    }

    /// A command of its own, which must succeed; what it prints.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let net = format!("--net={}", self.inside.path().display());
        let output = Command::new("nsenter")
            .args([&net, "sh", "-ec", script])
            .output()
            .expect("nsenter");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Rules, routes, links and settings, as other programs and the kernel's files tell them.
    fn listing(&self) -> BTreeSet<String> {
        let settings = "for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv*/conf/*/forwarding \
                        /proc/sys/net/ipv4/conf/*/route_localnet /proc/sys/net/ipv4/conf/*/rp_filter \
                        /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo $f $(cat $f); done";
        let rules = self.run("nft -s list ruleset");
        // Each rule with the table and chain around it.
        let (mut around, mut told) = (Vec::new(), BTreeSet::new());
        for (number, line) in rules.lines().map(str::trim).enumerate() {
            match line {
                "}" => drop(around.pop()),
                _ if line.ends_with('{') => around.push(line.to_owned()),
                _ => drop(told.insert(format!("{number} {} {line}", around.join(" ")))),
            }
        }
        for script in [
            "ip route show table all",
            "ip rule",
            "ip -o link | cut -d: -f2",
            settings,
        ] {
            // The kernel takes IPv6 addresses of its own accord, and gives them up in its own time.
            let lines = self.run(script);
            let lines = lines
                .lines()
                .filter(|line| !line.contains("fe80:") && !line.contains("ff00:"));
            // Whether anybody is plugged into a bridge is not its route.
            told.extend(lines.map(|line| line.replace("linkdown", "").trim().to_owned()));
        }
        told
    }

    #[track_caller]
    fn assert_as(&self, before: &BTreeSet<String>, when: &str) {
        let after = self.listing();
        let (left, lost): (Vec<_>, Vec<_>) = (
            after.difference(before).collect(),
            before.difference(&after).collect(),
        );
        assert!(
            left.is_empty() && lost.is_empty(),
            "{when}: left {left:#?}, lost {lost:#?}"
        );
    }
}

fn answer(mut stream: std::net::TcpStream) {
    let peer = stream
        .peer_addr()
        .map(|peer| peer.ip().to_string())
        .unwrap_or_default();
    let _ = stream.read(&mut [0; 1024]);
    let _ = write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{peer}",
        peer.len()
    );
}

/// A for every name; no other record.
fn resolve(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let asked = &question[..length];
        let Some(end) = asked
            .get(12..)
            .and_then(|name| name.iter().position(|byte| *byte == 0))
        else {
            continue;
        };
        let Some(query) = asked.get(12..12 + end + 5) else {
            continue;
        };
        let is_address = query[end + 1..end + 3] == [0, 1];
        let mut answer = vec![
            asked[0],
            asked[1],
            0x81,
            0x80,
            0,
            1,
            0,
            u8::from(is_address),
            0,
            0,
            0,
            0,
        ];
        answer.extend(query);
        if is_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
        }
        let _ = socket.send_to(&answer, from);
    }
}

const SERVER: &str = "# Server

```sh markpact:run
exec python3 -m http.server $PORT --bind 0.0.0.0
```
";

fn town(host: &Host, name: &str, ports: &str) -> Town {
    let yaml = format!(
        "name: {name}\nservices:\n  api: {{readme: s.md, port: 8000, health_check: /}}\n  \
         web: {{readme: s.md, port: 8000, health_check: /, depends_on: [api]{ports}}}\n"
    );
    Town::new(name, &yaml, &[("s.md", SERVER)]).on(&host.inside.path())
}

/// A page as Python fetches it inside of a service.
fn fetched(town: &Town, service: &str, url: &str) -> String {
    let script = format!(
        "python3 -c \"
import urllib.request
try:
    print(urllib.request.urlopen('{url}', timeout={}).read().decode()[:60])
except Exception as error:
    print('none:', error)\"",
        patient(Duration::from_secs(3)).as_secs()
    );
    town.inside(service, &script)
}

/// Published port, the name of a neighbour, the way out and names out there.
#[track_caller]
fn assert_works(host: &Host, town: &Town) {
    for service in ["api", "web"] {
        let address = town.address(service);
        let page = host.inside.within(|| http_get(&address, "/"));
        assert!(page.is_ok(), "published port of {service}, {address}: {page:?}");
    }
    let neighbour = fetched(town, "web", "http://api:8000/");
    assert!(
        neighbour.starts_with("<!DOCTYPE"),
        "a neighbour by name: {neighbour}"
    );
    assert_eq!(
        fetched(town, "web", &format!("http://{FAR}/")),
        NEAR,
        "the way out"
    );
    assert_eq!(
        fetched(town, "web", "http://somewhere.example/"),
        NEAR,
        "a name out there"
    );
}

fn kill_both(name: &str) {
    for comm in ["pactown:super", "pactown:keeper"] {
        for pid in processes(comm, name) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
        }
    }
    eventually("they are gone", Duration::from_secs(5), || {
        processes("pactown:keeper", name).is_empty()
    });
}

/// Works, and leaves everything as it was: after an end in order, and after a kill.
#[track_caller]
fn assert_coexists(host: &Host, name: &str) {
    let before = host.listing();
    let town = town(host, name, "");
    town.ok(&["up", "-d"]);
    assert_works(host, &town);
    town.ok(&["down"]);
    host.assert_as(&before, "after `down`");
    town.ok(&["up", "-d"]);
    assert_works(host, &town);
    kill_both(name);
    town.ok(&["down"]);
    host.assert_as(&before, "after a kill and `down`");
}

#[test]
fn forwarding_is_on_for_two_links_only_and_off_again_when_nobody_needs_it() {
    let machine = Machine::take();
    let host = Host::new();
    let before = host.listing();
    let towns = [town(&host, "first", ""), town(&host, "second", "")];
    let wan = "ipv4/conf/wan0/forwarding";
    for town in &towns {
        town.ok(&["up", "-d"]);
        assert_eq!(
            (host.get("ipv4/ip_forward"), host.get(wan)),
            ("0".to_owned(), "1".to_owned())
        );
        assert_works(&host, town);
    }
    towns[0].ok(&["down"]);
    assert_eq!(host.get(wan), "1", "the other needs it");
    assert_works(&host, &towns[1]);
    kill_both("second");
    towns[1].ok(&["down"]);
    host.assert_as(&before, "after both");
    // Who switches the whole host on meanwhile keeps it.
    towns[0].ok(&["up", "-d"]);
    host.set("ipv4/ip_forward", "1");
    towns[0].ok(&["down"]);
    assert_eq!(
        (host.get("ipv4/ip_forward"), host.get(wan)),
        ("1".to_owned(), "1".to_owned())
    );
    assert_coexists(&host, "third");
    drop((towns, host));
    machine.assert_clean();
}

#[test]
fn a_vpn_that_routes_the_usual_networks_or_everything_is_no_hindrance() {
    let machine = Machine::take();
    for routes in [
        vec!["10.0.0.0/8", "172.16.0.0/12"],
        vec!["0.0.0.0/1", "128.0.0.0/1"],
    ] {
        let host = Host::new();
        let outside = host.outside.name();
        host.inside
            .ip(&format!("link add tun0 type veth peer name tun1 netns {outside}"));
        host.inside.ip("addr add 192.0.2.2/30 dev tun0");
        host.inside.ip("link set tun0 up mtu 1400");
        host.outside.ip("addr add 192.0.2.1/30 dev tun1");
        host.outside.ip("link set tun1 up");
        host.outside.ip("addr add 10.9.9.9/32 dev lo");
        for route in &routes {
            host.inside
                .ip(&format!("route add {route} via 192.0.2.1 dev tun0"));
        }
        let behind = host
            .outside
            .within(|| TcpListener::bind(("10.9.9.9", 80)).expect("behind the VPN"));
        std::thread::spawn(move || behind.incoming().flatten().for_each(answer));
        let before = host.listing();
        let town = town(&host, "tunnel", "");
        town.ok(&["up", "-d"]);
        let pages: Vec<String> = ["10.9.9.9", FAR]
            .iter()
            .map(|far| fetched(&town, "web", &format!("http://{far}/")))
            .collect();
        let far = if routes[0].starts_with('0') {
            "192.0.2.2"
        } else {
            NEAR
        };
        assert_eq!(pages, ["192.0.2.2", far], "{routes:?}");
        let address: IpAddr = town.service("web")["address"]
            .as_str()
            .expect("address")
            .parse()
            .expect("address");
        let taken = host.run(&format!("ip route get {address}"));
        assert!(taken.contains("dev pt"), "{taken}");
        let published = town.address("api");
        assert!(host.inside.within(|| http_get(&published, "/")).is_ok());
        town.ok(&["down"]);
        host.assert_as(&before, "after `down`");
    }
    machine.assert_clean();
}

#[test]
fn where_every_private_network_is_routed_it_is_said() {
    let machine = Machine::take();
    let host = Host::new();
    for route in [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "198.18.0.0/15",
    ] {
        host.inside.ip(&format!("route add blackhole {route}"));
    }
    let town = town(&host, "nowhere", "");
    let (_, errors) = town.expect(3, &["up", "-d"]);
    assert!(
        errors.contains("no free network") && errors.contains("ip route show table all"),
        "{errors}"
    );
    drop((town, host));
    machine.assert_clean();
}

#[test]
fn a_host_without_ipv6_is_like_any_other() {
    let machine = Machine::take();
    let host = Host::new();
    for scope in ["all", "default"] {
        host.set(&format!("ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    assert_coexists(&host, "four");
    drop(host);
    machine.assert_clean();
}
