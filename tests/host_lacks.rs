//! A host that lacks a feature: refused by name with exit code 3 before anything exists.

use std::path::Path;
use std::process::Command;

use crate::support::town::{Machine, Town};

const YAML: &str = "name: bare\nservices:\n  s: {readme: s.md}\n";
const README: &str = "# S\n\n```sh markpact:run\nexec sleep 1000\n```\n";

/// `pactown up -d` on a kernel on which `call` fails with `errno` (a seccomp filter answers instead of it).
#[track_caller]
fn refused_without(errno: &str, call: &str, feature: &str) {
    let machine = Machine::take();
    let town = Town::new("bare", YAML, &[("s.md", README)]);
    let program = Path::new(env!("CARGO_BIN_EXE_pactown"));
    let deny = program.with_file_name("examples").join("deny");
    let mut command = Command::new(&deny);
    command
        .args([errno, call, "--"])
        .arg(program)
        .args(["up", "-d"])
        .current_dir(town.path())
        .env("NO_COLOR", "1");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", deny.display()));
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert_eq!(output.status.code(), Some(3), "{call} {errno}: {told}");
    assert!(told.contains(feature), "{call} {errno} names {feature}: {told}");
    assert!(told.contains("hint"), "and says what to do: {told}");
    drop(town);
    machine.assert_clean();
}

#[test]
fn no_idmapped_mounts() {
    refused_without("ENOSYS", "mount_setattr", "id-mapped");
}

#[test]
fn no_openat2() {
    refused_without("ENOSYS", "openat2", "openat2");
}

#[test]
fn no_pidfd() {
    refused_without("ENOSYS", "pidfd_open", "pidfd");
}

#[test]
fn no_nftables() {
    refused_without("EPROTONOSUPPORT", "socket:2=12", "nftables");
}

#[test]
fn no_network_namespaces() {
    refused_without("EPERM", "unshare:0=1073741824", "network namespace");
}

#[test]
fn cgroups_cannot_be_written() {
    let machine = Machine::take();
    let town = Town::new("bare", YAML, &[("s.md", README)]);
    let script =
        "for m in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do mount -o remount,bind,ro $m; done";
    let output = town.up_on_another_host(script);
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("cgroup"), "{told}");
    drop(town);
    machine.assert_clean();
}
