//! README tests: what is asked of which service, what came of it, and what is told about it.
//!
//! [`run`] asks; [`judge`] and the reports are pure. Nothing here starts or stops a service.

pub(crate) mod coverage;
mod http;
mod judge;
pub(crate) mod junit;
pub(crate) mod run;
mod shell;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::ecosystem::ServiceName;
use crate::markpact::test_case::TestCase;

/// The tests of one service's README, in its order.
#[derive(Debug, Clone)]
pub(crate) struct Suite {
    /// The service that is asked.
    pub(crate) service: ServiceName,
    /// Its README.
    pub(crate) readme: PathBuf,
    /// Port that a request without `port=` goes to.
    pub(crate) port: u16,
    /// Services that declare a dependency on it.
    pub(crate) dependents: Vec<ServiceName>,
    /// The tests.
    pub(crate) cases: Vec<TestCase>,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// The service whose README it stands in.
    pub(crate) service: ServiceName,
    /// The README.
    pub(crate) file: PathBuf,
    /// Its line there.
    pub(crate) line: usize,
    /// What it is called.
    pub(crate) title: String,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) time: Duration,
    /// Its end.
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// The end of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Everything was as expected.
    Passed,
    /// Something was not.
    Failed(Failure),
    /// It could not be asked.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// What is needed to understand a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// What was asked, of whom.
    pub(crate) request: String,
    /// What was not as expected; at least one.
    pub(crate) misses: Vec<Miss>,
    /// The answer, or what the command wrote.
    pub(crate) answer: Vec<String>,
    /// The last lines of the service's log.
    pub(crate) log: Vec<String>,
}

/// One expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Miss {
    /// Where it is written.
    pub(crate) line: usize,
    /// What was expected.
    pub(crate) expected: String,
    /// What was there instead.
    pub(crate) got: String,
}

impl Failure {
    /// In one line: the first miss.
    pub(crate) fn summary(&self) -> String {
        let first = self.misses.first();
        first.map_or_else(String::new, |miss| {
            format!("expected {}, got {}", miss.expected, miss.got)
        })
    }
}

impl Outcome {
    /// Whether it counts against the run.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

/// How many passed, failed and were skipped.
pub(crate) fn count(outcomes: &[Outcome]) -> (usize, usize, usize) {
    let passed = outcomes
        .iter()
        .filter(|one| one.verdict == Verdict::Passed)
        .count();
    let failed = outcomes.iter().filter(|one| one.has_failed()).count();
    (passed, failed, outcomes.len() - passed - failed)
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
