//! Events, `why` and `analyze`: each cause of the catalogue is made to happen, and must be told by its first line.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::town::{Machine, Town};

const FIXTURES: &str = "tests/fixtures/why";

/// Whether `text` is `pattern`, in which `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn patterns_match_what_they_say() {
    assert!(matches("a * c", "a b c") && matches("a*", "a") && matches("a", "a"));
    assert!(!matches("a", "ab") && !matches("a*c", "ab") && !matches("b*", "ab"));
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/why.md")).expect("docs/why.md")
}

#[test]
fn the_document_names_every_kind_and_shows_what_is_printed() {
    use clap::ValueEnum;
    let text = document();
    for kind in pactown::events::Kind::value_variants() {
        assert!(text.contains(&format!("`{}`", kind.word())), "{kind:?}");
    }
    let expect = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(FIXTURES)
        .join("exited/expect.txt");
    let expect = fs::read_to_string(expect).expect("expect.txt");
    assert!(text.lines().any(|line| matches(expect.trim(), line)), "{expect}");
}

/// `expect.txt`: the first line of `why`; each further line `!SERVICE: …` is that of `why SERVICE`.
fn check(name: &str) -> Result<(), String> {
    let folder = format!("{FIXTURES}/{name}");
    let expect = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(&folder)
            .join("expect.txt"),
    );
    let expect = expect.expect("expect.txt");
    let town = Town::copy_of(&folder);
    let up = town.run(&["up", "-d"]);
    // A service without a check may end just behind the `up`.
    let told = |arguments: &[&str], pattern: &str| {
        let mut text = String::new();
        for _ in 0..100 {
            let output = town.run(arguments);
            text = String::from_utf8_lossy(&output.stdout).into_owned();
            let wrong = output.status.code() != Some(0);
            if matches(pattern, text.lines().next().unwrap_or_default())
                && wrong == (pattern != "all is well")
            {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let up = String::from_utf8_lossy(&up.stderr);
        Err(format!(
            "{name}: expected {pattern:?}\n--- {arguments:?}\n{text}\n--- up\n{up}\n--- events\n{}",
            String::from_utf8_lossy(&town.run(&["events"]).stdout)
        ))
    };
    for line in expect.lines() {
        match line.strip_prefix('!') {
            Some(line) => told(&["why", line.split(':').next().expect("a service")], line)?,
            None => told(&["why"], line)?,
        }
    }
    let json: Value = serde_json::from_slice(&town.run(&["why", "--json"]).stdout).expect("json");
    for one in json.as_array().expect("an array") {
        let next = one["next"].as_array().expect("next");
        let kind = format!("`{}`", one["kind"].as_str().expect("kind"));
        if !document().contains(&kind) {
            return Err(format!("{name}: {kind} is not in docs/why.md"));
        }
        if !one["cause"].is_string() || next.is_empty() {
            return Err(format!("{name}: no cause or no next step: {one}"));
        }
    }
    town.ok(&["down"]);
    Ok(())
}

#[test]
fn every_cause_is_told_by_its_first_line() {
    let machine = Machine::take();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES);
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    names.sort();
    assert!(names.len() >= 18, "{names:?}");
    let only = std::env::var("WHY").ok();
    names.retain(|name| only.as_ref().is_none_or(|only| only == name));
    let wrong: Vec<String> = names.iter().filter_map(|name| check(name).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    machine.assert_clean();
}

const PAIR: &str = "
name: pair
services:
  api: {readme: api.md, port: 8000, health_check: /}
  web: {readme: api.md, port: 8000, health_check: /, depends_on: [api]}
";
const SERVER: &str = "# Server\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n";

fn kinds(town: &Town, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["events", "--json"];
    all.extend(arguments);
    let text = town.ok(&all);
    let kind = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        event["kind"].as_str().expect("kind").to_owned()
    };
    text.lines().map(kind).collect()
}

