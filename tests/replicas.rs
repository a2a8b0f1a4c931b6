//! Replicas: several sandboxes behind one address, spread by the kernel, changed one after another. `nft` and `ip` are asked
//! what there is; clients count who answers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{eventually, http_get, patient};
use crate::support::town::{Machine, Town};

/// Answers its number; is sick while `/tmp/sick` is there; on SIGTERM it finishes what it has accepted, and ends.
const SERVER: &str = r#"# Server

```python markpact:file path=app.py
import os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        sick = self.path == '/health' and os.path.exists('/tmp/sick')
        body = (os.environ.get('PACTOWN_REPLICA', 'plain') + ' ' + os.environ.get('WORD', '')).encode()
        self.send_response(500 if sick else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False

if os.environ.get('BROKEN'):
    sys.exit('broken as asked')
server = Server(('127.0.0.1', int(os.environ['PORT'])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print('number', os.environ.get('PACTOWN_REPLICA', 'plain'), flush=True)
server.serve_forever(poll_interval=0.02)
server.server_close()
```

```sh markpact:run
exec python3 app.py
```
"#;

/// Asks again and again, each time over a new connection, until `/tmp/stop` is there; how often it was answered by whom
/// is in `/tmp/count`, and each failure in `/tmp/failures`.
const CLIENT: &str = r#"# Client

```python markpact:file path=client.py
import collections, http.client, os, sys, time

host, port, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
seen, done = collections.Counter(), 0
failures = open('/tmp/failures', 'a')
while done < most and not os.path.exists('/tmp/stop'):
    try:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.request('GET', '/')
        seen[connection.getresponse().read().decode().split()[0]] += 1
        connection.close()
    except Exception as error:
        print(repr(error), file=failures, flush=True)
    done += 1
    if done % 50 == 0:
        with open('/tmp/count.new', 'w') as file:
            print(done, file=file)
        os.rename('/tmp/count.new', '/tmp/count')
print(' '.join(f'{name}:{count}' for name, count in sorted(seen.items())))
```

```sh markpact:run
exec sleep 1000000
```
"#;

const CHECK: &str = "health_check: {http: /health, interval: 200ms, timeout: 5s, retries: 2}";

fn yaml(api: &str) -> String {
    format!(
        "name: crew\nservices:\n  api: {{readme: api.md, port: 8000, {CHECK}{api}}}\n  web: {{readme: web.md, depends_on: [api], health_check: none}}\n"
    )
}

fn crew(api: &str) -> Town {
    Town::new("crew", &yaml(api), &[("api.md", SERVER), ("web.md", CLIENT)])
}

/// Who answered how many of so many requests of a neighbour.
#[track_caller]
fn from_inside(town: &Town, host: &str, count: usize) -> BTreeMap<String, usize> {
    let text = town.inside("web", &format!("python3 client.py {host} 8000 {count}"));
    assert_eq!(town.inside("web", "cat /tmp/failures"), "");
    let parts = text.split_whitespace().map(|part| {
        let (name, count) = part.split_once(':').expect("name and count");
        (name.to_owned(), count.parse().expect("a count"))
    });
    parts.collect()
}

#[track_caller]
fn from_the_host(address: &str, count: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let answer = http_get(address, "/").expect("an answer");
        let name = answer.split(' ').next().expect("a number").to_owned();
        *seen.entry(name).or_default() += 1;
    }
    seen
}

fn names(counts: &BTreeMap<String, usize>) -> Vec<&str> {
    counts.keys().map(String::as_str).collect()
}

/// These have answered and nobody else, each its share; rules that are replaced meanwhile begin their turn anew.
#[track_caller]
fn evenly(counts: BTreeMap<String, usize>, expected: &[&str]) {
    assert_eq!(names(&counts), expected, "{counts:?}");
    let (least, most) = (counts.values().min(), counts.values().max());
    let (least, most) = (least.expect("a count"), most.expect("a count"));
    assert!(most - least <= 3, "{counts:?}");
}

/// The address that a neighbour knows the service by.
fn shared(town: &Town) -> String {
    let line = town.inside("web", "getent hosts api");
    line.split_whitespace().next().expect("an address").to_owned()
}

