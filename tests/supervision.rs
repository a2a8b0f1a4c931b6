//! Services that fail, and a supervisor that is killed: who is started again, who is left alone, what is remembered.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{eventually, processes};
use crate::support::town::{Machine, Town};

const SOON: Duration = Duration::from_secs(15);

fn readme(run: &str) -> String {
    format!("# Service\n\n```sh markpact:run\n{run}\n```\n")
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
}

fn starts(town: &Town, service: &str) -> usize {
    let log = town.ok(&["logs", service, "--json"]);
    log.lines().filter(|line| line.contains("begun")).count()
}

#[test]
fn a_policy_says_how_often_a_failed_start_is_tried() {
    let machine = Machine::take();
    let yaml = "
name: policy
services:
  twice: {readme: fails.md, restart: 'on-failure:2'}
  loop: {readme: fails.md, restart: always}
  once: {readme: fails.md}
  needs: {readme: sleeps.md, depends_on: [{name: loop, condition: healthy}]}
";
    let yaml = yaml.replace(
        "restart: always}",
        "restart: always, health_check: {exec: 'true'}}",
    );
    let (fails, sleeps) = (
        readme("echo begun\nsleep 0.05\nexit 3"),
        readme("exec sleep 1000"),
    );
    let town = Town::new("policy", &yaml, &[("fails.md", &fails), ("sleeps.md", &sleeps)]);
    let fails_at_once = readme("echo begun\nexit 3");
    town.write("fails.md", &fails_at_once);
    let (_, told) = town.expect(1, &["up", "-d"]);
    assert!(told.contains("exited with code 3"), "{told}");
    eventually("all tries are over", SOON, || {
        town.service("twice")["state"] == "failed"
    });
    assert_eq!((starts(&town, "twice"), starts(&town, "once")), (3, 1));
    assert_eq!(town.service("once")["state"], "failed");
    eventually("the third failure makes a crash loop", SOON, || {
        let row = town.service("loop");
        row["cause"]
            .as_str()
            .is_some_and(|cause| cause.starts_with("crash-loop"))
    });
    assert_eq!(town.service("needs")["state"], "waiting", "it may come back");
    town.ok(&["stop", "loop"]);
    let stopped = starts(&town, "loop");
    town.succeed_the_supervisor();
    assert_eq!(
        town.service("loop")["state"],
        "stopped",
        "what the user stopped stays stopped"
    );
    assert_eq!(town.service("twice")["state"], "failed");
    assert_eq!(starts(&town, "loop"), stopped);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_is_killed_is_started_again_and_its_dependents_when_they_ask() {
    let machine = Machine::take();
    let yaml = "
name: again
services:
  db: {readme: s.md, restart: always}
  api: {readme: s.md, depends_on: [{name: db, restart: true}]}
  web: {readme: s.md, depends_on: [db]}
";
    let town = Town::new("again", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let before = ["db", "api", "web"].map(|name| town.pid(name));
    end(before[0]);
    eventually("db and api run again", SOON, || {
        let pid = |name: &str| town.service(name)["pid"].as_i64();
        let new = |name: &str, old: i32| pid(name).is_some_and(|pid| pid != i64::from(old));
        new("db", before[0]) && new("api", before[1])
    });
    assert_eq!(town.pid("web"), before[2], "it did not ask");
    assert_eq!(town.service("db")["restarts"], 1);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_sick_service_is_started_again_when_it_asks() {
    let machine = Machine::take();
    let yaml = "
name: sick
services:
  shown: {readme: s.md, health_check: {exec: 'test ! -e /tmp/sick', interval: 50ms}}
  healed: {readme: s.md, on_unhealthy: restart, health_check: {exec: 'test ! -e /tmp/sick', interval: 50ms}}
";
    let town = Town::new("sick", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let before = (town.pid("shown"), town.pid("healed"));
    for name in ["shown", "healed"] {
        town.inside(name, "touch /tmp/sick");
    }
    eventually("one is shown as unhealthy", SOON, || {
        town.service("shown")["health"] == "unhealthy"
    });
    eventually("the other one is healed by a new start", SOON, || {
        let row = town.service("healed");
        row["health"] == "healthy" && row["restarts"] == 1
    });
    assert_eq!(town.pid("shown"), before.0);
    assert_ne!(town.pid("healed"), before.1);
    town.succeed_the_supervisor();
    assert_eq!(town.service("shown")["health"], "unhealthy", "it is remembered");
    town.inside("shown", "rm /tmp/sick");
    eventually("it recovers by itself", SOON, || {
        town.service("shown")["health"] == "healthy"
    });
    town.ok(&["down"]);
    machine.assert_clean();
}

const HEIR: &str = "
name: heir
services:
  seed: {readme: seed.md}
  counter: {readme: counter.md, depends_on: [seed], env_passthrough: [TOKEN]}
  api: {readme: api.md, port: 8000, health_check: /, depends_on: [counter]}
  frail: {readme: frail.md, restart: always}
";

#[test]
fn a_new_supervisor_goes_on_where_the_old_one_died() {
    let machine = Machine::take();
    let seed = "# Seed\n\n```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\necho begun\n```\n";
    let counter = readme(
        "python3 -u -c '\nimport time\nn = 0\nwhile True:\n    print(n); n += 1; time.sleep(0.001)\n'",
    );
    let api = readme("exec python3 -m http.server $PORT");
    let frail = readme("echo begun; exec sleep 1000");
    let files = [
        ("seed.md", seed),
        ("counter.md", &counter),
        ("api.md", &api),
        ("frail.md", &frail),
    ];
    let town = Town::new("heir", HEIR, &files).with_env("TOKEN", "first");
    town.ok(&["up", "-d"]);
    let before = ["counter", "api", "frail"].map(|name| town.pid(name));
    town.succeed_the_supervisor();
    assert_eq!(before, ["counter", "api", "frail"].map(|name| town.pid(name)));
    assert_eq!(town.service("api")["health"], "healthy");
    assert_eq!(town.service("seed")["state"], "completed");
    assert_eq!(starts(&town, "seed"), 1, "a job that is done is done");
    assert!(town.ok(&["up", "-d"]).contains("unchanged"));

    // One dies together with the supervisor: nobody saw it, and its policy holds all the same.
    let old = processes("pactown:super", "heir-");
    kill(Pid::from_raw(old[0]), Signal::SIGSTOP).expect("stop");
    end(before[2]);
    end(old[0]);
    eventually("it is started again by the new one", SOON, || {
        let rows = town.run(&["ps", "--json"]);
        rows.status.success() && starts(&town, "frail") == 2 && town.service("frail")["state"] == "running"
    });
    assert_eq!(town.service("frail")["restarts"], 1);

    let log = town.ok(&["logs", "counter"]);
    let numbers: Vec<u64> = log.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(numbers.len() > 500, "{}", numbers.len());
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "no line is missing"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn up_on_what_runs_touches_only_what_differs() {
    let machine = Machine::take();
    let yaml = "
name: edit
services:
  db: {readme: s.md}
  api: {readme: s.md, depends_on: [db], env: {LEVEL: info}}
  old: {readme: s.md}
";
    let town = Town::new("edit", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let pids = || ["db", "api"].map(|name| town.pid(name));
    let before = (pids(), town.pid("old"));

    town.edit("saas.pactown.yaml", "  old: {readme", "  new: {readme");
    town.edit("saas.pactown.yaml", "LEVEL: info", "LEVEL: debug");
    let (told, noted) = town.expect(0, &["up", "-d"]);
    assert!(
        told.contains("restart api: env LEVEL changed") && told.contains("start new"),
        "{told}"
    );
    assert!(noted.contains("old is no longer in the file"), "{noted}");
    assert_eq!(
        (pids()[0], town.pid("old")),
        (before.0[0], before.1),
        "left alone"
    );
    let told = town.ok(&["up", "-d", "--remove-orphans"]);
    assert!(told.contains("stop old: no longer in the file"), "{told}");
    eventually("it is gone", SOON, || {
        !town.services().iter().any(|row| row["name"] == "old")
    });

    let before = pids();
    town.edit("saas.pactown.yaml", "depends_on: [db]", "depends_on: [bd]");
    let (_, told) = town.expect(2, &["up", "-d"]);
    assert!(told.contains("did you mean 'db'"), "{told}");
    town.expect(2, &["restart", "api"]);
    assert_eq!(pids(), before, "an invalid file leaves what runs alone");
    town.edit("saas.pactown.yaml", "depends_on: [bd]", "depends_on: [db]");

    town.edit("saas.pactown.yaml", "LEVEL: debug", "LEVEL: trace");
    town.ok(&["restart", "api"]);
    assert_eq!(
        town.inside("api", "echo $LEVEL"),
        "trace",
        "restart reads the file again"
    );
    let before = pids();
    assert!(town.ok(&["up", "-d", "--force-recreate"]).contains("asked for"));
    assert!(pids().iter().zip(before).all(|(now, before)| *now != before));
    town.ok(&["down"]);
    machine.assert_clean();
}

/// What each signal means to the supervisor: `docs/reliability.md`.
#[test]
fn no_signal_but_the_polite_one_touches_a_service() {
    let machine = Machine::take();
    let yaml = "name: signals\nservices:\n  s: {readme: s.md}\n";
    let town = Town::new("signals", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let service = town.pid("s");
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGABRT,
        Signal::SIGPIPE,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        let before = processes("pactown:super", "signals-");
        kill(Pid::from_raw(before[0]), signal).expect("signal");
        eventually("a supervisor answers", SOON, || {
            town.run(&["ps"]).status.success()
        });
        assert_eq!(town.pid("s"), service, "{signal}");
    }
    let supervisor = processes("pactown:super", "signals-");
    kill(Pid::from_raw(supervisor[0]), Signal::SIGTERM).expect("signal");
    eventually("everything has ended", SOON, || {
        processes("pactown:keeper", "signals-").is_empty()
    });
    let told = town.ok(&["events", "s"]);
    let last = told.lines().last().unwrap_or_default();
    assert!(last.contains("stopped"), "it was asked to: {told}");
    machine.assert_clean();
}

#[test]
fn what_runs_goes_on_with_its_own_program_when_another_is_installed() {
    let machine = Machine::take();
    let yaml = "name: renewed\nservices:\n  s: {readme: s.md, restart: always}\n";
    let town = Town::new("renewed", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    let program = town.path().join("pactown");
    std::fs::copy(env!("CARGO_BIN_EXE_pactown"), &program).expect("copy");
    let up = std::process::Command::new(&program)
        .args(["up", "-d"])
        .current_dir(town.path())
        .status();
    assert!(up.expect("up").success());
    let service = town.pid("s");
    // As a package manager does it: another file of the same name.
    std::fs::remove_file(&program).expect("remove");
    std::fs::write(&program, "#!/bin/false\n").expect("write");
    town.succeed_the_supervisor();
    assert_eq!(town.pid("s"), service, "it noticed nothing");
    end(service);
    eventually("it is started again", SOON, || {
        let row = town.service("s");
        row["state"] == "running" && row["restarts"] == 1
    });
    assert_eq!(town.inside("s", "echo here"), "here");
    town.ok(&["down"]);
    machine.assert_clean();
}
