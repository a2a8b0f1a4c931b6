//! A service that has somehow got raw sockets.

use super::*;

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
    let places = [of(&town, "b"), of(&town, "a"), town.netns(".router")];
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
    assert!(
        within(&town.netns(".router"), &lax)
            .status()
            .expect("sysctl")
            .success()
    );
    let (_, heard) = spoof();
    assert!(
        heard[0] > 0,
        "a router that believes every source would pass them on"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}