fn pids(town: &Town, names: &[&str]) -> Vec<i32> {
    names.iter().map(|name| town.pid(name)).collect()
}

fn states(town: &Town) -> Vec<String> {
    let rows = town.services();
    let row = |row: &serde_json::Value| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("name"), text("state"))
    };
    rows.iter().map(row).collect()
}

/// What `nft` lists of the router, which is a namespace of its own.
fn router(town: &Town) -> String {
    let netns = town.netns(".router");
    output(
        "nsenter",
        &[
            &format!("--net={}", netns.display()),
            "sh",
            "-c",
            "nft list table ip pactown; ip -o route",
        ],
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("a program");
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Refused, by a reset, at once.
#[track_caller]
fn refused(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    let started = Instant::now();
    let error = TcpStream::connect_timeout(&address, patient(Duration::from_secs(3))).expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
    assert!(
        started.elapsed() < patient(Duration::from_millis(200)),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn replicas_answer_in_turns_by_name_address_and_port() {
    let machine = Machine::take();
    let town = crew(", replicas: 3");
    town.ok(&["up", "-d"]);
    let all = ["1", "2", "3"];
    evenly(from_inside(&town, "api", 30), &all);
    evenly(from_inside(&town, &shared(&town), 30), &all);
    evenly(from_inside(&town, "api-2.pactown.internal", 4), &["2"]);
    evenly(from_the_host(&town.address("api-1"), 30), &all);
    evenly(from_the_host(&format!("{}:8000", shared(&town)), 30), &all);
    let rows = town.services();
    assert_eq!(
        (&rows[1]["service"], &rows[1]["replica"]),
        (&"api".into(), &2.into())
    );
    let addresses: Vec<&str> = (0..3).filter_map(|n| rows[n]["address"].as_str()).collect();
    let seen = router(&town);
    for address in &addresses {
        assert!(seen.contains(&format!("dnat to {address}:8000")), "{seen}");
        assert!(seen.contains(&format!("{address} dev s")), "{seen}");
    }
    assert!(
        !seen.contains(&format!("{} dev", shared(&town))),
        "nobody has the shared address: {seen}"
    );
    // Each is its service to itself, and may reach neither another replica nor the spread.
    let environment = town.inside(
        "api-2",
        "echo $SERVICE_NAME $PACTOWN_REPLICA $(hostname) $(getent hosts api)",
    );
    assert!(environment.starts_with("api 2 api-2 "), "{environment}");
    assert!(environment.contains(addresses[1]), "{environment}");
    for address in [addresses[0], &shared(&town)] {
        let script =
            format!("python3 -c 'import socket; socket.create_connection((\"{address}\", 8000))' 2>&1");
        let text = town.inside("api-2", &format!("{script} | tail -n 1"));
        assert!(text.contains("ConnectionRefusedError"), "{address}: {text}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn who_is_not_ready_gets_nothing_and_without_anyone_all_are_refused() {
    let machine = Machine::take();
    let town = crew(", replicas: 3");
    town.ok(&["up", "-d"]);
    let published = town.address("api-1");
    town.inside("api-2", "touch /tmp/sick");
    eventually("the sick one is left out", Duration::from_secs(30), || {
        names(&from_the_host(&published, 6)) == ["1", "3"]
    });
    evenly(from_inside(&town, "api", 10), &["1", "3"]);
    town.ok(&["stop", "api-3"]);
    evenly(from_inside(&town, "api", 5), &["1"]);
    evenly(from_the_host(&published, 5), &["1"]);
    town.inside("api-2", "rm /tmp/sick");
    eventually("it is led to again", Duration::from_secs(30), || {
        names(&from_the_host(&published, 6)) == ["1", "2"]
    });
    town.ok(&["stop", "api"]);
    refused(&published);
    refused(&format!("{}:8000", shared(&town)));
    let text = town.inside(
        "web",
        "python3 -c 'import socket; socket.create_connection((\"api\", 8000))' 2>&1 | tail -n 1",
    );
    assert!(text.contains("ConnectionRefusedError"), "{text}");
    town.ok(&["start", "api"]);
    evenly(from_inside(&town, "api", 9), &["1", "2", "3"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn scaling_starts_and_stops_the_highest_numbers_and_touches_nothing_else() {
    let machine = Machine::take();
    let town = crew(", replicas: 2");
    town.ok(&["up", "-d"]);
    let before = pids(&town, &["api-1", "api-2", "web"]);
    let (out, err) = town.expect(0, &["scale", "api=4"]);
    let told = out + &err;
    assert!(
        told.contains("start api-3") && !told.contains("restart"),
        "{told}"
    );
    assert_eq!(pids(&town, &["api-1", "api-2", "web"]), before);
    evenly(from_inside(&town, "api", 8), &["1", "2", "3", "4"]);
    town.ok(&["restart", "web"]);
    assert_eq!(town.services().len(), 5, "only 'up' goes back to the file");
    let four = pids(&town, &["api-1", "api-2", "api-3", "api-4"]);
    town.ok(&["scale", "api=3"]);
    eventually("the fourth is gone", Duration::from_secs(30), || {
        town.services().len() == 4
    });
    assert_eq!(pids(&town, &["api-1", "api-2", "api-3"]), four[..3]);
    let (out, err) = town.expect(0, &["up", "-d", "-n"]);
    let plan = out + &err;
    assert!(
        plan.contains("stop api-3: scaled to 3 by hand, the file says 2"),
        "{plan}"
    );
    let (out, err) = town.expect(0, &["up", "-d"]);
    let told = out + &err;
    assert!(
        told.contains("stop api-3: scaled to 3 by hand, the file says 2"),
        "{told}"
    );
    eventually("the third is gone", Duration::from_secs(30), || {
        town.services().len() == 3
    });
    assert_eq!(pids(&town, &["api-1", "api-2"]), before[..2]);
    let (_, err) = town.expect(2, &["scale", "appi=2"]);
    assert!(err.contains("did you mean 'api'"), "{err}");
    town.ok(&["scale", "api=0"]);
    eventually("none is left", Duration::from_secs(30), || {
        states(&town) == ["web running"]
    });
    refused(&format!("{}:8000", shared(&town)));
    town.ok(&["restart", "web"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_service_gets_and_loses_its_replicas_without_a_gap() {
    let machine = Machine::take();
    let town = crew("");
    town.ok(&["up", "-d"]);
    town.inside("api", "echo kept > /app/mark");
    let published = town.address("api");
    let clients = Clients::start(&town, &published);
    let (web, address) = (town.pid("web"), shared(&town));
    let (out, err) = town.expect(0, &["scale", "api=2"]);
    let told = out + &err;
    assert!(
        told.contains("stays in") && told.contains("stop api: scaled to 2"),
        "{told}"
    );
    eventually("the plain one has made room", Duration::from_secs(60), || {
        states(&town) == ["web running", "api-1 running", "api-2 running"]
            || states(&town) == ["api-1 running", "api-2 running", "web running"]
    });
    // The clients take turns in between.
    let answered = from_the_host(&published, 20);
    assert_eq!(answered.keys().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((town.pid("web"), shared(&town)), (web, address.clone()));
    town.ok(&["up", "-d"]);
    eventually("the replicas have made room", Duration::from_secs(60), || {
        town.services().len() == 2
    });
    clients.finish(&town, 0);
    evenly(from_inside(&town, "api", 4), &["plain"]);
    evenly(from_the_host(&published, 4), &["plain"]);
    assert_eq!(town.inside("api", "cat /app/mark"), "kept");
    assert_eq!((town.pid("web"), shared(&town)), (web, address));
    town.ok(&["down"]);
    machine.assert_clean();
}

/// Clients that never pause: one in a neighbour, one at the published port.
struct Clients {
    inside: std::process::Child,
    stop: Arc<AtomicBool>,
    outside_count: Arc<AtomicUsize>,
    outside: JoinHandle<Vec<String>>,
}

impl Clients {
    fn start(town: &Town, published: &str) -> Self {
        town.inside("web", "rm -f /tmp/stop /tmp/failures /tmp/count");
        let inside = town.spawn(&[
            "exec",
            "web",
            "python3",
            "/app/client.py",
            "api",
            "8000",
            "100000000",
        ]);
        let stop = Arc::new(AtomicBool::new(false));
        let outside_count = Arc::new(AtomicUsize::new(0));
        let (over, count) = (Arc::clone(&stop), Arc::clone(&outside_count));
        let published = published.to_owned();
        let outside = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !over.load(Ordering::Relaxed) {
                failures.extend(http_get(&published, "/").err());
                count.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
        eventually("the neighbour asks", Duration::from_secs(60), || {
            town.run(&["exec", "web", "test", "-e", "/tmp/count"])
                .status
                .success()
        });
        Self {
            inside,
            stop,
            outside_count,
            outside,
        }
    }

    /// How often each has asked so far, at least.
    fn asked(&self, town: &Town) -> usize {
        let inside = town.inside("web", "cat /tmp/count").parse().unwrap_or(0);
        self.outside_count.load(Ordering::Relaxed).min(inside)
    }

    /// Both have asked at least so often, and were answered each time.
    #[track_caller]
    fn finish(mut self, town: &Town, least: usize) {
        town.inside("web", "touch /tmp/stop");
        self.stop.store(true, Ordering::Relaxed);
        let told = self.inside.wait().expect("the client");
        let inside: usize = town.inside("web", "cat /tmp/count").parse().expect("a count");
        let failures = self.outside.join().expect("the client");
        let count = self.outside_count.load(Ordering::Relaxed);
        let failed = town.inside("web", "cat /tmp/failures");
        println!("{inside} requests from a neighbour, {count} through the published port");
        assert_eq!(failed, "", "of {inside} requests from a neighbour");
        assert_eq!(
            failures,
            Vec::<String>::new(),
            "of {count} through the published port"
        );
        assert!(told.success() && inside >= least && count >= least);
        town.inside("web", "rm -f /tmp/stop");
    }
}

#[test]
fn an_attached_run_shows_the_lines_of_a_replica_that_is_added_later() {
    let machine = Machine::take();
    let town = crew(", replicas: 2");
    let up = town.spawn(&["up"]);
    eventually("two are there", Duration::from_secs(30), || {
        town.run(&["ps", "--json"]).status.success() && town.all_settled()
    });
    town.ok(&["scale", "api=3"]);
    kill(Pid::from_raw(up.id().cast_signed()), Signal::SIGINT).expect("signal");
    let output = up.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    for number in 1..=3 {
        let line = format!("api-{number} │ number {number}");
        assert!(text.contains(&line), "{line}: {text}");
    }
    machine.assert_clean();
}

/// `PACTOWN_REPLICAS=long cargo test --test suite replicas` asks ten thousand times.
#[test]
fn no_request_fails_while_the_replicas_are_restarted() {
    let machine = Machine::take();
    let town = crew(", replicas: 3");
    town.ok(&["up", "-d"]);
    let least = match std::env::var("PACTOWN_REPLICAS").as_deref() {
        Ok("long") => 10_000,
        _ => 1_500,
    };
    let clients = Clients::start(&town, &town.address("api-1"));
    let mut rolls = 0;
    while rolls < 1 || clients.asked(&town) < least {
        let before = pids(&town, &["api-1", "api-2", "api-3"]);
        town.ok(&["restart", "api"]);
        let after = pids(&town, &["api-1", "api-2", "api-3"]);
        assert!(before.iter().zip(&after).all(|(old, new)| old != new));
        rolls += 1;
    }
    // A change of the file goes the same way.
    town.edit(
        "saas.pactown.yaml",
        "replicas: 3",
        "replicas: 3, env: {WORD: new}",
    );
    let (out, err) = town.expect(0, &["up", "-d"]);
    let told = out + &err;
    assert!(told.contains("restart api-3: env WORD changed"), "{told}");
    println!("{rolls} restarts");
    clients.finish(&town, least);
    let address = town.address("api-1");
    for _ in 0..6 {
        let answer = http_get(&address, "/").expect("an answer");
        assert!(answer.ends_with(" new"), "{answer}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_new_one_that_fails_stops_the_change_and_the_others_go_on() {
    let machine = Machine::take();
    let town = crew(", replicas: 3");
    town.ok(&["up", "-d"]);
    let before = pids(&town, &["api-1", "api-2", "api-3"]);
    let clients = Clients::start(&town, &town.address("api-1"));
    town.edit(
        "saas.pactown.yaml",
        "replicas: 3",
        "replicas: 3, env: {BROKEN: 1}",
    );
    let (out, err) = town.expect(1, &["up", "-d"]);
    let told = out + &err;
    assert!(
        told.contains("api: api-1 failed, so api-2, api-3 go on as before"),
        "{told}"
    );
    assert_eq!(pids(&town, &["api-2", "api-3"]), before[1..]);
    assert_eq!(town.service("api-1")["state"], "failed");
    town.succeed_the_supervisor();
    assert_eq!(
        pids(&town, &["api-2", "api-3"]),
        before[1..],
        "another supervisor does not try again by itself"
    );
    town.edit("saas.pactown.yaml", "BROKEN: 1", "WORD: mended");
    town.ok(&["up", "-d"]);
    clients.finish(&town, 0);
    let after = pids(&town, &["api-2", "api-3"]);
    assert!(after.iter().zip(&before[1..]).all(|(new, old)| new != old));
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_change_goes_on_when_the_supervisor_dies_in_the_middle() {
    let machine = Machine::take();
    let town = crew(", replicas: 3");
    town.ok(&["up", "-d"]);
    let clients = Clients::start(&town, &town.address("api-1"));
    let before = pids(&town, &["api-1", "api-2", "api-3"]);
    let mut command = town.spawn(&["restart", "api"]);
    eventually("the first one starts anew", Duration::from_secs(60), || {
        town.service("api-1")["pid"]
            .as_i64()
            .is_some_and(|pid| pid != i64::from(before[0]))
    });
    town.succeed_the_supervisor();
    let _ = command.wait();
    eventually("all are new", Duration::from_secs(90), || {
        let rows = town.services();
        rows.iter().filter(|row| row["service"] == "api").all(|row| {
            let pid = row["pid"].as_i64().unwrap_or(0);
            row["health"] == "healthy" && !before.iter().any(|old| i64::from(*old) == pid)
        })
    });
    clients.finish(&town, 0);
    evenly(from_inside(&town, "api", 9), &["1", "2", "3"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn verbs_take_a_service_or_one_of_its_replicas() {
    let machine = Machine::take();
    let town = crew(", replicas: 2");
    assert!(town.ok(&["graph"]).contains("api × 2"));
    town.ok(&["up", "-d"]);
    let logs = |arguments: &[&str]| town.ok(&[&["logs", "--json"], arguments].concat());
    assert_eq!(logs(&["api"]).lines().count(), 2);
    let line: serde_json::Value = serde_json::from_str(&logs(&["api-2"])).expect("one line");
    assert_eq!(
        (&line["service"], &line["replica"], &line["line"]),
        (&"api".into(), &2.into(), &"number 2".into())
    );
    assert_eq!(town.inside("api", "hostname"), "api-1");
    assert_eq!(town.inside("api-2", "hostname"), "api-2");
    let variables = town.ok(&["env", "api-2"]);
    assert!(variables.contains("PACTOWN_REPLICA"), "{variables}");
    assert!(town.ok(&["spec", "api-2"]).contains("\"hostname\": \"api-2\""));
    town.expect(2, &["env", "api-3"]);
    town.ok(&["restart", "api-2"]);
    let events = town.ok(&["events", "--json", "api-2"]);
    assert!(
        events
            .lines()
            .all(|line| line.contains("\"service\":\"api\",\"replica\":2")),
        "{events}"
    );
    town.ok(&["wait", "api", "--for", "healthy", "-t", "10"]);
    assert!(town.ok(&["stats", "--no-stream", "api"]).contains("api-2"));
    town.ok(&["why", "api"]);
    town.ok(&["stop", "api-1"]);
    town.ok(&["wait", "api-1", "--for", "stopped", "-t", "10"]);
    town.expect(1, &["wait", "api", "--for", "healthy", "-t", "10"]);
    assert_eq!(town.inside("api", "hostname"), "api-2", "the first that runs");
    town.ok(&["start", "api-1"]);
    assert!(town.path().join(".pactown-sandboxes/api-2").is_dir());
    assert!(!town.path().join(".pactown-sandboxes/api").exists());
    town.ok(&["down"]);
    machine.assert_clean();
}
