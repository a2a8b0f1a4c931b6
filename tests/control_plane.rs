//! The sockets and files through which an instance is steered: who may use them, seen as nobody and from inside.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

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
