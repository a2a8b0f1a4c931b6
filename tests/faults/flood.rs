//! Many at once: orphans that die, services that start.

use std::fs;
use std::time::{Duration, Instant};

use super::{SOON, descriptors, python, readme, the};
use crate::support::observe::{eventually, namespace, status_field};
use crate::support::town::{Machine, Town};

const ORPHANS: &str = "import os, time
for number in range(5000):
    child = os.fork()
    if child == 0:
        os.fork()
        os._exit(0)
    os.waitpid(child, 0)
print(\"flooded\")
time.sleep(1000)";

/// Zombies in the pid namespace of `init`.
fn zombies(init: i32) -> usize {
    let space = namespace(init, "pid");
    let here = |pid: &i32| {
        let link = fs::read_link(format!("/proc/{pid}/ns/pid"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'));
        state && link.is_ok_and(|link| link.display().to_string() == space)
    };
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(here).count()
}

#[test]
fn orphans_are_reaped() {
    let machine = Machine::take();
    let yaml = "name: orphans\nservices:\n  s: {readme: s.md}\n";
    let town = Town::new("orphans", yaml, &[("s.md", &python(ORPHANS))]);
    town.ok(&["up", "-d"]);
    let (init, supervisor) = (town.pid("s"), the("pactown:super", "orphans-"));
    eventually("all have been there", Duration::from_secs(60), || {
        town.ok(&["logs", "s"]).contains("flooded")
    });
    eventually("pid 1 has buried them", Duration::from_secs(1), || {
        zombies(init) <= 10
    });
    assert_eq!(status_field(supervisor, "State").chars().next(), Some('S'));
    town.ok(&["down"]);
    machine.assert_clean();
}

const MANY: usize = 60;

#[test]
fn sixty_services_start_and_end() {
    let machine = Machine::take();
    let mut yaml = "name: many\nservices:\n".to_owned();
    for number in 0..MANY {
        yaml += &format!("  s{number}: {{readme: s.md}}\n");
    }
    let town = Town::new("many", &yaml, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let rows = town.services();
    assert_eq!(rows.len(), MANY);
    assert!(rows.iter().all(|row| row["state"] == "running"), "{rows:?}");
    let (keeper, supervisor) = (the("pactown:keeper", "many-"), the("pactown:super", "many-"));
    for (name, pid) in [("keeper", keeper), ("supervisor", supervisor)] {
        let open = descriptors(pid);
        assert!(open <= 12 * MANY, "{name}: {open} descriptors");
    }
    eventually("threads that have nothing to do end", SOON, || {
        status_field(supervisor, "Threads")
            .parse::<usize>()
            .expect("threads")
            <= 8
    });
    assert_eq!(status_field(keeper, "Threads"), "1");
    let started = Instant::now();
    town.ok(&["down"]);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    machine.assert_clean();
}
