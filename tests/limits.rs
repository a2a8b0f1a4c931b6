//! Limits, measured from outside: what the kernel counts of a service against what its file says, with what the service
//! itself has seen as a witness.
//!
//! `PACTOWN_LIMITS=long cargo test --test suite limits` also holds neighbours to the times of an idle machine.

mod adopted;
mod disk;
mod refused;
mod report;
mod share;
mod together;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::faults::{group, number};
use crate::support::observe::patient;
use crate::support::town::Town;

const MIB: u64 = 1 << 20;
/// How long CPU time is counted.
const LOOK: Duration = Duration::from_secs(5);
/// Seconds after which a quota is given anew.
const PERIOD: f64 = 0.1;

/// Waits until it is told, so that the test can look before and during.
const WHEN_TOLD: &str = "import os, time
while not os.path.exists(\"/tmp/go\"): time.sleep(0.02)";

/// Keeps one CPU busy, and says again and again how much CPU time it has had.
const BUSY: &str = "import time
said = 0
while True:
    used = time.process_time()
    if used >= said + 0.1: print(\"used\", round(used, 3)); said = used";

/// Writes past the cache, and says how long that took.
const WRITE: &str = "import mmap
page = mmap.mmap(-1, 1 << 20)
file = os.open(\"/app/file\", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
begin = time.monotonic()
for _ in range(8): os.write(file, page)
print(\"wrote for\", round(time.monotonic() - begin, 2))
time.sleep(1000)";

fn is_long() -> bool {
    std::env::var("PACTOWN_LIMITS").is_ok_and(|form| form == "long")
}

/// The directory of the group that holds those of all services.
fn parent(pid: i32, controller: &str) -> (PathBuf, bool) {
    let (own, v2) = group(pid, controller);
    (own.parent().expect("a parent").to_owned(), v2)
}

/// Bytes in use.
fn memory(directory: &(PathBuf, bool)) -> Option<u64> {
    let (path, v2) = directory;
    let file = path.join(if *v2 {
        "memory.current"
    } else {
        "memory.usage_in_bytes"
    });
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Most bytes in use ever.
fn peak(directory: &(PathBuf, bool)) -> u64 {
    let (path, v2) = directory;
    number(path.join(if *v2 {
        "memory.peak"
    } else {
        "memory.max_usage_in_bytes"
    }))
}

/// What the kernel counts of a group with a quota (admin-guide/cgroup-v2.rst, `cpu.stat`).
#[derive(Debug)]
struct Had {
    /// CPU time in seconds.
    used: f64,
    /// Periods of its quota in which it had work.
    periods: f64,
    /// Those of them in which it had to wait.
    throttled: f64,
}

impl Had {
    fn since(&self, before: &Self) -> Self {
        Self {
            used: self.used - before.used,
            periods: self.periods - before.periods,
            throttled: self.throttled - before.throttled,
        }
    }
}

fn had(pid: i32, of: impl Fn(i32, &str) -> (PathBuf, bool)) -> Had {
    let (directory, v2) = of(pid, "cpu");
    let text = fs::read_to_string(directory.join("cpu.stat")).expect("cpu.stat");
    let count = |key: &str| -> f64 {
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        let found = pairs.find(|(name, _)| *name == key);
        let (_, number) = found.unwrap_or_else(|| panic!("{key} in {text}"));
        number.parse().expect("a number")
    };
    let used = if v2 {
        count("usage_usec") / 1e6
    } else {
        number(of(pid, "cpuacct").0.join("cpuacct.usage")) as f64 / 1e9
    };
    Had {
        used,
        periods: count("nr_periods"),
        throttled: count("nr_throttled"),
    }
}

/// Counts what a group with a quota of `wanted` CPUs uses in five seconds, which must be that ± 5 %. Other work of the machine
/// may take CPUs away, nobody can add any: so of up to three windows one has to reach it, and none may be above.
///
/// An emulated machine is not told when its CPUs stand still, and counts that as use of whoever was running: there a window
/// is longer, its upper bound wider by such a pause, and the lower one what the kernel says of each period in which the
/// group had to wait: that its quota was used up.
#[track_caller]
fn share(pid: i32, wanted: f64, of: impl Fn(i32, &str) -> (PathBuf, bool) + Copy) {
    let is_emulated = patient(LOOK) > LOOK;
    let (window, slack) = if is_emulated {
        (LOOK * 4, 0.15)
    } else {
        (LOOK, 0.05)
    };
    let reaches = |had: &Had, seconds: f64| {
        if is_emulated {
            had.throttled > had.periods / 2.0 && had.used >= (had.throttled - 1.0) * PERIOD * wanted * 0.95
        } else {
            had.used >= seconds * wanted * 0.95
        }
    };
    let reached = (0..3).any(|_| {
        let (begin, before) = (Instant::now(), had(pid, of));
        std::thread::sleep(window);
        let (now, seconds) = (had(pid, of).since(&before), begin.elapsed().as_secs_f64());
        eprintln!(
            "share: {:.3} of {wanted}; {now:?} in {seconds:.2} s",
            now.used / seconds
        );
        assert!(
            now.used <= seconds * wanted * (1.0 + slack),
            "{now:?} in {seconds} s"
        );
        reaches(&now, seconds)
    });
    assert!(reached, "less than {wanted}");
}

/// The last number that a service has said after `word`.
fn said(town: &Town, service: &str, word: &str) -> Option<f64> {
    let log = town.ok(&["logs", service]);
    let last = log
        .lines()
        .rev()
        .find_map(|line| line.split_once(&format!("{word} ")));
    last?.1.split_whitespace().next()?.parse().ok()
}

/// Causes of the `limit` events of a service.
fn told(town: &Town, service: &str) -> Vec<String> {
    let text = town.ok(&["events", service, "--kind", "limit", "--json"]);
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("json");
    text.lines()
        .map(|line| event(line)["cause"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Times of requests to a service, for as long as `time`, sorted.
fn latencies(town: &Town, name: &str, time: Duration) -> Vec<Duration> {
    let address = town.address(name);
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end || times.len() < 100 {
        let started = Instant::now();
        crate::support::observe::http_get(&address, "/").expect("an answer");
        times.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    times
}

fn at(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

const SOON: Duration = crate::faults::SOON;

fn soon() -> Duration {
    patient(SOON)
}
