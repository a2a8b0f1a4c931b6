//! What is known of a run when it is over, and whether it was within its budget.

use serde_json::Value;

use super::{BUSY, soon};
use crate::faults::{SERVER, group, python};
use crate::support::observe::{eventually, http_get};
use crate::support::town::{Machine, Town};

#[track_caller]
fn report(town: &Town) -> Value {
    serde_json::from_str(&town.ok(&["report", "--json"])).expect("json")
}

#[track_caller]
fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["services"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).expect("a row")
}

#[test]
fn peaks_outlive_the_end_and_a_budget_is_held_against_them() {
    let machine = Machine::take();
    let yaml = "
name: spent
services:
  web: {readme: web.md, port: 8000, health_check: /}
  busy: {readme: busy.md, limits: {cpus: 0.2}}
";
    let town = Town::new("spent", yaml, &[("web.md", SERVER), ("busy.md", &python(BUSY))]);
    let (_, nothing) = town.expect(1, &["report"]);
    assert!(nothing.contains("nothing has run yet"), "{nothing}");
    town.ok(&["up", "-d"]);
    let address = town.address("web");
    for _ in 0..20 {
        http_get(&address, "/").expect("an answer");
    }
    eventually("it has used CPU", soon(), || {
        row(&report(&town), "busy")["cpu_seconds"].as_f64() > Some(0.5)
    });
    let living = report(&town);
    assert_eq!(row(&living, "web")["running"], true);
    let (directory, v2) = group(town.pid("web"), "memory");
    let peak = directory.join(if v2 {
        "memory.peak"
    } else {
        "memory.max_usage_in_bytes"
    });
    let peak: u64 = std::fs::read_to_string(peak)
        .expect("a peak")
        .trim()
        .parse()
        .expect("a number");
    town.ok(&["restart", "busy"]);
    town.ok(&["down"]);
    machine.assert_clean();

    let after = report(&town);
    let web = row(&after, "web");
    assert_eq!(
        (&web["runs"], &web["running"]),
        (&Value::from(1), &Value::from(false))
    );
    assert!(web["memory_peak"].as_u64() >= Some(peak), "{web} {peak}");
    // Twenty pages, requests and the health checks; two headers of a packet each at least.
    assert!(
        web["tx_bytes"].as_u64() > Some(20 * 300) && web["rx_bytes"].as_u64() > Some(20 * 100),
        "{web}"
    );
    let busy = row(&after, "busy");
    assert_eq!(busy["runs"], 2, "{busy}");
    assert!(
        busy["cpu_seconds"].as_f64() >= row(&living, "busy")["cpu_seconds"].as_f64(),
        "{busy}"
    );
    assert!(busy["hits"]["cpu"].as_u64() > Some(0), "{busy}");
    let all = &after["all"];
    assert!(
        all["memory_peak"].as_u64() >= web["memory_peak"].as_u64(),
        "{all}"
    );
    let table = town.ok(&["report"]);
    assert!(
        table.lines().next().is_some_and(|line| line.starts_with("NAME")),
        "{table}"
    );
    assert!(
        table.lines().last().is_some_and(|line| line.starts_with("all ")),
        "{table}"
    );

    let suggested = town.ok(&["report", "--suggest"]);
    let memory = suggested
        .split("memory: ")
        .nth(1)
        .and_then(|rest| rest.split('M').next());
    let memory: u64 = memory.expect("a limit").parse().expect("a number");
    assert!(
        memory << 20 >= peak && suggested.contains("  busy:"),
        "{suggested}"
    );
    let json: Value = serde_json::from_str(&town.ok(&["report", "--suggest", "--json"])).expect("json");
    assert_eq!(
        json["services"]["web"]["limits"]["memory"],
        format!("{memory}M"),
        "{json}"
    );

    let budget = "services:\n  web: {memory_peak: 1M, restarts: 0}\n  busy: {cpu_seconds: 1h}\nall: {cpu_seconds: 1h}\n";
    town.write("budget.yaml", budget);
    let (_, told) = town.expect(1, &["report", "--budget", "budget.yaml"]);
    assert!(
        told.contains("web: memory_peak ") && told.contains(", budget 1.0M (+"),
        "{told}"
    );
    assert!(!told.contains("restarts") && !told.contains("busy"), "{told}");
    town.edit("budget.yaml", "1M", "1G");
    town.ok(&["report", "--budget", "budget.yaml"]);
    town.edit("budget.yaml", "busy", "bussy");
    let (_, told) = town.expect(2, &["report", "--budget", "budget.yaml"]);
    assert!(
        told.contains("budget.yaml:3:3") && told.contains("did you mean 'busy'?"),
        "{told}"
    );
}
