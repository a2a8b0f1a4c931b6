//! The failure bundle: what is in it, what is not, and that reading a hostile one does no harm.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::town::{Machine, Town};

const YAML: &str = "
name: broken
secrets:
  key: {environment: API_KEY_OF_CI}
services:
  db: {readme: db.md, port: 8000, health_check: /, secrets: [key], env: {DB_PASSWORD: hunter2-in-file}}
  api: {readme: api.md, port: 8100, health_check: /, depends_on: [db]}
";

const DB: &str = "# DB

```sh markpact:run
echo key=$(cat /run/secrets/key) password=$DB_PASSWORD
printf 'escape \\033[2J\\033]0;title\\007\\n'
exec python3 -m http.server $PORT
```

```http markpact:test
GET / EXPECT 404
```
";

const API: &str = "# API

```python markpact:file path=api.py
import os
print(os.environ['MISSING'])
```

```sh markpact:run
exec python3 api.py
```
";

fn town() -> Town {
    Town::new("bundle", YAML, &[("db.md", DB), ("api.md", API)])
        .with_env("API_KEY_OF_CI", "s3cr3t-of-the-job")
        .with_env("SOME_TOKEN", "tok-4711-of-the-runner")
}

/// The files of an archive, as GNU tar unpacks them.
fn unpacked(archive: &Path) -> BTreeMap<String, String> {
    let folder = archive.with_extension("unpacked");
    fs::create_dir_all(&folder).expect("folder");
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(&folder)
        .status();
    assert!(tar.expect("tar").success());
    let mut found = BTreeMap::new();
    let mut open = vec![folder.join("pactown-failure")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .expect("folder")
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else {
            let name = path.strip_prefix(&folder).expect("inside").display().to_string();
            found.insert(name, fs::read_to_string(&path).expect("UTF-8"));
        }
    }
    fs::remove_dir_all(&folder).expect("folder");
    found
}

