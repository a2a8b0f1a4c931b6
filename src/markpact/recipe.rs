//! What a README says: plain data with line numbers.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::test_case::TestCase;
use crate::config::ecosystem::{Restart, Schedule};

/// A span of lines in the README, both 1-based and inclusive; of the fence lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lines {
    /// Line of the opening fence.
    pub first: usize,
    /// Line of the closing fence.
    pub last: usize,
}

/// One README, read and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The README's path.
    pub readme: PathBuf,
    /// First heading, if any.
    pub title: Option<String>,
    /// `file` blocks in document order; paths are relative, clean and unique.
    pub files: Vec<FileBlock>,
    /// `deps` blocks in document order.
    pub deps: Vec<DepsBlock>,
    /// The run command: written or inferred. `None`: nothing to run (a library README).
    pub run: Option<Run>,
    /// `workload` block: a job ends, a service stays.
    pub workload: Workload,
    /// `health` block, as path or YAML text, when there is one.
    pub health: Option<TextBlock>,
    /// `setup` blocks in document order: scripts that prepare `/app` once.
    pub setup: Vec<TextBlock>,
    /// `job` blocks in document order; their names are unique.
    pub jobs: Vec<JobBlock>,
    /// What its `test` blocks ask for, in document order.
    pub tests: Vec<TestCase>,
    /// Endpoints that its text names, as `METHOD /path` in code marks: line, method, path.
    pub endpoints: Vec<(usize, String, String)>,
    /// Blocks kept for later verbs (`build`, `target`, `publish`, …), in document order.
    pub others: Vec<OtherBlock>,
    /// Every block with its digest, in document order: what a lock file compares.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Remarks for the user, such as what was inferred; each with a line (0 = none).
    pub notes: Vec<(usize, String)>,
}

/// A block, whatever it is, by name and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its kind and what tells it from others of that kind: `file main.py`, `deps python`, `run`.
    pub label: String,
    /// SHA-256 over kind, language, attributes and body, in hexadecimal digits. Where it stands does not matter.
    pub digest: String,
    /// Its place.
    pub lines: Lines,
}

/// `file path=…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBlock {
    /// Relative path below `/app`: no `..`, not absolute, valid UTF-8.
    pub path: String,
    /// Exact content: the fence's body; ends with one newline unless empty.
    pub content: String,
    /// `mode=755`-like attribute or 0o644.
    pub mode: u32,
    /// Language of the fence.
    pub language: String,
    /// Its place.
    pub lines: Lines,
}

/// `deps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepsBlock {
    /// The ecosystem of the requirements.
    pub language: DepsLanguage,
    /// Requirements with their line in the README.
    pub requirements: Vec<(usize, String)>,
    /// Its place.
    pub lines: Lines,
}

/// Languages of a `deps` block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DepsLanguage {
    /// pip requirements.
    Python,
    /// npm packages.
    Node,
    /// Go modules.
    Go,
    /// Cargo crates.
    Rust,
    /// Composer packages.
    Php,
    /// Distribution packages.
    System,
}

/// The run command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Shell text, given to `sh -c` unchanged.
    pub command: String,
    /// Its place; `None` when inferred.
    pub lines: Option<Lines>,
}

/// `workload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Whether it is expected to end.
    pub kind: WorkloadKind,
    /// Arguments appended to the run command.
    pub args: Vec<String>,
    /// `restart_policy`; the ecosystem file wins.
    pub restart: Option<Restart>,
    /// `schedule`, which makes it a job; the ecosystem file wins.
    pub schedule: Option<Schedule>,
}

/// Service or job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadKind {
    /// Stays (`service`, `daemon`).
    #[default]
    Service,
    /// Ends with an exit code (`job`, `cli`, `script`, `build`).
    Job,
}

/// `job name=…`: a command that is run by hand in the running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBlock {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Shell text, given to `sh -c` unchanged.
    pub command: String,
    /// Its place.
    pub lines: Lines,
}

/// A block that is one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextBlock {
    /// The body.
    pub text: String,
    /// Its place.
    pub lines: Lines,
}

/// `build`: what makes artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildBlock {
    /// Shell text.
    pub text: TextBlock,
    /// Paths below `/app` that are copied out, relative and clean; none: whatever it writes.
    pub artifacts: Vec<String>,
}

impl Recipe {
    /// Its `build` blocks in document order.
    pub fn builds(&self) -> Vec<BuildBlock> {
        let blocks = self.others.iter().filter(|block| block.kind == "build");
        blocks
            .map(|block| BuildBlock {
                text: TextBlock {
                    text: block.text.clone(),
                    lines: block.lines,
                },
                artifacts: artifacts(&block.attributes).map(str::to_owned).collect(),
            })
            .collect()
    }
}

/// The paths in a fence's `artifacts=`.
pub(super) fn artifacts(attributes: &IndexMap<String, String>) -> impl Iterator<Item = &str> {
    let text = attributes.get("artifacts").map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|path| !path.is_empty())
}

/// A block of a kind that this module only reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherBlock {
    /// Its kind, `test` for example.
    pub kind: String,
    /// Language of the fence.
    pub language: String,
    /// `key=value` attributes.
    pub attributes: IndexMap<String, String>,
    /// The body.
    pub text: String,
    /// Its place.
    pub lines: Lines,
}
