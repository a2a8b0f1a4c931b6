//! Asks a registry: a server over HTTP, or the answering code in this process over the user's own store. What comes
//! back is checked; nothing is believed that can be computed.

mod administer;
mod fetched;
mod login;
pub mod oci;
mod place;
mod transport;
mod upstream;
mod wire;

use axum::http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub use fetched::Fetched;
pub use login::Logins;
pub use place::{OciPlace, Place, Sources, address, own_store};
pub use transport::{ClientError, Transport};
pub use upstream::Original;

use super::api;
use super::name::{ArtifactId, Reference};
use super::signing::{self, Envelope};
use super::store::Digest;
use super::version::{self, Selector};

/// A registry, as a command sees it.
pub struct Client {
    way: Way,
}

/// How a registry is asked.
enum Way {
    /// As a server of this program answers.
    Rest(Transport),
    /// As an OCI registry answers.
    Oci(Box<oci::Remote>),
}

/// What a registry has now that something was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// SHA-256 of the README, in hexadecimal digits.
    pub checksum: String,
    /// In an OCI registry, the digest of the manifest.
    pub manifest: Option<Digest>,
}

impl Receipt {
    fn new(checksum: &Digest, manifest: Option<Digest>) -> Self {
        Self {
            checksum: checksum.as_str().to_owned(),
            manifest,
        }
    }
}

impl Client {
    /// Over this transport.
    pub fn new(transport: Transport) -> Self {
        Self {
            way: Way::Rest(transport),
        }
    }

    /// Of an OCI registry.
    pub fn oci(remote: oci::Remote) -> Self {
        Self {
            way: Way::Oci(Box::new(remote)),
        }
    }

    /// Publishes a version; again with the same content is no change. A server keeps what it was published with first:
    /// a later signature, or later evidence, is an error. In an OCI registry signatures are attached at any time.
    ///
    /// # Errors
    /// The registry refuses or cannot be reached, or does not have what was sent.
    pub fn publish(
        &self,
        publish: &api::Publish,
        signature: Option<&Envelope>,
    ) -> Result<Receipt, ClientError> {
        let artifact = ArtifactId::new(&publish.namespace, &publish.name).map_err(ClientError::Mismatch)?;
        let number = version::parse(&publish.version).map_err(ClientError::Mismatch)?;
        if let Way::Oci(remote) = &self.way {
            let receipt = remote.publish(publish)?;
            if let Some(envelope) = signature {
                remote.sign(&artifact, &number, envelope)?;
            }
            return Ok(receipt);
        }
        let mut publish = publish.clone();
        if let Some(envelope) = signature {
            let list = json!([envelope]);
            publish.metadata.insert(signing::SIGNATURES.to_owned(), list);
        }
        let published: api::Published = self.send(Method::POST, "/v1/publish", Some(&json!(publish)))?;
        let sent = Digest::of(publish.readme_content.as_bytes());
        if published.checksum != sent.as_str() {
            return Err(ClientError::Mismatch(format!(
                "checksum mismatch: sent {sent}, the registry has sha256:{}",
                published.checksum
            )));
        }
        if publish.metadata.contains_key(signing::SIGNATURES) {
            self.must_have(&artifact, &number, &publish.metadata)?;
        }
        Ok(Receipt::new(&sent, None))
    }

    /// That a version has been published with this signature.
    fn must_have(
        &self,
        artifact: &ArtifactId,
        number: &semver::Version,
        metadata: &Map<String, Value>,
    ) -> Result<(), ClientError> {
        let there = self.fetch_exact(artifact, number)?;
        match there.metadata.get(signing::SIGNATURES) == metadata.get(signing::SIGNATURES) {
            true => Ok(()),
            false => Err(ClientError::Mismatch(format!(
                "{artifact} {number} was published before, without this signature; versions never change: \
                 publish another one"
            ))),
        }
    }

    /// One version, checked against its digest.
    ///
    /// # Errors
    /// There is none, or what came is not what was asked for.
    pub fn fetch_exact(
        &self,
        artifact: &ArtifactId,
        number: &semver::Version,
    ) -> Result<Fetched, ClientError> {
        let reference = Reference {
            namespace: Some(artifact.namespace().to_owned()),
            name: artifact.name().to_owned(),
            selector: Selector::Exact(number.clone()),
        };
        self.fetch(&reference, artifact.namespace())
    }

