//! Secrets: files for one service alone, in memory alone, and in no output; they outlive restarts and supervisors.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{eventually, processes};
use crate::support::town::{Machine, Town};

const SOON: Duration = Duration::from_secs(15);

const YAML: &str = "
name: guarded
secrets:
  filed: {file: ./value.txt}
  exported: {environment: PACTOWN_TEST_VALUE}
  told: {command: [sh, -c, 'printf \"%s\\n\\n\" \"$$PACTOWN_TEST_TOLD\"']}
services:
  api:
    readme: api.md
    secrets: [filed, {source: exported, target: token}, told]
    env: {COPY: 'x${PACTOWN_TEST_VALUE}x'}
  other: {readme: other.md}
";

/// It prints one value in two pieces, as a program does whose buffer is full, and another one as a whole.
const API: &str = "# Api

```sh markpact:run
cut -c1-9 /run/secrets/filed | tr -d '\\n'
sleep 0.3
cut -c10- /run/secrets/filed
echo \"token is $(cat /run/secrets/token), lines are $(wc -l < /run/secrets/told)\" >&2
exec sleep 1000
```

```sh markpact:test
echo \"got $(cat /run/secrets/token)\"; exit 1
```
";

const OTHER: &str = "# Other

```sh markpact:run
exec sleep 1000
```
";

fn random() -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a random uuid");
    format!("hunter2-{}", uuid.trim())
}

struct Guarded {
    town: Town,
    /// filed, exported, told.
    values: [String; 3],
}

impl Guarded {
    fn new() -> Self {
        let values = [random(), random(), random()];
        let town = Town::new("guarded", YAML, &[("api.md", API), ("other.md", OTHER)])
            .with_env("PACTOWN_TEST_VALUE", &values[1])
            .with_env("PACTOWN_TEST_TOLD", &values[2]);
        town.write("value.txt", &values[0]);
        Self { town, values }
    }

    /// Files below `places` that hold one of the values, as grep finds them.
    fn found(&self, places: &[&str]) -> Vec<String> {
        let patterns = self.town.path().join("patterns");
        fs::write(&patterns, self.values.join("\n")).expect("patterns");
        let output = Command::new("grep")
            .args(["-rlasF", "--devices=skip", "-f"])
            .arg(&patterns)
            .args(places)
            .stderr(Stdio::null())
            .output()
            .expect("grep");
        let text = String::from_utf8_lossy(&output.stdout);
        let own = [patterns, self.town.path().join("value.txt")];
        let strange = |path: &&str| !own.iter().any(|own| own.to_str() == Some(path));
        text.lines().filter(strange).map(str::to_owned).collect()
    }

    #[track_caller]
    fn assert_hidden(&self, what: &str, text: &str) {
        for value in &self.values {
            assert!(!text.contains(value.as_str()), "{what} shows a value:\n{text}");
        }
    }

    /// What it has printed, on either stream.
    fn log(&self) -> String {
        let (out, err) = self.town.expect(0, &["logs", "api"]);
        out + &err
    }

    /// What the service has, in the order of [`Guarded::values`].
    fn inside(&self) -> String {
        let script = "cd /run/secrets && cat filed && echo && cat token && echo && cat told";
        self.town.inside("api", script)
    }
}

