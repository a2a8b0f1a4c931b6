//! Outcomes as JUnit XML, in the form that CI servers read: a suite per README, `file` and `line` per case. Pure.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::{Failure, Outcome, Verdict, count};

/// The document; paths are relative to `base` where they are below it.
pub(crate) fn render(name: &str, base: &Path, outcomes: &[Outcome]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    open(&mut text, "testsuites", name, outcomes, "");
    let mut rest = outcomes;
    while let Some(first) = rest.first() {
        let of_one = |one: &Outcome| one.service == first.service;
        let end = rest.iter().position(|one| !of_one(one)).unwrap_or(rest.len());
        let (suite, after) = rest.split_at(end);
        self::suite(&mut text, base, suite);
        rest = after;
    }
    text.push_str("</testsuites>\n");
    text
}

fn suite(text: &mut String, base: &Path, outcomes: &[Outcome]) {
    let first = &outcomes[0];
    let (_, _, skipped) = count(outcomes);
    let more = format!(
        " skipped=\"{skipped}\" file=\"{}\"",
        escaped(&shown(base, &first.file))
    );
    text.push_str("  ");
    open(text, "testsuite", &first.service, outcomes, &more);
    for outcome in outcomes {
        case(text, base, outcome);
    }
    text.push_str("  </testsuite>\n");
}

fn open(text: &mut String, element: &str, name: &str, outcomes: &[Outcome], more: &str) {
    let (_, failed, _) = count(outcomes);
    let time: Duration = outcomes.iter().map(|one| one.time).sum();
    let _ = writeln!(
        text,
        "<{element} name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{:.3}\"{more}>",
        escaped(name),
        outcomes.len(),
        time.as_secs_f64()
    );
}

fn case(text: &mut String, base: &Path, outcome: &Outcome) {
    let _ = write!(
        text,
        "    <testcase name=\"{}\" classname=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.3}\"",
        escaped(&outcome.title),
        escaped(&outcome.service),
        escaped(&shown(base, &outcome.file)),
        outcome.line,
        outcome.time.as_secs_f64()
    );
    match &outcome.verdict {
        Verdict::Passed => text.push_str("/>\n"),
        Verdict::Skipped { reason } => {
            let _ = writeln!(
                text,
                ">\n      <skipped message=\"{}\"/>\n    </testcase>",
                escaped(reason)
            );
        }
        Verdict::Failed(failure) => {
            let place = shown(base, &outcome.file);
            let _ = writeln!(
                text,
                ">\n      <failure message=\"{}\" type=\"expectation\">{}</failure>\n    </testcase>",
                escaped(&failure.summary()),
                escaped(&whole(&place, failure))
            );
        }
    }
}

/// Everything that is known of a failure, as plain text.
fn whole(place: &str, failure: &Failure) -> String {
    let mut text = format!("{}\n", failure.request);
    for miss in &failure.misses {
        let _ = writeln!(
            text,
            "{place}:{} expected {}, got {}",
            miss.line, miss.expected, miss.got
        );
    }
    for (title, lines) in [("answer", &failure.answer), ("log", &failure.log)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "{title}:\n{}", lines.join("\n"));
        }
    }
    text
}

/// The path as it is told: from `base` on when it lies below.
pub(crate) fn shown(base: &Path, file: &Path) -> String {
    file.strip_prefix(base).unwrap_or(file).display().to_string()
}

/// Text for XML 1.0, which has no place for most control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
