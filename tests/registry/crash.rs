//! Nothing that was acknowledged is lost: killed servers, full disks.
//! `PACTOWN_LONG_TESTS=1` makes the short forms long.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::registry::{Folder, Server, sha256};

fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("PACTOWN_LONG_TESTS").is_some() {
        long
    } else {
        short
    }
}

/// The README of a publish: its size depends on its number, from a line to a quarter of a MiB.
fn readme(number: u64) -> String {
    let lines = [1, 40, 400, 4000][usize::try_from(number % 4).expect("small")];
    format!(
        "# Number {number}\n\n{}",
        "some words of a README that fill a line, or nearly do so\n".repeat(lines)
    )
}

/// What the clients know: by number, whether the publish was acknowledged.
type Known = Mutex<HashMap<u64, bool>>;

/// Publishes until told to stop; whatever gets no answer may be there or not.
fn publish_until(stop: &AtomicBool, next: &AtomicU64, known: &Known, server: &Server) {
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        known.lock().expect("known").insert(number, false);
        let body = json!({"name": format!("p{}", number % 50), "version": format!("1.{number}.0"), "readme_content": readme(number)});
        let answer = server.try_send("POST", "/v1/publish", &[], Some(body.to_string().as_bytes()));
        if answer.is_ok_and(|answer| answer.status == 200) {
            known.lock().expect("known").insert(number, true);
        }
    }
}

/// Every acknowledged version is there and whole; of the others nothing is half there.
fn check(server: &Server, known: &HashMap<u64, bool>) -> (usize, usize) {
    let (mut acknowledged, mut silent) = (0, 0);
    for (number, acked) in known {
        let path = format!("/v1/artifacts/default/p{}/1.{number}.0", number % 50);
        let answer = server.get(&path);
        match answer.status {
            200 => {
                let answer = answer.json();
                assert_eq!(answer["readme_content"], json!(readme(*number)), "{path}");
                acknowledged += usize::from(*acked);
                silent += usize::from(!*acked);
            }
            404 => assert!(!acked, "{path} was acknowledged and is lost"),
            status => panic!("{path}: {status}"),
        }
    }
    (acknowledged, silent)
}

#[test]
fn killed_while_publishing_it_loses_nothing() {
    let folder = Folder::new("kill");
    let mut known = HashMap::new();
    let next = AtomicU64::new(0);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds(8, 1000) {
        let start = Instant::now();
        let mut server = Server::start(folder.path(), &["--anonymous", "publish"]);
        slowest = slowest.max(start.elapsed());
        let (stop, fresh) = (AtomicBool::new(false), Known::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let server = &server;
                scope.spawn(|| publish_until(&stop, &next, &fresh, server));
            }
            // Another moment each time, the same ones in each run.
            std::thread::sleep(Duration::from_micros(20_000 + (round as u64 * 7919) % 130_000));
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(server.child.id().cast_signed()),
                nix::sys::signal::Signal::SIGKILL,
            )
            .expect("SIGKILL");
            stop.store(true, Ordering::Relaxed);
        });
        server.kill();
        known.extend(fresh.into_inner().expect("known"));
    }
    let server = Server::start(folder.path(), &[]);
    let (acknowledged, silent) = check(&server, &known);
    assert!(acknowledged > 0, "nothing was published at all");
    // The list, the search and the versions agree with what is there.
    let list = server.get("/v1/artifacts").json();
    let listed: usize = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["versions"].as_array().expect("versions").len())
        .sum();
    assert_eq!(listed, acknowledged + silent);
    let left = std::fs::read_dir(folder.path().join("incoming"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0, "what dead servers were writing is gone");
    println!("{acknowledged} acknowledged, {silent} there without an answer, slowest start {slowest:?}");
}

/// A small file system of its own, unmounted with the test.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn new(path: &'a Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "pactown-test"])
            .arg(path)
            .status();
        assert!(mounted.expect("mount").success());
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_breaks() {
    let _machine = crate::support::town::Machine::take();
    let folder = Folder::new("full");
    let disk = SmallDisk::new(folder.path());
    let server = Server::start(disk.0, &["--anonymous", "publish"]);
    let filler = |number: usize| format!("{number}\n{}", "x".repeat(100_000));
    let mut statuses = Vec::new();
    for number in 0..60 {
        statuses.push(
            server
                .publish("fill", &format!("1.{number}.0"), &filler(number))
                .status,
        );
    }
    let kept = statuses.iter().filter(|status| **status == 200).count();
    assert!(kept > 3 && kept < 60, "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 507 | 503)),
        "{statuses:?}"
    );
    for (number, status) in statuses.iter().enumerate() {
        let answer = server.get(&format!("/v1/artifacts/default/fill/1.{number}.0"));
        assert_eq!(answer.status, if *status == 200 { 200 } else { 404 }, "{number}");
        if *status == 200 {
            assert_eq!(
                answer.json()["checksum"],
                json!(sha256(filler(number).as_bytes()))
            );
        }
    }
    let grown = Command::new("mount")
        .args(["-o", "remount,size=16m"])
        .arg(disk.0)
        .status();
    assert!(grown.expect("mount").success());
    assert_eq!(
        server.publish("fill", "2.0.0", &filler(99)).status,
        200,
        "it goes on"
    );
}

#[test]
fn told_to_stop_it_ends_what_was_begun() {
    let folder = Folder::new("stop");
    let mut server = Server::start(folder.path(), &["--anonymous", "publish"]);
    let (stop, next, known) = (AtomicBool::new(false), AtomicU64::new(0), Known::default());
    let start = std::thread::scope(|scope| {
        for _ in 0..4 {
            let server = &server;
            scope.spawn(|| publish_until(&stop, &next, &known, server));
        }
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(server.child.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .expect("SIGTERM");
        stop.store(true, Ordering::Relaxed);
        start
    });
    let status = server.child.wait().expect("an end");
    assert!(
        status.success() && start.elapsed() < crate::support::observe::patient(Duration::from_secs(6)),
        "{status:?}"
    );
    let server = Server::start(folder.path(), &[]);
    check(&server, &known.into_inner().expect("known"));
}
