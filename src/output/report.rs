//! One problem of a file as text: where, the line itself, what to do.

use std::fs;

use super::{BOLD, CAUTION, ERROR, FAINT};
use crate::diagnostics::{Problem, Severity};

/// The report, with a blank line behind it.
pub(super) fn render(problem: &Problem) -> String {
    let (word, style) = match problem.severity {
        Severity::Error => ("error", ERROR),
        Severity::Warning => ("warning", CAUTION),
    };
    let mut text = format!("{style}{word}{style:#}: {}\n", problem.message);
    let place = problem.place;
    if place.line == 0 {
        text.push_str(&format!("  {FAINT}-->{FAINT:#} {}\n", problem.file.display()));
    } else {
        text.push_str(&format!(
            "  {FAINT}-->{FAINT:#} {}:{}:{}\n",
            problem.file.display(),
            place.line,
            place.column
        ));
        if let Some(source) = problem.source.clone().or_else(|| line(problem)) {
            text.push_str(&excerpt(problem, &source));
        }
    }
    if let Some(help) = &problem.help {
        text.push_str(&format!("  {BOLD}help{BOLD:#}: {help}\n"));
    }
    text.push('\n');
    text
}

fn line(problem: &Problem) -> Option<String> {
    let text = fs::read_to_string(&problem.file).ok()?;
    text.lines()
        .nth(problem.place.line.checked_sub(1)?)
        .map(str::to_owned)
}

/// The source line with a mark below; tabs are as wide in the mark as in the line.
fn excerpt(problem: &Problem, source: &str) -> String {
    let number = problem.place.line.to_string();
    let gutter = " ".repeat(number.len());
    let source = source.trim_end();
    let before: String = source
        .chars()
        .take(problem.place.column.saturating_sub(1))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let room = source
        .chars()
        .count()
        .saturating_sub(before.chars().count())
        .max(1);
    let carets = "^".repeat(problem.length.clamp(1, room));
    format!(
        " {FAINT}{number} |{FAINT:#} {source}\n {FAINT}{gutter} |{FAINT:#} {before}{ERROR}{carets}{ERROR:#}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::Place;

    #[test]
    fn the_mark_stands_below_what_is_meant() {
        let problem = Problem {
            severity: Severity::Error,
            file: "/p/saas.pactown.yaml".into(),
            place: Place { line: 4, column: 5 },
            length: 4,
            message: "unknown key 'prot'".into(),
            help: Some("did you mean 'port'?".into()),
            source: Some("    prot: 8000".into()),
        };
        let plain = anstream::adapter::strip_str(&render(&problem)).to_string();
        assert_eq!(
            plain,
            "error: unknown key 'prot'\n  --> /p/saas.pactown.yaml:4:5\n 4 |     prot: 8000\n   |     ^^^^\n  help: did you mean 'port'?\n\n"
        );
    }
}
