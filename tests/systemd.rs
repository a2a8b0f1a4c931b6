//! Where systemd is pid 1: an instance is a scope, as systemd itself and the kernel see it. `vagrant/qemu.sh` runs these.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{children, eventually, processes};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: scoped
services:
  store: {readme: store.md, health_check: none, stop_grace: 20}
  web: {readme: web.md, health_check: none, stop_grace: 20, depends_on: [store]}
";

/// Says when it was asked to end, and takes `pause` seconds before it does.
fn readme(name: &str, pause: &str) -> String {
    format!(
        "# {name}

```sh markpact:run
trap 'sleep {pause}; date +%s%N > /app/ended; exit 0' TERM
while :; do sleep 1000 & wait; done
```
"
    )
}

fn town() -> Town {
    Town::new(
        "scoped",
        YAML,
        &[
            ("store.md", &readme("Store", "0")),
            ("web.md", &readme("Web", "2")),
        ],
    )
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

/// The scope of the only instance that runs: its name and its directory.
fn scope() -> (String, PathBuf) {
    let entries = fs::read_dir("/sys/fs/cgroup/pactown.slice")
        .expect("the slice")
        .flatten();
    let scopes: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("pactown-scoped-") && name.ends_with(".scope"))
        .collect();
    assert_eq!(scopes.len(), 1, "{scopes:?}");
    let directory = PathBuf::from("/sys/fs/cgroup/pactown.slice").join(&scopes[0]);
    (scopes[0].clone(), directory)
}

/// What a session is to systemd: a unit whose processes all end with it. `up -d` runs in one.
fn up_in_a_session_that_ends(town: &Town) {
    let directory = format!("--working-directory={}", town.path().display());
    let program = env!("CARGO_BIN_EXE_pactown");
    run(
        "systemd-run",
        &[
            "--wait",
            "--collect",
            "--quiet",
            "--pipe",
            &directory,
            program,
            "up",
            "-d",
        ],
    );
}

/// logind as on hosts that end what a session leaves behind, also of root, whom it spares unless others are named; as before
/// on drop (logind.conf(5)). A user's own manager ends with the last session, not ten seconds later.
struct StrictLogind;

impl StrictLogind {
    const FILE: &str = "/run/systemd/logind.conf.d/pactown-test.conf";

    fn set() -> Self {
        let directory = Path::new(Self::FILE).parent().expect("directory");
        fs::create_dir_all(directory).expect("directory");
        let text = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\nUserStopDelaySec=0\n";
        fs::write(Self::FILE, text).expect("file");
        let strict = Self;
        run("systemctl", &["restart", "systemd-logind"]);
        strict
    }
}

impl Drop for StrictLogind {
    fn drop(&mut self) {
        let _ = fs::remove_file(Self::FILE);
        let _ = Command::new("systemctl")
            .args(["restart", "systemd-logind"])
            .status();
    }
}

/// A login as PAM and logind know it, in which `script` runs, and the logout.
fn log_in(town: &Town, script: &str) {
    let directory = format!("--working-directory={}", town.path().display());
    let session = ["--property=PAMName=login", "--property=User=root", &directory];
    let quiet = ["--wait", "--collect", "--quiet", "--pipe"];
    let words: Vec<&str> = quiet
        .into_iter()
        .chain(session)
        .chain(["sh", "-c", script])
        .collect();
    run("systemd-run", &words);
}

/// Who depends ends first, though it takes two seconds and the other none.
#[track_caller]
fn assert_ended_in_order(town: &Town) {
    let ended = |name: &str| -> u64 {
        let path = town.path().join(".pactown-sandboxes").join(name).join("ended");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().parse().expect("a time")
    };
    assert!(ended("web") < ended("store"));
}

/// What `systemctl stop` does, on every host: each process gets the scope's signal. The keeper alone minds it.
#[test]
fn the_stop_signal_of_a_scope_is_an_end_in_order_to_the_keeper_only() {
    let machine = Machine::take();
    for signal in [Signal::SIGURG, Signal::SIGTERM] {
        let town = town();
        town.ok(&["up", "-d"]);
        let keeper = processes("pactown:keeper", "scoped")[0];
        if signal == Signal::SIGURG {
            let inits = [town.pid("web"), town.pid("store")];
            let services = inits.map(|init| children(init)[0]);
            for pid in inits
                .iter()
                .chain(&services)
                .chain(&processes("pactown:super", "scoped"))
            {
                kill(Pid::from_raw(*pid), signal).expect("kill");
            }
            assert_eq!(inits, [town.pid("web"), town.pid("store")]);
        }
        kill(Pid::from_raw(keeper), signal).expect("kill");
        eventually("everything ends", Duration::from_secs(10), || {
            processes("pactown:keeper", "scoped").is_empty()
        });
        assert_ended_in_order(&town);
        assert_eq!(town.ok(&["down"]).trim(), "nothing to stop");
    }
    machine.assert_clean();
}

