//! Up, ps, logs, exec, edit, down: what a user does in an afternoon, and what must be gone in the evening.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{eventually, http_get, patient, status_field};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: day
services:
  api: {readme: api.md, port: 8000, health_check: /, env: {LOG_LEVEL: info}}
  web: {readme: web.md, port: 8000, health_check: /, depends_on: [api]}
";

const SERVER: &str = "# Server

```sh markpact:run
echo level=$LOG_LEVEL
exec python3 -m http.server $PORT
```
";

fn day() -> Town {
    Town::new("day", YAML, &[("api.md", SERVER), ("web.md", SERVER)])
}

#[test]
fn a_detached_day() {
    let machine = Machine::take();
    let town = day();
    town.ok(&["up", "-d"]);
    for row in town.services() {
        assert_eq!(
            (row["state"].as_str(), row["health"].as_str()),
            (Some("running"), Some("healthy")),
            "{row}"
        );
    }
    assert!(town.ok(&["logs", "api"]).contains("level=info"));
    assert!(town.ok(&["ls"]).contains("day"));
    assert_eq!(town.inside("api", "echo $SERVICE_NAME $PORT"), "api 8000");
    town.expect(7, &["exec", "api", "sh", "-c", "exit 7"]);
    town.expect(127, &["exec", "api", "no-such-program"]);

    let before = (town.pid("api"), town.pid("web"));
    let started = Instant::now();
    assert!(town.ok(&["up", "-d"]).contains("unchanged"));
    assert!(
        started.elapsed() < patient(Duration::from_secs(2)),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        before,
        (town.pid("api"), town.pid("web")),
        "nothing was restarted"
    );

    town.edit("saas.pactown.yaml", "LOG_LEVEL: info", "LOG_LEVEL: debug");
    let told = town.ok(&["up", "-d"]);
    assert!(told.contains("LOG_LEVEL"), "{told}");
    assert_ne!(before.0, town.pid("api"));
    assert_eq!(before.1, town.pid("web"), "only the edited service restarts");
    assert!(town.ok(&["logs", "api"]).contains("level=debug"));

    town.ok(&["stop", "web"]);
    assert_eq!(town.service("web")["state"], "stopped");
    town.ok(&["start", "web"]);
    assert_eq!(town.service("web")["health"], "healthy");
    town.ok(&["restart", "api"]);
    assert!(http_get(town.address("api"), "/").is_ok());

    let told = town.ok(&["down"]);
    assert!(told.contains("api") && told.contains("web"), "{told}");
    assert!(town.ok(&["down"]).contains("nothing to stop"));
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
    machine.assert_clean();
}

#[test]
fn an_attached_run_ends_with_its_terminal() {
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGKILL] {
        let machine = Machine::take();
        let town = day();
        let mut child = town.spawn(&["up"]);
        eventually("the page answers", Duration::from_secs(30), || {
            town.run(&["ps", "--json"]).status.success() && town.all_healthy()
        });
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("signal");
        let status = child.wait().expect("wait");
        if signal == Signal::SIGINT {
            assert_eq!(status.code(), Some(130), "Ctrl-C");
        }
        eventually("everything is down", Duration::from_secs(15), || {
            !fs::read_dir("/run/pactown").is_ok_and(|mut d| {
                d.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("day-")))
            })
        });
        assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "after {signal}");
        machine.assert_clean();
    }
}

