//! What a new sandbox tells the keeper, over one pipe: a JSON document a line. The end of the pipe without `Exited`
//! means that pid 1 was killed.

use std::io::Write;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::protocol::ExitStatus;

/// A line of the pipe, in the order in which they may come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// `exec` only: host pid of the process.
    Pid(i32),
    /// `execve` has succeeded.
    Started,
    /// A step failed; the sandbox is ending.
    Failed(Failure),
    /// The service has ended; pid 1 is ending, and everything else inside with it.
    Exited(ExitStatus),
}

/// The writing end.
pub(crate) struct Reporter(std::fs::File);

impl Reporter {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Self(pipe.into())
    }

    /// Writes one line. A reader that is gone is no reason to stop: the keeper's death is noticed elsewhere.
    pub(crate) fn say(&mut self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        let _ = self.0.write_all(&line);
    }
}
