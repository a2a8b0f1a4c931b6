//! When a run ends early, with which exit code, and what is said: `--timeout`, `--abort-on-exit`, `--exit-code-from`.

use crate::support::town::{Machine, Town};

/// Listens nowhere; `web` waits for it, and a job does not end.
const LATE: &str = "
name: late
services:
  db: {readme: db.md, port: 5400, health_check: /health}
  web: {readme: web.md, port: 8080, depends_on: [db]}
  seed: {readme: seed.md}
  well: {readme: well.md}
";

fn run(script: &str) -> String {
    format!("# S\n\n```sh markpact:run\n{script}\n```\n")
}

fn job(script: &str) -> String {
    format!("{}\n```yaml markpact:workload\nkind: job\n```\n", run(script))
}

fn late() -> Town {
    let (sleep, seed) = (run("exec sleep 1000"), job("echo sowing; exec sleep 1000"));
    let server = run("exec python3 -m http.server $PORT");
    Town::new(
        "late",
        LATE,
        &[
            ("db.md", sleep.as_str()),
            ("web.md", &server),
            ("seed.md", &seed),
            ("well.md", &sleep),
        ],
    )
}

#[test]
fn when_time_is_up_each_that_is_not_ready_is_explained_and_nothing_is_left() {
    let machine = Machine::take();
    let town = late();
    for arguments in [
        ["up", "--timeout", "6s"].as_slice(),
        &["--instance", "pr-1", "up", "-d", "--timeout", "6"],
    ] {
        let (_, err) = town.expect(124, arguments);
        assert!(err.contains("not ready within 6s: "), "{arguments:?}: {err}");
        let summary = err
            .lines()
            .find(|line| line.contains("not ready within"))
            .expect("a line");
        assert!(!summary.contains("well"), "what is ready is not named: {summary}");
        for (name, told) in [
            ("db", "nothing listens on port 5400"),
            ("web", "db"),
            ("seed", "has not ended yet"),
        ] {
            assert!(summary.contains(name), "{name}: {summary}");
            let why = err.lines().find(|line| line.starts_with(&format!("{name}: ")));
            assert!(why.is_some_and(|line| line.contains(told)), "{name}: {err}");
        }
        assert!(err.contains("│ sowing"), "its last line is shown: {err}");
        machine.assert_clean();
    }
}

#[test]
fn what_ran_before_is_left_when_time_is_up() {
    let machine = Machine::take();
    let town = late();
    town.ok(&["up", "-d", "well"]);
    let pid = town.pid("well");
    let (_, err) = town.expect(124, &["up", "-d", "--timeout", "2s"]);
    assert!(err.contains("what ran before is left as it is"), "{err}");
    assert_eq!(town.pid("well"), pid);
    town.ok(&["down"]);
    machine.assert_clean();
}

const E2E: &str = "
name: ends
services:
  db: {readme: db.md}
  migrate: {readme: migrate.md}
  e2e: {readme: e2e.md, depends_on: [migrate, {name: db, condition: started}]}
";

fn with(db: &str, e2e: &str) -> Town {
    Town::new(
        "ends",
        E2E,
        &[
            ("db.md", run(db).as_str()),
            ("migrate.md", &job("echo migrated")),
            ("e2e.md", e2e),
        ],
    )
}

#[test]
fn the_exit_code_is_that_of_the_named_service() {
    let machine = Machine::take();
    let town = with("exec sleep 1000", &job("echo testing; exit 0"));
    let (out, err) = town.expect(0, &["up", "--exit-code-from", "e2e"]);
    assert!(out.contains("testing"), "{out}");
    assert!(
        err.contains("e2e ended with code 0; everything is taken down"),
        "{err}"
    );
    machine.assert_clean();

    town.write("e2e.md", &job("sleep 1; exit 7"));
    town.expect(7, &["up", "--exit-code-from", "e2e"]);
    machine.assert_clean();
    // A service as well as a job.
    town.write("e2e.md", &run("sleep 1; exit 9"));
    town.expect(9, &["up", "--exit-code-from", "e2e"]);
    machine.assert_clean();

    // The other one is first: the named one is told to end, and both are named.
    town.write("db.md", &run("sleep 2; exit 3"));
    town.write("e2e.md", &job("trap 'exit 5' TERM\nsleep 1000 &\nwait"));
    let (_, err) = town.expect(5, &["up", "--exit-code-from", "e2e"]);
    assert!(
        err.contains("db ended with code 3, e2e ended with code 5"),
        "{err}"
    );
    machine.assert_clean();

    // It never runs.
    town.write("migrate.md", &job("exit 4"));
    let (_, err) = town.expect(1, &["up", "--exit-code-from", "e2e"]);
    assert!(err.contains("e2e never ran: migrate ended with code 4"), "{err}");
    machine.assert_clean();
}

#[test]
fn the_end_of_one_is_the_end_of_all_when_that_is_asked() {
    let machine = Machine::take();
    let town = with("sleep 2; exit 3", &run("exec sleep 1000"));
    let (_, err) = town.expect(1, &["up", "--abort-on-exit"]);
    assert!(err.contains("db ended with code 3"), "{err}");
    machine.assert_clean();
    // Also one that would be started again.
    town.edit(
        "saas.pactown.yaml",
        "readme: db.md",
        "readme: db.md, restart: always",
    );
    let (_, err) = town.expect(1, &["up", "--abort-on-exit"]);
    assert!(err.contains("db ended with code 3"), "{err}");
    // `migrate` completed, which others wait for; a job that nobody waits for is an end.
    town.write("db.md", &run("exec sleep 1000"));
    town.write("e2e.md", &job("echo done"));
    let (_, err) = town.expect(0, &["up", "--abort-on-exit"]);
    assert!(
        err.contains("e2e ended with code 0; everything is taken down"),
        "{err}"
    );
    machine.assert_clean();
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let town = with("true", &job("true"));
    let (_, err) = town.expect(2, &["up", "--exit-code-from", "e3e"]);
    assert!(err.contains("did you mean 'e2e'?"), "{err}");
    let (_, err) = town.expect(2, &["up", "db", "--exit-code-from", "e2e"]);
    assert!(
        err.contains("'e2e' is no service that this command starts"),
        "{err}"
    );
    town.expect(2, &["up", "-d", "--abort-on-exit"]);
    town.expect(2, &["up", "-d", "--exit-code-from", "e2e"]);
    let (_, err) = town.expect(2, &["up", "--bundle", "failure.zip"]);
    assert!(err.contains("write a file such as failure.tar.gz"), "{err}");
    let (_, err) = town.expect(2, &["test", "--bundle", "no/failure.tar.gz"]);
    assert!(
        err.contains("there is no test") || err.contains("there is no folder"),
        "{err}"
    );
}
