//! A host that lacks a feature: refused by name with exit code 3 before anything exists.

use std::process::Command;

use crate::support::town::{Machine, Town};

const YAML: &str = "name: bare\nservices:\n  s: {readme: s.md}\n";
const README: &str = "# S\n\n```sh markpact:run\nexec sleep 1000\n```\n";

/// `pactown up -d` under `strace`, which makes one system call fail as an older or locked-down kernel would.
#[track_caller]
fn refused_under(injection: &str, feature: &str) {
    let machine = Machine::take();
    let town = Town::new("bare", YAML, &[("s.md", README)]);
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("inject={injection}"),
    ]);
    command
        .arg(env!("CARGO_BIN_EXE_pactown"))
        .args(["up", "-d"])
        .current_dir(town.path());
    let output = command
        .env("NO_COLOR", "1")
        .output()
        .expect("strace is needed as a fault injector");
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert_eq!(output.status.code(), Some(3), "{injection}: {told}");
    assert!(told.contains(feature), "{injection} names {feature}: {told}");
    assert!(told.contains("hint"), "and says what to do: {told}");
    drop(town);
    machine.assert_clean();
}

#[test]
fn no_idmapped_mounts() {
    refused_under("mount_setattr:error=ENOSYS", "id-mapped");
}

#[test]
fn no_openat2() {
    refused_under("openat2:error=ENOSYS", "openat2");
}

#[test]
fn no_pidfd() {
    refused_under("pidfd_open:error=ENOSYS", "pidfd");
}

#[test]
fn cgroups_cannot_be_written() {
    let machine = Machine::take();
    let town = Town::new("bare", YAML, &[("s.md", README)]);
    let script = "for m in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do mount -o remount,bind,ro $m; done; exec \"$@\"";
    let output = Command::new("unshare")
        .args([
            "-m",
            "sh",
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_pactown"),
            "up",
            "-d",
        ])
        .current_dir(town.path())
        .env("NO_COLOR", "1")
        .output()
        .expect("unshare");
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("cgroup"), "{told}");
    drop(town);
    machine.assert_clean();
}
