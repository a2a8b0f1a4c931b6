//! One service and its own limits: memory, CPU, processes, files, `/tmp`, I/O.

use std::fs;
use std::time::{Duration, Instant};

use super::{BUSY, MIB, WHEN_TOLD, WRITE, at, is_long, latencies, memory, said, share, soon, told};
use crate::faults::hungry::FORKS;
use crate::faults::{SERVER, group, number, python, readme};
use crate::support::observe::{eventually, patient};
use crate::support::town::{Machine, Town};

/// Takes memory in small steps, and says how much it has.
const EAT: &str = "kept = []
def mine():
    for line in open(\"/proc/self/status\"):
        if line.startswith(\"RssAnon\"): return int(line.split()[1]) // 1024
while True:
    kept.append(b\"x\" * (1 << 18))
    print(\"has\", mine())";

#[test]
fn memory_ends_at_its_limit() {
    let machine = Machine::take();
    let yaml = "
name: ends
services:
  eats: {readme: eats.md, restart: 'no', limits: {memory: 128M}}
";
    let eats = python(&format!("{WHEN_TOLD}\n{EAT}"));
    let town = Town::new("ends", yaml, &[("eats.md", &eats)]);
    town.ok(&["up", "-d"]);
    let directory = group(town.pid("eats"), "memory");
    // On v2 the kernel kills the group as a whole (`memory.oom.group`).
    let pids = fs::read_to_string(directory.0.join("cgroup.procs")).expect("processes");
    let killed = if directory.1 { pids.lines().count() } else { 1 };
    town.inside("eats", "touch /tmp/go");
    let (mut most, deadline) = (0, Instant::now() + soon());
    // The group goes with the service: what was last seen of it is what it had.
    while let Some(now) = memory(&directory) {
        most = most.max(now);
        assert!(Instant::now() < deadline, "it is not killed with {most} bytes");
    }
    eventually("it has failed", soon(), || {
        town.service("eats")["state"] == "failed"
    });
    let limit = 128 * MIB;
    let own = said(&town, "eats", "has").expect("it said what it has");
    eprintln!("memory: {most} of {limit} bytes; it saw {own} MiB itself");
    let close = limit - limit / 50..=limit + limit / 50;
    assert!(close.contains(&most), "{most}");
    assert!((115.0..=128.0).contains(&own), "{own} MiB");
    let cause = town.service("eats")["cause"].to_string();
    assert!(
        cause.contains("its memory limit was reached (limit 128.0 MiB, peak 128.0 MiB)"),
        "{cause}"
    );
    let report: serde_json::Value = serde_json::from_str(&town.ok(&["report", "--json"])).expect("json");
    let row = &report["services"][0];
    let peak = row["memory_peak"].as_u64().expect("a peak");
    assert!(close.contains(&peak), "{row}");
    assert_eq!(row["hits"]["oom_kills"], killed, "{row}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_busy_loop_gets_its_share_of_the_cpu() {
    let machine = Machine::take();
    let yaml = "
name: share
services:
  busy: {readme: busy.md, limits: {cpus: 0.2, cpu_weight: 200}}
";
    let town = Town::new("share", yaml, &[("busy.md", &python(BUSY))]);
    town.ok(&["up", "-d"]);
    let pid = town.pid("busy");
    let (directory, v2) = group(pid, "cpu");
    let weight = number(directory.join(if v2 { "cpu.weight" } else { "cpu.shares" }));
    assert_eq!(weight, if v2 { 200 } else { 2048 });
    let started = Instant::now();
    let before = said(&town, "busy", "used").unwrap_or(0.0);
    share(pid, 0.2, group);
    // Its own count: what it had, in the same time and a little more.
    let own = (said(&town, "busy", "used").expect("it counts") - before) / started.elapsed().as_secs_f64();
    eprintln!("share: {own:.3} by its own count");
    assert!(own <= 0.25, "{own}");
    eventually("it is told that it has to wait", soon(), || {
        told(&town, "busy")
            .iter()
            .any(|cause| cause.starts_with("cpu: its quota was used up in"))
    });
    let row = town.service("busy");
    assert!(
        row["limits"].to_string().contains("its quota was used up"),
        "{row}"
    );
    assert!(town.ok(&["ps"]).contains("its quota was used up"));
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_fork_bomb_is_not_felt_next_door() {
    let machine = Machine::take();
    let yaml = "
name: boom
services:
  server: {readme: server.md, port: 8000, health_check: /}
  bomb: {readme: bomb.md, limits: {pids: 64, cpus: 0.5}}
";
    let bomb = python(&format!("{WHEN_TOLD}\n{FORKS}"));
    let town = Town::new("boom", yaml, &[("server.md", SERVER), ("bomb.md", &bomb)]);
    town.ok(&["up", "-d"]);
    let time = Duration::from_secs(if is_long() { 10 } else { 2 });
    let idle = latencies(&town, "server", time);
    let (directory, _) = group(town.pid("bomb"), "pids");
    town.inside("bomb", "touch /tmp/go");
    eventually("the bomb goes off", soon(), || {
        number(directory.join("pids.current")) >= 64
    });
    let during = latencies(&town, "server", time);
    let tasks = number(directory.join("pids.current"));
    let figures = [&idle, &during].map(|times| (at(times, 50), at(times, 99)));
    eprintln!(
        "neighbour: p50 and p99 idle {:?}, with a fork bomb {:?}",
        figures[0], figures[1]
    );
    // Forks under way that are about to be refused count for a moment.
    assert!(tasks <= 66, "{tasks}");
    if is_long() {
        assert!(figures[1].1 < Duration::from_millis(20), "{figures:?}");
        assert!(figures[1].0 < figures[0].0 * 3 / 2, "{figures:?}");
    } else {
        assert!(figures[1].0 < patient(Duration::from_millis(500)), "{figures:?}");
    }
    eventually("it is told", soon(), || {
        told(&town, "bomb")
            .iter()
            .any(|cause| cause.starts_with("processes: refused"))
    });
    let words = town.service("bomb")["limits"].to_string();
    assert!(words.contains("(limit 64)"), "{words}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn files_and_tmp_and_swap_are_what_the_file_says() {
    let machine = Machine::take();
    let yaml = "
name: small
services:
  small: {readme: small.md, limits: {memory: 64M, swap: 16M, open_files: 50, tmp: 4M}}
";
    let town = Town::new("small", yaml, &[("small.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let pid = town.pid("small");
    let limits = fs::read_to_string(format!(
        "/proc/{}/limits",
        crate::support::observe::children(pid)[0]
    ));
    let limits = limits.expect("limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a line");
    assert_eq!(
        files.split_whitespace().filter(|word| *word == "50").count(),
        2,
        "{files}"
    );
    let told = town.inside(
        "small",
        "dd if=/dev/zero of=/tmp/x bs=1M count=9 2>&1; stat -c %s /tmp/x",
    );
    assert!(told.contains("No space left on device"), "{told}");
    assert_eq!(told.lines().last(), Some((4 * MIB).to_string().as_str()));
    let (directory, v2) = group(pid, "memory");
    let name = if v2 {
        "memory.swap.max"
    } else {
        "memory.memsw.limit_in_bytes"
    };
    let file = directory.join(name);
    assert!(file.exists(), "this kernel counts swap");
    assert_eq!(number(file), if v2 { 16 * MIB } else { 80 * MIB });
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_disk_is_written_no_faster_than_allowed() {
    let machine = Machine::take();
    let yaml = "
name: slow
services:
  slow: {readme: write.md, limits: {io_write: 2M}}
  fast: {readme: write.md}
";
    let write = python(&format!("{WHEN_TOLD}\n{WRITE}"));
    let town = Town::new("slow", yaml, &[("write.md", &write)]);
    town.ok(&["up", "-d"]);
    for name in ["fast", "slow"] {
        town.inside(name, "touch /tmp/go");
        eventually("it has written", soon() * 2, || {
            said(&town, name, "wrote for").is_some()
        });
    }
    let times = ["slow", "fast"].map(|name| said(&town, name, "wrote for").expect("it said so"));
    eprintln!(
        "disk: 8 MiB at 2 MiB/s took {} s, without a limit {} s",
        times[0], times[1]
    );
    // What a first slice allows at once is a fraction of a second.
    assert!(times[0] >= 3.0, "{times:?}");
    assert!(times[1] < times[0], "{times:?}");
    let report: serde_json::Value = serde_json::from_str(&town.ok(&["report", "--json"])).expect("json");
    let wrote = |name: &str| {
        let rows = report["services"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["name"] == name).expect("a row");
        row["write_bytes"].as_u64().expect("the kernel counts")
    };
    for name in ["slow", "fast"] {
        assert!((8 * MIB..12 * MIB).contains(&wrote(name)), "{report}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