#[test]
fn a_failed_up_leaves_all_that_explains_it_and_no_secret() {
    let machine = Machine::take();
    let town = town();
    let archive = town.path().join("failure.tar.gz");
    let (_, err) = town.expect(1, &["up", "--bundle", "failure.tar.gz"]);
    assert!(
        err.contains("`pactown open failure.tar.gz` shows what happened"),
        "{err}"
    );
    machine.assert_clean();
    let metadata = fs::metadata(&archive).expect("an archive");
    assert_eq!(
        (metadata.permissions().mode() & 0o777, metadata.uid()),
        (0o600, 0)
    );

    let parts = unpacked(&archive);
    let part = |name: &str| {
        let text = parts.get(&format!("pactown-failure/{name}"));
        text.unwrap_or_else(|| panic!("no {name}: {:?}", parts.keys()))
            .as_str()
    };
    let json = |name: &str| serde_json::from_str::<Value>(part(name)).expect("JSON");
    for (name, text) in &parts {
        for secret in ["s3cr3t-of-the-job", "hunter2-in-file", "tok-4711-of-the-runner"] {
            assert!(!text.contains(secret), "{name} has {secret}");
        }
        if name.ends_with(".json") {
            serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for line in text.lines().filter(|_| name.ends_with(".ndjson")) {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(
        part("logs/db.ndjson").contains("key=*** password=***"),
        "{}",
        part("logs/db.ndjson")
    );
    assert!(part("logs/api.ndjson").contains("KeyError: 'MISSING'"));
    let kinds: Vec<Value> = part("events.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for kind in ["up", "started", "ready", "failed", "stopped"] {
        assert!(
            kinds.iter().any(|event| event["kind"] == kind),
            "{kind}: {kinds:?}"
        );
    }
    let why = json("why.json");
    let of_api = why
        .as_array()
        .expect("array")
        .iter()
        .find(|one| one["service"] == "api")
        .expect("api");
    assert_eq!(of_api["kind"], "exited");
    // What only a running ecosystem tells.
    let inspection = json("inspect/db.json");
    assert!(
        inspection["network"]
            .as_array()
            .is_some_and(|rules| !rules.is_empty()),
        "{inspection}"
    );
    assert_eq!(json("services.json")[0]["state"], "running");
    assert!(
        json("report.json")["services"][0]["memory_peak"]
            .as_u64()
            .is_some_and(|peak| peak > 0)
    );
    assert!(part("plan.txt").contains("db"), "{}", part("plan.txt"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(json("host.json")["kernel"], kernel.trim());
    assert!(part("files/saas.pactown.yaml").contains("DB_PASSWORD: ***"));
    assert!(part("files/api.md").contains("os.environ['MISSING']"));
    assert_eq!(
        (
            &json("manifest.json")["exit_code"],
            &json("manifest.json")["command"]
        ),
        (&1.into(), &"up".into())
    );
}

#[test]
fn open_shows_it_elsewhere_as_it_was_told_here() {
    let machine = Machine::take();
    let town = town();
    let (_, told) = town.expect(1, &["up", "-d", "--bundle", "a.tgz"]);
    let here = town.expect(1, &["why", "api"]).0;
    town.ok(&["down"]);
    machine.assert_clean();
    // Elsewhere: another folder, nothing of the ecosystem.
    let elsewhere = Town::new("elsewhere", "name: other\nservices: {}\n", &[]);
    fs::copy(town.path().join("a.tgz"), elsewhere.path().join("a.tgz")).expect("copy");
    assert_eq!(elsewhere.ok(&["open", "a.tgz", "why", "api"]), here);
    assert!(
        told.contains(here.lines().next().expect("a line").trim_start_matches("api: ")),
        "{told}"
    );
    let summary = elsewhere.ok(&["open", "a.tgz"]);
    assert!(
        summary.contains("`pactown up` exited with 1") && summary.contains("not everything is up: api"),
        "{summary}"
    );
    let logs = elsewhere.ok(&["open", "a.tgz", "logs", "db"]);
    assert!(logs.contains("key=***"), "{logs}");
    let both = elsewhere.ok(&["open", "a.tgz", "logs"]);
    assert!(
        both.contains("db  │ key=***") && both.contains("api │ Traceback"),
        "{both}"
    );
    assert!(
        elsewhere
            .ok(&["open", "a.tgz", "events", "api"])
            .contains("code 1")
    );
    let rows: Value = serde_json::from_str(&elsewhere.ok(&["open", "a.tgz", "ps", "--json"])).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    for part in ["report", "plan", "inspect", "host", "tests", "files"] {
        assert!(!elsewhere.ok(&["open", "a.tgz", part]).is_empty(), "{part}");
    }
    let (_, err) = elsewhere.expect(1, &["open", "a.tgz", "logs", "nobody"]);
    assert!(err.contains("there are: api, db"), "{err}");
    let (_, err) = elsewhere.expect(2, &["open", "saas.pactown.yaml"]);
    assert!(err.contains("cannot open `saas.pactown.yaml`"), "{err}");
}

#[test]
fn tests_that_fail_are_in_it_and_so_is_a_run_that_passes() {
    let machine = Machine::take();
    let town = town();
    town.write(
        "api.md",
        "# API\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n",
    );
    town.expect(1, &["test", "--bundle", "t.tar.gz"]);
    machine.assert_clean();
    let shown = town.ok(&["open", "t.tar.gz", "tests"]);
    assert!(
        shown.contains("db.md:10 GET / … failed") && shown.contains("got       status 200"),
        "{shown}"
    );
    let logs = town.ok(&["open", "t.tar.gz", "logs", "db"]);
    assert!(logs.contains("key=***"), "{logs}");
    town.edit("db.md", "EXPECT 404", "EXPECT 200");
    town.ok(&["test", "--bundle", "t.tar.gz"]);
    let summary = town.ok(&["open", "t.tar.gz"]);
    assert!(summary.contains("exited with 0"), "{summary}");
    machine.assert_clean();
}

#[test]
fn a_cancelled_and_a_late_run_leave_one_too() {
    let machine = Machine::take();
    let town = town();
    town.write("api.md", "# API\n\n```sh markpact:run\nexec sleep 1000\n```\n");
    town.expect(124, &["up", "--timeout", "4s", "--bundle", "late.tar.gz"]);
    let shown = town.ok(&["open", "late.tar.gz"]);
    assert!(
        shown.contains("exited with 124") && shown.contains("nothing listens on port 8100"),
        "{shown}"
    );
    let mut child = town.spawn(&["up", "--bundle", "cancelled.tar.gz"]);
    crate::support::observe::eventually("db runs", std::time::Duration::from_secs(20), || {
        town.services()
            .iter()
            .any(|row| row["name"] == "db" && row["health"] == "healthy")
    });
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
    assert_eq!(child.wait().expect("an end").code(), Some(143));
    let shown = town.ok(&["open", "cancelled.tar.gz"]);
    assert!(
        shown.contains("exited with 143") && shown.contains("db"),
        "{shown}"
    );
    machine.assert_clean();
}

#[test]
fn a_hostile_archive_writes_nothing_and_commands_no_terminal() {
    let town = Town::new("hostile", "name: h\nservices: {}\n", &[]);
    let script = r#"
import io, json, tarfile
manifest = json.dumps({"format": "pactown failure bundle 1", "command": "up\u001b[2J", "ecosystem": "e", "instance": "\u001b]0;x\u0007i",
    "written": "t", "pactown": "p", "exit_code": 1, "message": "\u009b2J", "left_out": []})
def make(name, *entries):
    with tarfile.open(name, "w:gz") as archive:
        for path, kind, data in entries:
            info = tarfile.TarInfo(path)
            info.type, info.size, info.linkname = kind, len(data), "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
good = ("x/manifest.json", tarfile.REGTYPE, manifest.encode())
log = json.dumps({"ts": "\u001b[2J", "run": 1, "stream": "stdout", "line": "a\u001b[2J\nb"}).encode()
make("escapes.tar.gz", good, ("x/logs/a.ndjson", tarfile.REGTYPE, log), ("x/plan.txt", tarfile.REGTYPE, b"\x1b[2Jplan\n"))
make("up.tar.gz", good, ("x/../../escaped", tarfile.REGTYPE, b"!"))
make("root.tar.gz", good, ("/escaped", tarfile.REGTYPE, b"!"))
make("link.tar.gz", good, ("x/files/a", tarfile.SYMTYPE, b""))
make("many.tar.gz", good, *[("x/%d" % n, tarfile.REGTYPE, b"") for n in range(5000)])
make("bomb.tar.gz", good, ("x/a", tarfile.REGTYPE, bytes(300 << 20)))
"#;
    let made = Command::new("python3")
        .args(["-c", script])
        .current_dir(town.path())
        .status();
    assert!(made.expect("python3").success());
    let before: Vec<_> = fs::read_dir(town.path())
        .expect("folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    for (name, told) in [
        ("up.tar.gz", "x/../../escaped"),
        ("root.tar.gz", "/escaped"),
        ("link.tar.gz", "which is no file"),
        ("many.tar.gz", "more than 4096 files"),
        ("bomb.tar.gz", "cannot open"),
    ] {
        let (_, err) = town.expect(2, &["open", name]);
        assert!(err.contains(told), "{name}: {err}");
    }
    for part in ["summary", "plan"] {
        let shown = town.ok(&["open", "escapes.tar.gz", part]);
        assert!(
            !shown.chars().any(|c| c.is_control() && c != '\n'),
            "{part}: {shown:?}"
        );
    }
    let after: Vec<_> = fs::read_dir(town.path())
        .expect("folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(before, after);
    assert!(
        !town.path().parent().expect("a parent").join("escaped").exists() && !Path::new("/escaped").exists()
    );
}
