//! `docs/ci.md` is true: its snippets are run as a runner would run them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::town::{Machine, Town};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md")).expect("docs/ci.md")
}

/// The bodies of the blocks with this fence, below a heading.
fn blocks(language: &str, heading: &str) -> Vec<String> {
    let page = page();
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let fence = format!("\n```{language}\n");
    section
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split("\n```").next().expect("a closed block").to_owned())
        .collect()
}

/// `script` as a runner runs it: in the project, with pactown in PATH, until the first command fails.
fn runner(town: &Town, script: &str) -> Output {
    let bin = town.path().join(".bin");
    fs::create_dir_all(&bin).expect("folder");
    let _ = symlink(env!("CARGO_BIN_EXE_pactown"), bin.join("pactown"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let mut command = std::process::Command::new("sh");
    command
        .args(["-euc", script])
        .current_dir(town.path())
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env("CI_JOB_ID", "4711")
        .env_remove("GITHUB_ACTIONS");
    command.output().expect("sh")
}

#[track_caller]
fn succeeds(town: &Town, script: &str) -> String {
    let output = runner(town, script);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{script}\n--- stdout\n{out}\n--- stderr\n{err}"
    );
    out
}

/// The commands of each step of a job, with whether they run only after a failure.
fn steps(yaml: &str) -> Vec<(String, bool)> {
    let page: Value = serde_yaml::from_str(yaml).expect("YAML");
    let texts = |list: &Value| -> Vec<(String, bool)> {
        let items = list.as_array().into_iter().flatten();
        items
            .filter_map(|item| match item {
                Value::String(text) => Some((text.clone(), false)),
                step => Some((step["run"].as_str()?.to_owned(), step["if"] == "failure()")),
            })
            .collect()
    };
    let job = if page["jobs"].is_null() {
        &page["ecosystem"]
    } else {
        &page["jobs"]["ecosystem"]
    };
    let parts = ["steps", "script", "after_script"].iter();
    parts.flat_map(|part| texts(&job[*part])).collect()
}

#[test]
fn the_jobs_of_both_runners_pass_and_leave_nothing() {
    let machine = Machine::take();
    for heading in ["GitHub Actions", "GitLab"] {
        let town = Town::copy_of("examples/hello");
        let yaml = blocks("yaml", heading);
        let steps = steps(&yaml[0]);
        assert!(steps.len() >= 3, "{steps:?}");
        for (script, _) in steps.iter().filter(|(_, on_failure)| !on_failure) {
            let out = succeeds(&town, script);
            if script.contains("--leaks") {
                assert_eq!(out.trim(), "none");
            }
        }
        for file in ["results.xml", "failure.tar.gz"] {
            assert!(town.path().join(file).is_file(), "{heading}: {file}");
        }
        machine.assert_clean();
    }
}

#[test]
fn the_first_command_fails_with_the_test_and_open_shows_why() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    town.edit("web/README.md", "EXPECT_BODY traveller", "EXPECT_BODY nobody");
    let first = page();
    let first = first
        .split("\n```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("\n```").next());
    let output = runner(&town, first.expect("a command"));
    assert_eq!(output.status.code(), Some(1));
    let shown: Vec<String> = blocks("sh", "What a failure leaves")[0]
        .lines()
        .map(|line| succeeds(&town, line))
        .collect();
    assert!(shown[0].contains("`pactown test` exited with 1"), "{}", shown[0]);
    assert!(
        shown[0].contains("expected  a body that contains \"nobody\"") || shown[0].contains("nobody"),
        "{}",
        shown[0]
    );
    assert!(shown[2].contains("page on port"), "{}", shown[2]);
    assert!(
        shown[3]
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    machine.assert_clean();
}

#[test]
fn a_service_that_tests_gives_its_exit_code() {
    let machine = Machine::take();
    let town = Town::new(
        "e2e",
        "name: e2e\nservices:\n  web: {readme: web.md, port: 8000, health_check: /}\n  e2e: {readme: e2e.md, depends_on: [web]}\n",
        &[
            (
                "web.md",
                "# Web\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n",
            ),
            (
                "e2e.md",
                "# E2E\n\n```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\npython3 -c 'import os, urllib.request as u; u.urlopen(os.environ[\"WEB_URL\"])'\nexit 4\n```\n",
            ),
        ],
    );
    let section = blocks("sh", "A service that tests");
    assert_eq!(runner(&town, &section[0]).status.code(), Some(4));
    assert!(town.path().join("failure.tar.gz").is_file());
    machine.assert_clean();
    town.edit("e2e.md", "exit 4", "exit 0");
    succeeds(&town, &section[1]);
    machine.assert_clean();
    let out = succeeds(&town, &blocks("sh", "Copies at the same time")[0]);
    assert!(out.contains(".pr-1") && out.contains(".pr-2"), "{out}");
    machine.assert_clean();
}
