//! The sockets and files through which an instance is steered: who may use them, seen as nobody and from inside.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::observe::{children, processes, status_field};
use crate::support::registry::{Folder, Server};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: steered
services:
  s: {readme: s.md}
  root: {readme: s.md, user: root}
";

const README: &str = "# Sleeper

```sh markpact:run
echo said
exec sleep 1000
```
";

/// What a user who is nobody gets from this program.
fn as_nobody(words: &[&str]) -> String {
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(words)
        .current_dir("/")
        .output()
        .expect("setpriv");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

const CONNECT: &str = "
import socket, sys
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    try: socket.socket(socket.AF_UNIX, kind).connect(sys.argv[1]); print('connected')
    except OSError as e: print(type(e).__name__)
";

/// Everything below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

fn directory_of(root: &str) -> PathBuf {
    let entries = fs::read_dir(root).expect("a directory").flatten();
    let found = entries
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("/steered-"));
    found.expect("the instance")
}

#[test]
fn nobody_else_steers_an_instance_or_reads_what_it_has_written() {
    let machine = Machine::take();
    let town = Town::new("steered", YAML, &[("s.md", README)]);
    town.ok(&["up", "-d"]);
    let files = below(&directory_of("/run/pactown"));
    let is_socket = |path: &&PathBuf| fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let sockets: Vec<_> = files.iter().filter(is_socket).collect();
    assert!(sockets.len() >= 2, "{files:?}");
    for socket in sockets {
        let path = socket.to_str().expect("a path");
        let data = fs::symlink_metadata(socket).expect("a socket");
        assert_eq!((data.mode() & 0o777, data.uid()), (0o600, 0), "{path}");
        let said = as_nobody(&["/usr/bin/python3", "-c", CONNECT, path]);
        assert_eq!(said, "PermissionError\nPermissionError\n", "{path}");
        let own = Command::new("python3")
            .args(["-c", CONNECT, path])
            .output()
            .expect("python3");
        let own = String::from_utf8_lossy(&own.stdout).into_owned();
        assert!(own.contains("connected"), "root may: {path}: {own}");
    }
    let logs = below(&directory_of("/var/log/pactown"));
    let records = files
        .iter()
        .chain(&logs)
        .filter(|path| path.is_file() && !path.starts_with("/run/pactown/netns"));
    let mut seen = 0;
    for path in records.filter(|path| fs::metadata(path).is_ok_and(|it| it.len() > 0)) {
        let said = as_nobody(&["head", "-c1", path.to_str().expect("a path")]);
        assert!(said.contains("Permission denied"), "{}: {said}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "{files:?} {logs:?}");
    for service in ["s", "root"] {
        let found = town.inside(service, "find / -xdev \\( -name '*pactown*' -o -name 'keeper.sock' -o -name 'control.sock' \\) 2>/dev/null | grep -v '^/proc' || true");
        assert_eq!(found, "", "{service}");
        let through = town.inside(
            service,
            "(ls /proc/1/root/run /proc/1/cwd /proc/1/fd) 2>&1 | grep -vc 'Permission denied' || true",
        );
        assert_eq!(through, "0", "{service}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

/// What strangers may have put where pactown's own directories belong, as scripts; and what is said of it.
const IN_THE_WAY: &[(&str, &str)] = &[
    (
        "ln -s \"$CANARY\" /run/pactown && chown -h 65534 /run/pactown",
        "`/run/pactown` belongs to uid 65534",
    ),
    (
        "chown 65534 \"$CANARY\" && ln -s \"$CANARY\" /run/pactown",
        "`/run/pactown` belongs to uid 65534",
    ),
    (
        "mkdir /run/pactown && chown 65534 /run/pactown",
        "`/run/pactown` belongs to uid 65534",
    ),
    (
        "mkdir -m 1777 /run/pactown",
        "`/run/pactown` can be written by others",
    ),
    ("touch /run/pactown", "`/run/pactown` is no directory"),
    (
        "ln -s /nowhere /run/pactown",
        "`/run/pactown` is a link that leads nowhere",
    ),
    (
        "mount -t tmpfs none /var/log && ln -s \"$CANARY\" /var/log/pactown && chown -h 65534 /var/log/pactown",
        "`/var/log/pactown` belongs to uid 65534",
    ),
];

#[test]
fn what_strangers_put_where_its_directories_belong_is_refused_and_led_nowhere() {
    let machine = Machine::take();
    let town = Town::new(
        "steered",
        YAML,
        &[("s.md", README), ("canary/keeper.lock", "kept\n")],
    );
    let canary = town.path().join("canary");
    for (script, said) in IN_THE_WAY {
        let script = format!(
            "CANARY={}; mount -t tmpfs -o mode=755 none /run && {script}",
            canary.display()
        );
        let output = town.up_on_another_host(&script);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{script}: {told}");
        assert!(told.contains(said) && told.contains("hint"), "{script}: {told}");
        std::os::unix::fs::chown(&canary, Some(0), None).expect("chown");
        assert_eq!(below(&canary), [canary.join("keeper.lock")], "{script}");
        assert_eq!(fs::metadata(&canary).expect("a directory").mode() & 0o777, 0o755);
    }
    let output = town.up_on_another_host("true");
    assert!(
        output.status.success(),
        "with nothing in the way it comes up: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_a_dead_instance_left_is_replaced_and_no_link_in_it_followed() {
    let machine = Machine::take();
    let town = Town::new("steered", YAML, &[("s.md", README), ("canary/file", "kept\n")]);
    town.ok(&["up", "-d"]);
    let run = directory_of("/run/pactown");
    town.ok(&["down"]);
    let canary = town.path().join("canary");
    let file = canary.join("file");
    fs::create_dir(&run).expect("a directory");
    for name in [
        "control.sock",
        "control.new",
        "keeper.lock",
        "instance.tmp",
        "keeper.log",
    ] {
        std::os::unix::fs::symlink(&file, run.join(name)).expect("a link");
    }
    for name in ["keeper.sock", "instance.json"] {
        fs::write(run.join(name), "no socket and no record\n").expect("a file");
    }
    for name in ["netns", "bundles", "services", "disks"] {
        std::os::unix::fs::symlink(&canary, run.join(name)).expect("a link");
    }
    town.ok(&["up", "-d"]);
    assert_eq!(town.inside("s", "echo it runs"), "it runs");
    let control = fs::symlink_metadata(run.join("control.sock")).expect("a socket");
    assert!(control.file_type().is_socket());
    town.ok(&["down"]);
    assert_eq!(below(&canary), [&*file]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "kept\n");
    machine.assert_clean();
}

/// No capability in any set, no way to gain one, calls filtered.
#[track_caller]
fn holds_nothing(what: &str, pid: i32) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_field(pid, set), "0000000000000000", "{what}: {set}");
    }
    assert_eq!(status_field(pid, "NoNewPrivs"), "1", "{what}");
    assert_eq!(status_field(pid, "Seccomp"), "2", "{what}");
}

#[test]
fn helpers_and_the_registry_hold_no_privilege() {
    let machine = Machine::take();
    let town = Town::new(
        "steered",
        YAML,
        &[("s.md", README), ("resolv", "nameserver 127.0.0.1\n")],
    );
    // The host asks a resolver on its own loopback: a forwarder stands in.
    let script = format!(
        "mount --bind {} /etc/resolv.conf",
        town.path().join("resolv").display()
    );
    let output = town.up_on_another_host(&script);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let instance = town.instance();
    let keeper = processes("pactown:keeper", &instance)[0];
    let command = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let forwarder = children(keeper)
        .into_iter()
        .find(|pid| command(*pid).contains("__forwarder"));
    holds_nothing("the forwarder", forwarder.expect("a forwarder"));
    let writer = processes("pactown:logs", &instance)[0];
    holds_nothing("the log writer", writer);
    assert_eq!(status_field(writer, "CapBnd"), "0000000000000000");
    assert!(town.ok(&["logs", "s"]).contains("said"), "and it writes");
    assert_ne!(
        status_field(keeper, "CapEff"),
        "0000000000000000",
        "as its parent does not"
    );
    town.ok(&["down"]);
    let folder = Folder::new("steered");
    let server = Server::start(&folder.path().join("store"), &["--anonymous", "publish"]);
    let pid = server.child.id().cast_signed();
    holds_nothing("the registry", pid);
    assert_eq!(server.publish("s", "1.0.0", README).status, 200, "and it serves");
    drop(server);
    machine.assert_clean();
}
