//! The README's commands and claims are true.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::observe::{eventually, http_get};
use crate::support::town::{Machine, Town};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The one-line shell blocks, in order.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("\n```sh\n") {
        let (body, next) = after.split_once("\n```").expect("a closed block");
        found.push(body.trim().to_owned());
        rest = next;
    }
    found
}

#[test]
fn the_first_command_runs_the_example_and_the_second_the_tests() {
    let commands = commands(&text());
    assert_eq!(commands[0], "cargo run -- up examples/hello");
    assert_eq!(commands[1], "cargo test --workspace --all-features");
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    assert!(ci.contains(&commands[1]), "CI runs the same test command");
    // What cargo would start, without building a second time.
    let arguments: Vec<&str> = commands[0]
        .split(" -- ")
        .nth(1)
        .expect("arguments")
        .split(' ')
        .collect();
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    let mut copied = arguments.clone();
    *copied.last_mut().expect("a path") = town.path().to_str().expect("utf-8");
    let mut child = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .args(&copied)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("pactown");
    eventually("the page greets", Duration::from_secs(30), || {
        town.run(&["ps", "--json"]).status.success() && town.all_healthy()
    });
    assert!(
        http_get(town.address("web"), "/")
            .expect("the page")
            .contains("traveller")
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGINT,
    )
    .expect("Ctrl-C");
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    machine.assert_clean();
}

#[test]
fn every_command_of_the_table_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .arg("--help")
        .output()
        .expect("pactown");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for line in text().lines().filter(|line| line.starts_with("| ")) {
        for command in line.split('`').skip(1).step_by(2) {
            let Some(verb) = command
                .strip_prefix("pactown ")
                .and_then(|rest| rest.split(' ').next())
            else {
                continue;
            };
            if verb.chars().all(|c| c.is_ascii_lowercase()) {
                assert!(
                    help.contains(&format!("\n  {verb}")),
                    "{command} is not in --help:\n{help}"
                );
            }
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut pages = vec![root().join("README.md")];
    pages.extend(
        fs::read_dir(root().join("docs"))
            .expect("docs")
            .flatten()
            .map(|entry| entry.path()),
    );
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().expect("a link");
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let path = page
                .parent()
                .expect("a folder")
                .join(target.split('#').next().expect("a path"));
            assert!(path.exists(), "{}: {target}", page.display());
        }
    }
}

#[test]
fn the_key_table_and_the_schema_agree() {
    let schema = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .arg("schema")
        .output()
        .expect("pactown");
    let schema = String::from_utf8_lossy(&schema.stdout).into_owned();
    let text = fs::read_to_string(root().join("docs/configuration.md")).expect("configuration.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        let cell = row.split('|').nth(1).expect("a cell");
        for key in cell.split('`').skip(1).step_by(2) {
            assert!(schema.contains(&format!("\"{key}\"")), "the schema lacks {key}");
        }
    }
}

/// A promise names the test that shows it.
#[test]
fn every_test_that_the_promises_name_exists() {
    let text = fs::read_to_string(root().join("docs/reliability.md")).expect("reliability.md");
    let named: Vec<(&str, &str)> = text
        .split('`')
        .filter_map(|word| word.rsplit_once("::"))
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    for (module, test) in named {
        let file = format!("tests/{}.rs", module.replace("::", "/"));
        let source = fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(source.contains(&format!("fn {test}()")), "{module}::{test}");
    }
}

/// Each line of the promises about sandboxes names a test, and every test that is named exists.
#[test]
fn every_promise_about_sandboxes_has_its_test() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("security.md");
    let promised = text.split("## Promised").nth(1).expect("promises");
    let promised = promised.split("\n## ").next().expect("an end");
    let rows: Vec<&str> = promised
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert!(rows.len() >= 15, "{rows:?}");
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit('|').next().expect("a cell");
        assert!(
            cell.contains("`tests/") || cell.trim().starts_with("the same"),
            "{row}"
        );
        let mut source = String::new();
        for word in cell.split('`').skip(1).step_by(2) {
            if word.starts_with("tests/") {
                let file = root().join(word);
                source = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{word}"));
                for part in fs::read_dir(file.with_extension(""))
                    .into_iter()
                    .flatten()
                    .flatten()
                {
                    source.push_str(&fs::read_to_string(part.path()).unwrap_or_default());
                }
            } else if word.contains('_') && !word.contains(['.', '/', ' ', '=']) {
                let named = [format!("fn {word}()"), format!("\"{word}\"")];
                assert!(named.iter().any(|name| source.contains(name)), "{word}");
            }
        }
    }
}
