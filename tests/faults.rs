//! Faults of services and of the host, as the kernel sees them: control groups, `/proc`, sockets. Each fault has its
//! inverse: what is next to it goes on, and after `down` nothing is left.
//!
//! `PACTOWN_FAULTS=long cargo test --test suite faults` is the long form.

mod flood;
mod flushed;
mod hung;
pub(super) mod hungry;
mod injected;
mod leftovers;
mod loops;
mod pulled;
pub(super) mod records;
mod silent;
mod soak;
mod stubborn;
mod verbose;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{http_get, patient, processes};
use crate::support::town::Town;

pub(super) const SOON: Duration = Duration::from_secs(20);

/// A service that is asked while another one suffers.
pub(super) const SERVER: &str = "# Server\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n";

pub(super) fn readme(run: &str) -> String {
    format!("# Service\n\n```sh markpact:run\n{run}\n```\n")
}

/// A service that is a Python program; no single quotes in it.
pub(super) fn python(program: &str) -> String {
    readme(&format!("exec python3 -u -c '\n{program}\n'"))
}

fn is_long() -> bool {
    std::env::var("PACTOWN_FAULTS").is_ok_and(|form| form == "long")
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("signal");
}

/// The one process called `comm` of the instances whose names begin so.
#[track_caller]
fn the(comm: &str, instance: &str) -> i32 {
    let found = processes(comm, instance);
    assert_eq!(found.len(), 1, "{comm}: {found:?}");
    found[0]
}

/// Start in clock ticks since boot: with the number, the identity of a process. `None` when it has ended.
fn born(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let over = ["Z", "X"].contains(fields.first()?);
    fields.get(19)?.parse().ok().filter(|_| !over)
}

/// The control group directory of `pid` for `controller`, and whether that is v2.
#[track_caller]
pub(super) fn group(pid: i32, controller: &str) -> (PathBuf, bool) {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let line = |name: &str| {
        let named = |line: &&str| {
            let names = line.split(':').nth(1).unwrap_or("");
            names.split(',').any(|one| one == name)
        };
        let path = groups.lines().find(named)?.splitn(3, ':').nth(2)?;
        Some(path.trim_start_matches('/').to_owned())
    };
    let found = match line(controller) {
        Some(path) => (PathBuf::from("/sys/fs/cgroup").join(controller).join(path), false),
        None => (PathBuf::from("/sys/fs/cgroup").join(line("").expect("v2")), true),
    };
    assert!(found.0.to_string_lossy().contains("pactown"), "{groups}");
    found
}

/// A number in a file of a control group.
#[track_caller]
pub(super) fn number(file: PathBuf) -> u64 {
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim()
        .parse()
        .unwrap_or_else(|error| panic!("{}: {text} {error}", file.display()))
}

/// Descriptors that a process has open.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Asks a service again and again, from its start until [`Neighbour::fine`].
struct Neighbour {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<Duration>, Vec<String>)>,
}

impl Neighbour {
    fn of(town: &Town, name: &str) -> Self {
        let address = town.address(name);
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            let (mut times, mut errors) = (Vec::new(), Vec::new());
            // A fault may be over sooner than it takes to ask often enough.
            while !stop.load(Ordering::Relaxed) || times.len() < 20 {
                let started = Instant::now();
                errors.extend(http_get(&address, "/").err());
                times.push(started.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            (times, errors)
        });
        Self { enough, thread }
    }

    /// It answered every time, and nearly every time soon.
    #[track_caller]
    fn fine(self) {
        self.enough.store(true, Ordering::Relaxed);
        let (mut times, errors) = self.thread.join().expect("no panic");
        assert_eq!(errors, Vec::<String>::new(), "a neighbour suffered");
        times.sort();
        let late = times[times.len() * 95 / 100];
        assert!(late < patient(Duration::from_millis(500)), "{late:?}");
    }
}
