//! Another registry, as a mirror of it asks.

use std::fmt::Debug;

use crate::registry::api;
use crate::registry::name::ArtifactId;

/// The other registry. Its calls wait for the network.
pub trait Upstream: Send + Sync + Debug {
    /// The versions of an artifact, unless they are those that `tag` stands for.
    ///
    /// # Errors
    /// It does not answer, or not as a registry.
    fn versions(&self, artifact: &ArtifactId, tag: Option<&str>) -> Result<Listed, Away>;

    /// One version.
    ///
    /// # Errors
    /// It does not answer, or not as a registry.
    fn version(&self, artifact: &ArtifactId, number: &semver::Version) -> Result<api::Version, Away>;

    /// The artifact.
    ///
    /// # Errors
    /// It does not answer, or not as a registry.
    fn artifact(&self, artifact: &ArtifactId) -> Result<api::Artifact, Away>;
}

/// What another registry says of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// It is as it was.
    Unchanged,
    /// It has none of that name, or shows it to nobody.
    Missing,
    /// Its versions now.
    Changed {
        /// Stands for them at the next question.
        tag: Option<String>,
        /// They.
        versions: Vec<api::VersionRow>,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away(pub String);