#[test]
fn values_are_files_of_one_service_in_memory_and_nowhere_else() {
    let machine = Machine::take();
    let guarded = Guarded::new();
    let town = &guarded.town;
    let (out, told) = town.expect(0, &["up", "-d"]);
    guarded.assert_hidden("up", &(out + &told));
    assert_eq!(guarded.inside(), guarded.values.join("\n"));
    let script = "stat -c '%a %u %g %n' /run/secrets /run/secrets/*; id -u";
    assert_eq!(
        town.inside("api", script),
        "500 1000 1000 /run/secrets\n400 1000 1000 /run/secrets/filed\n400 1000 1000 /run/secrets/token\n400 1000 1000 /run/secrets/told\n1000"
    );
    let script = "cd /run/secrets; (echo x > new; chmod 644 token; rm -f told; mv filed /tmp) 2>&1; ls | wc -l; env | grep -c hunter2-";
    let tried = town.inside("api", script);
    assert_eq!(tried.matches("Read-only file system").count(), 4, "{tried}");
    assert!(
        tried.ends_with("3\n1"),
        "three files, and COPY alone in the environment: {tried}"
    );
    assert_eq!(town.inside("other", "ls /run/secrets 2>/dev/null | wc -l"), "0");
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", town.pid("api"))).expect("mountinfo");
    let mount = mounts.lines().find(|line| line.contains(" /run/secrets "));
    let mount = mount.expect("a mount of its own");
    assert!(
        mount.contains(" ro,nosuid,nodev,noexec") && mount.contains(" - ramfs "),
        "{mount}"
    );

    eventually("all is logged", SOON, || guarded.log().contains("lines are"));
    let upper = town.path().to_str().expect("a path");
    let copy = guarded.found(&["/run/pactown"]);
    assert!(
        copy.iter().all(|path| path.ends_with("/api/config.json")
            || path.ends_with("/services/api.json")
            || path.ends_with("/instance.json")),
        "where the file itself puts a value into the environment, and nowhere else: {copy:?}"
    );
    town.edit(
        "saas.pactown.yaml",
        "    env: {COPY: 'x${PACTOWN_TEST_VALUE}x'}\n",
        "",
    );
    town.ok(&["up", "-d"]);
    let places = ["/var/lib", "/run", "/var/log", "/var/cache/pactown", upper];
    assert_eq!(guarded.found(&places), Vec::<String>::new());
    fs::write(town.path().join("control"), &guarded.values[2]).expect("write");
    assert_eq!(guarded.found(&places).len(), 1, "grep finds what is there");
    let kinds = ["pactown:super", "pactown:keeper", "pactown:init"];
    for process in kinds.iter().flat_map(|kind| processes(kind, "")) {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        guarded.assert_hidden("a command line", &String::from_utf8_lossy(&line));
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn no_output_shows_a_value() {
    let machine = Machine::take();
    let guarded = Guarded::new();
    let town = &guarded.town;
    town.ok(&["up", "-d"]);
    eventually("all is logged", SOON, || guarded.log().contains("lines are"));
    let log = guarded.log();
    assert!(log.contains("token is ***, lines are 0"), "{log}");
    assert!(
        log.lines()
            .any(|line| line.trim_end().ends_with(" ***") || line.trim_end() == "***"),
        "in two pieces it is still one value: {log}"
    );
    for command in [
        &["logs", "api"][..],
        &["logs", "api", "--json"],
        &["ps"],
        &["ps", "--json"],
        &["up", "-n"],
        &["up", "-n", "--json"],
        &["env", "api"],
        &["env", "api", "--json"],
        &["spec", "api"],
        &["config"],
        &["inspect", "api"],
        &["inspect", "api", "--json"],
        &["why", "api"],
        &["events"],
        &["events", "--json"],
        &["stats", "--no-stream"],
        &["report"],
        &["report", "--json"],
        &["audit"],
        &["audit", "--json"],
        &["analyze"],
        &["spec", "--bundle", "bundles", "api"],
    ] {
        let output = town.run(command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
        let text = [output.stdout, output.stderr].concat();
        guarded.assert_hidden(&command.join(" "), &String::from_utf8_lossy(&text));
    }
    assert!(
        town.ok(&["env", "api"]).contains("x***x"),
        "what is hidden is seen to be"
    );
    let report = town.path().join("report.xml");
    let (out, told) = town.expect(1, &["test", "--junit", report.to_str().expect("a path")]);
    guarded.assert_hidden("test", &(out.clone() + &told));
    assert!((out.clone() + &told).contains("got ***"), "{out}{told}");
    let report = fs::read_to_string(report).expect("a report");
    guarded.assert_hidden("the report", &report);
    assert!(report.contains("got ***"), "{report}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn values_outlive_services_and_supervisors_and_a_new_one_is_a_cause() {
    let machine = Machine::take();
    let guarded = Guarded::new();
    let town = &guarded.town;
    town.ok(&["up", "-d"]);
    let expected = guarded.values.join("\n");
    assert!(town.ok(&["up", "-n"]).contains("all 2 services: unchanged"));

    town.succeed_the_supervisor();
    // Whoever restarts need not be able to ask for the values: the first command line is long gone.
    fs::remove_file(town.path().join("value.txt")).expect("remove");
    let before = town.pid("api");
    kill(Pid::from_raw(before), Signal::SIGKILL).expect("kill");
    eventually("it failed", SOON, || town.service("api")["state"] != "running");
    let missing = town.run(&["start", "api"]);
    let missing = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        missing.contains("secret 'filed' has no value") && missing.contains("does not exist"),
        "{missing}"
    );
    town.write("value.txt", &guarded.values[0]);
    town.ok(&["start", "api"]);
    assert_eq!(guarded.inside(), expected);
    assert!(town.ok(&["up", "-n"]).contains("all 2 services: unchanged"));

    town.write("value.txt", "another-value");
    let plan = town.ok(&["up", "-n"]);
    assert!(plan.contains("restart api: secret filed changed"), "{plan}");
    assert!(!plan.contains("another-value"), "{plan}");
    let (out, told) = town.expect(0, &["up", "-d"]);
    assert!(
        (out.clone() + &told).contains("restart api: secret filed changed"),
        "{out}{told}"
    );
    assert_eq!(town.inside("api", "cat /run/secrets/filed"), "another-value");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_crash_is_survived_without_the_command_that_knew() {
    let machine = Machine::take();
    let mut yaml = YAML.replace("    readme: api.md", "    readme: api.md\n    restart: always");
    yaml = yaml.replace("    env: {COPY: 'x${PACTOWN_TEST_VALUE}x'}\n", "");
    let guarded = Guarded::new();
    let town = &guarded.town;
    town.write("saas.pactown.yaml", &yaml);
    town.ok(&["up", "-d"]);
    town.succeed_the_supervisor();
    let before = town.pid("api");
    kill(Pid::from_raw(before), Signal::SIGKILL).expect("kill");
    eventually("it runs again", SOON, || {
        let pid = town.service("api")["pid"].as_i64();
        pid.is_some_and(|pid| pid != i64::from(before))
    });
    assert_eq!(guarded.inside(), guarded.values.join("\n"));
    town.ok(&["down"]);
    machine.assert_clean();
}

/// Lets cores be dumped as big as they like, into the current folder.
fn with_cores(command: &str, town: &Town) -> std::process::Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit -c unlimited; {command}")])
        .current_dir(town.path())
        .envs(
            town.command(&["ps"])
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .output()
        .expect("sh")
}

/// Where the machine's cores go: into the working directory, until this is dropped.
struct PlainCores(String);

impl PlainCores {
    const FILE: &str = "/proc/sys/kernel/core_pattern";

    fn set() -> Self {
        let before = fs::read_to_string(Self::FILE).expect("a pattern");
        fs::write(Self::FILE, "core").expect("a pattern");
        Self(before)
    }
}

impl Drop for PlainCores {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, self.0.trim_end());
    }
}

#[test]
fn no_core_of_who_knows_a_value_is_dumped() {
    let machine = Machine::take();
    let plain = PlainCores::set();
    let guarded = Guarded::new();
    let town = &guarded.town;
    let up = with_cores(&format!("exec {} up -d", env!("CARGO_BIN_EXE_pactown")), town);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let cores = || {
        let names = |place: &std::path::Path| {
            let entries = fs::read_dir(place).expect("a directory").flatten();
            let core = |name: &String| name == "core" || name.starts_with("core.");
            let found = entries
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(core);
            found.collect::<Vec<_>>()
        };
        names("/".as_ref()).len() + names(town.path()).len()
    };
    let before = cores();
    for kind in ["pactown:super", "pactown:keeper"] {
        let limit = |pid: i32| fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let pid = processes(kind, "guarded-")[0];
        let limits = limit(pid);
        let line = limits.lines().find(|line| line.starts_with("Max core file size"));
        assert!(
            line.expect("a limit").contains("unlimited"),
            "the limit would allow it"
        );
        kill(Pid::from_raw(pid), Signal::SIGABRT).expect("kill");
        eventually("it is gone", SOON, || !processes(kind, "guarded-").contains(&pid));
    }
    assert_eq!(cores(), before);
    let control = with_cores("python3 -c 'import os; os.abort()'", town);
    assert!(!control.status.success());
    assert_eq!(cores(), before + 1, "another program's is");
    drop(plain);
    town.run(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_has_no_value_is_said_before_anything_is_made() {
    let machine = Machine::take();
    let town = Town::new("guarded", YAML, &[("api.md", API), ("other.md", OTHER)]);
    let yaml = YAML.replace("    env: {COPY: 'x${PACTOWN_TEST_VALUE}x'}\n", "");
    town.write("saas.pactown.yaml", &yaml.replace("printf", "exit 4; printf"));
    let (_, told) = town.expect(2, &["up", "-d"]);
    for line in [
        "secret 'filed' has no value",
        "value.txt` does not exist",
        "the variable PACTOWN_TEST_VALUE is not set",
        "secret 'told' has no value",
        "saas.pactown.yaml:4:3",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    town.ok(&["up", "-d", "other"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn values_that_are_words_or_numbers_of_events_leave_them_readable() {
    let machine = Machine::take();
    let yaml = "
name: guarded
secrets: {word: {environment: WORD}, number: {environment: NUMBER}}
services:
  api: {readme: api.md, port: 18948, health_check: none, secrets: [word, number]}
";
    let api = "# Api\n\n```sh markpact:run\nexec sleep 1000\n```\n";
    let town = Town::new("guarded", yaml, &[("api.md", api)])
        .with_env("WORD", "started")
        .with_env("NUMBER", "18948");
    town.ok(&["up", "-d", "--strict-ports"]);
    let text = town.ok(&["events", "--json"]);
    let told: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let started = told.iter().find(|event| event["kind"] == "started");
    assert_eq!(started.expect("it has started")["port"], 18_948, "{text}");
    town.ok(&["down"]);
    machine.assert_clean();
}
