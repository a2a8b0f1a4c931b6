//! `setup` and `job` blocks: scripts that run once before a service, and by hand beside it.

use std::time::Duration;

use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

const YAML: &str = "name: scripts\nservices:\n  api:\n    readme: README.md\n    port: 8401\n";

/// The nonce makes the layer one that no earlier run of this test has left.
fn readme(setup: &str) -> String {
    let nonce = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock")
        .as_nanos();
    format!(
        "# API\n\n```text markpact:file path=nonce\n{nonce}\n```\n\n```text markpact:file path=kept\nthe README's\n```\n\n```sh markpact:setup\n{setup}\n```\n\n```sh markpact:job name=seed\necho \"$SERVICE_NAME $MORE\"; cat made; exit 7\n```\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n"
    )
}

#[test]
fn a_setup_runs_once_and_its_files_are_there() {
    let machine = Machine::take();
    let script = "cp nonce made\ndate +%s%N >> when\necho setup > kept\nid -u >&2";
    let town = Town::new("scripts", YAML, &[("README.md", &readme(script))]);
    town.ok(&["up", "-d"]);
    let first = town.inside("api", "cat when");
    assert_eq!(town.inside("api", "cmp nonce made && cat kept"), "the README's");
    assert_eq!(
        town.inside("api", "cat when | wc -l"),
        "1",
        "the layer is the same for all"
    );
    town.ok(&["down"]);
    town.ok(&["up", "-d"]);
    assert_eq!(town.inside("api", "cat when"), first, "it did not run again");
    // What it is made of changes: it runs anew, and the service with it.
    town.edit("README.md", "cp nonce made", "cp kept made");
    town.ok(&["up", "-d"]);
    assert_ne!(town.inside("api", "cat when"), first);
    assert_eq!(town.inside("api", "cat made"), "the README's");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_setup_that_fails_is_told_with_its_line() {
    let machine = Machine::take();
    let town = Town::new(
        "scripts",
        YAML,
        &[("README.md", &readme("echo before\nfalse\necho after"))],
    );
    let (_, err) = town.expect(1, &["up", "-d"]);
    assert!(
        err.contains("README.md:11: setting up failed (exit code 1)"),
        "{err}"
    );
    assert!(err.contains("before") && !err.contains("after"), "{err}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_job_runs_in_its_running_service() {
    let machine = Machine::take();
    let town = Town::new("scripts", YAML, &[("README.md", &readme("cp kept made"))]);
    let (_, err) = town.expect(1, &["run", "api:seed"]);
    assert!(err.contains("the ecosystem is not running"), "{err}");
    town.ok(&["up", "-d"]);
    let (out, _) = town.expect(7, &["run", "-e", "MORE=too", "api:seed"]);
    assert_eq!(out, "api too\nthe README's\n");
    let (_, err) = town.expect(2, &["run", "api:sed"]);
    assert!(
        err.contains("has no job 'sed'") && err.contains("there are seed"),
        "{err}"
    );
    town.expect(2, &["run", "apy:seed"]);
    town.expect(2, &["run", "--once", "api:seed"]);
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn scripts_that_cannot_be_meant_are_explained() {
    for (from, to, wanted) in [
        ("markpact:job name=seed", "markpact:job", "a job has no name"),
        ("name=seed", "name='a b'", "'a b' is no name of a job"),
        (
            "sh markpact:setup",
            "python markpact:setup",
            "a 'setup' block in 'python' cannot be run",
        ),
        (
            "```sh markpact:run",
            "```sh markpact:job name=seed\ntrue\n```\n\n```sh markpact:run",
            "two jobs are named 'seed', lines 15 and 19",
        ),
    ] {
        let town = Town::new("scripts", YAML, &[("README.md", &readme("true"))]);
        town.edit("README.md", from, to);
        let (_, err) = town.expect(1, &["validate"]);
        assert!(err.contains(wanted), "{wanted}\n{err}");
    }
}

#[test]
fn a_hook_runs_before_each_start_and_a_service_whose_hook_fails_has_failed() {
    let machine = Machine::take();
    let yaml = "name: hooks\nservices:\n  api:\n    readme: README.md\n    restart: no\n    hooks: {pre_start: \"echo $SERVICE_NAME >> starts; id -u\"}\n";
    let readme = "# A\n\n```sh markpact:run\ntrap 'echo told; exit 0' TERM\nwc -l < starts > seen\nwhile :; do sleep 0.1; done\n```\n";
    let town = Town::new("hooks", yaml, &[("README.md", readme)]);
    town.ok(&["up", "-d"]);
    let wait = "until test -s seen; do sleep 0.05; done; cat starts seen";
    assert_eq!(town.inside("api", wait), "api\n1");
    town.ok(&["restart", "api"]);
    assert_eq!(
        town.inside("api", "until grep -q 2 seen; do sleep 0.05; done; cat seen"),
        "2"
    );
    let logs = town.ok(&["logs", "api"]);
    assert!(
        logs.contains("1000") && logs.contains("told"),
        "its output, and the signal reaches the run block: {logs}"
    );
    town.edit("saas.pactown.yaml", "id -u", "echo not today; exit 9; echo never");
    // Without a check it counts as up once its process is there.
    town.run(&["up", "-d"]);
    eventually("it has failed", Duration::from_secs(10), || {
        String::from_utf8_lossy(&town.run(&["why", "api"]).stdout).contains("code 9")
    });
    let logs = town.ok(&["logs", "api"]);
    assert!(logs.contains("not today") && !logs.contains("never"), "{logs}");
    town.edit("saas.pactown.yaml", "pre_start:", "post_start:");
    let (_, err) = town.expect(1, &["validate"]);
    assert!(
        err.contains("saas.pactown.yaml:6") && err.contains("not supported yet"),
        "{err}"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}
