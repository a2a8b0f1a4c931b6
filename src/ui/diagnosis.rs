//! Why a service is not what it should be, in lines to read: what `why` found, or else the cause that the supervisor knows,
//! its restarts, and the last it wrote. Pure.

use crate::control::api::{Phase, ServiceStatus};
use crate::output::figures;
use crate::why::Diagnosis;

/// Most log lines that are shown as evidence.
const EVIDENCE: usize = 10;

/// The diagnosis of a service: what `why` found, or what its row and the last lines that it wrote tell.
pub(super) fn diagnosis(row: &ServiceStatus, why: Option<&Diagnosis>, log: &[&str]) -> Vec<String> {
    if let Some(why) = why {
        return found(row, why);
    }

    let mut lines = vec![format!("{}: {}", row.name, figures::word(row.state, row.health))];
    match &row.cause {
        Some(cause) => lines.push(format!("Cause: {cause}")),
        None if matches!(row.state, Phase::Running | Phase::Completed) => {
            lines.push("Nothing is wrong that the supervisor knows of.".to_owned());
        }
        None => {}
    }
    lines.push(history(row));
    lines.extend(row.notices.iter().map(|notice| format!("Note: {notice}")));
    let last = &log[log.len().saturating_sub(EVIDENCE)..];
    if !last.is_empty() {
        lines.push(String::new());
        lines.push("Its last lines:".to_owned());
        lines.extend(last.iter().map(|line| format!("  {line}")));
    }
    lines
}

/// Cause, evidence and what to do next.
fn found(row: &ServiceStatus, why: &Diagnosis) -> Vec<String> {
    let mut lines = vec![
        format!("{}: {}", row.name, figures::word(row.state, row.health)),
        format!("Cause: {}", why.cause),
        history(row),
    ];
    lines.extend(why.evidence.iter().map(|line| format!("  {line}")));
    lines.extend(why.next.iter().map(|next| format!("Next: {next}")));
    lines
}

/// Starts, restarts and the last end, in one line.
fn history(row: &ServiceStatus) -> String {
    if row.run == 0 {
        return "It was never started.".to_owned();
    }
    let times = |count: u64| {
        if count == 1 {
            "once".to_owned()
        } else {
            format!("{count} times")
        }
    };
    let mut text = format!("Started {}", times(row.run));
    if row.restarts > 0 {
        text.push_str(&format!(", {} by itself", times(row.restarts.into())));
    }
    if let Some(code) = row.exit_code {
        text.push_str(&format!("; its last end had exit code {code}"));
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::Health;
    use crate::output::tests::row;

    #[test]
    fn the_cause_and_the_evidence_are_told() {
        let mut failed = row("web", Phase::Failed, Health::None);
        failed.cause = Some("exited with code 3".to_owned());
        failed.run = 4;
        failed.restarts = 3;
        failed.exit_code = Some(3);
        assert_eq!(
            diagnosis(&failed, None, &["Traceback", "no seeds"]),
            [
                "web: failed",
                "Cause: exited with code 3",
                "Started 4 times, 3 times by itself; its last end had exit code 3.",
                "",
                "Its last lines:",
                "  Traceback",
                "  no seeds",
            ]
        );
    }

    #[test]
    fn what_why_found_goes_before_what_the_row_tells() {
        let why = Diagnosis {
            service: "web".to_owned(),
            kind: crate::why::Cause::WrongPort,
            cause: "listens on 3000, not on 8000".to_owned(),
            evidence: vec!["0.0.0.0:3000".to_owned()],
            next: vec!["listen on $PORT".to_owned()],
        };
        let told = diagnosis(&row("web", Phase::Failed, Health::None), Some(&why), &["hi"]);
        assert_eq!(told[1], "Cause: listens on 3000, not on 8000");
        assert_eq!(told[3..], ["  0.0.0.0:3000", "Next: listen on $PORT"]);
    }

    #[test]
    fn what_is_well_is_said_to_be() {
        let mut well = row("web", Phase::Running, Health::Healthy);
        well.run = 1;
        assert_eq!(
            diagnosis(&well, None, &[]),
            [
                "web: healthy",
                "Nothing is wrong that the supervisor knows of.",
                "Started once."
            ]
        );
        let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = diagnosis(&well, None, &many);
        assert_eq!(told.last().map(String::as_str), Some("  49"));
        assert_eq!(told.len(), 3 + 2 + EVIDENCE);
    }
}