#[test]
fn events_tell_a_life_and_outlive_it() {
    let machine = Machine::take();
    let town = Town::new("pair", PAIR, &[("api.md", SERVER)]);
    town.ok(&["up", "-d"]);
    assert_eq!(
        kinds(&town, &["web"]),
        ["preparing", "prepared", "starting", "started", "ready"]
    );
    let mut follower = town.spawn(&["events", "-f", "-n", "0", "--kind", "stopped,down"]);
    let analyzed: Value = serde_json::from_str(&town.ok(&["analyze", "--json"])).expect("json");
    assert_eq!(
        analyzed["critical_chain"],
        serde_json::json!(["web", "api"]),
        "{analyzed}"
    );
    assert!(town.ok(&["analyze"]).contains("└─ api @"));
    town.ok(&["stop", "web"]);
    let (out, _) = town.expect(0, &["why", "web"]);
    assert!(
        out.starts_with("web: stopped by hand\n") && out.contains("next: pactown start web"),
        "{out}"
    );
    let mut lines = BufReader::new(follower.stdout.take().expect("stdout")).lines();
    let line = lines.next().expect("a line").expect("utf-8");
    assert!(line.contains("web") && line.ends_with("stopped"), "{line}");
    town.ok(&["down"]);
    let line = lines.next().expect("a line").expect("utf-8");
    assert!(line.ends_with("down"), "{line}");
    kill(Pid::from_raw(follower.id().cast_signed()), Signal::SIGINT).expect("signal");
    assert_eq!(follower.wait().expect("wait").code(), Some(130));
    assert_eq!(
        kinds(&town, &["-n", "2", "--kind", "up,down"]),
        ["up", "down"],
        "without a supervisor"
    );
    let file = fs::read_dir("/var/log/pactown")
        .expect("logs")
        .flatten()
        .map(|entry| entry.path().join("events.log"))
        .find(|path| path.display().to_string().contains("/pair-") && path.exists());
    assert!(file.is_some());
    machine.assert_clean();
}

#[test]
fn a_new_supervisor_says_that_it_took_over() {
    let machine = Machine::take();
    let town = Town::new("pair", PAIR, &[("api.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let ours = std::process::Command::new("pgrep")
        .args(["-f", "__supervisor.*/pair-"])
        .output()
        .expect("pgrep");
    for pid in String::from_utf8_lossy(&ours.stdout)
        .lines()
        .filter_map(|pid| pid.parse().ok())
    {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if comm.trim() == "pactown:super" {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("signal");
        }
    }
    crate::support::observe::eventually("taken over", std::time::Duration::from_secs(10), || {
        kinds(&town, &["--kind", "adopted"]).len() == 3
    });
    town.ok(&["why"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_port_of_the_host_that_is_taken_is_named_with_its_holder() {
    let machine = Machine::take();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port();
    let yaml =
        format!("name: taken\nservices:\n  api: {{readme: api.md, port: 8000, ports: [\"{port}:8000\"]}}\n");
    let town = Town::new("taken", &yaml, &[("api.md", SERVER)]);
    town.expect(1, &["up", "-d"]);
    let (out, _) = town.expect(1, &["why"]);
    assert!(out.starts_with(&format!("api: port {port} in use by ")), "{out}");
    drop(taken);
    town.ok(&["up", "-d"]);
    assert_eq!(town.ok(&["why"]), "all is well\n");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_failing_up_says_what_to_do_next() {
    let machine = Machine::take();
    let town = Town::copy_of("tests/fixtures/why/exited");
    town.edit(
        "saas.pactown.yaml",
        "api.md}",
        "api.md, port: 8000, health_check: /}",
    );
    for arguments in [&["up", "-d"][..], &["up"]] {
        let (_, err) = town.expect(1, arguments);
        assert!(
            err.contains("KeyError: 'MISSING' (main.py:3 = api.md:6)"),
            "{err}"
        );
        assert!(err.contains("next: pactown logs api"), "{err}");
    }
    let (out, _) = town.expect(1, &["why"]);
    assert!(out.contains("main.py:3 = api.md:6"), "after the end too: {out}");
    town.ok(&["down"]);
    machine.assert_clean();
}
