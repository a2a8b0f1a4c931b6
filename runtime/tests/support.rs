//! What the host is found to have: all of it here, and less on kernels made poorer by the `deny` example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pactown_runtime::support::{features, lacks_idmapped_upper};

/// An example, built beside this test.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let target = own.ancestors().nth(2).expect("target");
    target.join("examples").join(name)
}

/// Lines of the `features` example with this marker, run behind a command.
#[track_caller]
fn lines(command: &[&str], marker: &str) -> Vec<String> {
    let mut whole = Command::new(command[0]);
    let output = whole.args(&command[1..]).output().expect("start");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .filter(|line| line.contains(marker))
        .map(str::to_owned)
        .collect()
}

/// The features that are missing when `call` fails with `errno`.
#[track_caller]
fn missing_without(errno: &str, call: &str) -> Vec<String> {
    let (deny, features) = (example("deny"), example("features"));
    let [deny, features] = [&deny, &features].map(|path| path.to_str().expect("path"));
    lines(&[deny, errno, call, "--", features], "MISSING")
}

#[track_caller]
fn names_only(errno: &str, call: &str, names: &[&str]) {
    let missing = missing_without(errno, call);
    assert_eq!(missing.len(), names.len(), "{call} {errno}: {missing:#?}");
    for (line, name) in missing.iter().zip(names) {
        assert!(line.contains(name), "{call} {errno} names {name}: {line}");
    }
}

/// Mounts and cgroups that exist now and carry a probe's name.
fn leftovers() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let groups = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "3", "-name", "pactown-probe-*"])
        .output();
    let groups = String::from_utf8(groups.expect("find").stdout).expect("text");
    let overlays: Vec<&str> = mounts
        .lines()
        .filter(|line| line.contains("lowerdir=l0"))
        .collect();
    overlays.join("\n") + &groups
}

/// In this process, which has threads; the other tests probe in processes of their own.
#[test]
fn nothing_is_missing_here_and_nothing_is_left() {
    for feature in features() {
        assert_eq!(feature.missing, None, "{}", feature.name);
    }
    let program = example("features");
    let found = lines(&[program.to_str().expect("path")], "there");
    assert_eq!(found.len(), features().len(), "{found:#?}");
    let left = leftovers();
    assert!(!left.contains("lowerdir=l0"), "{left}");
    assert!(
        !left.contains(&format!("pactown-probe-{}", nix::unistd::gettid())),
        "{left}"
    );
}

#[test]
fn each_missing_call_is_named() {
    names_only("ENOSYS", "mount_setattr", &["id-mapped"]);
    names_only("EPERM", "open_tree", &["id-mapped"]);
    names_only("ENOSYS", "openat2", &["openat2"]);
    names_only("ENOSYS", "pidfd_open", &["pidfd"]);
    names_only("ENOSYS", "fsopen", &["overlayfs"]);
    names_only("EINVAL", "seccomp", &["seccomp"]);
    // No other error: with it, glibc could not make threads either (pthread_create(3) falls back on ENOSYS alone).
    names_only(
        "ENOSYS",
        "clone3",
        &["namespaces", "user namespaces", "id-mapped"],
    );
}

#[test]
fn cgroups_that_cannot_be_written_are_named() {
    let script = "for m in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do mount -o remount,bind,ro $m; done; exec \"$0\"";
    let program = example("features");
    let missing = lines(
        &[
            "unshare",
            "-m",
            "sh",
            "-c",
            script,
            program.to_str().expect("path"),
        ],
        "MISSING",
    );
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert!(missing[0].starts_with("cgroup"), "{missing:#?}");
    assert!(missing[0].contains("Read-only"), "{missing:#?}");
}

/// What the example says of the directory `dir` after this script made it, on a tmpfs of its own.
#[track_caller]
fn upper_on(script: &str) -> String {
    let script = format!(
        "set -e; mount -t tmpfs tmpfs /mnt; cd /mnt; mkdir dir l u w; {script}; \"$0\" /mnt/dir | tail -1"
    );
    let program = example("features");
    lines(
        &[
            "unshare",
            "-m",
            "sh",
            "-c",
            &script,
            program.to_str().expect("path"),
        ],
        "/mnt/dir",
    )
    .concat()
}

#[test]
fn an_upper_directory_is_refused_where_it_cannot_be() {
    let told = upper_on("mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w dir");
    assert!(told.contains("REFUSED") && told.contains("on overlay"), "{told}");
    let told = upper_on("mount -t proc proc dir");
    assert!(told.contains("REFUSED") && told.contains("on proc"), "{told}");
    let told = upper_on("mount -t ramfs ramfs dir");
    assert!(
        told.contains("REFUSED") && told.contains("0x858458f6") && told.contains("Invalid argument"),
        "the kernel's answer: {told}"
    );
    let told = upper_on("mount -o bind dir dir; mount -o remount,bind,ro dir");
    assert!(told.contains("REFUSED") && told.contains("read-only"), "{told}");
}

/// The sandboxes of the other tests have theirs below `/var/tmp`; Linux 6.3 and newer map tmpfs too.
#[test]
fn an_upper_directory_is_taken_where_it_can_be() {
    assert_eq!(lacks_idmapped_upper(Path::new("/var/tmp")), None);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let numbers: Vec<u32> = release
        .split('.')
        .filter_map(|part| part.parse().ok())
        .take(2)
        .collect();
    let told = upper_on("mount -t tmpfs tmpfs dir");
    if numbers[..] >= [6, 3][..] {
        assert!(told.contains("takes it"), "{told}");
    } else {
        assert!(told.contains("REFUSED") && told.contains("on tmpfs"), "{told}");
    }
    let told = lacks_idmapped_upper(Path::new("/no/such/directory")).expect("refused");
    assert!(told.contains("No such file"), "{told}");
}
