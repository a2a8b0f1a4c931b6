//! Diagnoses and start times as text.

use super::{BOLD, ERROR, FAINT, GOOD, Output, to_stderr, visible};
use crate::analyze::Start;
use crate::why::Diagnosis;

impl Output {
    /// Why a service is not ready, with all that shows it: below the failure of a command that has shown no log.
    pub fn explanation(&self, diagnosis: &Diagnosis) {
        to_stderr(&render(diagnosis));
    }
}

/// Cause, evidence, next steps.
pub(super) fn render(diagnosis: &Diagnosis) -> String {
    let style = if diagnosis.kind.is_wrong() { ERROR } else { GOOD };
    let mut text = format!(
        "{style}{}{style:#}: {}\n",
        diagnosis.service,
        visible(&diagnosis.cause)
    );
    for line in &diagnosis.evidence {
        text.push_str(&format!("  {FAINT}│{FAINT:#} {}\n", visible(line)));
    }
    text.push_str(&next(diagnosis));
    text
}

/// What stands below the failures of an `up`: the cause in short, without the log, which was shown.
pub(super) fn brief(diagnosis: &Diagnosis) -> String {
    format!(
        "{BOLD}why{BOLD:#}: {}: {}\n{}",
        diagnosis.service,
        visible(&diagnosis.cause),
        next(diagnosis)
    )
}

fn next(diagnosis: &Diagnosis) -> String {
    let line = |next: &String| format!("  {BOLD}next{BOLD:#}: {}\n", visible(next));
    diagnosis.next.iter().map(line).collect()
}

/// The critical chain, then a table of all starts.
pub(super) fn starts(starts: &[Start], chain: &[&Start]) -> String {
    let mut text =
        String::from("The chain that the start waited for (@ since the `up`, + its own time):\n\n");
    for (depth, start) in chain.iter().enumerate() {
        let branch = if depth == 0 {
            String::new()
        } else {
            format!("{}└─ ", "   ".repeat(depth - 1))
        };
        text.push_str(&format!(
            "{branch}{BOLD}{}{BOLD:#} @{} +{}\n",
            start.service,
            time(start.at_ms),
            time(start.own_ms())
        ));
    }
    text.push('\n');
    let rows = starts.iter().map(|start| {
        vec![
            start.service.clone(),
            time(start.at_ms),
            time(start.prepare_ms),
            time(start.wait_ms),
            time(start.create_ms),
            time(start.ready_ms),
        ]
    });
    let header = ["NAME", "READY AT", "PREPARE", "WAIT", "CREATE", "UNTIL READY"];
    text.push_str(&super::table::render(&header, rows.collect()));
    text
}

fn time(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        _ => format!("{:.3}s", ms as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::why::Cause;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_diagnosis_is_cause_evidence_next_and_commands_no_terminal() {
        let diagnosis = Diagnosis {
            service: "api".into(),
            kind: Cause::Exited,
            cause: "exited with code 1".into(),
            evidence: vec!["bad \u{1b}[2J".into()],
            next: vec!["pactown logs api".into()],
        };
        assert_eq!(
            plain(&render(&diagnosis)),
            "api: exited with code 1\n  │ bad \\u{1b}[2J\n  next: pactown logs api\n"
        );
        assert_eq!(
            plain(&brief(&diagnosis)),
            "why: api: exited with code 1\n  next: pactown logs api\n"
        );
    }

    #[test]
    fn the_chain_is_a_tree_of_one_branch() {
        let start = |service: &str, at_ms| Start {
            service: service.into(),
            at_ms,
            prepare_ms: 10,
            wait_ms: 5,
            create_ms: 2,
            ready_ms: 1500,
            after: None,
        };
        let (db, api, web) = (start("db", 1512), start("api", 3000), start("web", 4000));
        let chain = [&web, &api, &db];
        let text = plain(&starts(&[db.clone(), api.clone(), web.clone()], &chain));
        assert!(
            text.contains("web @4.000s +1.512s\n└─ api @3.000s +1.512s\n   └─ db @1.512s +1.512s\n"),
            "{text}"
        );
        assert!(text.contains("UNTIL READY"), "{text}");
    }
}