    /// The signatures of what was fetched; nothing is proved yet.
    ///
    /// # Errors
    /// An OCI registry cannot be reached.
    pub fn signatures(&self, fetched: &Fetched) -> Result<Vec<Envelope>, ClientError> {
        match &self.way {
            Way::Oci(remote) => remote.signatures(fetched),
            Way::Rest(_) => Ok(Envelope::within(&fetched.metadata)),
        }
    }

    /// The version that is meant, checked against its digest.
    ///
    /// # Errors
    /// There is none, or what came is not what was asked for.
    pub fn fetch(&self, reference: &Reference, namespace: &str) -> Result<Fetched, ClientError> {
        if let Way::Oci(remote) = &self.way {
            return remote.fetch(reference, namespace);
        }
        let artifact = reference.artifact(namespace).map_err(ClientError::Mismatch)?;
        let path = version_path(&artifact, &reference.selector.to_string());
        let answer: api::Version = self.send(Method::GET, &path, None)?;
        let number = version::parse(&answer.version).map_err(ClientError::Mismatch)?;
        let fits = match &reference.selector {
            Selector::Latest => true,
            selector => selector.choose([(&number, false, ())]).is_some(),
        };
        if !fits {
            return Err(ClientError::Mismatch(format!(
                "asked for {artifact}@{}, the registry answered with {number}",
                reference.selector
            )));
        }
        let digest = Digest::of(answer.readme_content.as_bytes());
        if digest.as_str() != answer.checksum {
            return Err(ClientError::Mismatch(format!(
                "checksum mismatch: {artifact}@{number} should be sha256:{} and is {digest}",
                super::text::plain(&answer.checksum)
            )));
        }
        Ok(Fetched {
            artifact,
            version: number,
            readme: answer.readme_content,
            digest,
            published_at: answer.published_at,
            metadata: answer.metadata,
            manifest: None,
        })
    }

    /// All artifacts of a search, or of a namespace, or all, up to `limit`.
    ///
    /// # Errors
    /// The registry refuses or cannot be reached.
    pub fn list(
        &self,
        search: Option<&str>,
        namespace: Option<&str>,
        limit: usize,
    ) -> Result<Vec<api::Artifact>, ClientError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.clamp(1, 1000).to_string());
        for (name, value) in [("search", search), ("namespace", namespace)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let mut path = format!("/v1/artifacts?{}", query.finish());
        let mut found: Vec<api::Artifact> = Vec::new();
        loop {
            let (page, next) = self.rest()?.page(&path)?;
            let page: Vec<api::Artifact> = read(&page)?;
            found.extend(page);
            match next {
                Some(next) if found.len() < limit => path = next,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// One artifact.
    ///
    /// # Errors
    /// There is none.
    pub fn artifact(&self, artifact: &ArtifactId) -> Result<api::Artifact, ClientError> {
        if let Way::Oci(remote) = &self.way {
            return remote.artifact(artifact);
        }
        self.send(Method::GET, &artifact_path(artifact), None)
    }

    /// Its versions, the highest first.
    ///
    /// # Errors
    /// There is no such artifact.
    pub fn versions(&self, artifact: &ArtifactId) -> Result<api::Versions, ClientError> {
        if let Way::Oci(remote) = &self.way {
            return remote.versions(artifact);
        }
        self.send(
            Method::GET,
            &format!("{}/versions", artifact_path(artifact)),
            None,
        )
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        read(&self.rest()?.send(method, path, body)?)
    }

    fn rest(&self) -> Result<&Transport, ClientError> {
        match &self.way {
            Way::Rest(transport) => Ok(transport),
            Way::Oci(_) => Err(ClientError::Mismatch(
                "an OCI registry cannot do this: it publishes, fetches and lists versions".to_owned(),
            )),
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body)
        .map_err(|error| ClientError::Mismatch(format!("the answer is not a registry's: {error}")))
}

fn artifact_path(artifact: &ArtifactId) -> String {
    // Valid names need no encoding.
    format!("/v1/artifacts/{}/{}", artifact.namespace(), artifact.name())
}

fn version_path(artifact: &ArtifactId, version: &str) -> String {
    format!("{}/{}", artifact_path(artifact), encoded(version))
}

/// For one segment of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
