//! Exceptions from the isolation: each does what it says, is shown wherever services are shown, and none is a way to the
//! host.

use std::fs;

use crate::support::observe::{children, status_field};
use crate::support::skips::skipped;
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: loosened
services:
  tight: {readme: s.md}
  capable: {readme: s.md, user: root, security: {capabilities: [chown, CAP_SETUID, SETGID]}}
  ambient: {readme: s.md, security: {capabilities: [DAC_OVERRIDE]}}
  traced: {readme: s.md, security: {debug: true}}
  free: {readme: s.md, security: {seccomp: unconfined}}
  own: {readme: s.md, security: {seccomp: profile.json}}
  open: {readme: s.md, read_only: false}
";

const README: &str = "# Sleeper

```sh markpact:run
exec sleep 1000
```
";

const PROFILE: &str = r#"{
  "defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}]
}"#;

/// The result of one call inside, by number: `0` or the errno.
fn call(town: &Town, service: &str, expression: &str) -> String {
    let script = format!(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nr = {expression}\nprint(0 if r >= 0 else ctypes.get_errno())"
    );
    town.ok(&["exec", "-T", service, "python3", "-c", &script])
        .trim()
        .to_owned()
}

#[test]
fn each_exception_does_what_it_says_and_is_shown() {
    let machine = Machine::take();
    let town = Town::new("loosened", YAML, &[("s.md", README), ("profile.json", PROFILE)]);
    let plan = town.ok(&["up", "-n"]);
    for line in [
        "loosen capable: it runs as root of its user namespace (user: root)",
        "loosen capable: it has CHOWN, SETGID, SETUID in its user namespace",
        "loosen traced: its processes may trace each other",
        "loosen free: no system call is filtered",
        "loosen own: system calls are filtered by ",
        "loosen open: its root file system can be written",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    assert!(!plan.contains("loosen tight"), "{plan}");
    let (_, told) = town.expect(0, &["up", "-d"]);
    assert!(told.contains("free: no system call is filtered"), "{told}");
    let (_, told) = town.expect(0, &["ps"]);
    assert!(
        told.contains("traced: its processes may trace each other"),
        "{told}"
    );
    assert_eq!(town.service("tight")["notices"].as_array().map(Vec::len), Some(0));

    let effective = |service: &str| status_field(children(town.pid(service))[0], "CapEff");
    assert_eq!(effective("tight"), "0000000000000000");
    assert_eq!(effective("capable"), "00000000000000c1");
    assert_eq!(effective("ambient"), "0000000000000002");
    assert_eq!(
        status_field(children(town.pid("ambient"))[0], "CapBnd"),
        "0000000000000002"
    );
    // What capabilities are for: to give files away and to become somebody else, inside.
    let script = "touch /tmp/x && chown 33:33 /tmp/x && stat -c %u:%g /tmp/x && setpriv --reuid 33 --regid 33 --clear-groups id -u";
    assert_eq!(town.inside("capable", script), "33:33\n33");
    let inspected = town.ok(&["inspect", "capable"]);
    assert!(inspected.contains("SETUID"), "{inspected}");

    const TRACE_ME: &str = "libc.ptrace(0, 0, 0, 0)";
    assert_eq!(
        (
            call(&town, "tight", TRACE_ME).as_str(),
            call(&town, "traced", TRACE_ME).as_str()
        ),
        ("1", "0")
    );
    const KEYRING: &str = "libc.syscall(250, 0, -3, 1)";
    let at = if cfg!(target_arch = "x86_64") {
        KEYRING
    } else {
        "libc.syscall(219, 0, -3, 1)"
    };
    assert_eq!(
        (
            call(&town, "tight", at).as_str(),
            call(&town, "free", at).as_str()
        ),
        ("1", "0")
    );
    assert_eq!(call(&town, "own", "libc.getpriority(0, 0)"), "11");
    assert_eq!(status_field(children(town.pid("free"))[0], "Seccomp"), "0");

    let write = "echo x > /etc/written && cat /etc/written; mkdir /here && echo made";
    assert_eq!(town.inside("open", write), "x\nmade");
    assert!(!town.path().join(".pactown-sandboxes/open/etc").exists());
    assert!(
        town.inside("open", "(touch /usr/x) 2>&1; true")
            .contains("Read-only")
    );
    still_no_way_out(&town);
    town.ok(&["down"]);
    machine.assert_clean();
}

/// With every exception: no id, mount or parameter of the host.
fn still_no_way_out(town: &Town) {
    for service in ["capable", "ambient", "traced", "free", "own", "open"] {
        let pid = children(town.pid(service))[0];
        let uid: u32 = status_field(pid, "Uid")
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .expect("uid");
        assert!(uid >= 100_000, "{service} is {uid} on the host");
        let script = "(mount -t tmpfs none /tmp) 2>&1; (echo x > /proc/sys/kernel/core_pattern) 2>&1; (unshare -U true) 2>&1; true";
        let said = town.inside(service, script);
        let refused = [
            "denied",
            "permitted",
            "superuser",
            "Read-only",
            "No space",
            "must be",
        ];
        assert_eq!(
            said.lines()
                .filter(|line| refused.iter().any(|word| line.contains(word)))
                .count(),
            3,
            "{service}: {said}"
        );
    }
}

#[test]
fn a_device_is_a_node_of_the_services_own() {
    let machine = Machine::take();
    let Some(device) = ["/dev/kvm", "/dev/fuse", "/dev/ttyS0"]
        .iter()
        .find(|path| fs::symlink_metadata(path).is_ok())
    else {
        skipped(
            "a device of a service's own",
            "this host has none that could be given",
        );
        return;
    };
    let yaml = format!(
        "
name: devices
services:
  with: {{readme: s.md, devices: ['{device}:ro']}}
  without: {{readme: s.md}}
  lost: {{readme: s.md, devices: [/dev/kfd]}}
"
    );
    let town = Town::new("devices", &yaml, &[("s.md", README)]);
    town.ok(&["up", "-d", "with", "without"]);
    assert_eq!(
        town.inside("with", &format!("stat -c '%F %a %U' {device}")),
        "character special file 400 app"
    );
    assert!(
        town.inside("without", &format!("ls {device} 2>&1; true"))
            .contains("No such file")
    );
    let lost = std::path::Path::new("/dev/kfd").exists();
    let (_, told) = town.expect(if lost { 0 } else { 3 }, &["up", "-d", "lost"]);
    assert!(lost || told.contains("/dev/kfd"), "{told}");
    town.ok(&["down"]);
    machine.assert_clean();
}
