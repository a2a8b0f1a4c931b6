//! Services that take all they can get: memory, processes, threads, descriptors. Only they notice.

use std::fs;
use std::time::{Duration, Instant};

use super::{Neighbour, SERVER, SOON, descriptors, group, number, python, readme, the};
use crate::support::observe::{eventually, patient};
use crate::support::town::{Machine, Town};

/// Waits until it is told, so that the test can look before and during.
const WHEN_TOLD: &str = "while [ ! -e /tmp/go ]; do sleep 0.02; done";

fn kills(pid: i32) -> u64 {
    let (directory, v2) = group(pid, "memory");
    let file = directory.join(if v2 { "memory.events" } else { "memory.oom_control" });
    let text = fs::read_to_string(file).expect("memory events");
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.expect("oom_kill").trim().parse().expect("a number")
}

#[test]
fn who_exceeds_its_memory_is_killed_alone_and_told_why() {
    let machine = Machine::take();
    let yaml = "
name: memory
services:
  server: {readme: server.md, port: 8000, health_check: /}
  eats: {readme: eats.md, restart: 'no', limits: {memory: 64M}}
  feeds: {readme: feeds.md, restart: always, limits: {memory: 64M}}
";
    let eat = "python3 -c \"len(b'x' * 10**9)\"";
    let (eats, feeds) = (
        readme(&format!("{WHEN_TOLD}\nexec {eat}")),
        readme(&format!(
            "{WHEN_TOLD}\n{eat}\necho child ended with $?\nexec sleep 1000"
        )),
    );
    let files = [("server.md", SERVER), ("eats.md", &eats), ("feeds.md", &feeds)];
    let town = Town::new("memory", yaml, &files);
    town.ok(&["up", "-d"]);
    let before = (
        town.pid("server"),
        town.pid("feeds"),
        the("pactown:super", "memory-"),
    );
    let neighbour = Neighbour::of(&town, "server");
    town.inside("eats", "touch /tmp/go");
    eventually("it is killed", SOON, || town.service("eats")["state"] == "failed");
    let row = town.service("eats");
    assert!(
        row["cause"]
            .as_str()
            .is_some_and(|cause| cause.contains("its memory limit was reached")),
        "{row}"
    );
    let (directory, v2) = group(before.1, "memory");
    town.inside("feeds", "touch /tmp/go");
    if v2 {
        eventually("it ends with its child, and is started anew", SOON, || {
            let row = town.service("feeds");
            row["restarts"].as_u64() >= Some(1) && row["state"] == "running"
        });
        assert_ne!(town.pid("feeds"), before.1);
        let events = town.ok(&["events"]);
        assert!(
            events.contains("feeds") && events.contains("its memory limit was reached"),
            "{events}"
        );
    } else {
        // v1 ends one process, the one with the most.
        eventually("its child is killed, and it goes on", SOON, || {
            town.ok(&["logs", "feeds"]).contains("child ended with 137")
        });
        assert!(kills(before.1) > 0);
        let peak = number(directory.join("memory.max_usage_in_bytes"));
        assert!(peak <= 64 << 20, "{peak}");
        assert_eq!(town.pid("feeds"), before.1);
    }
    neighbour.fine();
    assert_eq!(kills(before.0), 0);
    assert_eq!(
        (town.pid("server"), the("pactown:super", "memory-")),
        (before.0, before.2)
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

pub(crate) const FORKS: &str = "import os
while True:
    try: os.fork()
    except OSError: pass";
const THREADS: &str = "import threading, time
while True:
    try: threading.Thread(target=time.sleep, args=(1000,)).start()
    except RuntimeError: pass";

/// No more tasks than its limit at any look, and the limit is felt.
#[test]
fn a_bomb_stays_within_its_limit_and_can_be_stopped() {
    for (kind, program) in [("forks", FORKS), ("threads", THREADS)] {
        let machine = Machine::take();
        let yaml = "
name: bomb
services:
  server: {readme: server.md, port: 8000, health_check: /}
  bomb: {readme: bomb.md, limits: {pids: 64}}
";
        let bomb = python(program);
        let town = Town::new("bomb", yaml, &[("server.md", SERVER), ("bomb.md", &bomb)]);
        town.ok(&["up", "-d"]);
        let (directory, v2) = group(town.pid("bomb"), "pids");
        assert_eq!(number(directory.join("pids.max")), 64);
        // The tasks themselves: `pids.current` also counts forks under way that are refused the moment after.
        let tasks = || {
            let list = fs::read_to_string(directory.join(if v2 { "cgroup.threads" } else { "tasks" }));
            list.expect("tasks").lines().count()
        };
        eventually("the bomb goes off", SOON, || tasks() >= 63);
        let neighbour = Neighbour::of(&town, "server");
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let count = tasks();
            assert!(count <= 64, "{kind}: {count}");
        }
        let events = fs::read_to_string(directory.join("pids.events")).expect("events");
        assert!(!events.contains("max 0"), "{kind}: a fork was refused: {events}");
        let started = Instant::now();
        town.ok(&["stop", "bomb"]);
        assert!(
            started.elapsed() < patient(Duration::from_secs(2)),
            "{kind}: {:?}",
            started.elapsed()
        );
        assert!(!directory.exists(), "{kind}: nothing of it is left");
        neighbour.fine();
        town.ok(&["down"]);
        machine.assert_clean();
    }
}

const HOARD: &str = "import os, time
files = []
try:
    while True: files.append(open(os.devnull))
except OSError as error: print(\"refused\", error.errno)
time.sleep(1000)";

#[test]
fn who_runs_out_of_descriptors_runs_out_alone() {
    let machine = Machine::take();
    let yaml = "
name: hoard
services:
  server: {readme: server.md, port: 8000, health_check: /}
  hoard: {readme: hoard.md}
";
    let hoard = readme(&format!(
        "{WHEN_TOLD}\nulimit -n 4096\nexec python3 -u -c '{HOARD}'"
    ));
    let town = Town::new("hoard", yaml, &[("server.md", SERVER), ("hoard.md", &hoard)]);
    town.ok(&["up", "-d"]);
    let ours = [the("pactown:super", "hoard-"), the("pactown:keeper", "hoard-")];
    let open = || ours.map(descriptors);
    let before = open();
    let neighbour = Neighbour::of(&town, "server");
    town.inside("hoard", "touch /tmp/go");
    eventually("EMFILE", SOON, || {
        town.ok(&["logs", "hoard"]).contains("refused 24")
    });
    eventually(
        "neither supervisor nor keeper holds more than before",
        SOON,
        || open().iter().zip(before).all(|(now, before)| *now <= before),
    );
    neighbour.fine();
    town.ok(&["down"]);
    machine.assert_clean();
}

/// `up -d` of eight services with this limit of open files, hard and soft.
fn up_with(town: &Town, limit: &str) -> std::process::Output {
    let mut command = std::process::Command::new("prlimit");
    command
        .args([
            &format!("--nofile={limit}"),
            env!("CARGO_BIN_EXE_pactown"),
            "up",
            "-d",
        ])
        .current_dir(town.path())
        .env("NO_COLOR", "1");
    command.output().expect("prlimit")
}

#[test]
fn too_few_descriptors_are_refused_before_anything_starts() {
    let machine = Machine::take();
    let mut yaml = "name: few\nservices:\n".to_owned();
    for number in 0..8 {
        yaml += &format!("  s{number}: {{readme: s.md}}\n");
    }
    let town = Town::new("few", &yaml, &[("s.md", &readme("exec sleep 1000"))]);
    let refused = up_with(&town, "64:64");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("open files, and the limit is 64"), "{told}");
    machine.assert_clean();
    // A soft limit is raised: it is there for programs that use select(2).
    for enough in ["64:1024", "160:160"] {
        let output = up_with(&town, enough);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{enough}: {told}");
        let running = |row: &serde_json::Value| row["state"] == "running";
        assert!(town.services().iter().all(running), "{enough}");
        town.ok(&["down"]);
        machine.assert_clean();
    }
}
