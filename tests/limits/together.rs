//! Limits of all services together: they hold over the sum, whatever each alone may have.

use super::{BUSY, MIB, WHEN_TOLD, WRITE, parent, peak, said, share, soon};
use crate::faults::{number, python, readme};
use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};
use crate::support::wheels::Wheels;

/// Takes 100 MiB, and keeps it.
const EAT: &str = "kept = []
for _ in range(400): kept.append(b\"x\" * (1 << 18)); time.sleep(0.001)
print(\"full\")
time.sleep(1000)";

#[test]
fn memory_holds_over_the_sum() {
    let machine = Machine::take();
    let yaml = "
name: sum
limits: {memory: 150M}
services:
  one: {readme: eats.md, restart: 'no', limits: {memory: 130M}}
  two: {readme: eats.md, restart: 'no', limits: {memory: 130M}}
";
    let town = Town::new(
        "sum",
        yaml,
        &[("eats.md", &python(&format!("{WHEN_TOLD}\n{EAT}")))],
    );
    town.ok(&["up", "-d"]);
    let directory = parent(town.pid("one"), "memory");
    let (path, v2) = &directory;
    let file = path.join(if *v2 {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    });
    assert_eq!(number(file), 150 * MIB);
    for name in ["one", "two"] {
        town.inside(name, "touch /tmp/go");
    }
    let failed = || {
        ["one", "two"]
            .into_iter()
            .find(|name| town.service(name)["state"] == "failed")
    };
    eventually("one is killed", soon(), || failed().is_some());
    let victim = failed().expect("one");
    let most = peak(&directory);
    eprintln!("together: {most} of {} bytes", 150 * MIB);
    assert!((147 * MIB..=150 * MIB).contains(&most), "{most}");
    let cause = town.service(victim)["cause"].to_string();
    assert!(
        cause.contains("the memory limit of all services together was reached"),
        "{cause}"
    );
    let (why, _) = town.expect(1, &["why", victim]);
    assert!(why.contains("all services together"), "{why}");
    let other = if victim == "one" { "two" } else { "one" };
    eventually("the other one has what it wants", soon(), || {
        town.ok(&["logs", other]).contains("full")
    });
    assert_eq!(town.service(other)["state"], "running");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn cpus_hold_over_the_sum_and_change_while_it_runs() {
    let machine = Machine::take();
    let yaml = "
name: sum
limits: {cpus: 0.2, pids: 40}
services:
  one: {readme: busy.md}
  two: {readme: busy.md}
";
    let town = Town::new("sum", yaml, &[("busy.md", &python(BUSY))]);
    town.ok(&["up", "-d"]);
    let pids = ["one", "two"].map(|name| town.pid(name));
    share(pids[0], 0.2, parent);
    // Lifted, and limited anew: nobody starts anew for that.
    town.edit(
        "saas.pactown.yaml",
        "limits: {cpus: 0.2, pids: 40}\n",
        "limits: {cpus: 0.3}\n",
    );
    town.ok(&["up", "-d"]);
    let (directory, _) = parent(pids[0], "pids");
    let most = std::fs::read_to_string(directory.join("pids.max")).expect("pids.max");
    assert_eq!(most.trim(), "max");
    share(pids[0], 0.3, parent);
    assert_eq!(["one", "two"].map(|name| town.pid(name)), pids);
    town.ok(&["down"]);
    machine.assert_clean();
}

/// Makes children, and says how many it has.
const FORK: &str = "made = 0
for _ in range(25):
    try:
        if os.fork() == 0: time.sleep(1000)
        made += 1
    except OSError: pass
print(\"made\", made)
time.sleep(1000)";

#[test]
fn processes_hold_over_the_sum() {
    let machine = Machine::take();
    let yaml = "
name: sum
limits: {pids: 40}
services:
  one: {readme: forks.md, limits: {pids: 30}}
  two: {readme: forks.md, limits: {pids: 30}}
";
    let town = Town::new(
        "sum",
        yaml,
        &[("forks.md", &python(&format!("{WHEN_TOLD}\n{FORK}")))],
    );
    town.ok(&["up", "-d"]);
    let (directory, _) = parent(town.pid("one"), "pids");
    let made = ["one", "two"].map(|name| {
        town.inside(name, "touch /tmp/go");
        eventually("it has forked", soon(), || said(&town, name, "made").is_some());
        said(&town, name, "made").expect("it said so")
    });
    let now = number(directory.join("pids.current"));
    eprintln!("together: {now} of 40 processes, children {made:?}");
    assert_eq!(now, 40);
    assert!((made[0] - 25.0).abs() < 0.1 && made[1] < 15.0, "{made:?}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn rates_hold_over_the_sum_or_are_refused() {
    let machine = Machine::take();
    let yaml = "
name: sum
limits: {io_write: 2M}
services:
  one: {readme: write.md}
  two: {readme: write.md}
";
    let write = python(&format!("{WHEN_TOLD}\n{WRITE}"));
    let town = Town::new("sum", yaml, &[("write.md", &write)]);
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let (_, refused) = town.expect(3, &["up", "-d"]);
        assert!(
            refused.contains("all services together: cannot apply `io_write`: on cgroup v1"),
            "{refused}"
        );
        machine.assert_clean();
        return;
    }
    town.ok(&["up", "-d"]);
    for name in ["one", "two"] {
        town.inside(name, "touch /tmp/go");
    }
    let wrote = |name: &str| said(&town, name, "wrote for");
    eventually("both have written", soon() * 2, || {
        wrote("one").is_some() && wrote("two").is_some()
    });
    let longest = ["one", "two"].map(|name| wrote(name).expect("it said so"));
    eprintln!("together: twice 8 MiB at 2 MiB/s took {longest:?} s");
    assert!(longest[0].max(longest[1]) >= 6.0, "{longest:?}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn less_memory_than_is_in_use_is_refused() {
    let machine = Machine::take();
    let yaml = "name: sum\nlimits: {memory: 200M}\nservices:\n  one: {readme: eats.md}\n";
    let eats = python(&format!("{WHEN_TOLD}\n{EAT}"));
    let town = Town::new("sum", yaml, &[("eats.md", &eats)]);
    town.ok(&["up", "-d"]);
    let pid = town.pid("one");
    town.inside("one", "touch /tmp/go");
    eventually("it has what it wants", soon(), || {
        town.ok(&["logs", "one"]).contains("full")
    });
    town.edit("saas.pactown.yaml", "memory: 200M", "memory: 50M");
    let (_, refused) = town.expect(3, &["up", "-d"]);
    assert!(
        refused.contains("cannot limit all services together") && refused.contains("in use already"),
        "{refused}"
    );
    assert_eq!(town.pid("one"), pid, "it goes on");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_is_refused_or_only_locked_limits_nothing() {
    let machine = Machine::take();
    let yaml = "name: sum\nlimits: {pids: 40}\nservices:\n  one: {readme: one.md, health_check: none, port: 18947}\n";
    let sleeps = readme("exec sleep 1000");
    let (town, wheels) = Wheels::of(Town::new("sum", yaml, &[("one.md", &sleeps)]));
    town.ok(&["up", "-d"]);
    let (directory, _) = parent(town.pid("one"), "pids");
    let most = || number(directory.join("pids.max"));
    let address = town.service("one")["address"].clone();

    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = holder.local_addr().expect("address").port();
    let (free, taken) = ("port: 18947}", format!("port: {port}}}"));
    town.edit("saas.pactown.yaml", "pids: 40", "pids: 50");
    town.edit("saas.pactown.yaml", free, &taken);
    let (_, refused) = town.expect(1, &["up", "-d", "--strict-ports"]);
    assert!(refused.contains("in use by"), "{refused}");
    assert_eq!(most(), 40, "what was refused is not in force");

    town.edit("saas.pactown.yaml", &taken, free);
    wheels.add("greet", &format!("1.{}", std::process::id()), "", "");
    let needs = format!("```python markpact:deps\ngreet\n```\n\n{sleeps}");
    town.write("one.md", &needs);
    town.ok(&["lock"]);
    assert!(town.path().join("pactown.lock").exists());
    assert_eq!(most(), 40, "what is locked is not in force either");
    assert_eq!(town.service("one")["address"], address);

    town.ok(&["up", "-d"]);
    assert_eq!(most(), 50);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn limits_stay_when_every_service_has_stopped() {
    let machine = Machine::take();
    let yaml = "name: sum\nlimits: {pids: 40}\nservices:\n  one: {readme: one.md}\n";
    let town = Town::new("sum", yaml, &[("one.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let (directory, _) = parent(town.pid("one"), "pids");
    town.ok(&["stop", "one"]);
    assert_eq!(number(directory.join("pids.max")), 40);
    town.ok(&["start", "one"]);
    assert_eq!(parent(town.pid("one"), "pids").0, directory);
    assert_eq!(number(directory.join("pids.max")), 40);
    town.ok(&["down"]);
    assert!(!directory.exists());
    machine.assert_clean();
}
