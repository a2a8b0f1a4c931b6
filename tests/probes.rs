//! The probe suite: what a service must not be able to do, asked of the kernel by a program that runs as the service,
//! through `exec`, plainly on the host (where it must succeed, or it proves nothing), and in sandboxes that lack one layer.
//!
//! `cargo test --all-features --test suite probes:: -- --nocapture` prints the table and the score.

mod docker;
mod filter;
mod policy;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::observe::children;
use crate::support::skips::skipped;
use crate::support::town::{Machine, Town};
use table::{ROWS, Row};

const YAML: &str = "
name: probed
services:
  app: {readme: probe.md, mounts: ['./probe:/probe', './shared:/shared'], health_check: {log: 'count writable_sys'}}
  root: {readme: probe.md, user: root, mounts: ['./probe:/probe', './shared:/shared'], health_check: {log: 'count writable_sys'}}
";

const README: &str = "# Probe

```sh markpact:run
/probe/battery /shared && exec sleep 1000
```
";

/// What the probes said: `kind name` → result. Lines about the process itself are whole keys.
type Answers = BTreeMap<String, String>;

/// The battery, compiled once.
fn battery() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("battery");
        compiled(&program, &[]);
        program
    })
}

fn compiled(program: &Path, more: &[&str]) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/battery.c");
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", source, "-lrt", "-lpthread"])
        .args(more)
        .arg("-o")
        .arg(program)
        .status()
        .expect("a C compiler");
    assert!(status.success());
}

/// A town whose services ask everything, without these layers.
fn probed(without: &str) -> Town {
    let town = Town::new("probed", YAML, &[("probe.md", README), ("shared/file", "kept\n")])
        .with_env("PACTOWN_TEST_DISABLE", without);
    fs::create_dir_all(town.path().join("probe")).expect("directory");
    fs::copy(battery(), town.path().join("probe/battery")).expect("copy");
    for (path, mode) in [("shared", 0o777), ("shared/file", 0o666)] {
        fs::set_permissions(town.path().join(path), fs::Permissions::from_mode(mode)).expect("mode");
    }
    town
}

fn answers(text: &str) -> Answers {
    let line = |line: &str| {
        if line.starts_with("self ") {
            return Some((line.to_owned(), String::new()));
        }
        let (kind_and_name, result) = line.rsplit_once(' ')?;
        Some((kind_and_name.to_owned(), result.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// What the service itself wrote.
fn of_service(town: &Town, service: &str) -> Answers {
    let lines = town.ok(&["logs", service, "--json"]);
    let text = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of the log");
        line["line"].as_str().unwrap_or("").to_owned()
    };
    let texts: Vec<String> = lines.lines().map(text).collect();
    answers(&texts.join("\n"))
}

fn through_exec(town: &Town, service: &str) -> Answers {
    answers(&town.ok(&["exec", "-T", service, "/probe/battery", "/shared"]))
}

fn on_the_host(shared: &Path) -> Answers {
    let output = Command::new(battery())
        .arg(shared)
        .arg("control")
        .output()
        .expect("battery");
    answers(&String::from_utf8_lossy(&output.stdout))
}

/// What a probe said: its kind does not matter here.
fn said<'a>(answers: &'a Answers, name: &str) -> &'a str {
    ["battery", "row"]
        .iter()
        .find_map(|kind| answers.get(&format!("{kind} {name}")))
        .map_or("-", String::as_str)
}

impl Row {
    fn is_open(&self, result: &str) -> bool {
        result == "OK" || self.reached.contains(&result)
    }

    fn is_denied(&self, result: &str) -> bool {
        self.wanted.contains(&result)
    }
}

/// Everything that was asked, everywhere.
struct Asked {
    plain: Answers,
    /// By where: `app`, `app exec`, `root`, `root exec`.
    inside: BTreeMap<String, Answers>,
    /// By what was left out: of `app` and of `root`.
    without: BTreeMap<&'static str, [Answers; 2]>,
    /// In a container with Docker's defaults, where there is an engine.
    docker: Option<Answers>,
    /// `inspect --score` of the running service.
    exposure: f64,
}

fn ask_the_sandbox() -> (Answers, BTreeMap<String, Answers>, f64) {
    let town = probed("");
    // Descriptors of the caller's that are not to come along.
    let inherit = "exec 10</ 11</etc 12<>/dev/null 13</proc/self/ns/user 40</root; exec \"$@\"";
    let status = Command::new("bash")
        .args([
            "-c",
            inherit,
            "bash",
            env!("CARGO_BIN_EXE_pactown"),
            "-q",
            "up",
            "-d",
        ])
        .current_dir(town.path())
        .status()
        .expect("up");
    assert!(status.success());
    let mut inside = BTreeMap::new();
    for service in ["app", "root"] {
        inside.insert(service.to_owned(), of_service(&town, service));
        inside.insert(format!("{service} exec"), through_exec(&town, service));
    }
    filter::matches_the_kernel(battery(), children(town.pid("app"))[0]);
    let plain = on_the_host(&town.path().join("shared"));
    assert_eq!(
        fs::read_to_string(town.path().join("shared/file")).expect("file"),
        ""
    );
    let score = town.ok(&["inspect", "app", "--score", "--json"]);
    let score: serde_json::Value = serde_json::from_str(&score).expect("json");
    town.ok(&["down"]);
    (plain, inside, score["exposure"].as_f64().expect("a number"))
}

fn ask_mutants() -> BTreeMap<&'static str, [Answers; 2]> {
    let mut all: Vec<&str> = ROWS.iter().flat_map(|row| row.mutants).copied().collect();
    all.sort_unstable();
    all.dedup();
    let ask = |without: &'static str| {
        let town = probed(without);
        town.ok(&["up", "-d"]);
        let both = ["app", "root"].map(|service| of_service(&town, service));
        town.ok(&["down"]);
        (without, both)
    };
    all.into_iter().map(ask).collect()
}

