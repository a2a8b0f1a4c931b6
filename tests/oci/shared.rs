//! crun, on a host that shares its mounts as systemd has them: it clones what is bound there, outside of the container.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Runs the bundle `$2` as the container `$3`, with its files in `$1`, and ends as it does. crun refuses hosts with cgroup
/// v1, so it sees the unified hierarchy alone, and makes no group; its mounts are shared with nobody but each other.
const RUN: &str = r#"
set -e
mount --make-rshared /
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mounts() { awk '{ print $5 }' /proc/self/mountinfo | sort; }
mounts >"$1/before"
code=0
crun --root "$1/crun" --cgroup-manager=disabled run --bundle "$2" "$3" >"$1/output" 2>&1 || code=$?
mounts >"$1/after"
exit "$code"
"#;

const SHOWS: &str = "# Shows

```sh markpact:run
cat note.txt notes/one.txt
(echo x > note.txt) 2>&1 | grep -o 'Read-only.*'
(echo x > notes/one.txt) 2>&1 | grep -o 'Read-only.*'
echo kept > data/file.txt && ls -A /etc/ssl/private | wc -l
exit 7
```
";

/// Files and directories of the host are bound with their flags, and nothing that is mounted inside (the mask of
/// `/etc/ssl/private`, the volume in `/app`) appears outside.
#[test]
fn crun_runs_it_and_mounts_nothing_on_a_host_that_shares_its_mounts() {
    let machine = Machine::take();
    let yaml = "name: shows\nservices:\n  k: {readme: k.md, health_check: none, restart: \"no\", egress: none, \
                volumes: [\"v:/app/data\"], mounts: [\"./note.txt:/app/note.txt\", \"./notes:/app/notes\"]}\n";
    let files = [
        ("k.md", SHOWS),
        ("note.txt", "noted\n"),
        ("notes/one.txt", "one\n"),
    ];
    let town = Town::new("shows", yaml, &files);
    for name in ["note.txt", "notes/one.txt"] {
        let anybodys = fs::Permissions::from_mode(0o666);
        fs::set_permissions(town.path().join(name), anybodys).expect("mode");
    }
    let scratch = Scratch::new("shows");
    let bundle = scratch.0.join("k");
    town.ok(&["spec", "k", "--bundle", bundle.to_str().expect("text")]);
    without_limits(&bundle);
    let name = format!("pactown-oci-{}-shows", std::process::id());
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", RUN, "sh"])
        .args([&scratch.0, &bundle])
        .arg(name)
        .status()
        .expect("unshare");
    let read = |name: &str| fs::read_to_string(scratch.0.join(name)).unwrap_or_default();
    assert_eq!(status.code(), Some(7), "{}", read("output"));
    assert_eq!(
        read("output"),
        "noted\none\nRead-only file system\nRead-only file system\n0\n"
    );
    assert!(read("before").contains("/sys/fs/cgroup\n"));
    assert_eq!(read("before"), read("after"));
    machine.assert_clean();
}

/// The unified hierarchy of a host with v1 has no controllers to limit by.
fn without_limits(bundle: &Path) {
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("config")).expect("json");
    let linux = config["linux"].as_object_mut().expect("linux");
    assert!(linux.remove("resources").is_some());
    fs::write(&path, config.to_string()).expect("config");
}
