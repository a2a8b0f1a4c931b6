//! `df` and `prune`: what nothing uses goes, and only when it is said.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::town::{Machine, Town};

const YAML: &str = "name: pruned\nservices:\n  api: {readme: api.md, volumes: [kept:/data, gone:/more]}\n";
const README: &str = "# A\n\n```sh markpact:setup\ndd if=/dev/zero of=big bs=1M count=3 2>/dev/null\n```\n\n```sh markpact:run\necho hello; exec sleep 1000\n```\n";

/// The program on a machine whose layers and logs are the test's own.
fn there(town: &Town, arguments: &[&str]) -> Output {
    let script = "mkdir -p layers logs /var/cache/pactown/layers /var/log/pactown && mount --bind layers /var/cache/pactown/layers && \
                  mount --bind logs /var/log/pactown && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_pactown")])
        .args(arguments)
        .current_dir(town.path())
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null());
    command.output().expect("unshare")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[track_caller]
fn done(output: Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn layers(town: &Town) -> usize {
    let entries = fs::read_dir(town.path().join("layers")).expect("layers");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("utf-8"));
    names.filter(|name| !name.starts_with('.')).count()
}

#[test]
fn prune_removes_what_nothing_uses_and_nothing_else() {
    let machine = Machine::take();
    let town = Town::new("pruned", YAML, &[("api.md", README)]);
    done(there(&town, &["up", "-d"]));
    assert_eq!(layers(&town), 2);
    // Another setup: the layer before is nobody's.
    town.edit("api.md", "count=3", "count=1");
    done(there(&town, &["up", "-d"]));
    assert_eq!(layers(&town), 3);
    let kept = json(&there(&town, &["df", "--json"]));
    let unused = kept["unused_bytes"].as_u64().expect("bytes");
    assert!((3 << 20..4 << 20).contains(&unused), "{kept}");
    let table = done(there(&town, &["df"]));
    assert!(table.contains("layers") && table.contains("volumes"), "{table}");
    // Only said, refused, too young: nothing goes.
    let said = json(&there(&town, &["prune", "-n", "--json"]));
    assert_eq!(said["removed"].as_array().map(Vec::len), Some(1), "{said}");
    let refused = there(&town, &["prune"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    done(there(&town, &["prune", "--older", "1h", "--yes"]));
    assert_eq!(layers(&town), 3);
    let out = done(there(&town, &["prune", "--yes"]));
    assert!(out.contains("are free"), "{out}");
    assert_eq!(layers(&town), 2);
    assert_eq!(
        town.inside("api", "stat -c %s big"),
        "1048576",
        "what runs goes on"
    );
    town.ok(&["restart", "api"]);
    assert_eq!(town.inside("api", "stat -c %s big"), "1048576");
    town.ok(&["down"]);
    let out = done(there(&town, &["prune", "--yes"]));
    assert!(out.contains("are free"), "{out}");
    assert_eq!(layers(&town), 0);
    drop(town);
    machine.assert_clean();
}

#[test]
fn logs_and_volumes_go_only_when_they_are_named() {
    let machine = Machine::take();
    let town = Town::new("pruned", YAML, &[("api.md", README)]);
    done(there(&town, &["up", "-d"]));
    assert_eq!(
        town.inside("api", "echo x > /data/x; echo y > /more/y; echo done"),
        "done"
    );
    town.edit("saas.pactown.yaml", ", gone:/more", "");
    // The service that runs has it still.
    let removed = |arguments: &[&str]| {
        let told = json(&there(&town, arguments));
        let removed = told["removed"].as_array().expect("items").clone();
        removed
            .iter()
            .map(|item| item["kind"].as_str().expect("a kind").to_owned())
            .filter(|kind| kind != "layer")
            .collect::<Vec<_>>()
    };
    let all = ["prune", "--logs", "-v", "--yes", "--json"];
    assert_eq!(removed(&all), [""; 0], "it runs");
    town.ok(&["down"]);
    assert_eq!(removed(&["prune", "--yes", "--json"]), [""; 0], "not named");
    assert_eq!(removed(&all), ["log", "volume"]);
    let volumes = town.path().join(".pactown-sandboxes/.volumes");
    assert!(volumes.join("kept/x").exists() && !volumes.join("gone").exists());
    assert_eq!(fs::read_dir(town.path().join("logs")).expect("logs").count(), 0);
    drop(town);
    machine.assert_clean();
}
