//! Collects what is wrong with a README and what is worth saying, each with its line. Decides nothing.

use std::path::Path;

use super::block::Block;
use super::recipe::Recipe;
use crate::config::ecosystem::Place;
use crate::diagnostics::{Problem, Problems, Severity};

/// Longest quotation of the user's text in a message.
const QUOTED: usize = 80;

/// The problems and notes of one README.
pub(super) struct Findings<'a> {
    readme: &'a Path,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
    notes: Vec<(usize, String)>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(readme: &'a Path, text: &'a str) -> Self {
        Findings {
            readme,
            lines: text.lines().collect(),
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// An error at the beginning of `line`.
    pub(super) fn error(&mut self, line: usize, message: impl Into<String>, help: impl Into<String>) {
        self.error_at(Place { line, column: 1 }, message, help);
    }

    /// An error at a place inside of a line.
    pub(super) fn error_at(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        let source = place.line.checked_sub(1).and_then(|index| self.lines.get(index));
        self.problems.push(Problem {
            severity: Severity::Error,
            file: self.readme.to_owned(),
            place,
            length: 0,
            message: message.into(),
            help: Some(help.into()),
            source: Some(source.copied().unwrap_or_default().to_owned()),
        });
    }

    /// The problems of a README that this one includes, with their own places.
    pub(super) fn adopt(&mut self, problems: Problems) {
        self.problems.extend(problems.0);
    }

    /// A remark for the user.
    pub(super) fn note(&mut self, line: usize, text: String) {
        self.notes.push((line, text));
    }

    /// The one block of these kinds; each further one is an error.
    pub(super) fn only<'b>(&mut self, blocks: &'b [Block], kinds: &[&str]) -> Option<&'b Block> {
        let mut found = blocks.iter().filter(|block| kinds.contains(&block.kind.as_str()));
        let first = found.next()?;
        for second in found {
            self.error(
                second.lines.first,
                format!(
                    "a second '{}' block, the first one is in line {}",
                    second.kind, first.lines.first
                ),
                "keep one of them",
            );
        }
        Some(first)
    }

    /// The recipe when nothing is wrong, else all problems from the top of the file down.
    pub(super) fn finish(
        mut self,
        recipe: impl FnOnce(Vec<(usize, String)>) -> Recipe,
    ) -> Result<Recipe, Problems> {
        // Those of other READMEs keep their order, behind its own.
        let own = self.readme;
        self.problems.sort_by_key(|problem| match problem.file == own {
            true => (0, problem.place.line, problem.place.column),
            false => (1, 0, 0),
        });
        self.notes.sort_by_key(|(line, _)| *line);
        match self.problems.is_empty() {
            true => Ok(recipe(self.notes)),
            false => Err(Problems(self.problems)),
        }
    }
}

/// The user's text for a message: in single quotes, without control characters, not endless.
pub(super) fn quoted(text: &str) -> String {
    let mut shown = String::from("'");
    for (index, character) in text.chars().enumerate() {
        if index == QUOTED {
            shown.push('…');
            break;
        }
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown.push('\'');
    shown
}

/// The candidate that `word` is probably a misspelling of.
pub(super) fn closest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word: String = word.chars().take(QUOTED).collect::<String>().to_lowercase();
    let distance = |candidate: &&&str| strsim::osa_distance(&word, candidate);
    let nearest = candidates.iter().min_by_key(distance)?;
    (distance(&nearest) <= nearest.len().div_ceil(3)).then_some(*nearest)
}

/// What to write instead of an unknown word: the nearest candidate, else all of them.
pub(super) fn instead(word: &str, candidates: &[&str]) -> String {
    match closest(word, candidates) {
        Some(candidate) => format!("did you mean '{candidate}'?"),
        None => format!("known are {}", candidates.join(", ")),
    }
}
