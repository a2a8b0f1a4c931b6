//! `pactown spec --bundle`: what other runtimes make of a service. The schema is the OCI's own, as Debian ships it; the
//! runtimes are runc, and crun where the host has nothing but cgroup v2.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::netns::Netns;
use crate::support::observe::{eventually, http_get};
use crate::support::town::{Machine, Town};

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
                .map(|(_, path)| http_get(town.address(guest.name), path).expect("an answer"))
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

/// A network for other runtimes: a namespace per service with the address that the bundles know it by, and a bridge.
struct Net {
    hub: Netns,
    members: Vec<Netns>,
}

impl Net {
    fn new(directory: &Path, guests: &[Guest]) -> Self {
        let hub = Netns::new("oci");
        hub.ip("link add hub0 type bridge");
        hub.ip("link set hub0 up");
        let mut net = Self {
            hub,
            members: Vec::new(),
        };
        for (number, guest) in guests.iter().enumerate() {
            net.join(number, &address(&directory.join(guest.name), guest.name));
        }
        net
    }

    fn join(&mut self, number: usize, address: &str) {
        let member = Netns::new(&format!("oci{number}"));
        let name = member.name();
        self.hub.ip(&format!(
            "link add v{number} type veth peer name eth0 netns {name}"
        ));
        self.hub.ip(&format!("link set v{number} master hub0 up"));
        member.ip(&format!("addr add {address}/22 dev eth0"));
        member.ip("link set eth0 up");
        self.members.push(member);
    }

    /// Asks a service from its own namespace.
    fn ask(&self, number: usize, port: u16, path: &str) -> Result<String, String> {
        self.members[number].within(|| http_get(("127.0.0.1", port), path))
    }
}

