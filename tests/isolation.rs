//! What a service can see and do: asked of the kernel from outside, and by probes that run inside.

mod siblings;

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::observe::{children, namespace, status_field};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: cells
services:
  one: {readme: one.md, port: 8000}
  two: {readme: two.md, port: 8000}
  superuser: {readme: one.md, port: 8000, user: root}
";

const SERVER: &str = "# Cell

```python markpact:file path=server.py
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(('0.0.0.0', 8000), SimpleHTTPRequestHandler).serve_forever()
```

```sh markpact:run
exec python3 server.py
```
";

fn cells() -> Town {
    let town = Town::new("cells", YAML, &[("one.md", SERVER), ("two.md", SERVER)]);
    town.ok(&["up", "-d"]);
    town
}

/// Host pid of the service's own process: the first child of its pid 1.
fn service_pid(town: &Town, name: &str) -> i32 {
    *children(town.pid(name)).first().expect("the service's process")
}

#[test]
fn every_service_has_namespaces_of_its_own() {
    let machine = Machine::take();
    let town = cells();
    let own = std::process::id().cast_signed();
    let pids: Vec<i32> = ["one", "two"]
        .iter()
        .map(|name| service_pid(&town, name))
        .collect();
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let seen: Vec<String> = [own, pids[0], pids[1]]
            .iter()
            .map(|pid| namespace(*pid, kind))
            .collect();
        assert!(
            seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2],
            "{kind}: {seen:?}"
        );
    }
    assert_eq!(town.inside("one", "hostname"), "one");
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let inside = town.inside("one", &format!("readlink /proc/self/ns/{kind}"));
        assert_eq!(
            inside,
            namespace(pids[0], kind),
            "exec joins the service's {kind} namespace"
        );
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn nobody_inside_is_host_root_or_has_a_capability() {
    let machine = Machine::take();
    let town = cells();
    for name in ["one", "superuser"] {
        let pid = service_pid(&town, name);
        for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status_field(pid, field), "0000000000000000", "{name} {field}");
            let inside = town.inside(name, &format!("grep {field} /proc/self/status"));
            assert!(inside.ends_with("0000000000000000"), "exec in {name}: {inside}");
        }
        assert_eq!(status_field(pid, "NoNewPrivs"), "1");
        assert_eq!(status_field(pid, "Seccomp"), "2");
        let uid: u64 = status_field(pid, "Uid")
            .split_whitespace()
            .next()
            .expect("uid")
            .parse()
            .expect("uid");
        assert!(uid >= 100_000, "{name} runs as host uid {uid}");
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("uid_map");
        let numbers: Vec<u64> = map
            .split_whitespace()
            .map(|n| n.parse().expect("number"))
            .collect();
        assert!(
            numbers[0] == 0 && numbers[1] >= 100_000 && numbers[2] >= 65_536,
            "{map}"
        );
    }
    assert_eq!(town.inside("one", "id -u"), "1000");
    assert_eq!(town.inside("superuser", "id -u"), "0");
    let maps: Vec<String> = ["one", "two", "superuser"]
        .iter()
        .map(|name| {
            fs::read_to_string(format!("/proc/{}/uid_map", service_pid(&town, name))).expect("uid_map")
        })
        .collect();
    assert!(
        maps[0] != maps[1] && maps[1] != maps[2] && maps[0] != maps[2],
        "{maps:?}"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn the_file_system_shows_only_what_it_should() {
    let machine = Machine::take();
    let town = cells();
    let refused = |script: &str| town.inside("one", &format!("({script}) 2>&1; true"));
    assert!(
        refused("touch /usr/x").contains("Read-only"),
        "{}",
        refused("touch /usr/x")
    );
    assert!(
        refused("touch /x").contains("Read-only"),
        "{}",
        refused("touch /x")
    );
    let here = town.path().join("saas.pactown.yaml");
    assert!(here.exists());
    for path in [
        here.to_str().expect("utf-8"),
        "/root/.bashrc",
        "/etc/shadow",
        "/var/log",
        "/home/root",
        "/srv",
        "/mnt",
    ] {
        assert!(
            refused(&format!("ls -d {path}")).contains("No such file"),
            "{path}: {}",
            refused(&format!("ls -d {path}"))
        );
    }
    assert_eq!(refused("cat /proc/kcore | wc -c").lines().last(), Some("0"));
    for path in [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/sys/kernel/uevent_helper",
    ] {
        let answer = refused(&format!("echo x > {path}"));
        assert!(
            ["Read-only", "denied", "No such file", "nonexistent"]
                .iter()
                .any(|word| answer.contains(word)),
            "{path}: {answer}"
        );
    }
    assert_eq!(town.inside("one", "find /tmp -mindepth 1 | wc -l"), "0");
    assert_eq!(town.inside("one", "cat /proc/1/comm"), "pactown:init");
    assert_eq!(
        town.inside("one", "ls /proc/self/fd | wc -l"),
        "4",
        "stdin, stdout, stderr and the listing itself"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn limits_are_in_force_and_seen_from_inside() {
    let machine = Machine::take();
    let yaml = "
name: limited
services:
  small: {readme: one.md, port: 8000, limits: {memory: 64M, pids: 40, cpus: 0.5}}
";
    let town = Town::new("limited", yaml, &[("one.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let pid = service_pid(&town, "small");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let pure_v2 = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    let limit = |controller: &str, v1: &str, v2: &str| {
        let line = groups.lines().find(|line| {
            let controllers = line.split(':').nth(1).unwrap_or("");
            if pure_v2 {
                controllers.is_empty()
            } else {
                controllers == controller
            }
        });
        let path = line.and_then(|line| line.split(':').nth(2)).expect("cgroup path");
        assert!(path.contains("pactown"), "{groups}");
        let root = if pure_v2 {
            "/sys/fs/cgroup".to_owned()
        } else {
            format!("/sys/fs/cgroup/{controller}")
        };
        let file = format!("{root}{path}/{}", if pure_v2 { v2 } else { v1 });
        fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .trim()
            .to_owned()
    };
    assert_eq!(
        limit("memory", "memory.limit_in_bytes", "memory.max"),
        (64 << 20).to_string()
    );
    assert_eq!(limit("pids", "pids.max", "pids.max"), "40");
    let quota = limit("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    let bomb = "i=0; while [ $i -lt 80 ]; do sleep 3 & i=$((i+1)); done 2>&1 | head -c 2000; true";
    let answer = town.inside("small", bomb);
    assert!(
        answer.to_lowercase().contains("fork"),
        "a fork beyond the limit fails: {answer:?}"
    );
    let view = town.inside(
        "small",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    );
    assert_eq!(view, (64 << 20).to_string());
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_a_service_writes_belongs_to_the_invoking_user() {
    let machine = Machine::take();
    let town = Town::new("owner", YAML, &[("one.md", SERVER), ("two.md", SERVER)])
        .with_env("SUDO_UID", "4321")
        .with_env("SUDO_GID", "4322")
        .with_env("SUDO_USER", "nobody");
    town.ok(&["up", "-d"]);
    town.inside(
        "one",
        "echo mine > /app/mine.txt; mkdir /app/sub; echo x > /app/sub/y",
    );
    for file in ["mine.txt", "sub", "sub/y"] {
        let path = town.path().join(".pactown-sandboxes/one").join(file);
        let metadata = fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (4321, 4322),
            "{}",
            path.display()
        );
    }
    assert_eq!(town.inside("one", "stat -c %U:%G /app/mine.txt"), "app:app");
    town.ok(&["down"]);
    assert_eq!(
        fs::read_to_string(town.path().join(".pactown-sandboxes/one/mine.txt")).expect("kept"),
        "mine\n"
    );
    machine.assert_clean();
}
