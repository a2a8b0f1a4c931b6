//! `pactown spec --bundle`: what other runtimes make of a service. The schema is the OCI's own, as Debian ships it; the
//! runtimes are runc, and crun: in full where the host has nothing but cgroup v2.

mod bundles;
mod net;
mod shared;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::observe::{eventually, http_get};
use crate::support::town::{Machine, Town};

use net::Net;

const SCHEMA: &str = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json";

/// How a service of the examples is asked and told to end: a signal that it handles, since as pid 1 it has no other.
struct Guest {
    name: &'static str,
    /// Port and path; a job has none.
    asked: Option<(u16, &'static str)>,
    signal: &'static str,
}

const fn server(name: &'static str, port: u16, path: &'static str, signal: &'static str) -> Guest {
    Guest {
        name,
        asked: Some((port, path)),
        signal,
    }
}

const HELLO: &[Guest] = &[
    server("greeter", 8101, "/health", "SIGINT"),
    server("almanac", 8102, "/", "SIGINT"),
    server("web", 8100, "/health", "SIGINT"),
];

const SHOP: &[Guest] = &[
    server("database", 8201, "/health", "SIGINT"),
    Guest {
        name: "migrate",
        asked: None,
        signal: "SIGTERM",
    },
    server("api", 8202, "/products", "SIGINT"),
    server("web", 8203, "/health", "SIGTERM"),
    server("gateway", 8200, "/api/products", "SIGTERM"),
];

/// Lines, exit code, and the answer: what a run of a service comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    lines: Vec<String>,
    code: i64,
    answer: Option<String>,
}

/// Without what tells one run from another: requests, ids of processes, where an interrupt hit, a process that ended while
/// the almanac counted, the order of the two streams.
fn lines(text: &str) -> Vec<String> {
    let request = |line: &str| line.contains("GET /") || line.contains("POST /");
    let trace =
        |line: &str| line.starts_with("  ") || line.starts_with("Traceback") || line.starts_with("ls: ");
    let told = |line: &&str| !line.trim().is_empty() && !request(line) && !trace(line);
    let mut lines: Vec<String> = text.lines().filter(told).map(without_number()).collect();
    lines.sort();
    lines
}

/// `process [17]` → `process [N]`.
fn without_number() -> impl Fn(&str) -> String {
    |line| match line
        .split_once('[')
        .and_then(|(head, rest)| Some((head, rest.split_once(']')?)))
    {
        Some((head, (inside, tail))) if inside.parse::<u32>().is_ok() => format!("{head}[N]{tail}"),
        _ => line.to_owned(),
    }
}