/// The address that the bundle's own `/etc/hosts` has for `name`.
fn address(bundle: &Path, name: &str) -> String {
    let hosts = fs::read_to_string(bundle.join("rootfs/etc/hosts")).expect("hosts");
    let line = hosts
        .lines()
        .find(|line| line.split(' ').any(|word| word == name) && !line.starts_with("127."));
    let line = line.unwrap_or_else(|| panic!("{name} in {hosts}"));
    line.split(' ').next().expect("an address").to_owned()
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
                answer = net.ask(number, port, path).ok();
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

const KEEPER: &str = "# Keeper

```sh markpact:file path=seed.txt
sown
```

```sh markpact:run
cat seed.txt kept.txt note.txt data/volume.txt 2>&1
ls -ln kept.txt seed.txt link | awk '{print $1, $3, $4, $NF}'
(echo x > /etc/x) 2>&1 | grep -o 'Read-only.*'
(echo x > /usr/x) 2>&1 | grep -o 'Read-only.*'
echo again >> kept.txt && id -u && hostname && cat /proc/self/uid_map | tr -s ' '
grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd)' /proc/self/status
ulimit -c; ulimit -n; cat limit 2>/dev/null
exit 7
```
";

/// What a service wrote before, deleted and linked is in its copy; what OCI cannot say is told, by name.
#[test]
fn a_bundle_holds_what_the_service_wrote_and_says_what_it_lacks() {
    let machine = Machine::take();
    let yaml = "name: keep\nservices:\n  k: {readme: k.md, health_check: none, restart: \"no\", volumes: [\"v:/app/data\"], \
                mounts: [\"./note.txt:/app/note.txt\"], egress: none, limits: {memory: 64M, pids: 50}}\n";
    let town = Town::new("keep", yaml, &[("k.md", KEEPER), ("note.txt", "noted\n")]);
    let scratch = Scratch::new("keep");
    // A first run of another command leaves something behind.
    town.edit("k.md", "exit 7", "exit 0");
    let first = "# Keeper\n\n```sh markpact:file path=seed.txt\nsown\n```\n\n```sh markpact:file path=gone.txt\nx\n```\n\n```sh markpact:run\n\
                 echo kept > kept.txt; chmod 640 kept.txt; ln -s /etc/shadow link; echo deep > data/volume.txt; rm gone.txt\n```\n";
    let last = fs::read_to_string(town.path().join("k.md"))
        .expect("readme")
        .replace("exit 0", "exit 7");
    town.write("k.md", first);
    town.run(&["up", "-d"]);
    town.run(&["down"]);
    let with_gone = last.replace(
        "```sh markpact:run",
        "```sh markpact:file path=gone.txt\nx\n```\n\n```sh markpact:run",
    );
    town.write("k.md", &with_gone);
    town.run(&["up", "-d"]);
    eventually("it ends", Duration::from_secs(5), || {
        town.service("k")["exit_code"] == 7
    });
    let text = lines(&logged(&town, "k"));
    town.ok(&["down"]);
    // `again` is in it now, once.
    fs::write(town.path().join(".pactown-sandboxes/k/kept.txt"), "kept\n").expect("file");
    let bundle = scratch.0.join("k");
    let made = town.ok(&["spec", "k", "--bundle", bundle.to_str().expect("text"), "--json"]);
    let made: Value = serde_json::from_str(&made).expect("json");
    assert_eq!(made[0]["bundle"], bundle.to_str().expect("text"));
    let keys: Vec<&str> = made[0]["omitted"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|one| one["key"].as_str())
        .collect();
    for key in ["network", "egress", "init", "restart", "landlock", "app"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert!(
        !keys.contains(&"depends_on") && !keys.contains(&"schedule"),
        "{keys:?}"
    );
    assert_valid(&bundle);
    assert!(
        !bundle.join("rootfs/app/gone.txt").exists(),
        "what it removed is not in the copy"
    );
    assert_eq!(
        fs::read_link(bundle.join("rootfs/app/link")).expect("link"),
        Path::new("/etc/shadow")
    );
    let config = fs::metadata(bundle.join("config.json")).expect("config");
    assert_eq!(
        config.mode() & 0o777,
        0o600,
        "its environment is nobody else's to read"
    );
    for runtime in runtimes() {
        let name = format!("pactown-oci-{}-keep", std::process::id());
        let mut container = Container::run(runtime, &bundle, &name, &scratch.0);
        assert_eq!(container.end(), 7, "{}", container.output());
        let shifted = |lines: &[String]| -> Vec<String> {
            lines
                .iter()
                .filter(|line| !line.starts_with(" 0 2"))
                .cloned()
                .collect()
        };
        assert_eq!(shifted(&lines(&container.output())), shifted(&text), "{runtime}");
        let app = bundle.join("rootfs/app/kept.txt");
        assert_eq!(fs::read_to_string(&app).expect("kept"), "kept\nagain\n");
        fs::write(&app, "kept\n").expect("file");
    }
    machine.assert_clean();
}

#[test]
fn a_bundle_goes_into_a_new_or_empty_folder_or_nowhere() {
    let machine = Machine::take();
    let yaml = "name: where\nservices:\n  k: {readme: k.md, health_check: none}\n";
    let town = Town::new(
        "where",
        yaml,
        &[("k.md", "# K\n\n```sh markpact:run\ntrue\n```\n")],
    );
    town.write("full/mine.txt", "mine");
    let (_, errors) = town.expect(2, &["spec", "k", "--bundle", "full"]);
    assert!(
        errors.contains("is not empty") && errors.contains("new or empty"),
        "{errors}"
    );
    let names: Vec<_> = fs::read_dir(town.path().join("full"))
        .expect("folder")
        .flatten()
        .map(|one| one.file_name())
        .collect();
    assert_eq!(names, ["mine.txt"]);
    let (_, errors) = town.expect(2, &["spec", "nobody", "--bundle", "new"]);
    assert!(errors.contains("nobody"), "{errors}");
    town.expect(2, &["spec"]);
    // What cannot be finished is not begun.
    town.write(
        "k.md",
        "# K\n\n```python markpact:deps\nnot-installed-here==9.9.9\n```\n\n```sh markpact:run\ntrue\n```\n",
    );
    let (_, errors) = town.expect(3, &["spec", "--bundle", "new"]);
    assert!(
        errors.contains("has not been installed yet") && errors.contains("pactown up"),
        "{errors}"
    );
    assert!(!town.path().join("new").exists());
    machine.assert_clean();
}
