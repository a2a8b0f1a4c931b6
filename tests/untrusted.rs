//! What strangers write, through the whole program: the same text does harm in a program that takes no care, and is refused
//! or kept inside by pactown.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::observe::{children, patient, processes};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: untrusted
services:
  s: {readme: s.md}
";

const RUN: &str = "```sh markpact:run\nexec sleep 1000\n```\n";

/// Writes each file block where its path says, as if it could be trusted.
const CARELESS: &str = r#"
import os, re, sys
text = open(sys.argv[1]).read()
for path, body in re.findall(r'```\S* markpact:file path=(\S+)\n(.*?)```', text, re.S):
    place = os.path.join(sys.argv[2], path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, 'w') as file: file.write(body)
"#;

fn carelessly_written(town: &Town, readme: &Path, into: &Path) {
    let status = Command::new("python3")
        .args(["-c", CARELESS])
        .args([readme, into])
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("python3").success(), "{}", town.path().display());
}

#[test]
fn a_path_that_leads_out_writes_nothing() {
    let machine = Machine::take();
    let town = Town::new("untrusted", YAML, &[("canary/file", "kept\n"), ("box/file", "")]);
    let (canary, file) = (town.path().join("canary"), town.path().join("canary/file"));
    let absolute = canary.display().to_string();
    let paths = [
        "../canary/file".to_owned(),
        "a/../../canary/file".to_owned(),
        "./../canary/file".to_owned(),
        "a//../../canary/file".to_owned(),
        format!("{absolute}/file"),
        format!("/{absolute}/file"),
        format!("/proc/self/root{absolute}/file"),
    ];
    let mut led_out = 0;
    for path in &paths {
        let readme = format!("```txt markpact:file path={path}\nhostile\n```\n\n{RUN}");
        town.write("s.md", &readme);
        let (_, told) = town.expect(2, &["up", "-d"]);
        assert!(told.contains("s.md:1"), "{path}: {told}");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "kept\n", "{path}");
        assert!(!town.path().join(".pactown-sandboxes").exists(), "{path}");
        carelessly_written(&town, &town.path().join("s.md"), &town.path().join("box"));
        led_out += usize::from(fs::read_to_string(&file).expect("a file") == "hostile\n");
        fs::write(&file, "kept\n").expect("a file");
    }
    assert_eq!(led_out, paths.len(), "each does harm where nobody looks");
    machine.assert_clean();
}

#[test]
fn what_an_earlier_run_left_leads_nowhere() {
    let machine = Machine::take();
    let blocks = "```txt markpact:file path=notes.txt\nnew\n```\n\n```txt markpact:file path=conf/app.txt\nnew\n```\n\n\
                  ```txt markpact:file path=pipe.txt\nnew\n```\n\n";
    let town = Town::new(
        "untrusted",
        YAML,
        &[
            ("s.md", RUN),
            ("canary/app.txt", "kept\n"),
            ("next.md", &format!("{blocks}{RUN}")),
        ],
    );
    let canary = town.path().join("canary");
    town.ok(&["up", "-d"]);
    let lay = format!(
        "cd /app && ln -s {0}/app.txt notes.txt && ln -s {0} conf && mkfifo pipe.txt",
        canary.display()
    );
    town.inside("s", &lay);
    town.ok(&["down"]);
    town.edit("saas.pactown.yaml", "s.md", "next.md");
    let began = Instant::now();
    town.ok(&["up", "-d"]);
    assert!(
        began.elapsed() < patient(Duration::from_secs(20)),
        "nothing waits at a pipe"
    );
    let seen = town.inside("s", "cat /app/notes.txt 2>&1 || true");
    assert!(!seen.contains("kept"), "{seen}");
    town.ok(&["down", "--volumes", "--yes"]);
    let left: Vec<_> = fs::read_dir(&canary).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        fs::read_to_string(canary.join("app.txt")).expect("a file"),
        "kept\n"
    );
    // The same links in the way of a program that takes no care.
    let place = town.path().join("careless");
    fs::create_dir(&place).expect("a directory");
    symlink(canary.join("app.txt"), place.join("notes.txt")).expect("a link");
    town.write("next.md", "```txt markpact:file path=notes.txt\nnew\n```\n");
    carelessly_written(&town, &town.path().join("next.md"), &place);
    assert_eq!(
        fs::read_to_string(canary.join("app.txt")).expect("a file"),
        "new\n"
    );
    machine.assert_clean();
}

/// A billion elements, by names for names.
fn bomb() -> String {
    let first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    (1..9).fold(first, |text, level| {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("{text}a{level}: &a{level} [{row}]\n")
    })
}