#[test]
fn who_is_to_outlive_its_terminal_does() {
    let machine = Machine::take();
    let town = day();
    let mut child = std::process::Command::new("nohup")
        .args([env!("CARGO_BIN_EXE_pactown"), "up"])
        .current_dir(town.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nohup");
    let up = Pid::from_raw(child.id().cast_signed());
    eventually("the page answers", Duration::from_secs(30), || {
        town.run(&["ps", "--json"]).status.success() && town.all_healthy()
    });
    let ignored = u64::from_str_radix(&status_field(up.as_raw(), "SigIgn"), 16).expect("a mask");
    assert_eq!(ignored & 1, 1, "as it was told");
    kill(up, Signal::SIGHUP).expect("signal");
    kill(up, Signal::SIGINT).expect("another");
    let status = child.wait().expect("wait");
    assert_eq!(
        status.code(),
        Some(130),
        "only what came after the hangup was heard"
    );
    machine.assert_clean();
}

#[test]
fn what_the_caller_left_open_is_not_held() {
    let machine = Machine::take();
    let town = day();
    let script = "exec 9>lock; flock 9; exec \"$@\"";
    let up = std::process::Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_pactown"), "up", "-d"])
        .current_dir(town.path())
        .output()
        .expect("sh");
    assert!(up.status.success(), "{up:?}");
    let free = std::process::Command::new("flock")
        .args(["-n", "lock", "true"])
        .current_dir(town.path())
        .status();
    assert!(free.expect("flock").success(), "the lock went with the command");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn live_logs_are_prefixed_and_complete() {
    let machine = Machine::take();
    let yaml = "name: loud\nservices:\n  counter: {readme: c.md}\n";
    let readme = "# Counter\n\n```sh markpact:run\nseq 1 20000\necho done\nexec sleep 1000\n```\n";
    let town = Town::new("loud", yaml, &[("c.md", readme)]);
    let mut child = town.spawn(&["up"]);
    eventually("the log is complete", Duration::from_secs(20), || {
        town.run(&["logs", "counter"]).stdout.ends_with(b"done\n")
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("signal");
    let mut out = String::new();
    child
        .stdout
        .take()
        .expect("stdout")
        .read_to_string(&mut out)
        .expect("read");
    child.wait().expect("wait");
    let numbers: Vec<u32> = out
        .lines()
        .filter_map(|l| l.split_once("│ ")?.1.trim().parse().ok())
        .collect();
    assert_eq!(
        numbers,
        (1..=20000).collect::<Vec<_>>(),
        "each line once, in order, with its prefix"
    );
    machine.assert_clean();
}

#[test]
fn a_failing_service_fails_up_with_its_cause_and_blocks_its_dependents() {
    let machine = Machine::take();
    let yaml = "
name: broken
services:
  seed: {readme: seed.md, port: 8000, health_check: /, timeout: 60}
  api: {readme: api.md, port: 8000, depends_on: [seed]}
";
    let seed = "# Seed\n\n```sh markpact:run\necho cannot find the seeds >&2\nexit 3\n```\n";
    let town = Town::new("broken", yaml, &[("seed.md", seed), ("api.md", SERVER)]);
    let started = Instant::now();
    let (out, err) = town.expect(1, &["up", "-d"]);
    let told = format!("{out}{err}");
    assert!(
        started.elapsed() < patient(Duration::from_secs(5)),
        "death ends the wait: {:?}",
        started.elapsed()
    );
    assert!(told.contains("exited") && told.contains('3'), "{told}");
    assert!(
        told.contains("cannot find the seeds"),
        "the last log lines: {told}"
    );
    assert!(told.contains("blocked by seed"), "{told}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_service_that_never_answers_times_out() {
    let machine = Machine::take();
    let yaml = "name: mute\nservices:\n  s: {readme: s.md, port: 8000, health_check: /, timeout: 1}\n";
    let town = Town::new(
        "mute",
        yaml,
        &[("s.md", "# Mute\n\n```sh markpact:run\nexec sleep 1000\n```\n")],
    );
    let (out, err) = town.expect(1, &["up", "-d"]);
    assert!(
        format!("{out}{err}").contains("refused"),
        "the probe's last answer is named: {out}{err}"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn stopping_is_graceful_ordered_and_bounded() {
    let machine = Machine::take();
    let yaml = "
name: ending
services:
  base: {readme: polite.md, port: 8000, health_check: none}
  stubborn: {readme: stubborn.md, port: 8000, health_check: none, depends_on: [base], stop_grace: 1s}
";
    let polite = "# Polite\n\n```sh markpact:run\ntrap 'echo polite ends; exit 0' TERM\nwhile :; do sleep 0.05; done\n```\n";
    let stubborn = "# Stubborn\n\n```sh markpact:run\ntrap '' TERM\nwhile :; do sleep 1; done\n```\n";
    let town = Town::new(
        "ending",
        yaml,
        &[("polite.md", polite), ("stubborn.md", stubborn)],
    );
    town.ok(&["up", "-d"]);
    let started = Instant::now();
    town.ok(&["down"]);
    let elapsed = started.elapsed();
    assert!(
        elapsed >= Duration::from_millis(900) && elapsed < patient(Duration::from_secs(4)),
        "{elapsed:?}"
    );
    assert!(
        town.ok(&["logs", "base"]).contains("polite ends"),
        "SIGTERM reached the shell"
    );
    machine.assert_clean();
}

#[test]
fn a_shell_that_runs_a_server_stops_at_once() {
    let machine = Machine::take();
    let yaml = "name: shell\nservices:\n  s: {readme: s.md, port: 8000, health_check: /}\n";
    let readme = "# Shell\n\n```sh markpact:run\npython3 -m http.server $PORT\necho after\n```\n";
    let town = Town::new("shell", yaml, &[("s.md", readme)]);
    town.ok(&["up", "-d"]);
    let started = Instant::now();
    town.ok(&["down"]);
    assert!(
        started.elapsed() < patient(Duration::from_secs(2)),
        "{:?}",
        started.elapsed()
    );
    machine.assert_clean();
}

#[test]
fn jobs_count_as_done_and_order_their_dependents() {
    let machine = Machine::take();
    let yaml = "
name: jobs
services:
  seed: {readme: seed.md, volumes: [\"shared:/data\"]}
  api: {readme: api.md, depends_on: [seed], volumes: [\"shared:/data\"]}
";
    let seed = "# Seed\n\n```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\nsleep 0.3; echo seeded > /data/seed\n```\n";
    let api = "# Api\n\n```sh markpact:run\ncat /data/seed\nexec sleep 1000\n```\n";
    let town = Town::new("jobs", yaml, &[("seed.md", seed), ("api.md", api)]);
    town.ok(&["up", "-d"]);
    assert_eq!(town.service("seed")["state"], "completed");
    eventually("the api has read the seed", Duration::from_secs(5), || {
        town.ok(&["logs", "api"]).contains("seeded")
    });
    town.ok(&["down"]);
    town.ok(&["up", "-d"]);
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}

#[test]
fn two_ecosystems_and_two_checkouts_do_not_collide() {
    let machine = Machine::take();
    let (one, two, other) = (
        day(),
        day(),
        Town::new(
            "night",
            &YAML.replace("name: day", "name: night"),
            &[("api.md", SERVER), ("web.md", SERVER)],
        ),
    );
    for town in [&one, &two, &other] {
        town.ok(&["up", "-d"]);
    }
    let addresses: std::collections::BTreeSet<String> = [&one, &two, &other]
        .iter()
        .flat_map(|town| [town.address("api"), town.address("web")])
        .collect();
    assert_eq!(addresses.len(), 6, "{addresses:?}");
    for address in &addresses {
        assert!(http_get(address, "/").is_ok(), "{address}");
    }
    two.ok(&["down"]);
    assert!(http_get(one.address("web"), "/").is_ok() && http_get(other.address("api"), "/").is_ok());
    one.ok(&["down"]);
    other.ok(&["down"]);
    machine.assert_clean();
}

/// Pids of the keepers of instances whose names begin so. Inits have the keeper's command line, and a name of their own.
fn keepers(instance: &str) -> Vec<String> {
    let found = std::process::Command::new("pgrep")
        .args(["-f", &format!("__keeper.*{instance}")])
        .output()
        .expect("pgrep");
    String::from_utf8_lossy(&found.stdout)
        .lines()
        .filter(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "pactown:keeper"
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn ten_ups_at_once_start_everything_once() {
    let machine = Machine::take();
    let long = std::env::var("PACTOWN_FAULTS").is_ok_and(|form| form == "long");
    for _ in 0..if long { 50 } else { 1 } {
        let town = day();
        let children: Vec<_> = (0..10).map(|_| town.spawn(&["up", "-d"])).collect();
        for child in children {
            let output = child.wait_with_output().expect("wait");
            assert!(
                output.status.success(),
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        assert_eq!(keepers("day-").len(), 1);
        assert!(
            town.services().iter().all(|row| row["run"] == 1),
            "each was started once"
        );
        town.ok(&["down"]);
        machine.assert_clean();
    }
}

/// Whoever comes last has his way, and everybody gets an answer.
#[test]
fn ups_restarts_and_downs_at_once_end_in_one_state_or_the_other() {
    let machine = Machine::take();
    let long = std::env::var("PACTOWN_FAULTS").is_ok_and(|form| form == "long");
    for _ in 0..if long { 50 } else { 3 } {
        let town = day();
        let commands = [
            &["up", "-d"][..],
            &["down"],
            &["restart", "api"],
            &["up", "-d"],
            &["down"],
        ];
        let children = commands.map(|arguments| town.spawn(arguments));
        let started = Instant::now();
        for child in children {
            let output = child.wait_with_output().expect("wait");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code().is_some_and(|code| code < 125), "{told}");
            assert!(!told.contains("panicked"), "{told}");
        }
        assert!(
            started.elapsed() < patient(Duration::from_secs(30)),
            "{:?}",
            started.elapsed()
        );
        eventually("one that ends has ended", Duration::from_secs(20), || {
            keepers("day-").len() <= 1
        });
        town.ok(&["up", "-d"]);
        town.ok(&["down"]);
        machine.assert_clean();
    }
}

#[test]
fn down_works_after_everything_was_killed() {
    let machine = Machine::take();
    let town = day();
    town.ok(&["up", "-d"]);
    let ours = std::process::Command::new("pgrep")
        .args(["-f", "__(keeper|supervisor).*day-"])
        .output()
        .expect("pgrep");
    let pids: Vec<i32> = String::from_utf8_lossy(&ours.stdout)
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    assert!(pids.len() >= 2, "{pids:?}");
    let service = town.pid("api");
    for pid in pids {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    eventually("no service outlives the keeper", Duration::from_secs(2), || {
        let status = fs::read_to_string(format!("/proc/{service}/status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX")
    });
    town.ok(&["down"]);
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
    machine.assert_clean();
}

#[test]
fn a_single_readme_runs_in_front() {
    let machine = Machine::take();
    let town = Town::new(
        "single",
        "name: unused\nservices: {}\n",
        &[
            (
                "job/README.md",
                "# Job\n\n```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\necho working; exit 7\n```\n",
            ),
            (
                "plain/README.md",
                "# Plain\n\n```sh markpact:run\necho plain; exit 4\n```\n",
            ),
        ],
    );
    let (out, _) = town.expect(7, &["exec", "job/README.md"]);
    assert!(out.contains("working"), "{out}");
    let (out, _) = town.expect(4, &["run", "plain/README.md"]);
    assert!(out.contains("plain"), "{out}");
    machine.assert_clean();
}
