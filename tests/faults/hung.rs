//! The log writer is killed, and the disk below a log hangs.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{SOON, python, readme, signal, the};
use crate::support::observe::{eventually, patient, processes};
use crate::support::town::{Machine, Town};

/// Numbered lines of 100 bytes, 10 000 a second, for so many seconds; how many, once that is asked for.
fn counter(seconds: u32) -> String {
    python(&format!(
        "import os, time
number, begun = 0, time.monotonic()
while time.monotonic() < begun + {seconds}:
    os.write(1, b\"\".join(b\"%098d.\\n\" % (number + line) for line in range(100)))
    number += 100
    time.sleep(max(0, begun + number / 10000 - time.monotonic()))
while not os.path.exists(\"/tmp/end\"):
    time.sleep(0.02)
print(\"end\", number)
time.sleep(1000)"
    ))
}

/// The numbers in the log, in its order, and how many there should be.
fn numbers(town: &Town) -> (Vec<u64>, u64) {
    let text = town.ok(&["logs", "s"]);
    let whole = |line: &str| line.strip_suffix('.')?.parse().ok();
    let end = text
        .lines()
        .find_map(|line| line.strip_prefix("end ")?.parse().ok());
    (text.lines().filter_map(whole).collect(), end.expect("an end"))
}

fn ended(town: &Town) -> bool {
    town.ok(&["logs", "-n", "3", "s"]).contains("end ")
}

#[test]
fn a_killed_log_writer_is_replaced_and_no_line_is_lost() {
    let machine = Machine::take();
    let yaml = "name: writer\nservices:\n  s: {readme: s.md}\n";
    let town = Town::new("writer", yaml, &[("s.md", &counter(4))]);
    town.ok(&["up", "-d"]);
    let service = town.pid("s");
    for _ in 0..5 {
        sleep(Duration::from_millis(500));
        let writer = the("pactown:logs", "writer-");
        signal(writer, Signal::SIGKILL);
        eventually("there is another one", Duration::from_secs(1), || {
            processes("pactown:logs", "writer-")
                .iter()
                .any(|pid| *pid != writer)
        });
    }
    town.inside("s", "touch /tmp/end");
    eventually("it has come to its end", SOON, || ended(&town));
    let (found, end) = numbers(&town);
    assert_eq!(found, (0..end).collect::<Vec<_>>());
    assert_eq!(town.pid("s"), service, "it noticed nothing");
    town.ok(&["down"]);
    assert!(processes("pactown:logs", "writer-").is_empty());
    machine.assert_clean();
}

/// A file system of its own over a directory, which can be made to hang.
struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    fn over(place: PathBuf, image: PathBuf) -> Self {
        std::fs::create_dir_all(&place).expect("directory");
        shell(&format!(
            "truncate -s 256M {0} && mkfs.ext4 -q {0}",
            image.display()
        ));
        shell(&format!("mount -o loop {} {}", image.display(), place.display()));
        Self { image, place }
    }

    fn freeze(&self) {
        shell(&format!("fsfreeze -f {}", self.place.display()));
    }

    fn thaw(&self) {
        shell(&format!("fsfreeze -u {}", self.place.display()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let place = self.place.display();
        let script = format!("fsfreeze -u {place} 2>/dev/null; umount {place} || umount -l {place}");
        let _ = Command::new("sh").args(["-c", &script]).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

#[track_caller]
fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("sh");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {told}");
}

#[test]
fn a_disk_that_hangs_stops_nobody_and_the_log_says_what_is_missing() {
    let machine = Machine::take();
    let yaml = "name: hung\nservices:\n  s: {readme: s.md}\n  t: {readme: t.md}\n  u: {readme: t.md, restart: always}\n";
    let files = [("s.md", &*counter(6)), ("t.md", &*readme("exec sleep 1000"))];
    let town = Town::new("hung", yaml, &files);
    town.ok(&["up", "-d"]);
    let place = town.logs();
    town.ok(&["down"]);
    let disk = Disk::over(place, town.path().join("image"));
    town.ok(&["up", "-d"]);
    sleep(Duration::from_millis(500));
    disk.freeze();
    let before = town.pid("u");
    signal(before, Signal::SIGKILL);
    // Most of the time that the service has is over before it may go on.
    for _ in 0..12 {
        let asked = Instant::now();
        assert_eq!(town.inside("t", "echo here"), "here");
        assert_eq!(town.service("t")["state"], "running");
        assert!(
            asked.elapsed() < patient(Duration::from_secs(1)),
            "{:?}",
            asked.elapsed()
        );
        sleep(Duration::from_millis(250));
    }
    assert_ne!(town.pid("u"), before, "it was started again meanwhile");
    disk.thaw();
    town.inside("s", "touch /tmp/end");
    eventually("it has come to its end", SOON, || ended(&town));
    eventually("its restart is told in the end", SOON, || {
        let told = town.ok(&["events", "--json", "u"]);
        told.contains(&format!("\"pid\":{}", town.pid("u")))
    });
    let (found, end) = numbers(&town);
    // It was not made to wait until the disk went on.
    assert!(end > 50_000, "{end}");
    assert!(found.is_sorted_by(|one, next| one < next), "in order, none twice");
    let told = town.ok(&["logs", "s"]);
    let told = told.lines().filter_map(|line| {
        let (count, why) = line.split_once(" bytes were dropped: ")?;
        assert!(
            why.starts_with("the disk did not answer for more than a second"),
            "{line}"
        );
        count.trim_start_matches("── ").parse::<u64>().ok()
    });
    let missing = (end - found.len() as u64) * 100;
    assert!(missing > 0, "it hung for longer than a second");
    assert_eq!(told.sum::<u64>(), missing);

    // A hanging disk does not hold up the end.
    disk.freeze();
    let asked = Instant::now();
    town.ok(&["down"]);
    assert!(
        asked.elapsed() < patient(Duration::from_secs(8)),
        "{:?}",
        asked.elapsed()
    );
    disk.thaw();
    eventually("the writer has written and gone", SOON, || {
        processes("pactown:logs", "hung-").is_empty()
    });
    let log = std::fs::read_to_string(disk.place.join("s/current.log")).expect("log");
    assert!(
        log.contains(" system F ended by signal"),
        "the last line came later"
    );
    drop(disk);
    machine.assert_clean();
}
