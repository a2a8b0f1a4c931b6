//! A limited disk: full at its limit, kept, and gone when it is asked to be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{MIB, soon, told};
use crate::faults::{SERVER, readme};
use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: brim
services:
  server: {readme: server.md, port: 8000, health_check: /}
  writes: {readme: writes.md, limits: {disk: 64M}}
";
const FILL: &str = "dd if=/dev/zero of=/app/big bs=1M count=200 2>&1; dd if=/dev/zero of=/home/app/more bs=1M count=1 2>&1; true";

fn town() -> Town {
    let files = [("server.md", SERVER), ("writes.md", &*readme("exec sleep 1000"))];
    Town::new("brim", YAML, &files)
}

/// The one image of this ecosystem.
fn image() -> Option<PathBuf> {
    let folders = fs::read_dir("/var/lib/pactown/.disks").ok()?.flatten();
    let mut ours = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with("brim-"));
    Some(ours.next()?.path().join("writes.img"))
}

/// Mounts and loop devices that show this file.
fn uses(image: &Path) -> usize {
    let devices = fs::read_dir("/sys/block").expect("block").flatten();
    let backing =
        devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    backing.filter(|path| Path::new(path.trim()) == image).count()
}

#[test]
fn a_full_disk_is_full_for_its_service_alone() {
    let machine = Machine::take();
    let town = town();
    town.ok(&["up", "-d"]);
    let full = town.inside("writes", FILL);
    assert_eq!(full.matches("No space left on device").count(), 2, "{full}");
    let size: u64 = town
        .inside("writes", "stat -c %s /app/big")
        .parse()
        .expect("a size");
    eprintln!("disk: {} MiB fitted on 64 MiB", size / MIB);
    assert!((50 * MIB..64 * MIB).contains(&size), "{size}");
    let image = image().expect("an image");
    let metadata = fs::metadata(&image).expect("the image");
    assert_eq!((metadata.len(), metadata.uid()), (64 * MIB, 0));
    let folder = fs::metadata(image.parent().expect("a folder")).expect("the folder");
    assert_eq!(
        folder.permissions().mode() & 0o777,
        0o700,
        "nobody but root changes it"
    );
    assert_eq!(uses(&image), 1);
    town.inside(
        "server",
        "dd if=/dev/zero of=/app/big bs=1M count=100 2>/dev/null && rm /app/big",
    );
    eventually("it is told", soon(), || {
        told(&town, "writes")
            .iter()
            .any(|cause| cause.starts_with("disk: full"))
    });
    assert!(town.ok(&["ps"]).contains("disk: full ("));
    town.ok(&["restart", "writes"]);
    assert_eq!(
        town.inside("writes", "stat -c %s /app/big"),
        size.to_string(),
        "kept across a restart"
    );
    town.ok(&["down"]);
    eventually("no device stays", soon(), || uses(&image) == 0);
    let report: serde_json::Value = serde_json::from_str(&town.ok(&["report", "--json"])).expect("json");
    let rows = report["services"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["name"] == "writes").expect("a row");
    assert!(row["hits"]["disk"].as_u64() >= Some(1), "{row}");
    assert!(row["disk_bytes"].as_u64() > Some(50 * MIB), "{row}");

    town.ok(&["up", "-d"]);
    assert_eq!(
        town.inside("writes", "stat -c %s /app/big"),
        size.to_string(),
        "kept across down"
    );
    town.ok(&["down", "--volumes", "--yes"]);
    assert!(!image.exists(), "removed with the volumes");
    machine.assert_clean();
}

#[test]
fn who_fails_on_a_full_disk_is_told_why() {
    let machine = Machine::take();
    let yaml = YAML.replace("readme: writes.md", "readme: writes.md, restart: 'no'");
    let fails = readme("set -e\ncat /dev/zero > /app/big");
    let town = Town::new("brim", &yaml, &[("server.md", SERVER), ("writes.md", &fails)]);
    town.run(&["up", "-d"]);
    eventually("it has failed", soon(), || {
        town.service("writes")["state"] == "failed"
    });
    let (why, _) = town.expect(1, &["why", "writes"]);
    assert!(
        why.contains("no space left") && why.contains("limits: {disk:"),
        "{why}"
    );
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}

#[test]
fn a_smaller_disk_is_refused_and_what_is_in_it_stays() {
    let machine = Machine::take();
    let town = town();
    town.ok(&["up", "-d"]);
    town.inside("writes", "echo kept > /app/note");
    town.ok(&["down"]);
    town.edit("saas.pactown.yaml", "disk: 64M", "disk: 32M");
    let (_, refused) = town.expect(3, &["up", "-d"]);
    assert!(
        refused.contains("a disk can only grow") && refused.contains("pactown down --volumes"),
        "{refused}"
    );
    town.ok(&["down"]);
    town.edit("saas.pactown.yaml", "disk: 32M", "disk: 64M");
    town.ok(&["up", "-d"]);
    assert_eq!(town.inside("writes", "cat /app/note"), "kept");
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}

#[test]
fn a_dead_keeper_leaves_no_mount_behind() {
    let machine = Machine::take();
    let town = town();
    town.ok(&["up", "-d"]);
    let image = image().expect("an image");
    let keeper = crate::support::observe::processes("pactown:keeper", "brim-");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(keeper[0]),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill");
    eventually("everything has ended", soon(), || {
        let alive = |kind| !crate::support::observe::processes(kind, "brim-").is_empty();
        !alive("pactown:super") && !alive("pactown:init")
    });
    town.ok(&["down"]);
    eventually("the device goes with the mount", soon(), || uses(&image) == 0);
    assert!(image.exists(), "what was written stays");
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}

#[test]
fn a_disk_that_comes_or_goes_is_said_to_keep_what_was_written() {
    let machine = Machine::take();
    let with = "writes: {readme: writes.md, limits: {disk: 64M}}";
    let without = "writes: {readme: writes.md}";
    let town = town();
    let up = || {
        let (out, err) = town.expect(0, &["up", "-d"]);
        out + &err
    };
    assert!(!up().contains("stays in"));
    town.inside("writes", "echo old > /app/mark");
    town.edit("saas.pactown.yaml", with, without);
    let image = image().expect("an image");
    let told = up();
    let says = |place: &str| format!("writes: what it has written stays in `{place}`");
    assert!(told.contains(&says(&image.display().to_string())), "{told}");
    assert_eq!(town.inside("writes", "echo new > /app/mark; ls /app"), "mark");
    town.edit("saas.pactown.yaml", without, with);
    let told = up();
    let directory = town.path().join(".pactown-sandboxes/writes");
    assert!(told.contains(&says(&directory.display().to_string())), "{told}");
    assert_eq!(town.inside("writes", "cat /app/mark"), "old");
    assert!(!up().contains("stays in"), "once");

    town.ok(&["down"]);
    let (_, refused) = town.expect(3, &["spec", "writes", "--bundle", "made/of/it"]);
    assert!(
        refused.contains("not mounted") && refused.contains(&image.display().to_string()),
        "{refused}"
    );
    assert!(!town.path().join("made").exists());
    town.ok(&["up", "-d"]);
    let (_, told) = town.expect(0, &["spec", "writes", "--bundle", "made/of/it"]);
    assert!(told.contains("not in the bundle: disk: "), "{told}");
    let mark = town.path().join("made/of/it/rootfs/app/mark");
    assert_eq!(fs::read_to_string(mark).expect("a copy"), "old\n");
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}
