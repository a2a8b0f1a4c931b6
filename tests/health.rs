//! Health checks of every kind in real sandboxes, and waiting for what they say.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::faults::records::run_directory;
use crate::support::observe::{eventually, patient, processes};
use crate::support::town::{Machine, Town};

const SOON: Duration = Duration::from_secs(15);

/// A README that runs this shell text.
fn readme(script: &str) -> String {
    format!("# Service\n\n```sh markpact:run\n{script}\n```\n")
}

#[track_caller]
fn assert_health(town: &Town, service: &str, health: &str) {
    let row = town.service(service);
    assert_eq!(row["health"], health, "{row}");
}

#[test]
fn a_written_port_is_asked_unless_none_is_written_too() {
    let machine = Machine::take();
    let yaml = "
name: ports
services:
  late: {readme: late.md, port: 8000}
  deaf: {readme: deaf.md, port: 8001, health_check: none}
  auto: {readme: deaf.md}
  user: {readme: user.md, depends_on: [late]}
";
    let late = readme("sleep 0.7\nexec python3 -m http.server $PORT");
    let deaf = readme("exec sleep 1000");
    // By a connection refused it would end.
    let user = readme(
        "python3 -c 'import os, urllib.request as r; r.urlopen(os.environ[\"LATE_URL\"])'\nexec sleep 1000",
    );
    let town = Town::new(
        "ports",
        yaml,
        &[("late.md", &late), ("deaf.md", &deaf), ("user.md", &user)],
    );
    let config = town.ok(&["config"]);
    assert!(
        config.contains("tcp: 8000") && !config.contains("tcp: 8001"),
        "{config}"
    );
    town.ok(&["up", "-d"]);
    assert_health(&town, "late", "healthy");
    for unasked in ["deaf", "auto", "user"] {
        assert_health(&town, unasked, "none");
        assert_eq!(town.service(unasked)["state"], "running");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_line_of_the_log_makes_it_healthy() {
    let machine = Machine::take();
    let yaml = "
name: lines
services:
  good: {readme: good.md, health_check: {log: 'ready to work'}}
  other: {readme: other.md, timeout: 1, health_check: {log: 'ready to work'}}
";
    let good = readme("echo warming up\nsleep 0.3\necho now ready to work >&2\nexec sleep 1000");
    let other = readme("echo ready to wor\nexec sleep 1000");
    let town = Town::new("lines", yaml, &[("good.md", &good), ("other.md", &other)]);
    let (out, err) = town.expect(1, &["up", "-d"]);
    assert!(
        format!("{out}{err}").contains("a line with 'ready to work' in its output: it did not come"),
        "{out}{err}"
    );
    assert_health(&town, "good", "healthy");
    // The line of the run before is no sign of the new one.
    town.edit("good.md", "echo now ready to work", "echo not");
    town.edit(
        "saas.pactown.yaml",
        "good.md, health",
        "good.md, timeout: 1, health",
    );
    town.expect(1, &["restart", "good"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

const NOTIFIES: &str = r#"cat > /tmp/notify.py <<'END'
import os, socket, stat, sys, time
path = os.environ["NOTIFY_SOCKET"]
mode = os.stat(path)
print("socket", oct(mode.st_mode & 0o777), mode.st_uid == os.getuid(), os.environ.get("WATCHDOG_USEC"), flush=True)
try:
    os.remove(path)
except OSError as error:
    print("not removed", error.strerror, flush=True)
def say(text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(path)
    s.send(text)
say(b"\xff\xfe garbage")
say(b"STATUS=loading")
time.sleep(0.4)
if len(sys.argv) > 1:
    say(b"READY=1\nSTATUS=serving")
# More than a socket holds: somebody has to listen.
for number in range(100):
    say(b"STATUS=%d" % number)
print("said everything", flush=True)
time.sleep(1000)
END
"#;

#[test]
fn a_service_says_itself_that_it_is_ready() {
    let machine = Machine::take();
    let yaml = "
name: says
services:
  good: {readme: good.md, timeout: 10, health_check: {notify: true, interval: 5}}
  mute: {readme: mute.md, timeout: 2, health_check: {notify: true}}
";
    let good = readme(&format!("{NOTIFIES}exec python3 /tmp/notify.py ready"));
    let mute = readme(&format!("{NOTIFIES}exec python3 /tmp/notify.py"));
    let town = Town::new("says", yaml, &[("good.md", &good), ("mute.md", &mute)]);
    let (out, err) = town.expect(1, &["up", "-d"]);
    assert!(
        format!("{out}{err}").contains("READY=1 on NOTIFY_SOCKET: it did not come; it says '99'"),
        "{out}{err}"
    );
    assert_health(&town, "good", "healthy");
    let log = town.ok(&["logs", "good"]);
    assert!(log.contains("socket 0o600 True 5000000"), "{log}");
    assert!(log.contains("not removed Read-only file system"), "{log}");
    let log = town.ok(&["logs", "mute"]);
    assert!(
        log.contains("True None") && log.contains("said everything"),
        "{log}"
    );
    town.ok(&["wait", "good", "--for", "healthy"]);
    let said = |count| {
        eventually(
            "nobody has to wait with what it says",
            Duration::from_secs(10),
            || town.ok(&["logs", "good"]).matches("said everything").count() == count,
        );
    };
    said(1);
    town.ok(&["restart", "good"]);
    assert_health(&town, "good", "healthy");
    said(2);
    town.ok(&["up", "-d", "--no-health", "good"]);
    town.ok(&["restart", "good"]);
    said(3);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_wrong_body_is_named() {
    let machine = Machine::take();
    let yaml = "
name: bodies
services:
  good: {readme: s.md, port: 8000, health_check: {http: /state, body_regex: '^re.dy$', headers: {X-Probe: '1'}}}
  bad: {readme: s.md, port: 8000, timeout: 1, health_check: {http: /state, body: 'all good'}}
";
    let server = readme("printf ready > state\nexec python3 -m http.server $PORT");
    let town = Town::new("bodies", yaml, &[("s.md", &server)]);
    let (out, err) = town.expect(1, &["up", "-d"]);
    let told = "GET /state on port 8000 answered 200, its body begins with 'ready', without 'all good'";
    assert!(format!("{out}{err}").contains(told), "{out}{err}");
    assert_health(&town, "good", "healthy");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn waiting_has_four_ends() {
    let machine = Machine::take();
    let yaml = "
name: waits
services:
  web: {readme: web.md, health_check: {log: ready}}
  seed: {readme: seed.md, health_check: none}
  user: {readme: user.md, depends_on: [{name: seed, condition: completed}]}
  broken: {readme: broken.md}
";
    let web = readme("sleep 1\necho ready\nexec sleep 1000");
    let seed = readme("sleep 1.5");
    let user = readme("exec sleep 1000");
    let broken = readme("sleep 0.5\nexit 3");
    let town = Town::new(
        "waits",
        yaml,
        &[
            ("web.md", &web),
            ("seed.md", &seed),
            ("user.md", &user),
            ("broken.md", &broken),
        ],
    );
    town.ok(&["wait", "web", "--for", "stopped"]);
    let (_, err) = town.expect(1, &["wait", "web"]);
    assert!(err.contains("nothing runs, start it with 'pactown up'"), "{err}");
    let (_, err) = town.expect(2, &["wait", "brokn"]);
    assert!(err.contains("did you mean 'broken'?"), "{err}");

    let up = town.spawn(&["up", "-d"]);
    eventually("it is on its way", Duration::from_secs(10), || {
        town.services().iter().any(|row| row["state"] != "stopped")
    });
    town.ok(&["wait", "web", "user", "--for", "healthy"]);
    assert_health(&town, "web", "healthy");
    town.ok(&["wait", "seed", "--for", "completed", "-t", "5"]);
    assert_eq!(town.service("seed")["state"], "completed");
    let (out, err) = town.expect(1, &["wait", "broken", "--for", "running", "--json"]);
    assert!(err.contains("exited with code 3"), "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!(
        (&json["reached"], &json["service"]),
        (&false.into(), &"broken".into()),
        "{out}"
    );
    drop(up.wait_with_output());

    let (_, err) = town.expect(2, &["wait", "brokn"]);
    assert!(err.contains("did you mean 'broken'?"), "{err}");
    let started = Instant::now();
    let (_, err) = town.expect(124, &["wait", "web", "--for", "stopped", "--timeout", "300ms"]);
    assert!(
        started.elapsed() < patient(Duration::from_secs(2)),
        "{:?}",
        started.elapsed()
    );
    assert!(err.contains("web is running, health healthy"), "{err}");
    // Whoever waits does not own the run, and is told of its end.
    let waiter = town.spawn(&["wait", "web", "user", "--for", "stopped"]);
    let hopeless = town.spawn(&["wait", "web", "--for", "completed"]);
    town.ok(&["down"]);
    let waited = waiter.wait_with_output().expect("wait");
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    let waited = hopeless.wait_with_output().expect("wait");
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    machine.assert_clean();
}

/// Both clocks of a time namespace begin elsewhere; the time of day is the machine's everywhere, and may be what it likes.
#[test]
fn no_clock_that_jumps_makes_a_service_sick() {
    let machine = Machine::take();
    let yaml = "
name: jump
services:
  young: {readme: s.md, health_check: {exec: 'test ! -e /tmp/bad', interval: 50ms, retries: 1, start_period: 1h}}
  old: {readme: s.md, health_check: {exec: 'test ! -e /tmp/bad', interval: 50ms, retries: 1, start_period: 100ms}}
";
    let town = Town::new("jump", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    let elsewhere = std::process::Command::new("unshare")
        .args(["-T", "--fork", "--monotonic", "100000", "--boottime", "200000"])
        .args([env!("CARGO_BIN_EXE_pactown"), "up", "-d"])
        .current_dir(town.path())
        .output()
        .expect("unshare");
    assert!(elsewhere.status.success(), "{elsewhere:?}");
    // As if the time of day had been set by two hours, ahead and back, since they were started.
    let two_hours = 7_200_000_000_i64;
    for jump in [two_hours, -2 * two_hours] {
        let supervisor = processes("pactown:super", "jump-")[0];
        kill(Pid::from_raw(supervisor), Signal::SIGSTOP).expect("stop");
        for name in ["young", "old"] {
            let path = run_directory("jump-").join(format!("services/{name}.json"));
            let mut record: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&path).expect("record")).expect("json");
            let started = record["process"]["started_at_usec"].as_i64().expect("a time");
            record["process"]["started_at_usec"] = (started - jump).into();
            std::fs::write(&path, record.to_string()).expect("record");
        }
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("kill");
        eventually("another supervisor is there", SOON, || {
            let now = processes("pactown:super", "jump-");
            now.len() == 1 && now[0] != supervisor && town.run(&["ps"]).status.success()
        });
        assert!(town.all_healthy(), "{:?}", town.services());
        for name in ["young", "old"] {
            town.inside(name, "touch /tmp/bad");
        }
        eventually("its start is over", SOON, || {
            town.service("old")["health"] == "unhealthy"
        });
        assert_health(&town, "young", "healthy");
        for name in ["young", "old"] {
            town.inside(name, "rm /tmp/bad");
        }
        eventually("both are well", SOON, || town.all_healthy());
    }
    for row in town.services() {
        assert_eq!((&row["restarts"], &row["run"]), (&0.into(), &1.into()), "{row}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_a_service_says_of_itself_is_shown_and_gives_it_time_to_stop() {
    let machine = Machine::take();
    let yaml = "
name: says
services:
  tidy: {readme: tidy.md, health_check: {notify: true}, stop_grace: 1s}
  liar: {readme: liar.md, health_check: {notify: true}, stop_grace: 200ms}
";
    let program = |on_term: &str| {
        readme(&format!(
            "exec python3 -u -c '
import os, signal, socket, time
said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text): said.sendto(text.encode(), os.environ[\"NOTIFY_SOCKET\"])
def end(*_):
    {on_term}
    os._exit(0)
signal.signal(signal.SIGTERM, end)
say(\"STATUS=serving 3 people\\nREADY=1\")
while True: time.sleep(1000)
'"
        ))
    };
    let flush = "for left in 3, 2, 1:
        say(f\"STOPPING=1\\nSTATUS=flushing, {left} left\\nEXTEND_TIMEOUT_USEC=2000000\")
        time.sleep(0.7)
    print(\"flushed\")";
    let lie = "say(\"STOPPING=1\\nEXTEND_TIMEOUT_USEC=3600000000\")
    time.sleep(1000)";
    let town = Town::new(
        "says",
        yaml,
        &[("tidy.md", &program(flush)), ("liar.md", &program(lie))],
    );
    town.ok(&["up", "-d"]);
    let says = |town: &Town, text: &str| town.service("tidy")["status_text"] == *text;
    assert!(says(&town, "serving 3 people"));
    assert!(town.ok(&["ps"]).contains("'serving 3 people'"));
    assert!(town.ok(&["why", "tidy"]).contains("it says 'serving 3 people'"));
    let mut stop = town.spawn(&["stop", "tidy", "liar"]);
    eventually("its words are heard while it stops", SOON, || {
        says(&town, "flushing, 2 left")
    });
    assert!(stop.wait().expect("the command").success());
    // Longer than its grace, and it ended by itself; the other one was not let wait for an hour.
    assert!(town.ok(&["logs", "tidy"]).contains("flushed"));
    assert_eq!(town.service("tidy")["exit_code"], 0);
    assert_eq!(town.service("liar")["exit_code"], 137);
    town.ok(&["down"]);
    machine.assert_clean();
}
