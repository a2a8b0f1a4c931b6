//! The command line through the real program: verbs that only show, their help, their exit codes. Makes no sandbox.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

const VERBS: [&str; 44] = [
    "up",
    "down",
    "ps",
    "stats",
    "top",
    "ui",
    "logs",
    "exec",
    "run",
    "build",
    "lock",
    "test",
    "attach",
    "start",
    "stop",
    "restart",
    "scale",
    "wait",
    "why",
    "report",
    "events",
    "inspect",
    "open",
    "audit",
    "analyze",
    "ls",
    "init",
    "scan",
    "generate",
    "import",
    "validate",
    "graph",
    "config",
    "schema",
    "env",
    "parse",
    "spec",
    "publish",
    "pull",
    "registry",
    "df",
    "prune",
    "doctor",
    "completion",
];
const ECOSYSTEMS: [&str; 4] = [
    "examples/hello",
    "examples/shop",
    "examples/polyglot",
    "tests/fixtures/python_tool",
];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pactown"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .env_remove("CLICOLOR_FORCE")
        .env("NO_COLOR", "1");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Stdout and stderr of a command that ends with this code.
#[track_caller]
fn ends(code: i32, command: &mut Command) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("run pactown");
    let (out, err) = (text(&stdout), text(&stderr));
    assert_eq!(
        status.code(),
        Some(code),
        "{command:?}\n--- stdout\n{out}\n--- stderr\n{err}"
    );
    assert!(!err.contains("panicked"), "{command:?}: {err}");
    (out, err)
}

#[track_caller]
fn ok(arguments: &[&str]) -> String {
    ends(0, &mut command(arguments)).0
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    let out = ok(arguments);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}"))
}

/// A directory with files, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pactown-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        for (name, content) in files {
            std::fs::write(folder.join(name), content).expect("file");
        }
        Self(folder)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.current_dir(&self.0);
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const RUNS: &str = "# S\n\n```sh markpact:run\nexec sleep 1000\n```\n";

