//! Artifacts of a registry as parts of an ecosystem: which versions fit together, and whether what was fetched is still
//! what the lock says. Knows no network.

pub mod resolve;

use std::fs;
use std::path::Path;

use crate::config::Ecosystem;
use crate::config::ecosystem::Place;
use crate::diagnostics::{Problem, Severity};
use crate::lockfile::{ArtifactLock, NAME};
use crate::registry::store::Digest;

/// Services that the file itself has, whatever an artifact needs under such a name.
pub fn own(ecosystem: &Ecosystem) -> Vec<&str> {
    let added = |name: &str| {
        let mut of_it = ecosystem
            .imports
            .iter()
            .filter(|import| import.service == name)
            .peekable();
        of_it.peek().is_some() && of_it.all(|import| import.by != name)
    };
    let names = ecosystem.services.keys().map(String::as_str);
    names.filter(|name| !added(name)).collect()
}

/// Those of the artifacts whose README beside `file` is missing or another one.
pub fn missing<'a>(file: &Path, locked: &'a [ArtifactLock]) -> Vec<&'a ArtifactLock> {
    locked.iter().filter(|lock| !is_whole(file, lock)).collect()
}

fn is_whole(file: &Path, lock: &ArtifactLock) -> bool {
    let read = fs::read(lock.readme(file.parent().unwrap_or(Path::new("/"))));
    read.is_ok_and(|bytes| Digest::of(&bytes).to_string() == lock.digest)
}

/// A problem for each README that is there and was changed.
pub fn changed(file: &Path, locked: &[ArtifactLock]) -> Vec<Problem> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let there = |lock: &&&ArtifactLock| lock.readme(directory).exists();
    let lost = missing(file, locked);
    let problem = |lock: &&ArtifactLock| Problem {
        severity: Severity::Error,
        file: lock.readme(directory),
        place: Place { line: 0, column: 0 },
        length: 0,
        message: format!("it is not {}@{} as `{NAME}` says", lock.name, lock.version),
        help: Some("remove it: `pactown lock` fetches it again".to_owned()),
        source: None,
    };
    lost.iter().filter(there).map(problem).collect()
}
