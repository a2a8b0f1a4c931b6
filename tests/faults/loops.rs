//! Services that fail again and again.

use std::fs;
use std::time::{Duration, Instant};

use super::{SOON, readme, the};
use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

const LOOPERS: usize = 20;
const TRIES: usize = 5;

/// CPU time of a process so far.
fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // utime and stime are the 14th and 15th field; the state, the third, is no number.
    Duration::from_millis((fields[10] + fields[11]) * 10)
}

/// When the service said `begun`, milliseconds since the Unix epoch.
fn starts(town: &Town, service: &str) -> Vec<i64> {
    let log = town.ok(&["logs", service, "--json"]);
    let begun = log.lines().filter(|line| line.contains("begun"));
    begun
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("json");
            let time: jiff::Timestamp = line["ts"].as_str().expect("a time").parse().expect("RFC 3339");
            time.as_millisecond()
        })
        .collect()
}

#[test]
fn pauses_double_and_twenty_crash_loops_cost_little() {
    let machine = Machine::take();
    let mut yaml = "name: loops\nservices:\n".to_owned();
    for number in 0..LOOPERS {
        yaml += &format!("  s{number}: {{readme: s.md, restart: always}}\n");
    }
    let town = Town::new("loops", &yaml, &[("s.md", &readme("echo begun\nexit 1"))]);
    let (_, told) = town.expect(1, &["up", "-d"]);
    assert!(told.contains("exited with code 1"), "{told}");
    let names: Vec<String> = (0..LOOPERS).map(|number| format!("s{number}")).collect();
    eventually("all have been tried some times", SOON, || {
        names.iter().all(|name| starts(&town, name).len() >= TRIES)
    });
    for name in &names {
        let starts = starts(&town, name);
        for (number, pair) in starts.windows(2).take(TRIES - 1).enumerate() {
            let (pause, least) = (pair[1] - pair[0], 100 << number);
            assert!(
                pause >= least && pause < least + 2000,
                "{name}: pause {number} is {pause} ms"
            );
        }
    }
    // From now on each is tried at most once in the time that is measured.
    let supervisor = the("pactown:super", "loops-");
    let (before, started) = (cpu(supervisor), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let share = (cpu(supervisor) - before).as_secs_f64() / started.elapsed().as_secs_f64();
    assert!(share < 0.25, "{share}");
    town.ok(&["down"]);
    machine.assert_clean();
}
