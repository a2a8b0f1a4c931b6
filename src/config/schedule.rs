//! `schedule`: when the wall clock starts a job. Words in, values out.

use serde_json::{Value as Json, json};

use super::cron;
use super::ecosystem::{Overlap, Schedule};
use super::grammar::SCHEDULE;
use super::report::Report;
use super::tree::{Node, Value};

/// Words for [`Overlap`].
pub(crate) const OVERLAP: &[(&str, Overlap)] = &[
    ("skip", Overlap::Skip),
    ("queue", Overlap::Queue),
    ("replace", Overlap::Replace),
];

/// The schedule of this service: an expression, or a mapping.
pub(crate) fn schedule(node: &Node, report: &Report) -> Option<Schedule> {
    match &node.value {
        Value::Null => None,
        Value::Map(_) => mapping(node, report),
        _ => Some(Schedule::new(expression("schedule", node, report)?)),
    }
}

fn mapping(node: &Node, report: &Report) -> Option<Schedule> {
    report.check_keys(node, SCHEDULE, "'schedule'");
    let Some(cron) = node.get("cron") else {
        report.error(
            node.mark,
            "a schedule without 'cron'",
            "add 'cron: \"*/5 * * * *\"'",
        );
        return None;
    };
    let timezone = node.get("timezone").and_then(|value| zone(value, report));
    let overlap = node
        .get("overlap")
        .and_then(|value| report.choice("overlap", value, OVERLAP));
    Some(Schedule {
        timezone,
        overlap: overlap.unwrap_or_default(),
        ..Schedule::new(expression("cron", cron, report)?)
    })
}

fn expression(what: &str, node: &Node, report: &Report) -> Option<String> {
    let text = report.text(what, node)?;
    if let Err(fault) = cron::parse(text) {
        let message = format!("'{what}' is no cron expression: {}", fault.message);
        report.error(node.mark, message, fault.help);
        return None;
    }
    Some(text.trim().to_owned())
}

fn zone(node: &Node, report: &Report) -> Option<String> {
    let name = report.text("timezone", node)?;
    if let Err(fault) = cron::zone(name) {
        report.error(node.mark, format!("'timezone': {}", fault.message), fault.help);
        return None;
    }
    Some(name.to_owned())
}

/// The schedule as the file writes it.
pub(crate) fn form(schedule: &Schedule) -> Json {
    let overlap = OVERLAP.iter().find(|(_, one)| *one == schedule.overlap);
    json!({
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "overlap": overlap.map(|(word, _)| word),
    })
}
