//! Limits of what runs when its supervisor dies: the next one looks at them, too, and tells nothing twice.

use super::{WHEN_TOLD, soon, told};
use crate::faults::python;
use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

/// Wants more processes than it may have.
const FORK: &str = "for _ in range(25):
    try:
        if os.fork() == 0: time.sleep(1000)
    except OSError: pass
print(\"made\")
time.sleep(1000)";

#[test]
fn the_next_supervisor_looks_too_and_tells_nothing_twice() {
    let machine = Machine::take();
    let yaml = "
name: heirs
services:
  before: {readme: forks.md, limits: {pids: 16}}
  after: {readme: forks.md, limits: {pids: 16}}
";
    let forks = python(&format!("{WHEN_TOLD}\n{FORK}"));
    let town = Town::new("heirs", yaml, &[("forks.md", &forks)]);
    town.ok(&["up", "-d"]);
    town.inside("before", "touch /tmp/go");
    eventually("it is told", soon(), || told(&town, "before").len() == 1);
    town.succeed_the_supervisor();
    town.inside("after", "touch /tmp/go");
    eventually("the next one tells it", soon(), || {
        told(&town, "after").len() == 1
    });
    assert!(told(&town, "after")[0].starts_with("processes: refused"));
    assert_eq!(told(&town, "before").len(), 1, "it was told already");
    town.ok(&["down"]);
    machine.assert_clean();
}
