//! `registry resolve`: what an ecosystem file takes from its registry, found, fetched and checked, as the user who asks.
//! `up`, `test` and `lock` run it; they decide whether it may run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::connect::{Connection, connect_for, failed};
use super::pull::put;
use crate::caller::Caller;
use crate::cli::{RegistryOptions, ResolveArguments};
use crate::commands::Context;
use crate::config;
use crate::config::ecosystem::Import;
use crate::error::Error;
use crate::imports;
use crate::imports::resolve::{Catalogue, Choice, Demand, Unresolved, resolve};
use crate::lockfile::{ArtifactLock, Lockfile};
use crate::registry::client::{Client, ClientError, Fetched};
use crate::registry::evidence::Evidence;
use crate::registry::name::{ArtifactId, Reference};

/// Under this name a version's metadata holds what it needs.
pub(in crate::commands) const DEPENDS_ON: &str = "depends_on";

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::commands) struct Found {
    /// The registry.
    pub(in crate::commands) place: String,
    /// What comes from there.
    pub(in crate::commands) artifacts: Vec<Part>,
}

/// One artifact.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::commands) struct Part {
    /// As the lock has it.
    pub(in crate::commands) lock: ArtifactLock,
    /// Its README, beside the ecosystem file.
    pub(in crate::commands) readme: PathBuf,
    /// What its publisher says of its tests.
    pub(in crate::commands) evidence: Option<Evidence>,
}

pub(super) fn run(context: &Context, arguments: &ResolveArguments) -> Result<(), Error> {
    let loaded = config::load_open(&arguments.file, &Caller::detect().env)?;
    let ecosystem = loaded.ecosystem;
    let text = std::fs::read_to_string(Lockfile::beside(&ecosystem.file)).unwrap_or_default();
    let locked = Lockfile::parse(&text)
        .map(|lock| lock.artifacts)
        .unwrap_or_default();
    let connection = connect_for(&RegistryOptions::default(), Some(&ecosystem))?;
    let mut shelf = Shelf {
        client: &connection.client,
        versions: HashMap::new(),
        fetched: HashMap::new(),
        own: imports::own(&ecosystem),
    };
    let demands: Vec<Demand> = ecosystem.imports.iter().map(demand).collect::<Result<_, _>>()?;
    let preferred = match arguments.update {
        true => Choice::new(),
        false => preferred(&locked),
    };
    let choice = resolve(&demands, &preferred, &mut shelf).map_err(|error| unresolved(&connection, error))?;
    let directory = ecosystem.file.parent().unwrap_or(Path::new("/"));
    let mut artifacts = Vec::new();
    for (artifact, version) in &choice {
        let fetched = shelf.fetch(artifact, version).map_err(failed)?;
        artifacts.push(part(&fetched, &locked, directory)?);
    }
    for (part, (artifact, version)) in artifacts.iter().zip(&choice) {
        let fetched = shelf.fetch(artifact, version).map_err(failed)?;
        put(&fetched.readme, &part.readme).map_err(|error| Error::Environment {
            message: format!("{} cannot be written: {error}", part.readme.display()),
            hint: None,
        })?;
    }
    context.output.json(&Found {
        place: connection.place.to_string(),
        artifacts,
    })
}

fn demand(import: &Import) -> Result<Demand, Error> {
    let wrong = |message: String| Error::Usage { message, hint: None };
    let text = format!("{}@{}", import.artifact, import.range);
    let reference: Reference = text.parse().map_err(wrong)?;
    Ok(Demand {
        by: format!("{} (line {})", import.by, import.place.line),
        artifact: reference.artifact("").map_err(wrong)?,
        selector: reference.selector,
    })
}

fn preferred(locked: &[ArtifactLock]) -> Choice {
    let kept = locked.iter().filter_map(|lock| {
        let reference: Reference = lock.name.parse().ok()?;
        Some((reference.artifact("").ok()?, lock.version.parse().ok()?))
    });
    kept.collect()
}

/// # Errors
/// The registry has something else than what the lock says of this version.
fn part(fetched: &Fetched, locked: &[ArtifactLock], directory: &Path) -> Result<Part, Error> {
    let lock = ArtifactLock {
        name: fetched.artifact.to_string(),
        version: fetched.version.to_string(),
        digest: fetched.digest.to_string(),
        wants: needs(fetched)
            .map_err(failed)?
            .iter()
            .map(|need| need.in_namespace(fetched.artifact.namespace()))
            .collect(),
    };
    let before = locked
        .iter()
        .find(|own| own.name == lock.name && own.version == lock.version);
    if let Some(before) = before.filter(|before| before.digest != lock.digest) {
        return Err(Error::Failed(format!(
            "{}@{} is {} in the registry, and {} in `pactown.lock`: nothing was written",
            lock.name, lock.version, lock.digest, before.digest
        )));
    }
    Ok(Part {
        readme: lock.readme(directory),
        evidence: fetched.evidence(),
        lock,
    })
}

fn unresolved(connection: &Connection, error: Unresolved<ClientError>) -> Error {
    match error {
        Unresolved::Catalogue(error) => failed(error),
        Unresolved::Conflict(message) => Error::Failed(format!("{message} (in {})", connection.place)),
    }
}

/// A registry, asked once for each thing.
struct Shelf<'a> {
    client: &'a Client,
    versions: HashMap<ArtifactId, Vec<(Version, bool)>>,
    fetched: HashMap<(ArtifactId, Version), Fetched>,
    /// What the file has itself is not looked for.
    own: Vec<&'a str>,
}

impl Shelf<'_> {
    fn fetch(&mut self, artifact: &ArtifactId, version: &Version) -> Result<Fetched, ClientError> {
        let key = (artifact.clone(), version.clone());
        if let Some(found) = self.fetched.get(&key) {
            return Ok(found.clone());
        }
        let found = self.client.fetch_exact(artifact, version)?;
        self.fetched.insert(key, found.clone());
        Ok(found)
    }
}

impl Catalogue for Shelf<'_> {
    type Error = ClientError;

    fn versions(&mut self, artifact: &ArtifactId) -> Result<Vec<(Version, bool)>, ClientError> {
        if let Some(found) = self.versions.get(artifact) {
            return Ok(found.clone());
        }
        let rows = match self.client.versions(artifact) {
            Ok(listed) => listed.versions,
            Err(ClientError::Refused { status: 404, .. }) => {
                return Err(ClientError::Refused {
                    status: 404,
                    message: format!("there is no {artifact} in the registry"),
                });
            }
            Err(error) => return Err(error),
        };
        let found = rows
            .iter()
            .filter_map(|row| Some((row.version.parse().ok()?, row.yanked)));
        let found: Vec<_> = found.collect();
        self.versions.insert(artifact.clone(), found.clone());
        Ok(found)
    }

    fn needs(&mut self, artifact: &ArtifactId, version: &Version) -> Result<Vec<Reference>, ClientError> {
        let mut needed = needs(&self.fetch(artifact, version)?)?;
        needed.retain(|need| !self.own.contains(&need.name.as_str()));
        Ok(needed)
    }
}

/// What its publisher says that it needs.
fn needs(fetched: &Fetched) -> Result<Vec<Reference>, ClientError> {
    let list = fetched.metadata.get(DEPENDS_ON).and_then(|list| list.as_array());
    let each = list.into_iter().flatten().map(|need| {
        let text = need.as_str().unwrap_or_default();
        text.parse().map_err(|why| {
            let (artifact, version) = (&fetched.artifact, &fetched.version);
            ClientError::Mismatch(format!("{artifact}@{version} needs what is nothing: {why}"))
        })
    });
    each.collect()
}
