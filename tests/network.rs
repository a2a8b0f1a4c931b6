//! Who can talk to whom: real connections between real sandboxes and the host.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::observe::{http_get, patient};
use crate::support::town::{Machine, Town};

const SERVER: &str = "# Server

```sh markpact:run
exec python3 -m http.server $PORT --bind $BIND
```
";

const YAML: &str = "
name: roads
services:
  db: {readme: s.md, port: 8000, health_check: {tcp: 8000}, env: {BIND: 127.0.0.1}}
  api: {readme: s.md, port: 8000, health_check: /, depends_on: [db], env: {BIND: 0.0.0.0}}
  web: {readme: s.md, port: 8000, health_check: /, depends_on: [api], env: {BIND: 0.0.0.0}}
";

/// A Python one-liner that connects and prints `ok` or the errno's name, with the milliseconds it took.
fn connect(host: &str, port: u16) -> String {
    format!(
        "python3 -c \"
import errno, socket, time
t = time.monotonic()
try:
    socket.create_connection(('{host}', {port}), 3).close(); answer = 'ok'
except OSError as e:
    answer = errno.errorcode.get(e.errno, str(e))
print(answer, int((time.monotonic() - t) * 1000))\""
    )
}

#[track_caller]
fn answer(town: &Town, from: &str, host: &str, port: u16) -> (String, u64) {
    let text = town.inside(from, &connect(host, port));
    let (word, time) = text.split_once(' ').unwrap_or_else(|| panic!("{text}"));
    (word.to_owned(), time.parse().expect("milliseconds"))
}

#[test]
fn only_declared_edges_pass_and_the_rest_is_refused_at_once() {
    let machine = Machine::take();
    let town = Town::new("roads", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    assert_eq!(answer(&town, "web", "api", 8000).0, "ok", "declared, by name");
    assert_eq!(
        answer(&town, "web", "api.pactown.internal", 8000).0,
        "ok",
        "declared, by full name"
    );
    assert_eq!(
        answer(&town, "api", "db", 8000).0,
        "ok",
        "declared, although db binds 127.0.0.1 only"
    );
    let db = town.service("db")["address"]
        .as_str()
        .expect("address")
        .to_owned();
    let api = town.service("api")["address"]
        .as_str()
        .expect("address")
        .to_owned();
    for (from, to, port) in [("web", &db, 8000), ("db", &api, 8000), ("web", &api, 8001)] {
        let (word, time) = answer(&town, from, to, port);
        assert_eq!(word, "ECONNREFUSED", "{from} to {to}:{port}");
        assert!(time < 100, "refused after {time} ms");
    }
    assert!(
        town.inside("web", "getent hosts db; echo $?").ends_with('2'),
        "an undeclared name does not resolve"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_stopped_service_refuses_at_once_on_the_host_and_inside() {
    let machine = Machine::take();
    let town = Town::new("roads", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let published = town.address("api");
    town.ok(&["stop", "api"]);
    let began = Instant::now();
    let error = TcpStream::connect(&published).expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    assert!(
        began.elapsed() < patient(Duration::from_millis(500)),
        "{:?}",
        began.elapsed()
    );
    let (word, time) = answer(&town, "web", "api", 8000);
    assert_eq!(word, "ECONNREFUSED");
    assert!(time < 100, "refused after {time} ms");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn the_host_is_out_of_reach_and_publishes_on_loopback() {
    let machine = Machine::take();
    let host = TcpListener::bind("0.0.0.0:0").expect("listener");
    let port = host.local_addr().expect("address").port();
    let town = Town::new("roads", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    for name in ["db", "api", "web"] {
        let address = town.address(name);
        assert!(http_get(&address, "/").is_ok(), "{name} at {address}");
    }
    let gateway = town.inside("web", "ip route 2>/dev/null | awk '/default/ {print $3}' || true");
    let mut targets = vec!["127.0.0.1".to_owned()];
    targets.extend(Some(gateway).filter(|text| !text.is_empty()));
    for target in targets {
        let (word, _) = answer(&town, "web", &target, port);
        assert_ne!(word, "ok", "the host's port {port} at {target}");
    }
    let published = town.service("web")["ports"][0]["host_port"]
        .as_u64()
        .expect("port");
    let taken = TcpListener::bind(("127.0.0.1", u16::try_from(published).expect("port")));
    assert!(
        taken.is_err(),
        "the published port is bound, nobody else can take it"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_taken_port_moves_and_says_who_holds_it() {
    let machine = Machine::take();
    let holder = TcpListener::bind("127.0.0.1:0").expect("listener");
    let port = holder.local_addr().expect("address").port();
    let yaml = format!(
        "name: taken\nservices:\n  s: {{readme: s.md, port: {port}, health_check: /, env: {{BIND: 0.0.0.0}}}}\n"
    );
    let town = Town::new("taken", &yaml, &[("s.md", SERVER)]);
    let (out, err) = town.expect(0, &["up", "-d"]);
    let told = format!("{out}{err}");
    assert!(
        told.contains(&format!("{port} in use by")) && told.contains(&std::process::id().to_string()),
        "{told}"
    );
    assert_eq!(
        town.inside("s", "echo $PORT"),
        port.to_string(),
        "PORT inside never changes"
    );
    assert_ne!(town.address("s"), format!("127.0.0.1:{port}"));
    assert!(http_get(town.address("s"), "/").is_ok());
    town.ok(&["down"]);
    let (out, err) = town.expect(1, &["up", "-d", "--strict-ports"]);
    assert!(format!("{out}{err}").contains("in use by"), "{out}{err}");
    machine.assert_clean();
    let yaml = format!(
        "name: demand\nservices:\n  s: {{readme: s.md, ports: [\"{port}:8000\"], env: {{BIND: 0.0.0.0}}}}\n"
    );
    let demand = Town::new("demand", &yaml, &[("s.md", SERVER)]);
    demand.expect(1, &["up", "-d"]);
    machine.assert_clean();
}

#[test]
fn egress_none_keeps_the_published_port() {
    let machine = Machine::take();
    let yaml = "name: closed\nservices:\n  s: {readme: s.md, port: 8000, health_check: /, egress: none, env: {BIND: 0.0.0.0}}\n";
    let town = Town::new("closed", yaml, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    assert!(http_get(town.address("s"), "/").is_ok());
    let started = Instant::now();
    let (word, _) = answer(&town, "s", "192.0.2.99", 80);
    assert!(
        ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"].contains(&word.as_str()),
        "{word}"
    );
    assert!(started.elapsed() < patient(Duration::from_secs(2)));
    town.ok(&["down"]);
    machine.assert_clean();
}
