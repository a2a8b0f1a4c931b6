//! What neighbours can do to a service and it to them: other sandboxes, one that has somehow got raw sockets, the host, a
//! machine on the same network, and the world. Each attempt also succeeds somewhere, or it shows nothing.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
struct Lan(Vec<Child>);

const LAN: &str = "pt-neighbour";
const HOST_ON_LAN: &str = "198.18.77.1";
const WORLD: &str = "203.0.113.9";
const METADATA: &str = "169.254.169.254";

fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh");
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Lan {
    fn new() -> Self {
        remove_lan();
        shell(&format!(
            "ip netns add {LAN}
             ip link add nb-host type veth peer name nb-lan netns {LAN}
             ip addr add {HOST_ON_LAN}/24 dev nb-host
             ip link set nb-host up
             ip -n {LAN} link set lo up
             ip -n {LAN} addr add 198.18.77.2/24 dev nb-lan
             ip -n {LAN} addr add {WORLD}/32 dev lo
             ip -n {LAN} addr add {METADATA}/32 dev lo
             ip -n {LAN} link set nb-lan up
             ip route add {WORLD}/32 via 198.18.77.2
             ip route add {METADATA}/32 via 198.18.77.2"
        ));
        let server = ["python3", "-m", "http.server", "80"];
        let mut lan = Self(Vec::new());
        lan.0.push(spawn(&netns(LAN), &server));
        eventually("the world answers", SOON, || {
            connect(None, &[(WORLD, 80)]) == ["ok"]
        });
        lan
    }
}

fn remove_lan() {
    let script = format!(
        "ip netns pids {LAN} 2>/dev/null | xargs -r kill; ip netns del {LAN}; ip link del nb-host; \
         ip route del {WORLD}/32; ip route del {METADATA}/32"
    );
    let quiet = || Stdio::null();
    let _ = Command::new("sh")
        .args(["-c", &script])
        .stdout(quiet())
        .stderr(quiet())
        .status();
}

impl Drop for Lan {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
        remove_lan();
    }
}