/// What one row shows.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Refused inside, open outside, and the layer is what refuses.
    Shown,
    /// Refused inside, but this kernel refuses it everywhere.
    Vacuous,
    /// It succeeds inside, or the layer denies nothing, or there is no second one.
    Wrong(String),
}

fn judge(row: &Row, asked: &Asked) -> Verdict {
    for (place, answers) in &asked.inside {
        let result = said(answers, row.name);
        if !row.is_denied(result) {
            return Verdict::Wrong(format!("{result} in {place}, not {:?}", row.wanted));
        }
    }
    if !row.is_open(said(&asked.plain, row.name)) {
        return Verdict::Vacuous;
    }
    let second = asked.without.get(row.mutants[0]).expect("asked");
    let falls = second.iter().any(|answers| row.is_open(said(answers, row.name)));
    match row.twice && falls {
        true => Verdict::Wrong(format!("nothing denies it without {}", row.mutants[0])),
        false => Verdict::Shown,
    }
}

fn print(asked: &Asked, verdicts: &[Verdict]) {
    println!(
        "{:<20} {:<12} {:<12} {:<9} {:<9} {:<9} {:<9} without, and what then (app/root)",
        "probe", "plain", "docker", "service", "exec", "root", "root exec"
    );
    let docker = |row: &Row| {
        asked
            .docker
            .as_ref()
            .map_or("-", |answers| said(answers, row.name))
    };
    for (row, verdict) in ROWS.iter().zip(verdicts) {
        let places =
            ["app", "app exec", "root", "root exec"].map(|place| said(&asked.inside[place], row.name));
        let mutants: Vec<String> = row
            .mutants
            .iter()
            .map(|without| {
                let [app, root] = &asked.without[without];
                format!("{without}: {}/{}", said(app, row.name), said(root, row.name))
            })
            .collect();
        println!(
            "{:<20} {:<12} {:<12} {:<9} {:<9} {:<9} {:<9} {}{}",
            row.name,
            said(&asked.plain, row.name),
            docker(row),
            places[0],
            places[1],
            places[2],
            places[3],
            mutants.join("  "),
            match verdict {
                Verdict::Shown => String::new(),
                Verdict::Vacuous => "  (vacuous here)".to_owned(),
                Verdict::Wrong(why) => format!("  WRONG: {why}"),
            }
        );
    }
}

/// Lines of one kind with another result than `OK`, or of files that can be written.
fn lines<'a>(answers: &'a Answers, kind: &str) -> Vec<(&'a str, &'a str)> {
    let prefix = format!("{kind} ");
    let of_kind = answers
        .iter()
        .filter_map(|(key, result)| Some((key.strip_prefix(&prefix)?, result.as_str())));
    of_kind.collect()
}

#[test]
fn every_probe_is_refused_inside_by_a_layer_that_can_be_named() {
    let machine = Machine::take();
    let address = SocketAddr::from_abstract_name("pactown-probe").expect("name");
    let _listener = UnixListener::bind_addr(&address).expect("an abstract socket of the host's");
    let (plain, inside, exposure) = ask_the_sandbox();
    let without = ask_mutants();
    let asked = Asked {
        plain,
        inside,
        without,
        docker: docker::ask(),
        exposure,
    };
    let verdicts: Vec<Verdict> = ROWS.iter().map(|row| judge(row, &asked)).collect();
    print(&asked, &verdicts);
    machine.assert_clean();
    let wrong = of_the_process(&asked);
    score(&asked, &verdicts);
    let bad: Vec<String> = ROWS
        .iter()
        .zip(&verdicts)
        .filter_map(|(row, verdict)| match verdict {
            Verdict::Wrong(why) => Some(format!("{}: {why}", row.name)),
            _ => None,
        })
        .chain(wrong)
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    policy::vacuous_rows_are_refused_by_the_filter(
        ROWS.iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Vacuous)
            .map(|(row, _)| row.name),
    );
}