#[test]
fn bombs_and_files_that_are_none_are_refused_at_once_and_in_little_memory() {
    let machine = Machine::take();
    let town = Town::new("untrusted", YAML, &[("s.md", RUN)]);
    let refused = |what: &str| {
        let began = Instant::now();
        // A quarter of a gigabyte of addresses: who swells runs out.
        let output = Command::new("prlimit")
            .arg("--as=268435456")
            .arg(env!("CARGO_BIN_EXE_pactown"))
            .args(["up", "-d"])
            .current_dir(town.path())
            .env("NO_COLOR", "1")
            .output()
            .expect("prlimit");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{what}: {told}");
        assert!(told.contains("error"), "{what}: {told}");
        let took = began.elapsed();
        assert!(took < patient(Duration::from_secs(10)), "{what}: {took:?}");
    };
    let services = "services:\n  s: {readme: s.md}\n";
    let many = "x".repeat(300);
    for (what, yaml) in [
        ("a billion elements", format!("name: x\n{}{services}", bomb())),
        ("a tower", format!("name: x\nservices: {}\n", "[".repeat(10_000))),
        ("an anchor in itself", format!("name: x\na: &a [*a]\n{services}")),
        ("a tag", format!("name: !!python/object:os.system x\n{services}")),
        (
            "a long name",
            format!("name: x\nservices:\n  {many}: {{readme: s.md}}\n"),
        ),
        (
            "a name that is a command",
            "name: x\nservices:\n  '$(id)': {readme: s.md}\n".to_owned(),
        ),
        (
            "a name that leads out",
            "name: x\nservices:\n  '../s': {readme: s.md}\n".to_owned(),
        ),
        (
            "a check of another host",
            "name: x\nservices:\n  s: {readme: s.md, health_check: 'http://169.254.169.254/'}\n".to_owned(),
        ),
        (
            "a check with a header",
            "name: x\nservices:\n  s: {readme: s.md, health_check: \"/a\\r\\nX: y\"}\n".to_owned(),
        ),
        (
            "a service that needs itself",
            "name: x\nservices:\n  s: {readme: s.md, depends_on: [s]}\n".to_owned(),
        ),
    ] {
        town.write("saas.pactown.yaml", &yaml);
        refused(what);
    }
    town.write("saas.pactown.yaml", YAML);
    let readme = town.path().join("s.md");
    for what in ["pipe", "device", "directory", "17 MiB"] {
        let _ = fs::remove_file(&readme);
        match what {
            "pipe" => {
                nix::unistd::mkfifo(&readme, nix::sys::stat::Mode::from_bits_truncate(0o644)).expect("a pipe")
            }
            "device" => symlink("/dev/zero", &readme).expect("a link"),
            "directory" => fs::create_dir(&readme).expect("a directory"),
            _ => fs::write(&readme, vec![b'\n'; 17 << 20]).expect("a file"),
        }
        refused(what);
        if what == "pipe" {
            let reader = Command::new("timeout").args(["1", "cat"]).arg(&readme).status();
            assert_eq!(
                reader.expect("timeout").code(),
                Some(124),
                "who reads it waits for ever"
            );
        }
        let _ = fs::remove_dir(&readme);
    }
    machine.assert_clean();
}

/// What makes programs load, source or run something else.
const STEERING: [(&str, &str); 4] = [
    ("LD_PRELOAD", "/app/none.so"),
    ("BASH_ENV", "/app/steer"),
    ("PYTHONPATH", "/app/lib"),
    ("NODE_OPTIONS", "--require=/app/none.js"),
];

#[test]
fn variables_that_steer_programs_act_inside_alone() {
    let machine = Machine::take();
    let variables = STEERING
        .map(|(name, value)| format!("{name}: '{value}'"))
        .join(", ");
    let yaml = format!("name: untrusted\nservices:\n  s: {{readme: s.md, env: {{{variables}}}}}\n");
    let readme = "```sh markpact:file path=steer\ntouch /tmp/steered\n```\n\n\
                  ```sh markpact:run\nbash -c true 2>/dev/null; exec sleep 1000\n```\n";
    let town = Town::new("untrusted", &yaml, &[("s.md", readme)]);
    town.ok(&["up", "-d"]);
    assert_eq!(
        town.inside("s", "ls /tmp/steered 2>/dev/null"),
        "/tmp/steered",
        "it acts inside"
    );
    let environment = |pid: i32| {
        let bytes = fs::read(format!("/proc/{pid}/environ")).expect("an environment");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let instance = town.instance();
    let init = town.pid("s");
    let service = environment(children(init)[0]);
    let mut outside = vec![init];
    for kind in ["pactown:super", "pactown:keeper", "pactown:logs"] {
        outside.extend(processes(kind, &instance));
    }
    assert!(outside.len() >= 4, "{outside:?}");
    for (name, value) in STEERING {
        assert!(service.contains(&format!("{name}={value}")), "{service}");
        for pid in &outside {
            assert!(!environment(*pid).contains(value), "{name} of {pid}");
        }
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
