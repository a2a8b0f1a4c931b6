//! Parallel copies of one file (`--instance`): each with state, addresses and groups of its own, and nothing left of any.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use crate::support::observe::{eventually, http_get, namespace};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: copies
services:
  api: {readme: api.md, port: 8000, health_check: /, volumes: ['data:/data']}
";

const API: &str = "# API

```sh markpact:run
cat /proc/sys/kernel/random/uuid > own
cd /data
[ -f index.html ] || cat /proc/sys/kernel/random/uuid > index.html
exec python3 -m http.server $PORT
```
";

fn rows(town: &Town, instance: &str) -> Vec<Value> {
    let text = town.ok(&["--instance", instance, "ps", "--json"]);
    serde_json::from_str(&text).expect("rows")
}

fn get(row: &Value) -> String {
    let port = row["ports"][0]["host_port"].as_u64().expect("a port");
    http_get(format!("127.0.0.1:{port}"), "/").expect("a page")
}

#[test]
fn two_copies_share_nothing_but_the_file() {
    let machine = Machine::take();
    let town = Town::new("copies", YAML, &[("api.md", API)]);
    for name in ["pr-1", "pr-2"] {
        town.ok(&["up", "-d", "--instance", name]);
    }
    let (one, two) = (&rows(&town, "pr-1")[0], &rows(&town, "pr-2")[0]);
    assert_ne!(get(one), get(two), "volumes of their own");
    for key in ["address", "ports", "pid"] {
        assert_ne!(one[key], two[key], "{key}");
    }
    let pid = |row: &Value| i32::try_from(row["pid"].as_i64().expect("a pid")).expect("a pid");
    for kind in ["net", "mnt", "pid", "cgroup"] {
        assert_ne!(namespace(pid(one), kind), namespace(pid(two), kind), "{kind}");
    }
    for port in [one, two] {
        let inside = &port["ports"][0]["port"];
        assert_eq!(inside, 8000, "the same port inside");
    }
    let groups = |row: &Value| fs::read_to_string(format!("/proc/{}/cgroup", pid(row))).expect("groups");
    assert!(groups(one).contains(".pr-1") && groups(two).contains(".pr-2"));
    let listed = town.ok(&["ls"]);
    assert!(listed.contains(".pr-1") && listed.contains(".pr-2"), "{listed}");

    town.ok(&["down", "--instance", "pr-1"]);
    assert!(rows(&town, "pr-1").iter().all(|row| row["state"] == "stopped"));
    let before = get(two);
    assert_eq!(get(&rows(&town, "pr-2")[0]), before, "the other goes on");
    town.ok(&["down", "--instance", "pr-2"]);
    // What a copy has written stays its own.
    town.ok(&["up", "-d", "--instance", "pr-2"]);
    assert_eq!(get(&rows(&town, "pr-2")[0]), before);
    for name in ["pr-1", "pr-2"] {
        town.ok(&["down", "--volumes", "--yes", "--instance", name]);
    }
    machine.assert_clean();
}

#[test]
fn a_port_that_is_demanded_is_one_copys_alone() {
    let machine = Machine::take();
    let town = Town::new("copies", YAML, &[("api.md", API)]);
    town.edit(
        "saas.pactown.yaml",
        "port: 8000",
        "ports: ['18417:8000'], port: 8000",
    );
    town.ok(&["up", "-d", "--instance", "pr-1"]);
    let (_, err) = town.expect(1, &["up", "-d", "--instance", "pr-2"]);
    assert!(
        err.contains("api: port 18417 in use by service 'api' of the ecosystem 'copies-"),
        "{err}"
    );
    assert!(
        err.contains(".pr-1'") && err.contains("`port:` instead of `ports:`"),
        "{err}"
    );
    town.ok(&["down", "--instance", "pr-1"]);
    machine.assert_clean();
}

/// How many copies there are at once: `PACTOWN_TEST_COPIES`, ten on a machine that is otherwise idle.
fn count() -> usize {
    let count = std::env::var("PACTOWN_TEST_COPIES").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(3)
}

#[test]
fn many_copies_of_three_services_at_once_are_all_tested_and_leave_nothing() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    let copies: Vec<(String, Child)> = (1..=count())
        .map(|number| {
            let name = format!("pr-{number}");
            let child = town.spawn(&["test", "--instance", &name, "--json", "--timeout", "5m"]);
            (name, child)
        })
        .collect();
    // All of them are there at the same time.
    let names: BTreeSet<String> = copies.iter().map(|(name, _)| name.clone()).collect();
    eventually("all copies run", Duration::from_secs(120), || {
        let found = fs::read_dir("/run/pactown").into_iter().flatten().flatten();
        let labels = found.filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some(name.split_once('.')?.1.to_owned())
        });
        names.is_subset(&labels.collect())
    });
    for (name, child) in copies {
        let output = child.wait_with_output().expect("an end");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{name}: {err}");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(
            found["passed"].as_u64().is_some_and(|passed| passed >= 7),
            "{name}: {found}"
        );
        assert_eq!(
            (&found["failed"], &found["skipped"]),
            (&0.into(), &0.into()),
            "{name}: {found}"
        );
    }
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
    assert!(
        !Path::new("/run/pactown")
            .read_dir()
            .expect("run")
            .flatten()
            .any(|entry| { entry.path().is_dir() && entry.file_name().to_string_lossy().contains(".pr-") })
    );
    machine.assert_clean();
}
