//! Services that write more than anybody can read: a line without an end, bytes that are no text, many at full speed.

use std::fs;
use std::path::Path;

use super::{Neighbour, SERVER, SOON, is_long, readme, the};
use crate::support::observe::{eventually, status_field};
use crate::support::town::{Machine, Town};

/// Ends with a word, so that it is seen when everything was taken.
fn writer(bytes: u64, source: &str) -> String {
    readme(&format!(
        "{source} | head -c {bytes}; echo; echo done; exec sleep 1000"
    ))
}

fn resident(pid: i32) -> u64 {
    let text = status_field(pid, "VmRSS");
    text.trim_end_matches(" kB").parse().expect("kB")
}

/// Bytes of all files below.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("directory").flatten();
    entries
        .map(|entry| entry.metadata().map_or(0, |data| data.len()))
        .sum()
}

#[test]
fn a_flood_costs_neither_memory_nor_disk_nor_the_neighbours() {
    let machine = Machine::take();
    let (bytes, talkers, each) = if is_long() {
        (1 << 30, 200, 20 << 20)
    } else {
        (128 << 20, 8, 16 << 20)
    };
    let mut yaml = "name: verbose
services:
  n: {readme: n.md, port: 8000}
  endless: {readme: endless.md}
  binary: {readme: binary.md}
  yes: {readme: yes.md}
"
    .to_owned();
    (0..talkers).for_each(|number| yaml += &format!("  t{number}: {{readme: t.md}}\n"));
    let files = [
        ("n.md", SERVER),
        ("endless.md", &writer(bytes, "tr '\\0' x </dev/zero")),
        ("binary.md", &writer(bytes, "cat /dev/urandom")),
        ("yes.md", &writer(bytes, "yes")),
        (
            "t.md",
            &writer(
                each,
                "yes 'a line that is about as long as a line of a server that tells of a request'",
            ),
        ),
    ];
    let town = Town::new("verbose", &yaml, &files);
    town.ok(&["up", "-d", "n"]);
    let processes = ["pactown:keeper", "pactown:logs", "pactown:super"].map(|comm| the(comm, "verbose-"));
    let before = processes.map(resident);
    let neighbour = Neighbour::of(&town, "n");
    town.ok(&["up", "-d"]);
    let names = town.services();
    let names = names
        .iter()
        .map(|row| row["name"].as_str().expect("a name").to_owned());
    let writers: Vec<String> = names.filter(|name| name != "n").collect();
    let patience = if is_long() { SOON * 60 } else { SOON * 3 };
    for name in &writers {
        eventually("all of it was taken", patience, || {
            town.ok(&["logs", "-n", "1", name]).trim() == "done"
        });
    }
    neighbour.fine();
    for (pid, before) in processes.iter().zip(before) {
        let grown = resident(*pid).saturating_sub(before);
        println!("{}: {grown} kB more", status_field(*pid, "Name"));
        assert!(grown < 32 << 10, "{}: {grown} kB", status_field(*pid, "Name"));
    }
    let logs = town.logs();
    for name in &writers {
        let size = size(&logs.join(name));
        assert!(size <= 5 * (10 << 20), "{name}: {size} bytes");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
