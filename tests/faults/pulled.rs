//! Things pulled away from below a running ecosystem by somebody else: control groups, namespaces' files, rules, a
//! directory that may be written.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::records::run_directory;
use super::{readme, the};
use crate::support::observe::patient;
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: pulled
services:
  db: {readme: s.md, port: 8000, health_check: none}
  api: {readme: s.md, port: 8000, health_check: none, depends_on: [db]}
";

#[track_caller]
fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh");
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Moves everything out of the control groups of `db`, and removes them.
fn pull_groups(town: &Town) {
    let pid = town.pid("db");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    for line in groups.lines().filter(|line| line.contains("pactown")) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next().expect("names"), parts.next().expect("path"));
        let roots = ["", "unified", names.trim_start_matches("name="), names];
        let mut root = roots.iter().map(|root| format!("/sys/fs/cgroup/{root}"));
        let of_names = |root: &String| fs::exists(format!("{root}{path}/cgroup.procs")).unwrap_or(false);
        let root = root.rfind(of_names).unwrap_or_else(|| panic!("{line}"));
        shell(&format!(
            "for pid in $(cat {root}{path}/cgroup.procs); do echo $pid > {root}/cgroup.procs; done; rmdir {root}{path}"
        ));
    }
}

fn pull_namespace() {
    let file = run_directory("pulled-").join("netns").join("db");
    assert!(file.exists(), "{}", file.display());
    shell(&format!("umount {0}; rm {0}", file.display()));
}

/// What another program may try: rules belong to the instance, and stay.
fn pull_rules() {
    shell("nft list tables | grep pactown_ | while read table; do ! nft delete $table; done");
    // Others may have rules on this machine, and would miss them.
    shell("nft list tables | grep -qv pactown_ || nft flush ruleset");
    shell("nft list tables | grep -q pactown_");
}

/// The uplink, and with it the addresses and routes.
fn pull_link() {
    shell("ip -o link | grep -o 'pt[0-9a-f]\\{8\\}' | sort -u | xargs -n1 ip link delete");
}

#[test]
fn what_is_pulled_away_hinders_no_command() {
    for (kind, pull) in [
        ("control groups", Box::new(pull_groups) as Box<dyn Fn(&Town)>),
        ("a namespace's file", Box::new(|_| pull_namespace())),
        ("the rules", Box::new(|_| pull_rules())),
        ("the uplink", Box::new(|_| pull_link())),
    ] {
        let machine = Machine::take();
        let town = Town::new(
            "pulled",
            YAML,
            &[("s.md", &readme("echo begun\nexec sleep 1000"))],
        );
        town.ok(&["up", "-d"]);
        let supervisor = the("pactown:super", "pulled-");
        pull(&town);
        assert!(
            town.services().iter().all(|row| row["state"] == "running"),
            "{kind}"
        );
        assert!(town.ok(&["logs", "db"]).contains("begun"), "{kind}");
        assert_eq!(the("pactown:super", "pulled-"), supervisor, "{kind}");
        town.ok(&["restart", "db"]);
        assert!(
            town.services().iter().all(|row| row["state"] == "running"),
            "{kind}"
        );
        town.ok(&["down"]);
        assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "{kind}");
        machine.assert_clean();
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named_at_once() {
    let machine = Machine::take();
    let town = Town::new("pulled", YAML, &[("s.md", &readme("exec sleep 1000"))]);
    let script = "mkdir -p /run/pactown; mount --bind /run/pactown /run/pactown; \
                  mount -o remount,bind,ro /run/pactown";
    let started = Instant::now();
    let output = town.up_on_another_host(script);
    let took = started.elapsed();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        [Some(1), Some(3)].contains(&output.status.code()),
        "{:?} {told}",
        output.status
    );
    assert!(
        told.contains("/run/pactown") && told.contains("Read-only"),
        "{told}"
    );
    assert!(took < patient(Duration::from_secs(2)), "{took:?}");
    machine.assert_clean();
}