/// An answer without the file that is there for a moment, while the almanac writes.
fn lasting(answer: &str) -> String {
    let lines = answer.lines().filter(|line| !line.contains(".today.tmp"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What the last run of a service has written.
fn logged(town: &Town, name: &str) -> String {
    let rows = town.ok(&["logs", "--json", "--run", "last", name]);
    let line = |row: &str| {
        let row: Value = serde_json::from_str(row).expect("json");
        format!("{}\n", row["line"].as_str().expect("a line"))
    };
    rows.lines().map(line).collect()
}

/// Under pactown: each is asked, all are stopped, and what they wrote and ended with is kept.
fn under_pactown(town: &Town, guests: &[Guest]) -> Vec<Outcome> {
    town.ok(&["up", "-d"]);
    let answers: Vec<Option<String>> = guests
        .iter()
        .map(|guest| {
            guest
                .asked
                .map(|(_, path)| lasting(&http_get(town.address(guest.name), path).expect("an answer")))
        })
        .collect();
    let mut outcomes = Vec::new();
    for (guest, answer) in guests.iter().zip(answers).rev() {
        town.ok(&["stop", guest.name]);
        outcomes.push(Outcome {
            lines: lines(&logged(town, guest.name)),
            code: town.service(guest.name)["exit_code"]
                .as_i64()
                .expect("an exit code"),
            answer,
        });
    }
    outcomes.reverse();
    outcomes
}

/// A container of another runtime, removed on drop.
struct Container {
    runtime: &'static str,
    root: PathBuf,
    name: String,
    child: Child,
    output: PathBuf,
}

impl Container {
    fn run(runtime: &'static str, bundle: &Path, name: &str, scratch: &Path) -> Self {
        let (root, output) = (
            scratch.join(runtime),
            scratch.join(format!("{name}.{runtime}.log")),
        );
        let log = File::create(&output).expect("log");
        let mut command = Command::new(runtime);
        command
            .arg("--root")
            .arg(&root)
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg(name);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        Self {
            child: command.spawn().expect(runtime),
            runtime,
            root,
            name: name.to_owned(),
            output,
        }
    }

    fn command(&self, words: &[&str]) -> bool {
        let mut command = Command::new(self.runtime);
        command.arg("--root").arg(&self.root).args(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("the runtime").success()
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.output).expect("output")
    }

    fn end(&mut self) -> i64 {
        i64::from(self.child.wait().expect("wait").code().expect("a code"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.command(&["delete", "--force", &self.name.clone()]);
        let _ = self.child.wait();
    }
}

/// Under another runtime, in the same order and asked the same.
fn under(runtime: &'static str, bundles: &Path, guests: &[Guest], scratch: &Path) -> Vec<Outcome> {
    let net = Net::new(bundles, guests);
    let mut running: Vec<(Container, Option<String>, Option<i64>)> = Vec::new();
    for (number, guest) in guests.iter().enumerate() {
        let bundle = bundles.join(guest.name);
        join(&bundle, &net.members[number].path());
        let name = format!("pactown-oci-{}-{}", std::process::id(), guest.name);
        let mut container = Container::run(runtime, &bundle, &name, scratch);
        let mut answer = None;
        match guest.asked {
            None => {
                let code = container.end();
                running.push((container, None, Some(code)));
                continue;
            }
            Some((port, path)) => eventually("it answers", Duration::from_secs(20), || {
                let ended = container.child.try_wait().expect("wait");
                assert!(
                    ended.is_none(),
                    "{}: {ended:?}\n{}",
                    guest.name,
                    container.output()
                );
                answer = net.ask(number, port, path).ok().map(|answer| lasting(&answer));
                answer.is_some()
            }),
        }
        running.push((container, answer, None));
    }
    let mut outcomes = Vec::new();
    for ((mut container, answer, code), guest) in running.into_iter().zip(guests).rev() {
        let code = code.unwrap_or_else(|| {
            assert!(container.command(&["kill", &container.name.clone(), guest.signal]));
            container.end()
        });
        outcomes.push(Outcome {
            lines: lines(&container.output()),
            code,
            answer,
        });
    }
    outcomes.reverse();
    outcomes
}

/// The network aside: the bundle's process joins this namespace.
fn join(bundle: &Path, namespace: &Path) {
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("config")).expect("json");
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    let network = namespaces
        .iter_mut()
        .find(|one| one["type"] == "network")
        .expect("network");
    assert_eq!(
        network["path"],
        Value::Null,
        "the instance's own network is not in the bundle"
    );
    network["path"] = json!(namespace);
    fs::write(&path, config.to_string()).expect("config");
}

/// What `jsonschema` says of a file: nothing, or the first problem.
fn problem(config: &Path) -> String {
    assert!(
        Path::new(SCHEMA).exists(),
        "{SCHEMA}: the package golang-github-opencontainers-specs-dev is needed"
    );
    let script = "
import json, pathlib, sys, jsonschema
schema = pathlib.Path(sys.argv[1])
files = {path.name: json.loads(path.read_text()) for path in schema.parent.glob('*.json')}
def local(uri):
    return files[uri.rsplit('/', 1)[-1]]
root = dict(files[schema.name])
resolver = jsonschema.RefResolver(schema.as_uri(), root, handlers={'file': local, 'https': local})
root.pop('id', None)
for file in files.values():
    file.pop('id', None)
errors = jsonschema.Draft4Validator(root, resolver=resolver).iter_errors(json.load(open(sys.argv[2])))
print(next((f'{list(error.path)}: {error.message}' for error in errors), ''))";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script, SCHEMA])
        .arg(config)
        .output()
        .expect("python3");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "python3-jsonschema is needed: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn assert_valid(bundle: &Path) {
    let config = bundle.join("config.json");
    assert_eq!(problem(&config), "", "{}", config.display());
    // The schema is asked, and not only read: a version that is no text is refused.
    let mut value: Value = serde_json::from_slice(&fs::read(&config).expect("config")).expect("json");
    value["linux"]["uidMappings"][0]["size"] = json!("many");
    let wrong = bundle.with_extension("wrong.json");
    fs::write(&wrong, value.to_string()).expect("file");
    assert_ne!(problem(&wrong), "");
    fs::remove_file(&wrong).expect("file");
}

/// runc everywhere; crun refuses hosts with cgroup v1 beside v2.
fn runtimes() -> Vec<&'static str> {
    let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if pure { vec!["runc", "crun"] } else { vec!["runc"] }
}

/// A directory of this run, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pactown-oci-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn signals(town: &Town, guests: &[Guest]) {
    for guest in guests {
        if let Some((port, _)) = guest.asked {
            let line = format!("port: {port}\n");
            town.edit(
                "saas.pactown.yaml",
                &line,
                &format!("{line}    stop_signal: {}\n", guest.signal),
            );
        }
    }
}

/// The services of an example, as bundles: valid, and the same under each runtime as under pactown.
fn assert_the_same(example: &str, guests: &[Guest]) {
    let machine = Machine::take();
    let town = Town::copy_of(example);
    signals(&town, guests);
    let ours = under_pactown(&town, guests);
    town.ok(&["down", "--volumes", "--yes"]);
    assert!(ours.iter().all(|outcome| !outcome.lines.is_empty()), "{ours:?}");
    for runtime in runtimes() {
        let scratch = Scratch::new(runtime);
        let bundles = scratch.0.join("bundles");
        town.ok(&["spec", "--bundle", bundles.to_str().expect("text")]);
        for guest in guests {
            assert_valid(&bundles.join(guest.name));
        }
        let theirs = under(runtime, &bundles, guests, &scratch.0);
        for ((guest, our), their) in guests.iter().zip(&ours).zip(&theirs) {
            assert_eq!(our, their, "{} under {runtime}", guest.name);
        }
    }
    machine.assert_clean();
}

#[test]
fn hello_runs_the_same_under_other_runtimes() {
    assert_the_same("examples/hello", HELLO);
}

#[test]
fn the_shop_runs_the_same_under_other_runtimes() {
    assert_the_same("examples/shop", SHOP);
}