#[test]
fn every_verb_helps_with_examples() {
    for verb in VERBS {
        let help = ok(&[verb, "--help"]);
        assert!(
            help.contains("Examples:\n  pactown ") && help.contains("Usage: pactown"),
            "{verb}: {help}"
        );
        assert!(
            help.lines().all(|line| line.chars().count() <= 110),
            "{verb}: {help}"
        );
    }
    let all = ok(&["--help"]);
    let listed = all.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    let listed: Vec<&str> = listed.filter(|verb| *verb != "help").collect();
    assert_eq!(listed, VERBS, "{all}");
    assert!(ok(&["--version"]).starts_with(concat!("pactown ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_use_is_exit_code_2() {
    let cases: [&[&str]; 9] = [
        &[],
        &["upp"],
        &["quadlet"],
        &["up", "--surely-not"],
        &["up", "--timeout", "soon"],
        &["logs", "--since", "yesterday"],
        &["exec", "-e", "NOVALUE", "web", "true"],
        &["completion", "tcl"],
        &["--instance", "No!", "-f", "examples/hello", "validate"],
    ];
    for arguments in cases {
        let (out, err) = ends(2, &mut command(arguments));
        assert!(
            out.is_empty() && !err.is_empty(),
            "{arguments:?}: {out}\n---\n{err}"
        );
    }
    let (_, err) = ends(2, &mut command(&["upp"]));
    assert!(err.contains("'up'"), "{err}");
}

#[test]
fn what_shows_an_ecosystem_shows_each_of_them() {
    for folder in ECOSYSTEMS {
        assert!(ok(&["validate", folder]).starts_with("ok: "), "{folder}");
        assert_eq!(json(&["validate", folder, "--json"])["valid"], true, "{folder}");
        let graph = json(&["graph", folder, "--json"]);
        let names: Vec<&str> = graph["services"]
            .as_array()
            .expect("services")
            .iter()
            .map(|service| service["name"].as_str().expect("a name"))
            .collect();
        for format in ["text", "mermaid", "dot", "json"] {
            let drawn = ok(&["graph", folder, "-F", format]);
            assert!(
                names.iter().all(|name| drawn.contains(name)),
                "{folder} {format}: {drawn}"
            );
        }
        let normal = json(&["config", folder, "--json"]);
        assert_eq!(
            normal["services"].as_object().expect("services").len(),
            names.len()
        );
        for (index, name) in names.into_iter().enumerate() {
            let variables = json(&["env", "-f", folder, name, "--json"]);
            let port = variables
                .as_array()
                .expect("variables")
                .iter()
                .find(|variable| variable["name"] == "PORT");
            assert_eq!(
                port.expect("PORT")["value"],
                graph["services"][index]["port"].to_string(),
                "{folder} {name}"
            );
        }
    }
}

#[test]
fn the_normal_form_is_a_file_that_means_the_same() {
    for folder in ECOSYSTEMS {
        let yaml = ok(&["config", folder]);
        let before = json(&["config", folder, "--json"]);
        let copy = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(folder)
            .join(format!("copy-{}.yaml", std::process::id()));
        std::fs::write(&copy, yaml).expect("copy");
        let output = command(&["config", copy.to_str().expect("UTF-8"), "--json"]).output();
        std::fs::remove_file(&copy).expect("copy");
        let output = output.expect("run pactown");
        let after: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{folder}: {error}\n{}", text(&output.stderr)));
        assert_eq!(before, after, "{folder}");
    }
}

#[test]
fn env_says_where_a_variable_comes_from() {
    let table = ok(&["env", "-f", "examples/hello", "web"]);
    let row = table
        .lines()
        .find(|line| line.starts_with("GREETER_URL "))
        .expect("GREETER_URL");
    assert!(
        row.contains("http://greeter:8101") && row.contains("depends_on greeter (line "),
        "{row}"
    );
    let (_, err) = ends(2, &mut command(&["env", "-f", "examples/hello", "wep"]));
    assert!(err.contains("did you mean 'web'"), "{err}");
}

#[test]
fn parse_tells_every_block_with_its_lines() {
    let readme = "examples/hello/web/README.md";
    let out = ok(&["parse", readme]);
    let recipe = json(&["parse", readme, "--json"]);
    let file = &recipe["files"][0];
    let lines = format!("{}-{}", file["lines"]["first"], file["lines"]["last"]);
    assert!(
        out.contains(&lines) && out.contains(file["path"].as_str().expect("a path")),
        "{out}"
    );
    assert!(
        out.lines()
            .any(|line| line.contains(" run ") && line.contains("python3")),
        "{out}"
    );
    let (_, err) = ends(2, &mut command(&["parse", "absent.md"]));
    assert!(err.contains("absent.md"), "{err}");
}

#[test]
fn spec_is_an_oci_spec_and_touches_nothing() {
    let spec = json(&["spec", "-f", "examples/hello", "web", "--instance", "never-run"]);
    assert_eq!(spec["ociVersion"], "1.2.0");
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert!(
        spec["process"]["env"]
            .as_array()
            .expect("env")
            .contains(&"PORT=8100".into())
    );
}

#[test]
fn schema_and_completions() {
    let schema = json(&["schema"]);
    assert!(schema["properties"]["services"].is_object(), "{schema}");
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&["completion", shell]);
        assert!(
            script.contains("pactown") && script.contains("validate"),
            "{shell}"
        );
    }
}

#[test]
fn a_broken_file_is_shown_with_line_and_column() {
    let folder = Folder::new(&[
        (
            "saas.pactown.yaml",
            "name: x\nservices:\n  s:\n    readme: s.md\n    prot: 8000\n",
        ),
        ("s.md", RUNS),
    ]);
    for (code, arguments) in [
        (2, ["up", "-n"].as_slice()),
        (1, &["validate"]),
        (2, &["graph"]),
        (2, &["ps"]),
    ] {
        let (out, err) = ends(code, &mut folder.command(arguments));
        assert!(out.is_empty(), "{arguments:?}: {out}");
        assert!(err.contains("saas.pactown.yaml:5:5\n"), "{arguments:?}: {err}");
        assert!(
            err.contains(" 5 |     prot: 8000\n   |     ^^^^\n  help: "),
            "{arguments:?}: {err}"
        );
    }
    let (out, _) = ends(1, &mut folder.command(&["validate", "--json"]));
    let told: Value = serde_json::from_str(&out).expect("json");
    assert_eq!(told["valid"], false);
    assert_eq!(told["problems"][0]["place"]["line"], 5);
}

#[test]
fn problems_of_all_readmes_and_of_the_graph_come_at_once() {
    let folder = Folder::new(&[
        (
            "saas.pactown.yaml",
            "name: x\nservices:\n  a: {readme: a.md, depends_on: [b]}\n  b: {readme: b.md, depends_on: [a]}\n  c: {readme: c.md}\n",
        ),
        ("a.md", "# A\n\n```sh markpact:rum\ntrue\n```\n"),
        ("b.md", "# Nothing to run\n"),
        (
            "c.md",
            "# C\n\n```sh markpact:run\ntrue\n```\n\n```yaml markpact:health\nhttp: 5\nbogus: 1\n```\n",
        ),
    ]);
    let (_, err) = ends(1, &mut folder.command(&["validate"]));
    for part in [
        "a.md:3:",
        "'b' has nothing to run",
        "c.md:7:",
        "a → b → a",
        "4 problems",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let folder = Folder::new(&[("saas.pactown.yaml", "name: [")]);
    let told = |color: &str, no_color: Option<&str>| {
        let mut command = folder.command(&["validate", "--color", color]);
        command.env_remove("NO_COLOR");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        ends(1, &mut command).1
    };
    assert!(!told("auto", None).contains('\u{1b}'), "stderr is no terminal");
    assert!(told("always", None).contains("\u{1b}["));
    assert!(!told("never", None).contains('\u{1b}'));
    assert!(!told("auto", Some("1")).contains('\u{1b}'));
}

#[test]
fn a_file_cannot_command_the_terminal() {
    let folder = Folder::new(&[
        ("saas.pactown.yaml", "name: x\nservices:\n  s: {readme: s.md}\n"),
        (
            "s.md",
            "# \u{1b}[2JS\n\n```sh markpact:run\nprintf '\u{1b}]0;t\u{7}'\n```\n\n```sh markpact:rum \u{1b}[31m\n```\n",
        ),
    ]);
    let (out, err) = ends(1, &mut folder.command(&["validate"]));
    assert!(!format!("{out}{err}").contains(['\u{1b}', '\u{7}']), "{err}");
    let good = Folder::new(&[(
        "s.md",
        "# \u{1b}[2JS\n\n```sh markpact:run\nprintf '\u{1b}]0;t\u{7}'\n```\n",
    )]);
    let (out, _) = ends(0, &mut good.command(&["parse", "s.md", "--color", "always"]));
    assert!(!out.contains(['\u{1b}', '\u{7}']), "{out:?}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut child = command(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .expect("stderr")
        .read_to_string(&mut err)
        .expect("stderr");
    child.wait().expect("wait");
    assert_eq!(err, "");
}

#[test]
fn quiet_says_results_and_errors_only() {
    let folder = Folder::new(&[
        ("saas.pactown.yaml", "name: x\nservices: {s: {readme: s.md}}\n"),
        ("s.md", RUNS),
    ]);
    let (out, err) = ends(0, &mut folder.command(&["-q", "validate"]));
    assert!(out.starts_with("ok: ") && err.is_empty(), "{out}{err}");
}
