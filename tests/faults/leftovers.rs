//! What an earlier boot or a power cut may leave: records of processes that are strangers now, links, tables, control
//! groups, namespaces' files. The next command removes all of it and signals nobody.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::records::{Bystander, run_directory};
use super::{SOON, born, readme, signal, the};
use crate::support::observe::{eventually, processes};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: boot
services:
  db: {readme: s.md, port: 8000, health_check: none}
  api: {readme: s.md, port: 8000, health_check: none, depends_on: [db]}
";

#[track_caller]
fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh");
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Everything the kernel and the disk can hold of the instance, made again by hand after its end.
fn lay_out(
    directory: &Path,
    copy: &Path,
    table: &str,
    link: &str,
    groups: &[String],
    strangers: &[Bystander],
) {
    let run = directory.display();
    shell(&format!(
        "cp -r {} {run}; rm -rf {run}/netns; mkdir {run}/netns",
        copy.display()
    ));
    for (name, stranger) in ["db", "api"].iter().zip(strangers) {
        let path = directory.join("services").join(format!("{name}.json"));
        let mut record: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("record")).expect("json");
        assert!(record["process"]["pid"].is_i64(), "{record}");
        record["process"]["pid"] = stranger.pid().into();
        record["process"]["start_time"] = born(stranger.pid()).expect("it lives").into();
        fs::write(&path, record.to_string()).expect("record");
        shell(&format!(
            "touch {run}/netns/{name}; unshare --net={run}/netns/{name} true"
        ));
    }
    shell(&format!(
        "ip link add {link} type veth peer name {link}x; nft add {table}"
    ));
    for group in groups {
        fs::create_dir_all(group).expect("group");
    }
}

/// The control group directories that the instance has now, in the hierarchies that it uses.
fn groups(directory: &Path) -> Vec<String> {
    let name = directory.file_name().expect("name").display();
    let found = shell(&format!(
        "find /sys/fs/cgroup -type d -path '*/pactown*{name}*/db'"
    ));
    let found: Vec<_> = found.lines().map(str::to_owned).collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn leftovers_of_an_earlier_boot_are_removed_and_strangers_left_alone() {
    let machine = Machine::take();
    let town = Town::new("boot", YAML, &[("s.md", &readme("exec sleep 1000"))]);
    town.ok(&["up", "-d"]);
    let directory = run_directory("boot-");
    let groups = groups(&directory);
    let copy = town.path().join("copy");
    let table = shell("nft list tables | grep pactown_ | head -1");
    let link = shell("ip -o link | grep -o 'pt[0-9a-f]\\{8\\}' | head -1");
    // Sockets are copied as what they are: nobody listens on them afterwards.
    shell(&format!(
        "mkdir {0}; cd {1}; cp -r $(ls | grep -v netns) {0}",
        copy.display(),
        directory.display()
    ));
    town.ok(&["down"]);
    machine.assert_clean();
    for next in ["down", "up"] {
        let mut strangers = [Bystander::new(), Bystander::new()];
        lay_out(&directory, &copy, &table, &link, &groups, &strangers);
        if next == "up" {
            town.ok(&["up", "-d"]);
            assert!(town.services().iter().all(|row| row["state"] == "running"));
        }
        town.ok(&["down"]);
        strangers.iter_mut().for_each(Bystander::unharmed);
        assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
        machine.assert_clean();
    }
}

#[test]
fn what_a_readme_on_its_own_wrote_goes_with_the_next_start() {
    let machine = Machine::take();
    let town = Town::new("alone", YAML, &[("s.md", &readme("exec sleep 1000"))]);
    town.write(
        "alone/README.md",
        &readme("echo precious > kept; echo begun; exec sleep 1000"),
    );
    let mut command = town.spawn(&["run", "alone/README.md"]);
    let scratch = Path::new("/var/lib/pactown/.run");
    let wrote = || shell(&format!("find {} -name kept", scratch.display()));
    eventually("it has written", SOON, || scratch.exists() && !wrote().is_empty());
    // All of them, before one can clean up behind another.
    signal(the("pactown:super", "alone-"), Signal::SIGSTOP);
    command.kill().expect("kill");
    command.wait().expect("wait");
    for comm in ["pactown:keeper", "pactown:super"] {
        signal(the(comm, "alone-"), Signal::SIGKILL);
    }
    eventually("all have ended", SOON, || {
        ["pactown:keeper", "pactown:super"]
            .iter()
            .all(|comm| processes(comm, "alone-").is_empty())
    });
    let (listed, _) = town.expect(1, &["doctor", "--leaks"]);
    assert!(
        listed.contains(&format!("scratch {}", scratch.display())),
        "{listed}"
    );
    // Any start removes the files; the README's own next one everything.
    town.ok(&["up", "-d"]);
    assert_eq!(wrote(), "");
    town.ok(&["down"]);
    town.write("alone/README.md", &readme("test ! -e kept"));
    town.ok(&["run", "alone/README.md"]);
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
    machine.assert_clean();
}
