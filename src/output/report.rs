//! One problem of a file as text: where, the line itself, what to do.

use std::fs;

use super::{BOLD, CAUTION, ERROR, FAINT, visible};
use crate::diagnostics::{Problem, Severity};

/// Characters of a source line that are shown; a longer one is cut around the mark.
const WIDTH: usize = 120;
/// Characters in front of the mark that stay.
const BEFORE: usize = 40;

/// The report, with a blank line behind it.
pub(super) fn render(problem: &Problem) -> String {
    let (word, style) = match problem.severity {
        Severity::Error => ("error", ERROR),
        Severity::Warning => ("warning", CAUTION),
    };
    let mut text = format!("{style}{word}{style:#}: {}\n", visible(&problem.message));
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
        text.push_str(&format!("  {BOLD}help{BOLD:#}: {}\n", visible(help)));
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

/// The source line with a mark below; tabs are as wide in the mark as in the line. The line is a stranger's: nothing
/// in it reaches the terminal as a command.
fn excerpt(problem: &Problem, source: &str) -> String {
    let number = problem.place.line.to_string();
    let gutter = " ".repeat(number.len());
    let line: Vec<char> = source.trim_end().chars().map(plain).collect();
    let at = problem.place.column.saturating_sub(1).min(line.len());
    let (first, end) = window(line.len(), at);
    let cut = |beyond: bool| if beyond { "…" } else { "" };
    let source = format!(
        "{}{}{}",
        cut(first > 0),
        line[first..end].iter().collect::<String>(),
        cut(end < line.len())
    );
    let before: String = cut(first > 0)
        .chars()
        .chain(line[first..at].iter().copied())
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = "^".repeat(problem.length.clamp(1, (end - at).max(1)));
    format!(
        " {FAINT}{number} |{FAINT:#} {source}\n {FAINT}{gutter} |{FAINT:#} {before}{ERROR}{carets}{ERROR:#}\n"
    )
}

/// Which characters of a line of `length` are shown around `at`.
fn window(length: usize, at: usize) -> (usize, usize) {
    if length <= WIDTH {
        return (0, length);
    }
    let first = at.saturating_sub(BEFORE).min(length - WIDTH);
    (first, first + WIDTH)
}

/// One character for one, so that the mark stays in its column.
fn plain(c: char) -> char {
    if c.is_control() && c != '\t' {
        '\u{fffd}'
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::Place;

    fn problem(column: usize, length: usize, source: &str) -> Problem {
        Problem {
            severity: Severity::Error,
            file: "/p/saas.pactown.yaml".into(),
            place: Place { line: 4, column },
            length,
            message: "unknown key 'prot'".into(),
            help: Some("did you mean 'port'?".into()),
            source: Some(source.into()),
        }
    }

    /// Line and mark of the report.
    fn shown(problem: &Problem) -> (String, String) {
        let text = anstream::adapter::strip_str(&render(problem)).to_string();
        let mut lines = text.lines().skip(2).map(str::to_owned);
        (lines.next().unwrap(), lines.next().unwrap())
    }

    #[test]
    fn the_mark_stands_below_what_is_meant() {
        let plain = anstream::adapter::strip_str(&render(&problem(5, 4, "    prot: 8000"))).to_string();
        assert_eq!(
            plain,
            "error: unknown key 'prot'\n  --> /p/saas.pactown.yaml:4:5\n 4 |     prot: 8000\n   |     ^^^^\n  help: did you mean 'port'?\n\n"
        );
    }

    #[test]
    fn a_mark_beyond_the_line_and_an_endless_one_stay_in_it() {
        assert_eq!(shown(&problem(99, 7, "ab")).1, "   |   ^");
        assert_eq!(shown(&problem(2, 99, "ab")).1, "   |  ^");
        assert_eq!(shown(&problem(1, 1, "")).1, "   | ^");
        assert_eq!(shown(&problem(0, 0, "ab")).1, "   | ^");
        assert_eq!(shown(&problem(3, 1, "\t\tx")).1, "   | \t\t^");
    }

    #[test]
    fn an_endless_line_is_cut_around_the_mark() {
        let long = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let (line, mark) = shown(&problem(5001, 4, &long));
        let at = line.chars().position(|c| c == 'H').unwrap();
        assert_eq!(mark.chars().position(|c| c == '^'), Some(at));
        assert!(line.chars().count() < 140 && line.ends_with('…'), "{line}");
    }

    #[test]
    fn nothing_in_a_file_commands_the_terminal() {
        let mut bad = problem(1, 1, "\u{1b}]0;title\u{7} x");
        bad.message = "'\u{1b}[2J'".into();
        let text = render(&bad);
        assert!(
            !text.contains("\u{1b}]") && !text.contains('\u{7}') && !text.contains("[2J\u{1b}"),
            "{text:?}"
        );
        assert!(text.contains("\\u{1b}[2J"), "{text:?}");
    }
}
