//! Logs that are no sandbox's, such as the supervisor's file of events: lines come as calls, and the log writer writes
//! them like all others, so that a disk that hangs keeps nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Keeper;
use super::sandbox::failed;
use crate::error::Failure;
use crate::error::FailureKind;
use crate::protocol::{LogFile, What};

/// The logs that are open, and who waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Notes {
    logs: BTreeMap<PathBuf, u64>,
    /// Connection and number of each request, and its log.
    waiting: Vec<((u64, u64), u64)>,
}

impl Keeper {
    pub(super) fn append(&mut self, to: (u64, u64), log: LogFile, lines: &str) {
        let path = log.path.clone();
        let number = match self.notes.logs.get(&path) {
            Some(number) => *number,
            None => self.logs.open_silent(log),
        };
        self.notes.logs.insert(path, number);
        if self.logs.give(number, lines.as_bytes()) {
            self.notes.waiting.push((to, number));
        } else {
            let why = "too many lines wait for the disk already";
            let failure = Failure::new(FailureKind::Environment, "take lines for the log", why);
            self.answer(to, failed(failure), &[]);
        }
    }

    /// Answers those whose lines are written, or will not be.
    pub(super) fn tend_notes(&mut self) {
        let mut unusable = BTreeSet::new();
        for (to, number) in std::mem::take(&mut self.notes.waiting) {
            if !self.logs.is_written(number) {
                self.notes.waiting.push((to, number));
                continue;
            }
            let what = match self.logs.refused(number) {
                None => What::Done,
                Some(cause) => failed(Failure::new(FailureKind::Environment, "open the log", cause)),
            };
            if !matches!(what, What::Done) {
                unusable.insert(number);
            }
            self.answer(to, what, &[]);
        }
        // Only now: a log that is closed has nothing to tell the next who waits for it. Tried anew with the next lines: a
        // directory in the way may be gone by then.
        self.notes.logs.retain(|_, log| !unusable.contains(log));
        unusable.into_iter().for_each(|number| self.logs.close(number));
    }
}
