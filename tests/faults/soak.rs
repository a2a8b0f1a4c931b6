//! The same again and again: what one round leaves behind would be seen after many.
//!
//! `PACTOWN_SOAK_CYCLES=1000 cargo test --test suite soak` is the long form.

use super::{descriptors, the};
use crate::support::observe::status_field;
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: soak
services:
  one: {readme: s.md, port: 8000, health_check: /}
  two: {readme: s.md, port: 8001, depends_on: [one]}
  three: {readme: s.md, port: 8002, depends_on: [one]}
  four: {readme: s.md, port: 8003, depends_on: [two]}
  five: {readme: s.md, port: 8004, depends_on: [three, four]}
";

fn cycles() -> u64 {
    let asked = std::env::var("PACTOWN_SOAK_CYCLES");
    asked.map_or(6, |text| text.parse().expect("a number"))
}

fn town() -> Town {
    Town::new("soak", YAML, &[("s.md", super::SERVER)])
}

fn restart(town: &Town) {
    town.ok(&["restart", "one", "two", "three", "four", "five"]);
}

#[test]
fn up_and_down_again_and_again_leave_nothing() {
    let machine = Machine::take();
    let town = town();
    for cycle in 0..cycles() {
        town.ok(&["up", "-d"]);
        assert!(town.all_settled(), "cycle {cycle}");
        town.ok(&["down"]);
        assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "cycle {cycle}");
    }
    machine.assert_clean();
}

#[test]
fn restarts_again_and_again_cost_the_keeper_and_the_supervisor_nothing() {
    let machine = Machine::take();
    let town = town();
    town.ok(&["up", "-d"]);
    // What is made once, such as the threads' stacks, is there after the first ones.
    (0..3).for_each(|_| restart(&town));
    let processes = ["pactown:keeper", "pactown:super", "pactown:logs"].map(|comm| the(comm, "soak-"));
    let look = |pid: i32| {
        let resident = status_field(pid, "VmRSS");
        let kilobytes: u64 = resident.trim_end_matches(" kB").parse().expect("kB");
        (kilobytes, descriptors(pid))
    };
    let before = processes.map(look);
    (0..cycles()).for_each(|_| restart(&town));
    for (pid, before) in processes.iter().zip(before) {
        let (name, after) = (status_field(*pid, "Name"), look(*pid));
        println!("{name}: {before:?} before, {after:?} after {} cycles", cycles());
        // 1 KiB for each cycle, above what an allocator gives and takes.
        assert!(
            after.0 <= before.0 + 1024 + cycles(),
            "{name}: {before:?} {after:?}"
        );
        assert!(after.1 <= before.1 + 2, "{name}: {before:?} {after:?}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
