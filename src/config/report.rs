//! Collects what is wrong with one file, each problem with its place and source line. Decides nothing, prints nothing.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::ecosystem::Place;
use crate::diagnostics::{Problem, Problems, Severity};

/// A marked piece of the file: where it begins and how many characters it has on that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Where it begins.
    pub(crate) place: Place,
    /// Its length in characters; 0 when only the point is known.
    pub(crate) length: usize,
}

/// The problems of one file so far.
pub(crate) struct Report<'a> {
    file: PathBuf,
    lines: Vec<&'a str>,
    problems: RefCell<Vec<Problem>>,
    /// Places about which enough is said.
    closed: RefCell<Vec<Place>>,
}

impl<'a> Report<'a> {
    /// An empty report on this text.
    pub(crate) fn new(file: &Path, text: &'a str) -> Self {
        Self {
            file: file.to_owned(),
            lines: text.lines().collect(),
            problems: RefCell::default(),
            closed: RefCell::default(),
        }
    }

    /// Adds an error; an empty `help` is none.
    pub(crate) fn error(&self, mark: Mark, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, mark, message.into(), help.into());
    }

    /// Adds a warning; an empty `help` is none.
    pub(crate) fn warn(&self, mark: Mark, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, mark, message.into(), help.into());
    }

    /// Takes no more problems at this place: the value is known to be wrong, what follows from it is noise.
    pub(crate) fn close(&self, mark: Mark) {
        self.closed.borrow_mut().push(mark.place);
    }

    fn add(&self, severity: Severity, mark: Mark, message: String, help: String) {
        if self.closed.borrow().contains(&mark.place) {
            return;
        }
        let problem = Problem {
            severity,
            file: self.file.clone(),
            place: mark.place,
            length: mark.length,
            message,
            help: (!help.is_empty()).then_some(help),
            source: self.source(mark.place.line),
        };
        let mut problems = self.problems.borrow_mut();
        // What an anchor holds is read once for each alias: its problems are said once.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    fn source(&self, line: usize) -> Option<String> {
        let line = self.lines.get(line.checked_sub(1)?)?;
        Some(without_token(line.trim_end()))
    }

    /// All problems, in the order of the file.
    pub(crate) fn into_problems(self) -> Problems {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        Problems(problems)
    }
}

/// The line with a literal `auth_token` blackened: reports end up in logs.
fn without_token(line: &str) -> String {
    const KEY: &str = "auth_token";
    let Some(start) = line.find(KEY).map(|at| at + KEY.len()) else {
        return line.to_owned();
    };
    let value = line[start..].trim_start_matches(['"', '\'', ' ', ':']);
    if value.starts_with("${") {
        return line.to_owned();
    }
    let shown = &line[..line.len() - value.len()];
    let hidden = value.chars().map(|c| if c.is_whitespace() { c } else { '*' });
    shown.chars().chain(hidden).collect()
}

/// The candidate the user most likely meant.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean 'x'?`, or nothing.
pub(crate) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(word, candidates).map(|found| format!("did you mean '{found}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_token_never_reaches_a_report() {
        assert_eq!(without_token("  auth_token: abc def"), "  auth_token: *** ***");
        assert_eq!(without_token("{\"auth_token\": \"x\"}"), "{\"auth_token\": \"***");
        assert_eq!(without_token("auth_token: ${T}"), "auth_token: ${T}");
        assert_eq!(without_token("port: 80"), "port: 80");
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(nearest("prot", ["port", "ports"]), Some("port"));
        assert_eq!(nearest("banana", ["port", "ports"]), None);
    }

    #[test]
    fn the_same_problem_is_said_once_and_in_order() {
        let report = Report::new(Path::new("f"), "a\nb\n");
        let at = |line| Mark {
            place: Place { line, column: 1 },
            length: 1,
        };
        report.error(at(2), "second", "");
        report.warn(at(1), "first", "help");
        report.error(at(2), "second", "");
        let problems = report.into_problems();
        assert_eq!(problems.to_string(), "f:1:1: first (help)\nf:2:1: second");
        assert_eq!(problems.0[1].source.as_deref(), Some("b"));
    }
}
