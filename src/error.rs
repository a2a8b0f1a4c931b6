//! Kinds of failure and their exit codes. Only this file knows the numbers.

use crate::diagnostics::Problems;

/// A failure as the command line reports it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Configuration or README problems (exit code 2).
    #[error("{0}")]
    Problems(Problems),
    /// Wrong use of the command line (exit code 2).
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to type instead.
        hint: Option<String>,
    },
    /// A service, job or verification failed; everything worth saying was said already (exit code 1).
    #[error("{0}")]
    Failed(String),
    /// The host lacks something or refused it (exit code 3).
    #[error("{message}")]
    Environment {
        /// What is missing.
        message: String,
        /// How to get it.
        hint: Option<String>,
    },
    /// Nobody listens, or the supervisor went away before it had answered (exit code 1).
    #[error("{0}")]
    Lost(String),
    /// Time is up (exit code 124).
    #[error("{0}")]
    Timeout(String),
    /// The command of `exec` does not exist (127) or cannot be executed (126).
    #[error("{message}")]
    Command {
        /// What went wrong.
        message: String,
        /// 126 or 127.
        code: u8,
    },
    /// The exit code of a child, passed on silently.
    #[error("exit code {0}")]
    Child(i32),
    /// A defect of pactown's own (exit code 125).
    #[error("{message}")]
    Internal {
        /// What was being done.
        message: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// The process exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Lost(_) => 1,
            Self::Problems(_) | Self::Usage { .. } => 2,
            Self::Environment { .. } => 3,
            Self::Timeout(_) => 124,
            Self::Internal { .. } => 125,
            Self::Command { code, .. } => *code,
            Self::Child(code) => u8::try_from(*code).unwrap_or(1),
        }
    }

    /// What the user can do about it, printed as `hint:`.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Usage { hint, .. } | Self::Environment { hint, .. } => hint.as_deref(),
            Self::Internal { .. } => Some("this is a defect of pactown, please report it"),
            _ => None,
        }
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
