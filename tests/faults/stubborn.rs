//! Services that do not end when they are asked to, or have been stopped by a signal.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{SERVER, SOON, born, group, is_long, python, readme, signal};
use crate::support::observe::{children, eventually, patient};
use crate::support::town::{Machine, Town};

/// After the grace time everything must be gone within this.
const MARGIN: Duration = Duration::from_millis(500);

const DEAF: &str = "import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def live():
    while True: time.sleep(1)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: live()
    os._exit(0)
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    live()
os.wait()
live()";

/// Everything in the control group of `pid`, with start times.
fn family(pid: i32) -> Vec<(i32, Option<u64>)> {
    let (directory, _) = group(pid, "pids");
    let text = fs::read_to_string(directory.join("cgroup.procs")).expect("processes");
    let pids = text.lines().filter_map(|line| line.parse().ok());
    pids.map(|pid| (pid, born(pid))).collect()
}

/// `stop s` ends all of it, at the earliest after `least`, at the latest `MARGIN` after the grace time.
#[track_caller]
fn stop(town: &Town, family: &[(i32, Option<u64>)], least: Duration, grace: Duration) {
    let started = Instant::now();
    town.ok(&["stop", "s"]);
    let took = started.elapsed();
    let survivors: Vec<_> = family
        .iter()
        .filter(|(pid, start)| start.is_some() && born(*pid) == *start)
        .collect();
    assert_eq!(survivors, Vec::<&(i32, Option<u64>)>::new());
    assert!(took >= least && took < patient(grace + MARGIN), "{took:?}");
}

#[test]
fn who_ignores_sigterm_is_gone_after_the_grace_time_with_all_its_daemons() {
    let machine = Machine::take();
    let yaml = "name: deaf\nservices:\n  s: {readme: s.md, stop_grace: 1s}\n";
    let town = Town::new("deaf", yaml, &[("s.md", &python(DEAF))]);
    town.ok(&["up", "-d"]);
    let pid = town.pid("s");
    let stopped = |(pid, _): &(i32, Option<u64>)| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    };
    eventually("init, service, daemon, and a stopped child", SOON, || {
        let family = family(pid);
        family.len() == 4 && family.iter().filter(|one| stopped(one)).count() == 1
    });
    let second = Duration::from_secs(1);
    stop(&town, &family(pid), second - Duration::from_millis(50), second);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_stopped_service_or_init_can_be_ended() {
    let machine = Machine::take();
    let yaml = "name: frozen\nservices:\n  s: {readme: s.md, stop_grace: 1s}\n";
    let town = Town::new("frozen", yaml, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let second = Duration::from_secs(1);
    let init = town.pid("s");
    signal(children(init)[0], Signal::SIGSTOP);
    stop(&town, &family(init), Duration::ZERO, second);
    town.ok(&["start", "s"]);
    let init = town.pid("s");
    for pid in [children(init)[0], init] {
        signal(pid, Signal::SIGSTOP);
    }
    stop(&town, &family(init), Duration::ZERO, second);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_stopped_service_is_sick_and_handled_as_it_asked() {
    let machine = Machine::take();
    let check = "health_check: {http: /, interval: 100ms, timeout: 200ms}, stop_grace: 1s, port: 8000";
    let yaml = format!(
        "
name: coma
services:
  shown: {{readme: s.md, {check}}}
  healed: {{readme: s.md, on_unhealthy: restart, {check}}}
  ended: {{readme: s.md, on_unhealthy: stop, {check}}}
"
    );
    let town = Town::new("coma", &yaml, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let before = ["shown", "healed", "ended"].map(|name| town.pid(name));
    for init in before {
        signal(children(init)[0], Signal::SIGSTOP);
    }
    eventually("one is shown as unhealthy", SOON, || {
        town.service("shown")["health"] == "unhealthy"
    });
    eventually("one is started again", SOON, || {
        let row = town.service("healed");
        row["health"] == "healthy" && row["restarts"] == 1
    });
    eventually("one is ended", SOON, || {
        town.service("ended")["state"] == "failed" && born(before[2]).is_none()
    });
    assert_eq!(town.pid("shown"), before[0], "it did not ask for anything");
    signal(children(before[0])[0], Signal::SIGCONT);
    eventually("it recovers", SOON, || {
        town.service("shown")["health"] == "healthy"
    });
    town.ok(&["down"]);
    machine.assert_clean();
}

const FAMILY: &str = "import os, time
for number in range(8):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
time.sleep(1000)";

#[test]
fn an_init_that_is_killed_takes_everything_along_at_once_and_comes_back() {
    let machine = Machine::take();
    let yaml = "name: init\nservices:\n  s: {readme: s.md, restart: always}\n";
    let town = Town::new("init", yaml, &[("s.md", &python(FAMILY))]);
    town.ok(&["up", "-d"]);
    for round in 1..=if is_long() { 100 } else { 3 } {
        if round % 4 == 0 {
            // Else the pauses would grow to half a minute.
            town.ok(&["restart", "s"]);
        }
        let init = town.pid("s");
        eventually("all are there", SOON, || family(init).len() == 10);
        let family = family(init);
        signal(init, Signal::SIGKILL);
        eventually("all of them have ended", Duration::from_millis(200), || {
            family.iter().all(|(pid, start)| born(*pid) != *start)
        });
        eventually("it runs again", Duration::from_secs(60), || {
            let row = town.service("s");
            row["state"] == "running" && row["pid"] != init
        });
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
