//! One failure type for the whole crate: the step that failed, and why. Travels over pipes as JSON.

use serde::{Deserialize, Serialize};

/// Why a call failed, in the terms that exit codes need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program does not exist inside the sandbox (exit code 127).
    NotFound,
    /// The program exists but cannot be executed (exit code 126).
    NotExecutable,
    /// The kernel or the host lacks something or refused it (exit code 3).
    Environment,
    /// The request made no sense: unknown id, id in use, damaged bundle (exit code 125).
    Request,
}

/// A step that failed: a verb phrase naming its object, and the causes, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{step}: {}", causes.join(": "))]
pub struct Failure {
    /// What was being done, to what: "mount `/proc`".
    pub step: String,
    /// Why it failed.
    pub causes: Vec<String>,
    /// Whose fault it is.
    pub kind: FailureKind,
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure without a further cause than `cause`.
    pub fn new(kind: FailureKind, step: impl Into<String>, cause: impl ToString) -> Self {
        Self {
            step: step.into(),
            causes: vec![cause.to_string()],
            kind,
        }
    }
}

/// Names the step of a fallible call.
pub(crate) trait During<T> {
    /// The kernel or the host refused `step`.
    fn during(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error> During<T> for std::result::Result<T, E> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut causes = vec![error.to_string()];
            let mut source = error.source();
            while let Some(cause) = source {
                causes.push(cause.to_string());
                source = cause.source();
            }
            Failure {
                step: step(),
                causes,
                kind: FailureKind::Environment,
            }
        })
    }
}