fn netns(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
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

/// The instance's router: the one namespace with a link of this service's subnet and none of the sandboxes' own.
fn router(town: &Town) -> PathBuf {
    let instances = fs::read_dir("/run/pactown").expect("instances").flatten();
    let of_street = |path: &PathBuf| path.to_string_lossy().contains("/street-");
    let found = instances.map(|entry| entry.path()).find(of_street);
    assert!(!town.services().is_empty());
    found.expect("the instance").join("netns/.router")
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

#[test]
fn a_machine_on_the_network_reaches_nothing_that_is_not_published_there() {
    let machine = Machine::take();
    let lan = Lan::new();
    let peer = netns(LAN);
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
    shell(&format!("ip -n {LAN} route add {b}/32 via {HOST_ON_LAN}"));
    assert_eq!(connect(None, &[(&b, 8000)]), ["ok"], "the host may");
    assert_ne!(
        connect(Some(&peer), &[(&b, 8000)]),
        ["ok"],
        "with a route to its address"
    );

    // Packets for 127.0.0.1 that arrive by the wire. They only leave where loopback is a network like any other.
    shell(&format!(
        "ip netns exec {LAN} sysctl -qw net.ipv4.conf.all.route_localnet=1
         ip -n {LAN} route del local 127.0.0.0/8 dev lo table local
         ip -n {LAN} route del local 127.0.0.1 dev lo table local
         ip -n {LAN} route add 127.0.0.1/32 via {HOST_ON_LAN} src 198.18.77.2"
    ));
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
    fs::write("/proc/sys/net/ipv4/conf/nb-host/route_localnet", "1").expect("sysctl");
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
            left.iter().all(|(link, value)| value == "0" || link == "nb-host")
        },
    );
    drop(lan);
    machine.assert_clean();
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
    let own: Ipv4Addr = address(&town, "c").parse().expect("an address");
    let uplink = Ipv4Addr::from(u32::from(own) & 0xffff_ff00 | 1).to_string();
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

/// Frames on every link of a namespace for as long as it runs, that hold the mark; prints how many.
const LISTEN: &str = "
import select, socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print('ready', flush=True)
count, end = 0, time.monotonic() + 6
while time.monotonic() < end:
    if select.select([s], [], [], 0.2)[0] and b'pt-spoofed' in s.recv(65536): count += 1
print(count, flush=True)
";

/// What somebody with raw sockets would send: lies about who has which address, packets of others, router advertisements,
/// spanning tree, DHCP and multicast names. All carry the mark. Arguments: own address, that of b, that of the router.
const SPOOF: &str = "
import socket, struct, sys, time
mine, b, router = (socket.inet_aton(x) for x in sys.argv[1:4])
link = sys.argv[4]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((link, 0))
mac = s.getsockname()[4]
mark = b'pt-spoofed' * 2
def checksum(data):
    if len(data) % 2: data += b'\\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff); total += total >> 16
    return ~total & 0xffff
def ip(source, target, protocol, payload):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack('!H', checksum(head)) + head[12:] + payload
def udp(source, target, sport, dport):
    return ip(source, target, 17, struct.pack('!HHHH', sport, dport, 8 + len(mark), 0) + mark)
def tcp(source, target, dport):
    head = struct.pack('!HHIIBBHHH', 4444, dport, 1, 0, 0x50, 2, 1024, 0, 0)
    pseudo = source + target + struct.pack('!BBH', 0, 6, len(head) + len(mark))
    head = head[:16] + struct.pack('!H', checksum(pseudo + head + mark)) + head[18:]
    return ip(source, target, 6, head + mark)
def arp(owner):
    return struct.pack('!HHBBH6s4s6s4s', 1, 0x800, 6, 4, 2, mac, owner, b'\\xff' * 6, owner) + mark
everybody = b'\\xff' * 6
gateway = bytes.fromhex(open('/sys/class/net/' + link + '/address').read().strip().replace(':', ''))
frames = [
    (everybody, 0x806, arp(router)), (everybody, 0x806, arp(b)),
    (b'\\x01\\x80\\xc2\\0\\0\\0', 0x0042, b'\\x42\\x42\\x03' + mark),
    (b'\\x33\\x33\\0\\0\\0\\x01', 0x86dd, struct.pack('!IHBB', 0x60000000, 16 + len(mark), 58, 255) + b'\\xfe\\x80' + b'\\0' * 13 + b'\\x66' + b'\\xff\\x02' + b'\\0' * 13 + b'\\x01' + b'\\x86\\0\\0\\0\\x40\\x08\\x07\\x08' + b'\\0' * 8 + mark),
    (everybody, 0x800, udp(b'\\0' * 4, b'\\xff' * 4, 68, 67)),
    (b'\\x01\\0\\x5e\\0\\0\\xfb', 0x800, udp(mine, socket.inet_aton('224.0.0.251'), 5353, 5353)),
]
neighbour = open('/proc/net/arp').read().split('\\n')
hop = next((bytes.fromhex(line.split()[3].replace(':', '')) for line in neighbour if line.startswith(sys.argv[3] + ' ')), everybody)
frames += [(hop, 0x800, udp(b, b, 9, 9)), (hop, 0x800, tcp(socket.inet_aton(sys.argv[5]), b, 8000))]
for _ in range(20):
    for target, kind, payload in frames: s.send(target + mac + struct.pack('!H', kind) + payload)
    time.sleep(0.05)
print(20 * len(frames))
";

#[test]
fn who_has_raw_sockets_deceives_nobody() {
    let machine = Machine::take();
    let town = Town::new("street", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let refused = town.inside(
        "c",
        "python3 -c 'import socket; socket.socket(17, 3)' 2>&1 | tail -1",
    );
    assert!(refused.contains("Operation not permitted"), "{refused}");

    let (a, b, c) = (address(&town, "a"), address(&town, "b"), address(&town, "c"));
    let route = python(
        Some(&of(&town, "c")),
        "import subprocess, sys; print(subprocess.run(['ip', 'route', 'show', 'default'], capture_output=True, text=True).stdout)",
        &[],
    );
    let words: Vec<&str> = route.split_whitespace().collect();
    let after = |word: &str| words.iter().skip_while(|one| **one != word).nth(1).copied();
    let (gateway, link) = (after("via").expect("a gateway"), after("dev").expect("a link"));
    // So that the gateway's address is known.
    connect_from(&town, "c", &[(&b, 8000)]);
    let neighbours = |place: &Path| {
        let output = within(place, &["ip", "neigh"]).output().expect("ip");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let hardware = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some((
                words.first()?.to_string(),
                words.iter().skip_while(|w| **w != "lladdr").nth(1)?.to_string(),
            ))
        };
        let mut found: Vec<_> = text.lines().filter_map(hardware).collect();
        found.sort();
        found
    };
    let routes = |place: &Path| {
        let output = within(place, &["ip", "-6", "route"]).output().expect("ip");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let places = [of(&town, "b"), of(&town, "a"), router(&town)];
    for service in ["a", "b", "c"] {
        assert_eq!(connect(None, &[(&address(&town, service), 8000)]), ["ok"]);
    }
    let before: Vec<_> = places
        .iter()
        .map(|place| (neighbours(place), routes(place)))
        .collect();
    let spoof = || {
        let host = PathBuf::from("/proc/self/ns/net");
        let listeners = places.iter().chain([&host]);
        let listeners = listeners.map(|place| spawn(place, &["python3", "-c", LISTEN]));
        let mut readers: Vec<_> = listeners.map(Said::new).collect();
        readers
            .iter_mut()
            .for_each(|reader| assert_eq!(reader.line(), "ready"));
        let sent = python(Some(&of(&town, "c")), SPOOF, &[&c, &b, gateway, link, &a]);
        let heard = readers
            .iter_mut()
            .map(|reader| reader.line().parse().expect("a number"));
        (sent.parse().expect("a number"), heard.collect::<Vec<usize>>())
    };
    let (sent, heard): (usize, _) = spoof();
    assert!(
        sent >= 100 && heard[2] >= sent / 2,
        "the router's end of its own link hears them: {sent}, {heard:?}"
    );
    assert_eq!(
        (heard[0], heard[1], heard[3]),
        (0, 0, 0),
        "nobody else does: b, a and the host"
    );
    for (place, (neighbours_before, routes_before)) in places.iter().zip(&before) {
        let now = neighbours(place);
        let changed: Vec<_> = now
            .iter()
            .filter(|(address, hardware)| {
                neighbours_before
                    .iter()
                    .any(|(one, other)| one == address && other != hardware)
            })
            .collect();
        assert!(changed.is_empty(), "{}: {changed:?}", place.display());
        assert_eq!(&routes(place), routes_before);
    }
    assert_eq!(connect_from(&town, "a", &[("b", 8000)]), ["ok"]);
    let lax = ["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0"];
    assert!(within(&router(&town), &lax).status().expect("sysctl").success());
    let (_, heard) = spoof();
    assert!(
        heard[0] > 0,
        "a router that believes every source would pass them on"
    );
    town.ok(&["down"]);
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
