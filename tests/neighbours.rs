//! What neighbours can do to a service and it to them: other sandboxes, one that has somehow got raw sockets, the host, a
//! machine on the same network, and the world. Each attempt also succeeds somewhere, or it shows nothing.

mod flows;
mod ports;
mod raw;
mod street;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::netns::{Netns, ip};
use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

const SOON: Duration = Duration::from_secs(15);

const YAML: &str = "
name: street
services:
  b: {readme: s.md, port: 8000}
  a: {readme: s.md, port: 8000, depends_on: [b]}
  c: {readme: s.md, port: 8000}
  closed: {readme: s.md, port: 8000, egress: none}
";

const SERVER: &str = "# Server

```sh markpact:run
exec python3 -m http.server $PORT
```
";

/// `ok`, or why no connection to each of these addresses came about.
const CONNECT: &str = "
import errno, socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(',', 1)
    try:
        socket.create_connection((host, int(port)), 2).close(); print('ok')
    except socket.timeout: print('ETIMEDOUT')
    except OSError as e: print(errno.errorcode.get(e.errno, str(e)))
";

/// The open TCP ports among all of them, as numbers.
const SCAN: &str = "
import select, socket, sys
found, waiting, ports = [], {}, iter(range(1, 65536))
poll = select.epoll()
def done(fd):
    s, port = waiting.pop(fd)
    # A connection to one's own port of the moment is one with oneself.
    if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and s.getsockname() != s.getpeername(): found.append(port)
    poll.unregister(fd); s.close()
more = True
while more or waiting:
    while more and len(waiting) < 400:
        port = next(ports, None)
        if port is None: more = False; break
        s = socket.socket(); s.setblocking(False)
        if s.connect_ex((sys.argv[1], port)) in (0, 115):
            waiting[s.fileno()] = (s, port); poll.register(s, select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP)
        else: s.close()
    for fd, _ in poll.poll(5) if waiting else []: done(fd)
print(*found)
";

/// A machine on a network of the host's: a namespace at the other end of a veth pair. It also plays the world, with an
/// address there and the one of a cloud's metadata service.
struct Lan {
    /// Its server.
    server: Option<Child>,
    /// The link's end on the host, gone with the machine.
    link: String,
    machine: Netns,
}

const HOST_ON_LAN: &str = "198.18.77.1";
const LAN: &str = "198.18.77.2";
const WORLD: &str = "203.0.113.9";
const METADATA: &str = "169.254.169.254";

impl Lan {
    fn new() -> Self {
        let mut lan = Self {
            server: None,
            link: format!("nb{}", std::process::id()),
            machine: Netns::new("neighbour"),
        };
        let (link, machine) = (&lan.link, &lan.machine);
        ip(&format!(
            "link add {link} type veth peer name lan0 netns {}",
            machine.name()
        ));
        ip(&format!("addr add {HOST_ON_LAN}/24 dev {link}"));
        ip(&format!("link set {link} up"));
        machine.ip(&format!("addr add {LAN}/24 dev lan0"));
        machine.ip("link set lan0 up");
        for outside in [WORLD, METADATA] {
            machine.ip(&format!("addr add {outside}/32 dev lo"));
            ip(&format!("route replace {outside}/32 via {LAN}"));
        }
        lan.server = Some(spawn(&machine.path(), &["python3", "-m", "http.server", "80"]));
        eventually("the world answers", SOON, || {
            connect(None, &[(WORLD, 80)]) == ["ok"]
        });
        lan
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        // With it go its routes.
        let _ = Command::new("ip").args(["link", "delete", &self.link]).status();
    }
}

fn within(namespace: &Path, command: &[&str]) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter
        .arg(format!("--net={}", namespace.display()))
        .args(command);
    nsenter
}

fn spawn(namespace: &Path, command: &[&str]) -> Child {
    within(namespace, command)
        .current_dir("/tmp")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawn")
}

