//! What came from a registry, and who stands for it.

use serde_json::{Map, Value};

use super::transport::ClientError;
use crate::registry::evidence::Evidence;
use crate::registry::name::ArtifactId;
use crate::registry::signing::{Claim, Envelope, PublicKey};
use crate::registry::store::Digest;

/// A README that was fetched, and is what the registry says it is.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Its version.
    pub version: semver::Version,
    /// The README.
    pub readme: String,
    /// Its digest.
    pub digest: Digest,
    /// When it was published.
    pub published_at: String,
    /// What the publisher added.
    pub metadata: Map<String, Value>,
    /// In an OCI registry, the digest of its manifest.
    pub manifest: Option<Digest>,
}

impl Fetched {
    /// What a signature of it must be of.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            artifact: &self.artifact,
            version: &self.version,
            digest: &self.digest,
        }
    }

    /// What its publisher says of its tests; not proved by itself.
    pub fn evidence(&self) -> Option<Evidence> {
        Evidence::within(&self.metadata, &self.digest)
    }

    /// What `key` has signed of it.
    ///
    /// # Errors
    /// None of the signatures is of this key and of exactly this version.
    pub fn signed_by(
        &self,
        key: &PublicKey,
        signatures: &[Envelope],
    ) -> Result<Option<Evidence>, ClientError> {
        let told = format!("{}@{}", self.artifact, self.version);
        let mut reason = "it has none".to_owned();
        for envelope in signatures {
            match envelope.check(key, self.claim()) {
                Ok(evidence) => return Ok(evidence),
                Err(why) => reason = why,
            }
        }
        Err(ClientError::Mismatch(format!(
            "{told} has no signature by the key {}: {reason}",
            key.id()
        )))
    }
}