#[test]
#[ignore = "needs systemd as pid 1: vagrant/qemu.sh"]
fn an_instance_is_a_delegated_scope_that_outlives_the_session() {
    let machine = Machine::take();
    let town = town();
    up_in_a_session_that_ends(&town);
    assert!(
        town.services().iter().all(|row| row["state"] == "running"),
        "{:?}",
        town.services()
    );
    let (unit, directory) = scope();
    let shown = run(
        "systemctl",
        &["show", &unit, "-p", "Delegate,Slice,ActiveState,TasksMax"],
    );
    for line in [
        "Delegate=yes",
        "Slice=pactown.slice",
        "ActiveState=active",
        "TasksMax=infinity",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let read = |file: PathBuf| {
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    assert_eq!(
        read(directory.join("cgroup.procs")),
        "",
        "an inner node has no processes"
    );
    for controller in ["memory", "pids", "cpu"] {
        assert!(
            read(directory.join("cgroup.subtree_control")).contains(controller),
            "{controller}"
        );
    }
    for comm in ["pactown:keeper", "pactown:super"] {
        let pid = processes(comm, "scoped")[0];
        let group = read(format!("/proc/{pid}/cgroup").into());
        assert!(
            group.trim().ends_with(&format!("/{unit}/_keeper")),
            "{comm}: {group}"
        );
    }
    for name in ["store", "web"] {
        let group = read(format!("/proc/{}/cgroup", town.pid(name)).into());
        assert!(
            group
                .trim()
                .ends_with(&format!("/pactown.slice/{unit}/_services/{name}")),
            "{group}"
        );
        assert_eq!(
            read(directory.join("_services").join(name).join("memory.oom.group")).trim(),
            "1"
        );
        assert!(
            read(directory.join("_services").join(name).join("memory.peak"))
                .trim()
                .parse::<u64>()
                .expect("peak")
                > 0
        );
        assert_eq!(
            town.inside(name, "cat /proc/self/cgroup"),
            "0::/",
            "it sees its own group as the root"
        );
        assert_eq!(
            town.inside(name, "cat /sys/fs/cgroup/pids.max"),
            read(directory.join("_services").join(name).join("pids.max")).trim()
        );
        let refused = town.inside(name, "(echo 1 > /sys/fs/cgroup/cgroup.freeze) 2>&1; true");
        assert!(refused.contains("Read-only"), "{refused}");
    }
    let tree = run("systemd-cgls", &["--no-pager", "--unit", "pactown.slice"]);
    assert!(tree.contains(&unit) && tree.contains("web"), "{tree}");
    town.ok(&["down"]);
    assert!(!directory.exists(), "the scope is gone when `down` says so");
    machine.assert_clean();
}

/// What else was left in the background ends with the session.
#[test]
#[ignore = "needs systemd as pid 1: vagrant/qemu.sh"]
fn a_logout_that_ends_all_of_the_session_leaves_it_running() {
    let machine = Machine::take();
    let had_sessions = Path::new("/run/user/0").exists();
    let logind = StrictLogind::set();
    let town = town();
    let left = "setsid sleep 4242 </dev/null >/dev/null 2>&1 & echo $! >left";
    let program = env!("CARGO_BIN_EXE_pactown");
    log_in(
        &town,
        &format!("cat /proc/self/cgroup >group; {left}; {program} up -d"),
    );
    let read = |name: &str| fs::read_to_string(town.path().join(name)).expect("file");
    let group = read("group");
    assert!(group.contains("/session-"), "it was a session: {group}");
    let left = Path::new("/proc").join(read("left").trim());
    eventually("what else was left is ended", Duration::from_secs(10), || {
        !left.exists()
    });
    eventually("the user is gone", Duration::from_secs(10), || {
        had_sessions || !Path::new("/run/user/0").exists()
    });
    let rows = town.services();
    assert!(
        rows.len() == 2 && rows.iter().all(|row| row["state"] == "running"),
        "{rows:?}"
    );
    for name in ["store", "web"] {
        let pid = town.pid(name);
        assert!(Path::new("/proc").join(pid.to_string()).exists(), "{name}");
    }
    let tree = run("systemd-cgls", &["--no-pager", "--unit", "pactown.slice"]);
    assert!(tree.contains(&scope().0), "{tree}");
    drop(logind);
    run("systemctl", &["stop", &scope().0]);
    assert_ended_in_order(&town);
    assert_eq!(town.ok(&["down"]).trim(), "nothing to stop");
    machine.assert_clean();
}

#[test]
#[ignore = "needs systemd as pid 1: vagrant/qemu.sh"]
fn systemctl_stop_ends_it_in_order() {
    let machine = Machine::take();
    let town = town();
    up_in_a_session_that_ends(&town);
    let (unit, directory) = scope();
    run("systemctl", &["stop", &unit]);
    assert!(!directory.exists());
    assert_ended_in_order(&town);
    assert_eq!(town.ok(&["down"]).trim(), "nothing to stop");
    machine.assert_clean();
}

#[test]
#[ignore = "needs systemd as pid 1: vagrant/qemu.sh"]
fn when_the_keeper_is_killed_its_scope_goes_and_the_name_is_free() {
    let machine = Machine::take();
    let town = town();
    up_in_a_session_that_ends(&town);
    let (_, directory) = scope();
    let keeper = processes("pactown:keeper", "scoped")[0];
    kill(Pid::from_raw(keeper), Signal::SIGKILL).expect("kill");
    town.ok(&["up", "-d"]);
    assert!(directory.join("_services/web").exists() && processes("pactown:keeper", "scoped") != [keeper]);
    let keeper = processes("pactown:keeper", "scoped")[0];
    kill(Pid::from_raw(keeper), Signal::SIGKILL).expect("kill");
    eventually("systemd removes the scope", Duration::from_secs(5), || {
        !directory.exists()
    });
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
#[ignore = "needs systemd as pid 1: vagrant/qemu.sh"]
fn doctor_says_that_there_are_scopes() {
    let town = town();
    let text = town.ok(&["doctor"]);
    assert!(
        text.contains("pid 1: each instance has a scope in `pactown.slice`"),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|line| line.contains("cgroup version") && line.trim().ends_with("v2")),
        "{text}"
    );
}
