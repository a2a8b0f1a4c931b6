//! A limit that cannot be applied is an error before anything is made, with the controller, the file and the next step.

use std::path::Path;

use super::{WHEN_TOLD, soon, told};
use crate::faults::{group, number, python, readme};
use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

fn town(limits: &str) -> Town {
    let yaml = format!("name: refused\nservices:\n  one: {{readme: one.md, limits: {{{limits}}}}}\n");
    Town::new("refused", &yaml, &[("one.md", &readme("exec sleep 1000"))])
}

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn weights_of_io_need_somebody_who_minds_them() {
    let machine = Machine::take();
    let minds = std::fs::read_dir("/sys/block")
        .expect("block")
        .flatten()
        .any(|disk| {
            let text = std::fs::read_to_string(disk.path().join("queue/scheduler")).unwrap_or_default();
            text.contains("[bfq]") && !disk.file_name().to_string_lossy().starts_with("loop")
        });
    let town = town("io_weight: 300");
    if minds {
        town.ok(&["up", "-d"]);
        let (controller, file) = if is_v2() {
            ("io", "io.bfq.weight")
        } else {
            ("blkio", "blkio.bfq.weight")
        };
        let text =
            std::fs::read_to_string(group(town.pid("one"), controller).0.join(file)).expect("a weight");
        assert!(text.contains("118"), "{text}");
        town.ok(&["down"]);
    } else {
        let (_, refused) = town.expect(3, &["up", "-d"]);
        for part in [
            "one: cannot apply `io_weight`",
            "io.bfq.weight",
            "/queue/scheduler",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    machine.assert_clean();
}

#[test]
fn memory_high_holds_on_v2_and_is_refused_on_v1() {
    let machine = Machine::take();
    let town = town("memory: 128M, memory_high: 32M");
    if !is_v2() {
        let (_, refused) = town.expect(3, &["up", "-d"]);
        for part in [
            "one: cannot apply `memory_high`",
            "`memory.high`",
            "cgroup v2",
            "unified_cgroup_hierarchy",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        machine.assert_clean();
        return;
    }
    let eat = "kept = [b\"x\" * (1 << 20) for _ in range(48)]\nprint(\"full\")\ntime.sleep(1000)";
    town.write("one.md", &python(&format!("{WHEN_TOLD}\n{eat}")));
    town.ok(&["up", "-d"]);
    assert_eq!(
        number(group(town.pid("one"), "memory").0.join("memory.high")),
        32 << 20
    );
    town.inside("one", "touch /tmp/go");
    eventually("it is told", soon(), || {
        told(&town, "one")
            .iter()
            .any(|cause| cause.contains("above memory_high"))
    });
    assert_eq!(town.service("one")["state"], "running", "slowed down, not killed");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_controller_that_is_not_there_is_named() {
    let machine = Machine::take();
    let (limits, controller) = (
        "io_read: 10M, pids: 50, cpus: 1",
        "there is no `io` (v1: `blkio`) cgroup controller",
    );
    let town = town(limits);
    if is_v2() {
        // All of them are in one place there: without it nothing can be made, which is told as a whole.
        let refused = town.up_on_another_host("umount -l /sys/fs/cgroup");
        assert_eq!(refused.status.code(), Some(3));
    } else {
        let refused = town.up_on_another_host("while umount /sys/fs/cgroup/blkio 2>/dev/null; do :; done");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{told}");
        assert!(
            told.contains("one: cannot apply `io_read`") && told.contains(controller),
            "{told}"
        );
        assert!(
            !told.contains("`pids`"),
            "what can be applied is not named: {told}"
        );
    }
    machine.assert_clean();
}

#[test]
fn mkfs_and_open_files_are_looked_for_before() {
    let machine = Machine::take();
    let town = town("disk: 64M, open_files: 4000000000");
    let hide =
        "for p in /usr/sbin /sbin; do [ -e $p/mkfs.ext4 ] && mount --bind /dev/null $p/mkfs.ext4; done; true";
    let refused = town.up_on_another_host(hide);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(
        told.contains("one: cannot apply `open_files`: 4000000000 is more than"),
        "{told}"
    );
    assert!(
        told.contains("one: cannot apply `disk`: there is no `mkfs.ext4`"),
        "{told}"
    );
    machine.assert_clean();
}

#[test]
fn the_file_says_what_is_wrong_with_a_limit() {
    let yaml = "
name: wrong
limits: {memory: 100M, disk: 1G}
services:
  one: {readme: one.md, limits: {memory: 200M, cpu_weight: 20000, memory_high: 300M, nofile: 5, disk: 1M}}
";
    let town = Town::new("wrong", yaml, &[("one.md", &readme("true"))]);
    let (_, told) = town.expect(1, &["validate"]);
    for part in [
        "unknown key 'disk' in 'limits'",
        "'memory' is more than all services together may have",
        "'cpu_weight' must be from 1 to 10000",
        "'memory_high' is more than 'memory'",
        "unknown key 'nofile' in 'limits'",
        "did you mean 'open_files'?",
        "'disk' must be at least 16M",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn swap_of_all_services_needs_their_memory() {
    let yaml = "name: swaps\nlimits: {swap: 16M}\nservices:\n  one: {readme: one.md, limits: {swap: 8M}}\n";
    let town = Town::new("swaps", yaml, &[("one.md", &readme("true"))]);
    let (_, told) = town.expect(1, &["validate"]);
    assert!(told.contains("'swap' needs 'memory' beside it"), "{told}");
    assert!(told.contains(":2:"), "{told}");
    town.edit("saas.pactown.yaml", "{swap: 16M}", "{memory: 1G, swap: 16M}");
    town.ok(&["validate"]);
}
