//! What belongs to a manifest: other manifests that name it as their subject
//! (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>).

use axum::http::{HeaderName, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::super::transport::ClientError;
use super::manifest::{Descriptor, INDEX, MANIFEST, attached};
use super::repository::{Read, Repository, expect, parsed};
use super::session::text;
use crate::registry::store::Digest;

/// A registry that keeps the list of referrers says so.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Referrers that are looked at.
const MAX_REFERRERS: usize = 64;

/// A list of manifests.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: String,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl Repository<'_> {
    /// Attaches `content` to a manifest; again with the same content is no change.
    ///
    /// # Errors
    /// The registry refuses.
    pub(super) fn attach(&self, subject: &Read, kind: &str, content: &[u8]) -> Result<(), ClientError> {
        let descriptor = Descriptor::of(MANIFEST, &subject.bytes);
        let composed = attached(kind, &descriptor, content);
        for (digest, bytes) in &composed.blobs {
            self.upload(digest, bytes)?;
        }
        let digest = Digest::of(&composed.manifest);
        let answer = self.put(&digest.to_string(), MANIFEST, &composed.manifest)?;
        if text(&answer, &OCI_SUBJECT).is_some() {
            return Ok(());
        }
        let mut own = Descriptor::of(MANIFEST, &composed.manifest);
        own.artifact_type = Some(kind.to_owned());
        self.list(&subject.digest, own)
    }

    /// The contents of this kind that are attached to a manifest. What cannot be read is none.
    ///
    /// # Errors
    /// The registry cannot be reached.
    pub(super) fn attachments(&self, subject: &Digest, kind: &str) -> Result<Vec<Vec<u8>>, ClientError> {
        let mut found = Vec::new();
        let listed = self.referrers(subject)?;
        let fitting = listed
            .manifests
            .iter()
            .filter(|descriptor| descriptor.artifact_type.as_deref().is_none_or(|own| own == kind));
        for descriptor in fitting.take(MAX_REFERRERS) {
            let Ok(digest) = descriptor.digest.parse::<Digest>() else {
                continue;
            };
            let Some(read) = self.manifest(&digest.to_string())? else {
                continue;
            };
            if let Some(layer) = read.manifest()?.layer(kind) {
                found.push(self.blob(&layer)?);
            }
        }
        Ok(found)
    }

    /// By the registry's own list, else by the tag that stands for it.
    fn referrers(&self, subject: &Digest) -> Result<Index, ClientError> {
        let answer = self.ask(Method::GET, &format!("referrers/{subject}"), INDEX)?;
        match answer.status() {
            StatusCode::OK => parsed(answer.body()),
            StatusCode::NOT_FOUND => self.tagged(subject),
            _ => Err(expect(&answer, &[StatusCode::OK])
                .err()
                .unwrap_or_else(|| ClientError::Mismatch("its list of referrers is none".to_owned()))),
        }
    }

    fn tagged(&self, subject: &Digest) -> Result<Index, ClientError> {
        let answer = self.ask(Method::GET, &format!("manifests/{}", tag(subject)), INDEX)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(Index::default());
        }
        expect(&answer, &[StatusCode::OK])?;
        parsed(answer.body())
    }

    /// Adds to the list that a registry without one of its own has under a tag.
    fn list(&self, subject: &Digest, own: Descriptor) -> Result<(), ClientError> {
        let mut index = self.tagged(subject)?;
        if index.manifests.iter().any(|other| other.digest == own.digest) {
            return Ok(());
        }
        index.schema_version = 2;
        INDEX.clone_into(&mut index.media_type);
        index.manifests.push(own);
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| ClientError::Mismatch(format!("the list of referrers: {error}")))?;
        self.put(&tag(subject), INDEX, &bytes).map(drop)
    }
}

/// The tag that stands for the list of a manifest's referrers.
fn tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.as_str())
}
