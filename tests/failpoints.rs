//! Every failpoint × abort: the process that passes it dies there; the next commands work, and nothing is left.

use crate::support::town::{Machine, Town};

const YAML: &str = "
name: fragile
services:
  one: {readme: s.md, port: 8000, health_check: /}
  two: {readme: s.md, port: 8000, depends_on: [one], volumes: [\"kept:/data\"]}
";

const README: &str = "# Server

```txt markpact:file path=index.html
hello
```

```sh markpact:run
exec python3 -m http.server $PORT
```
";

fn fragile() -> Town {
    Town::new("fragile", YAML, &[("s.md", README)])
}

/// `up` and `down` with one process aborting at `point`, then a day without accidents.
fn survive(point: &str) {
    let machine = Machine::take();
    let town = fragile();
    for arguments in [["up", "-d", "--timeout=20s"].as_slice(), ["down"].as_slice()] {
        let output = town
            .command(arguments)
            .env("PACTOWN_FAILPOINTS", format!("{point}=abort"))
            .output()
            .expect("pactown");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!told.contains("panicked"), "{point}: {told}");
    }
    town.ok(&["down"]);
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "after {point}");
    machine.assert_clean();
    town.ok(&["up", "-d"]);
    assert_eq!(town.service("two")["state"], "running", "after {point}");
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}

#[test]
fn the_keeper_may_die_at_any_step() {
    for point in pactown_runtime::failpoint::FAILPOINTS {
        survive(point);
    }
}

#[test]
fn the_supervisor_may_die_at_any_step_of_the_network() {
    for point in pactown_netns::failpoint::FAILPOINTS {
        survive(point);
    }
}

#[test]
fn a_step_that_fails_is_told_and_leaves_nothing() {
    for point in [
        "userns-created",
        "cgroup-created",
        "init-cloned",
        "uplink-created",
        "node-configured",
    ] {
        let machine = Machine::take();
        let town = fragile();
        let output = town
            .command(&["up", "-d"])
            .env("PACTOWN_FAILPOINTS", format!("{point}=errno:ENOSPC"))
            .output()
            .expect("pactown");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{point}: {told}");
        assert!(told.contains("No space left"), "{point}: {told}");
        town.ok(&["down"]);
        machine.assert_clean();
    }
}
