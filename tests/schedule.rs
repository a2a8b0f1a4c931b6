//! Jobs that the wall clock starts, in real sandboxes: a minute is the finest that cron knows, so what can be is asked of
//! the pure parts instead, and these tests wait for the next full minute once.

use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::observe::{eventually, processes};
use crate::support::town::{Machine, Town};

const SOON: Duration = Duration::from_secs(15);
/// Until the next full minute, and what a slow machine needs then.
const MINUTE: Duration = Duration::from_secs(75);

fn readme(run: &str) -> String {
    format!("# Job\n\n```sh markpact:run\n{run}\n```\n")
}

fn next_run(row: &Value) -> Timestamp {
    let text = row["next_run"].as_str().expect("a next run");
    text.parse().expect("RFC 3339")
}

fn kinds(town: &Town, service: &str) -> Vec<(String, String)> {
    let text = town.ok(&["events", service, "--json"]);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("json"));
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    lines
        .map(|event| (word(&event, "kind"), word(&event, "cause")))
        .collect()
}

const YAML: &str = "
name: clock
services:
  report: {readme: report.md, schedule: '* * * * *'}
  long: {readme: long.md, schedule: '* * * * *'}
  fresh: {readme: long.md, schedule: {cron: '* * * * *', overlap: replace}, stop_grace: 1s}
  broken: {readme: broken.md, schedule: {cron: '* * * * *', timezone: Europe/Warsaw}}
  yearly: {readme: yearly.md}
";

#[test]
fn a_job_is_started_by_the_clock_at_the_full_minute() {
    let machine = Machine::take();
    let yearly = "# Yearly\n\n```yaml markpact:workload\nschedule: '0 0 1 1 *'\n```\n\n```sh markpact:run\necho begun\n```\n";
    let files = [
        ("report.md", &*readme("echo begun")),
        ("long.md", &readme("echo begun; exec sleep 1000")),
        ("broken.md", &readme("echo no such customer; exit 3")),
        ("yearly.md", yearly),
    ];
    let town = Town::new("clock", YAML, &files);
    let told = town.ok(&["up", "-d"]);
    assert!(told.contains("schedule report: * * * * *"), "{told}");
    let row = town.service("yearly");
    assert_eq!(row["state"], "scheduled");
    let year = jiff::Zoned::now().year() + 1;
    let first = next_run(&row).to_zoned(jiff::tz::TimeZone::system());
    assert_eq!(
        (first.year(), first.month(), first.hour()),
        (year, 1, 0),
        "in local time"
    );
    assert!(town.ok(&["ps"]).contains(&format!("next {year}-01-01 00:00:00")));
    town.expect(0, &["why", "yearly"]);

    // Two of them run already when their time comes.
    for name in ["long", "fresh"] {
        let (town, name) = (&town, name.to_owned());
        let mut start = town.spawn(&["start", &name]);
        eventually("it runs before its time", SOON, || {
            town.service(&name)["state"] == "running"
        });
        kill(
            Pid::from_raw(i32::try_from(start.id()).expect("a pid")),
            Signal::SIGINT,
        )
        .expect("interrupt");
        start.wait().expect("the command ends");
    }
    let before = (town.pid("long"), town.pid("fresh"));
    // Its supervisor dies shortly before: the next one keeps the appointments.
    let old = processes("pactown:super", "clock-");
    kill(Pid::from_raw(old[0]), Signal::SIGKILL).expect("kill");
    eventually("all were seen to", MINUTE, || {
        let rows = town.run(&["ps", "--json"]);
        rows.status.success()
            && town.service("report")["state"] == "completed"
            && town.service("broken")["state"] == "failed"
            && town.service("fresh")["pid"]
                .as_i64()
                .is_some_and(|pid| pid != i64::from(before.1))
            && kinds(&town, "long").iter().any(|(kind, _)| kind == "skipped")
    });
    assert_eq!(town.pid("long"), before.0, "the run before goes on");
    let due = |name: &str| {
        let all = kinds(&town, name);
        all.into_iter()
            .filter(|(kind, _)| kind == "due" || kind == "skipped")
            .collect::<Vec<_>>()
    };
    let pair = |kind: &str, cause: &str| (kind.to_owned(), cause.to_owned());
    assert_eq!(due("report")[0], pair("due", "run 1 begins"));
    assert_eq!(due("long")[0], pair("skipped", "run 1 has not ended"));
    assert_eq!(due("fresh")[0], pair("due", "run 1 is stopped for the next one"));
    let started = town.ok(&["events", "report", "--json"]);
    let begun = started
        .lines()
        .find(|line| line.contains("\"due\""))
        .expect("a line");
    let begun: Value = serde_json::from_str(begun).expect("json");
    let begun: Timestamp = begun["ts"].as_str().expect("a time").parse().expect("RFC 3339");
    assert!(begun.as_second() % 60 < 10, "it began at {begun}");
    let (said, _) = town.expect(1, &["why", "broken"]);
    assert!(
        said.contains("exited with code 3") && said.contains("no such customer") && said.contains("next "),
        "{said}"
    );
    assert!(next_run(&town.service("report")) > Timestamp::now());
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn a_job_is_run_by_hand_stopped_and_brought_back() {
    let machine = Machine::take();
    let yaml = "
name: hand
services:
  job: {readme: job.md, schedule: '0 0 1 1 *'}
";
    let town = Town::new("hand", yaml, &[("job.md", &readme("echo begun $LEVEL"))]);
    town.ok(&["up", "-d"]);
    for run in 1..=2 {
        town.ok(&["start", "job"]);
        let row = town.service("job");
        assert_eq!(
            (&row["state"], &row["run"]),
            (&"completed".into(), &run.into()),
            "{row}"
        );
    }
    let log = town.ok(&["logs", "job", "--run", "2"]);
    assert_eq!(log.matches("begun").count(), 1, "runs are kept apart: {log}");
    town.edit("saas.pactown.yaml", "schedule:", "env: {LEVEL: high}, schedule:");
    let told = town.ok(&["up", "-d"]);
    assert!(told.contains("schedule job: env LEVEL changed"), "{told}");
    assert_eq!(town.service("job")["run"], 2, "it waits for its time");
    town.ok(&["restart", "job"]);
    assert!(town.ok(&["logs", "job", "--run", "3"]).contains("begun high"));
    town.ok(&["stop", "job"]);
    assert!(
        town.service("job")["next_run"].is_null(),
        "what was stopped stays stopped"
    );
    assert!(town.ok(&["up", "-d"]).contains("schedule job"));
    assert!(town.service("job")["next_run"].is_string());
    assert!(town.ok(&["up", "-d"]).contains("unchanged"));
    town.ok(&["down"]);
    machine.assert_clean();
}
