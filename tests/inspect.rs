//! `inspect`: what it says is what the kernel says by other ways, and its score is systemd's own.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::observe::{children, namespace, status_field};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: looked-at
services:
  open: {readme: s.md, limits: {memory: 64M, pids: 40}}
  closed: {readme: s.md, egress: none}
";

const README: &str = "# Sleeper

```sh markpact:run
exec sleep 1000
```
";

fn looked_at(town: &Town, arguments: &[&str]) -> Value {
    serde_json::from_str(&town.ok(arguments)).expect("json")
}

/// The number of `systemd-analyze` for the settings that are printed; `None` where it is not installed.
fn systemd(town: &Town, service: &str) -> Option<(String, String)> {
    let text = town.ok(&["inspect", service, "--score"]);
    let unit: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let file = town.path().join("looked-at.service");
    fs::write(&file, format!("{}\nExecStart=/bin/true\n", unit.join("\n"))).expect("unit");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(&file)
        .output()
        .ok()?;
    let verdict = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = verdict
        .lines()
        .find_map(|line| {
            line.split_once(".service: ")?
                .1
                .split(' ')
                .next()
                .map(str::to_owned)
        })
        .unwrap_or_else(|| panic!("{verdict}{}", String::from_utf8_lossy(&output.stderr)));
    let ours = text
        .lines()
        .find_map(|line| line.strip_prefix("exposure "))
        .expect("a number");
    Some((ours.to_owned(), number))
}

#[test]
fn what_is_in_force_is_read_from_the_kernel_and_scored_as_systemd_does() {
    let machine = Machine::take();
    let town = Town::new("looked-at", YAML, &[("s.md", README)]);
    let (_, told) = town.expect(1, &["inspect", "open"]);
    assert!(told.contains("not running"), "{told}");
    town.ok(&["up", "-d"]);
    let seen = looked_at(&town, &["inspect", "open", "--json"]);
    let pid = children(town.pid("open"))[0];
    assert_eq!(seen["pid"], pid);
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        assert_eq!(seen["namespaces"][kind]["id"], namespace(pid, kind));
        assert_eq!(seen["namespaces"][kind]["shared"], false, "{kind}");
    }
    assert_eq!(seen["capabilities"]["CapBnd"], 0);
    assert_eq!(seen["no_new_privileges"], true);
    assert_eq!(
        seen["seccomp_filters"].to_string(),
        status_field(pid, "Seccomp_filters")
    );
    assert!(seen["uid_map"][0][1].as_u64().expect("a map") >= 100_000);
    let limits = &seen["limits"];
    assert_eq!(
        (limits["memory"].as_str(), limits["processes"].as_str()),
        (Some("67108864"), Some("40"))
    );
    assert_eq!(seen["descriptors"].as_object().expect("descriptors").len(), 3);
    let masked: Vec<&str> = seen["masked"]
        .as_array()
        .expect("paths")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        masked.contains(&"/proc/kcore") && masked.contains(&"/proc/kallsyms") || masked.len() > 10,
        "{masked:?}"
    );
    for mount in seen["mounts"].as_array().expect("mounts") {
        let flags = mount["flags"].as_array().expect("flags");
        assert!(flags.contains(&"nosuid".into()), "{mount}");
        let devices = ["/dev", "/dev/pts"].contains(&mount["target"].as_str().expect("a path"));
        assert!(devices || flags.contains(&"nodev".into()), "{mount}");
    }
    let table = town.ok(&["inspect", "open"]);
    assert!(
        table.contains("Landlock") && table.contains("/proc/sys"),
        "{table}"
    );
    for (service, most) in [("open", 0.8), ("closed", 0.6)] {
        let score = looked_at(&town, &["inspect", service, "--score", "--json"]);
        let exposure = score["exposure"].as_f64().expect("a number");
        assert!(exposure <= most, "{service}: {exposure}");
        match systemd(&town, service) {
            Some((ours, theirs)) => assert_eq!(ours, theirs, "{service}"),
            None => println!("systemd-analyze is not installed: its number is not compared"),
        }
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
