//! Records that are damaged, or tell of processes whose number somebody else has now: nobody foreign is signalled, and
//! everything can be taken down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::{SOON, born, is_long, readme, signal, the};
use crate::support::observe::{eventually, processes};
use crate::support::town::{Machine, Town};

/// A process that has nothing to do with pactown; ended on drop.
pub(super) struct Bystander(Child);

impl Bystander {
    pub(super) fn new() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null());
        Self(command.spawn().expect("sleep"))
    }

    /// One that has the number `pid`, which is free.
    fn with(pid: i32) -> Self {
        let mut tries = 0;
        loop {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("ns_last_pid");
            let one = Self::new();
            if one.pid() == pid {
                return one;
            }
            tries += 1;
            assert!(tries < 200, "the number {pid} is not to be had");
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    #[track_caller]
    pub(super) fn unharmed(&mut self) {
        assert_eq!(self.0.try_wait().expect("wait"), None, "a stranger was signalled");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The run directory of the one instance whose name begins so.
#[track_caller]
pub(crate) fn run_directory(instance: &str) -> PathBuf {
    let entries = fs::read_dir("/run/pactown").expect("run").flatten();
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(instance))
    };
    let found: Vec<_> = entries.map(|entry| entry.path()).filter(named).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn who_has_the_number_of_a_dead_service_is_left_alone() {
    let machine = Machine::take();
    let mut yaml = "name: reuse\nservices:\n".to_owned();
    for name in FIVE {
        yaml += &format!("  {name}: {{readme: s.md, restart: always}}\n");
    }
    let town = Town::new("reuse", &yaml, &[("s.md", &readme("exec sleep 1000"))]);
    for round in 0..4 {
        town.ok(&["up", "-d", "--force-recreate"]);
        let before = FIVE.map(|name| town.pid(name));
        let supervisor = the("pactown:super", "reuse-");
        signal(supervisor, Signal::SIGSTOP);
        before.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
        eventually("the numbers are free", SOON, || {
            before
                .iter()
                .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        });
        let mut bystanders = before.map(Bystander::with);
        signal(supervisor, Signal::SIGKILL);
        // Half of the rounds the keeper dies too, and it is `down` that reads the records.
        if round % 2 == 1 {
            signal(the("pactown:keeper", "reuse-"), Signal::SIGKILL);
        } else {
            eventually("all run again under other numbers", SOON, || {
                let rows = town.run(&["ps", "--json"]);
                rows.status.success()
                    && town.services().iter().all(|row| {
                        row["state"] == "running"
                            && row["pid"]
                                .as_i64()
                                .is_some_and(|pid| !before.contains(&i32::try_from(pid).expect("a pid")))
                    })
            });
        }
        town.ok(&["down"]);
        bystanders.iter_mut().for_each(Bystander::unharmed);
    }
    machine.assert_clean();
}

const YAML: &str = "
name: damage
services:
  db: {readme: s.md, restart: always}
  api: {readme: s.md, restart: always, depends_on: [db]}
";

/// What a record may become; `stranger` is the pid of a bystander.
fn damages(text: &[u8], stranger: i32) -> Vec<(String, Vec<u8>)> {
    let noise: Vec<u8> = (0..text.len())
        .map(|at| (at * 167 + 13).to_le_bytes()[0])
        .collect();
    let mut found = Vec::new();
    let cuts: &[usize] = if is_long() {
        found.push(("another shape".to_owned(), b"[]".to_vec()));
        found.push(("empty".to_owned(), Vec::new()));
        found.push(("noise".to_owned(), noise));
        &[1, 2, 3, 4, 5, 6, 7]
    } else {
        &[7]
    };
    for eighths in cuts {
        found.push((
            format!("{eighths}/8 of it"),
            text[..text.len() * eighths / 8].to_vec(),
        ));
    }
    if let Ok(mut record) = serde_json::from_slice::<serde_json::Value>(text)
        && record["process"]["pid"].is_i64()
    {
        record["process"]["pid"] = stranger.into();
        record["process"]["start_time"] = born(stranger).expect("it lives").into();
        found.push(("a stranger's number".to_owned(), record.to_string().into_bytes()));
    }
    found
}

#[test]
fn damaged_records_are_survived() {
    let machine = Machine::take();
    let town = Town::new("damage", YAML, &[("s.md", &readme("exec sleep 1000"))]);
    let mut stranger = Bystander::new();
    for file in ["services/db.json", "network.json", "instance.json"] {
        town.ok(&["up", "-d"]);
        let text = fs::read(run_directory("damage-").join(file)).expect("record");
        let needed = !file.starts_with("services");
        for (kind, damage) in damages(&text, stranger.pid()) {
            town.ok(&["up", "-d"]);
            let directory = run_directory("damage-");
            let supervisor = the("pactown:super", "damage-");
            signal(supervisor, Signal::SIGSTOP);
            fs::write(directory.join(file), damage).expect("damage");
            signal(supervisor, Signal::SIGKILL);
            eventually("it is gone", SOON, || born(supervisor).is_none());
            let shown = town.run(&["ps"]);
            let told = String::from_utf8_lossy(&shown.stderr).into_owned();
            println!("{file}, {kind}: {:?} {told}", shown.status.code());
            let out = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(
                !out.contains("stopped"),
                "{file}, {kind}: what runs is not called stopped: {out}{told}"
            );
            // Without these no supervisor can take over: that is said with the file and the next step.
            let aside = format!("{file}.damaged` cannot be understood");
            assert_eq!(told.contains(&aside), needed, "{file}, {kind}: {told}");
            assert_eq!(
                told.contains("`pactown down` ends them"),
                needed,
                "{file}, {kind}: {told}"
            );
            if needed {
                assert_eq!(shown.status.code(), Some(3), "{told}");
                town.expect(3, &["up", "-d"]);
                assert!(directory.join(format!("{file}.damaged")).exists());
            }
            let log = fs::read_to_string(directory.join("keeper.log")).unwrap_or_default();
            assert!(!log.contains("panicked"), "{file}, {kind}: {log}");
            town.ok(&["down"]);
            for comm in ["pactown:keeper", "pactown:super"] {
                assert_eq!(processes(comm, "damage-"), Vec::<i32>::new(), "{comm}");
            }
            stranger.unharmed();
            machine.assert_clean();
        }
    }
    town.ok(&["down"]);
    drop(stranger);
    machine.assert_clean();
}