/// What a Python program says in this namespace, or on the host.
fn python(namespace: Option<&Path>, script: &str, arguments: &[&str]) -> String {
    let words = [&["python3", "-c", script], arguments].concat();
    let mut command = match namespace {
        Some(namespace) => within(namespace, &words),
        None => {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        }
    };
    let output = command.output().expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn targets(to: &[(&str, u16)]) -> Vec<String> {
    to.iter().map(|(host, port)| format!("{host},{port}")).collect()
}

fn connect(namespace: Option<&Path>, to: &[(&str, u16)]) -> Vec<String> {
    let targets = targets(to);
    let arguments: Vec<&str> = targets.iter().map(String::as_str).collect();
    let said = python(namespace, CONNECT, &arguments);
    said.lines().map(str::to_owned).collect()
}

/// The same from inside a service.
fn connect_from(town: &Town, service: &str, to: &[(&str, u16)]) -> Vec<String> {
    let targets = targets(to);
    let mut words = vec!["exec", "-T", service, "python3", "-c", CONNECT];
    words.extend(targets.iter().map(String::as_str));
    town.ok(&words).lines().map(str::to_owned).collect()
}

fn address(town: &Town, service: &str) -> String {
    town.service(service)["address"]
        .as_str()
        .expect("an address")
        .to_owned()
}

fn published(town: &Town, service: &str) -> u16 {
    let port = town.service(service)["ports"][0]["host_port"].as_u64();
    u16::try_from(port.expect("a port")).expect("a port")
}

/// The namespace of a service, as the kernel has it.
fn of(town: &Town, service: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/net", town.pid(service)))
}

/// `(link, value)` of a setting of every link of the host's.
fn settings(name: &str) -> Vec<(String, String)> {
    let links = fs::read_dir("/proc/sys/net/ipv4/conf").expect("links").flatten();
    let value = |link: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/{name}"));
    links
        .filter_map(|link| {
            let link = link.file_name().into_string().ok()?;
            Some((link.clone(), value(&link).ok()?.trim().to_owned()))
        })
        .collect()
}

fn all_zero(settings: &[(String, String)]) -> bool {
    settings
        .iter()
        .all(|(link, value)| value == "0" || link.starts_with("pt"))
}

/// The host's own address on the instance's link: what its router sends everything to.
fn uplink(town: &Town) -> String {
    let words = ["ip", "route", "show", "default"];
    let output = within(&town.netns(".router"), &words).output().expect("ip");
    let route = String::from_utf8_lossy(&output.stdout).into_owned();
    let gateway = route.split_whitespace().skip_while(|word| *word != "via").nth(1);
    let gateway = gateway
        .unwrap_or_else(|| panic!("no gateway: {route}"))
        .to_owned();
    let own = Command::new("ip")
        .args(["-o", "-4", "addr"])
        .output()
        .expect("ip");
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    assert!(
        own.contains(&format!("inet {gateway}/")),
        "{gateway} is the host's: {own}"
    );
    gateway
}

#[test]
fn a_service_reaches_what_it_declares_and_the_world_but_neither_the_host_nor_metadata() {
    let machine = Machine::take();
    let lan = Lan::new();
    let town = Town::new("street", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let host = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"].map(|at| TcpListener::bind(at).expect("a listener"));
    let ports = host
        .each_ref()
        .map(|one| one.local_addr().expect("an address").port());
    let uplink = uplink(&town);
    let targets: Vec<(&str, u16)> = [HOST_ON_LAN, uplink.as_str(), "127.0.0.1", "::1"]
        .into_iter()
        .flat_map(|host| ports.map(|port| (host, port)))
        .collect();
    let control = connect(
        None,
        &[
            ("127.0.0.1", ports[0]),
            ("::1", ports[1]),
            (HOST_ON_LAN, ports[2]),
        ],
    );
    assert_eq!(control, ["ok"; 3]);
    for service in ["a", "c", "closed"] {
        let said = connect_from(&town, service, &targets);
        assert!(
            !said.contains(&"ok".to_owned()),
            "{service}: {targets:?} {said:?}"
        );
    }
    let world = [(WORLD, 80), (METADATA, 80)];
    assert_eq!(connect(None, &world), ["ok", "ok"]);
    let said = connect_from(&town, "a", &world);
    assert!(said[0] == "ok" && said[1] != "ok", "{said:?}");
    assert!(!connect_from(&town, "closed", &world).contains(&"ok".to_owned()));
    let links = town.inside("a", "cat /proc/net/if_inet6 2>/dev/null | grep -v ' lo$' | wc -l");
    assert_eq!(links, "0", "no address of IPv6: nothing to be forgotten about");

    let (a, b) = (address(&town, "a"), address(&town, "b"));
    let scan = |from: &str, to: &str| {
        let words = ["exec", "-T", from, "python3", "-c", SCAN, to];
        town.ok(&words).trim().to_owned()
    };
    assert_eq!(
        scan("a", &b),
        "8000",
        "its dependency, and of that the declared port"
    );
    for to in [&a, &b, &uplink] {
        assert_eq!(scan("c", to), "", "{to}");
    }
    assert_eq!(scan("b", "127.0.0.1"), "8000", "the scan finds what is open");
    // Its own published address: the host's, which it may not reach.
    let said = connect_from(&town, "b", &[(HOST_ON_LAN, published(&town, "b")), (&b, 8000)]);
    assert_eq!(said, ["ECONNREFUSED", "ok"]);
    town.ok(&["down"]);

    let shared = Town::new("street", YAML, &[("s.md", SERVER)]).with_env("PACTOWN_TEST_DISABLE", "network");
    shared.write(
        "saas.pactown.yaml",
        "name: street\nservices:\n  c: {readme: idle.md}\n",
    );
    shared.write("idle.md", "# Idle\n\n```sh markpact:run\nexec sleep 1000\n```\n");
    shared.ok(&["up", "-d"]);
    let said = connect_from(&shared, "c", &[("127.0.0.1", ports[0]), (METADATA, 80)]);
    assert_eq!(
        said,
        ["ok", "ok"],
        "without a network of its own it reaches all of it"
    );
    shared.ok(&["down"]);
    drop((host, lan));
    machine.assert_clean();
}

/// What a program says, line by line.
struct Said {
    child: Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Said {
    fn new(mut child: Child) -> Self {
        use std::io::BufRead;
        let output = child.stdout.take().expect("an output");
        let lines = std::io::BufReader::new(output).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_published_port_answers_while_no_supervisor_lives() {
    let machine = Machine::take();
    let town = Town::new("street", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let port = published(&town, "b");
    let supervisor = crate::support::observe::processes("pactown:super", "street-");
    let stop = |signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor[0]), signal).expect("kill");
    };
    // Stopped, not killed: nobody takes over, and nothing of it answers.
    stop(nix::sys::signal::Signal::SIGSTOP);
    let ask = format!(
        "
import socket
failed = 0
for _ in range(1000):
    try:
        s = socket.create_connection(('127.0.0.1', {port}), 2)
        s.sendall(b'HEAD / HTTP/1.0\\r\\n\\r\\n')
        failed += not s.recv(100).startswith(b'HTTP/1.0 200')
        s.close()
    except OSError: failed += 1
print(failed)"
    );
    let failed = python(None, &ask, &[]);
    stop(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(failed, "0");
    town.ok(&["down"]);
    machine.assert_clean();
}