/// What is not a row: files that can be written or read, descriptors, what must work, and that `exec` is held as the
/// service is.
fn of_the_process(asked: &Asked) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, answers) in &asked.inside {
        let expected = ["descriptors", "unreachable_cwd", "writable_proc", "writable_sys"];
        for name in expected {
            if answers.get(&format!("count {name}")).map(String::as_str) != Some("0") {
                wrong.push(format!(
                    "{place}: {name} {:?}, {:?}",
                    answers.get(&format!("count {name}")),
                    lines(answers, "writable")
                ));
            }
        }
        let read = lines(answers, "read")
            .into_iter()
            .filter(|(_, result)| *result == "OK");
        wrong.extend(read.map(|(path, _)| format!("{place}: {path} can be read")));
        let broken = lines(answers, "works")
            .into_iter()
            .filter(|(_, result)| *result != "OK");
        wrong.extend(broken.map(|(name, result)| format!("{place}: {name} does not work: {result}")));
        assert!(lines(answers, "works").len() > 30, "{answers:?}");
    }
    for service in ["app", "root"] {
        let itself = |place: &str| -> Vec<&String> {
            let keys = asked.inside[place].keys();
            keys.filter(|key| key.starts_with("self ")).collect()
        };
        let (own, exec) = (itself(service), itself(&format!("{service} exec")));
        if own != exec {
            wrong.push(format!(
                "{service} is not held as through exec:\n{own:?}\n{exec:?}"
            ));
        }
    }
    wrong
}

/// The line that is compared from one release to the next.
fn score(asked: &Asked, verdicts: &[Verdict]) {
    let battery = |row: &Row| asked.plain.contains_key(&format!("battery {}", row.name));
    let of_battery: Vec<_> = ROWS
        .iter()
        .zip(verdicts)
        .filter(|(row, _)| battery(row))
        .collect();
    let count =
        |wanted: fn(&Verdict) -> bool| of_battery.iter().filter(|(_, verdict)| wanted(verdict)).count();
    let open = count(|verdict| matches!(verdict, Verdict::Wrong(_)));
    let vacuous = count(|verdict| matches!(verdict, Verdict::Vacuous));
    let twice: Vec<_> = ROWS.iter().zip(verdicts).filter(|(row, _)| row.twice).collect();
    let held = twice
        .iter()
        .filter(|(_, verdict)| **verdict == Verdict::Shown)
        .count();
    let twice = twice
        .iter()
        .filter(|(_, verdict)| **verdict != Verdict::Vacuous)
        .count();
    let app = &asked.inside["app"];
    let writable: u32 = ["writable_proc", "writable_sys"]
        .iter()
        .map(|name| app[&format!("count {name}")].parse::<u32>().expect("a number"))
        .sum();
    let leaks = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .args(["doctor", "--leaks"])
        .output()
        .expect("doctor");
    let leaks = String::from_utf8_lossy(&leaks.stdout).into_owned();
    let leaks = leaks.lines().filter(|line| line.trim() != "none").count();
    let works = lines(app, "works");
    let working = works.iter().filter(|(_, result)| *result == "OK").count();
    println!(
        "SCORE sandbox open={open}/{} vacuous={vacuous} wok={writable} exposure={:.1} caps={} seccomp_allowed={} seccomp_denied={} works={working}/{} layers2L={held}/{twice} leaks={leaks}",
        of_battery.len(),
        asked.exposure,
        capabilities(app),
        pactown::spec::seccomp::ALLOWED.len(),
        policy::denied(),
        works.len(),
    );
    let others = [("plain", Some(&asked.plain)), ("docker", asked.docker.as_ref())];
    for (name, answers) in others {
        let Some(answers) = answers else {
            skipped(
                &format!("the probes with the defaults of {name}"),
                "no engine answers",
            );
            continue;
        };
        let open = of_battery
            .iter()
            .filter(|(row, _)| row.is_open(said(answers, row.name)));
        let writable: u32 = ["writable_proc", "writable_sys"]
            .iter()
            .filter_map(|name| answers.get(&format!("count {name}"))?.parse::<u32>().ok())
            .sum();
        println!(
            "SCORE {name} open={}/{} wok={writable} caps={}",
            open.count(),
            of_battery.len(),
            capabilities(answers)
        );
    }
    assert_eq!(of_battery.len(), 41);
    // What a release had is what the next one has at least.
    assert_eq!((open, writable, capabilities(app), leaks), (0, 0, 0, 0));
    assert!(asked.exposure <= 0.6, "{}", asked.exposure);
    assert!(pactown::spec::seccomp::ALLOWED.len() <= 290 && policy::denied() >= 90);
    assert!(working == works.len() && working >= 31, "{works:?}");
    assert!(held == twice && twice >= 40, "{held} of {twice}");
}

/// Capabilities in the bounding set.
fn capabilities(answers: &Answers) -> u32 {
    let set = answers.keys().find_map(|key| key.strip_prefix("self CapBnd:_"));
    let set = set.and_then(|text| u64::from_str_radix(text.trim_matches('_'), 16).ok());
    set.expect("a bounding set").count_ones()
}
