//! Problems found in the user's files: file, line, column, what is wrong and what to do. Data only; `output` renders.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ecosystem::Place;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth saying; nothing stops.
    Warning,
    /// The file cannot be used (exit code 2; `validate`: 1).
    Error,
}

/// One problem of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Where; line 0 = the file as a whole.
    pub place: Place,
    /// Length of the marked text in characters, 0 or 1 = one caret.
    pub length: usize,
    /// What is wrong: lower case, no final period, names in single quotes.
    pub message: String,
    /// What to do, when there is something.
    pub help: Option<String>,
    /// The source line, for the report.
    pub source: Option<String>,
}

/// All problems of one or more files. An error type: `Display` is the short form, one `file:line:column: message` a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether any of them is an error.
    pub fn is_fatal(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place.line {
            0 => write!(out, "{}: {}", self.file.display(), self.message)?,
            line => write!(
                out,
                "{}:{line}:{}: {}",
                self.file.display(),
                self.place.column,
                self.message
            )?,
        }
        match &self.help {
            Some(help) => write!(out, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
