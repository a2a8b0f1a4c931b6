//! READMEs in any OCI registry: pushed as artifacts, found by their tags, checked by their digests.

mod address;
mod credentials;
mod manifest;
mod referrers;
mod repository;
mod session;

use axum::http::{Method, StatusCode};
use semver::Version;

pub use address::{Address, SCHEME, Wanted};
pub use credentials::{Credentials, DockerLogins};

use super::transport::ClientError;
use super::{Fetched, Receipt};
use crate::registry::api;
use crate::registry::name::{ArtifactId, Reference};
use crate::registry::signing::{self, Envelope};
use crate::registry::store::Digest;
use crate::registry::text::plain;
use crate::registry::version::Selector;
use manifest::Config;
use repository::{Repository, ask, expect, not_found, parsed};
use session::Session;

/// An OCI registry, as the client sees it.
pub struct Remote {
    session: Session,
    /// Names of repositories begin with it, or the repository itself.
    path: String,
    /// Whether `path` is the repository of the only artifact that is meant.
    exact: bool,
}

impl Remote {
    /// At this address. With `exact` it is the one repository that is meant; without, artifacts are below it, as
    /// `PATH/NAMESPACE/NAME`.
    ///
    /// # Errors
    /// The login would travel in the clear; or no certificates can be read.
    pub fn new(
        address: &Address,
        exact: bool,
        plain_http: bool,
        credentials: Option<Credentials>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            session: Session::new(&address.host, plain_http, credentials)?,
            path: address.path.clone(),
            exact,
        })
    }

    /// Pushes a version; again with the same content is no change.
    ///
    /// # Errors
    /// The registry refuses, or has the version with other content.
    pub fn publish(&self, wish: &api::Publish) -> Result<Receipt, ClientError> {
        let artifact = ArtifactId::new(&wish.namespace, &wish.name).map_err(ClientError::Mismatch)?;
        let version = crate::registry::version::parse(&wish.version).map_err(ClientError::Mismatch)?;
        let (repository, tag) = (self.repository(&artifact), address::tag(&version));
        let sent = Digest::of(wish.readme_content.as_bytes());
        if let Some(there) = repository.manifest(&tag)? {
            let (_, readme) = there.manifest()?.readme().map_err(ClientError::Mismatch)?;
            if readme.digest != sent {
                return Err(ClientError::Refused {
                    status: StatusCode::CONFLICT.as_u16(),
                    message: format!(
                        "{artifact} {version} is already published with other content; versions never change"
                    ),
                });
            }
            return Ok(Receipt::new(&sent, Some(there.digest)));
        }
        let now = jiff::Timestamp::now().to_string();
        let composed = manifest::compose(wish, &now);
        let digest = repository.push(&tag, &composed)?;
        Ok(Receipt::new(&sent, Some(digest)))
    }

    /// The version that is meant, all of it checked.
    ///
    /// # Errors
    /// There is none, or what came is not what was asked for.
    pub fn fetch(&self, reference: &Reference, namespace: &str) -> Result<Fetched, ClientError> {
        let artifact = reference.artifact(namespace).map_err(ClientError::Mismatch)?;
        self.fetch_wanted(&artifact, &Wanted::Version(reference.selector.clone()))
    }

    /// The same, also by a tag that is no version or by a digest.
    ///
    /// # Errors
    /// There is none, or what came is not what was asked for.
    pub fn fetch_wanted(&self, artifact: &ArtifactId, wanted: &Wanted) -> Result<Fetched, ClientError> {
        let repository = self.repository(artifact);
        let reference = match wanted {
            Wanted::Tag(tag) => tag.clone(),
            Wanted::Manifest(digest) => digest.to_string(),
            Wanted::Version(selector) => address::tag(&chosen(&repository, selector)?),
        };
        let read = repository
            .manifest(&reference)?
            .ok_or_else(|| not_found("Version"))?;
        let (config, readme) = repository.read(&read)?;
        let version = crate::registry::version::parse(&config.version).map_err(ClientError::Mismatch)?;
        if matches!(wanted, Wanted::Version(_)) && address::tag(&version) != reference {
            return Err(ClientError::Mismatch(format!(
                "the tag {} leads to {artifact}@{version}",
                plain(&reference)
            )));
        }
        Ok(Fetched {
            artifact: artifact.clone(),
            version,
            digest: Digest::of(readme.as_bytes()),
            readme,
            published_at: config.published_at,
            metadata: config.metadata,
            manifest: Some(read.digest),
        })
    }

    /// Attaches a signature to a version that was published.
    ///
    /// # Errors
    /// The registry refuses, or does not have the version.
    pub fn sign(
        &self,
        artifact: &ArtifactId,
        version: &Version,
        envelope: &Envelope,
    ) -> Result<(), ClientError> {
        let repository = self.repository(artifact);
        let read = repository
            .manifest(&address::tag(version))?
            .ok_or_else(|| not_found("Version"))?;
        let content = serde_json::to_vec(envelope).map_err(std::io::Error::from)?;
        repository.attach(&read, signing::ENVELOPE, &content)
    }

    /// The signatures that are attached to what was fetched. What cannot be read is none.
    ///
    /// # Errors
    /// The registry cannot be reached.
    pub fn signatures(&self, fetched: &Fetched) -> Result<Vec<Envelope>, ClientError> {
        let Some(manifest) = &fetched.manifest else {
            return Ok(Vec::new());
        };
        let repository = self.repository(&fetched.artifact);
        let contents = repository.attachments(manifest, signing::ENVELOPE)?;
        let envelopes = contents
            .iter()
            .filter_map(|bytes| serde_json::from_slice(bytes).ok());
        Ok(envelopes.collect())
    }

    /// The artifact, as its latest release describes it.
    ///
    /// # Errors
    /// There is none.
    pub fn artifact(&self, artifact: &ArtifactId) -> Result<api::Artifact, ClientError> {
        let repository = self.repository(artifact);
        let versions = repository.versions()?;
        let latest = choose(&Selector::Latest, &versions);
        let newest = latest.or(versions.last()).ok_or_else(|| not_found("Artifact"))?;
        let read = repository.manifest(&address::tag(newest))?;
        let (config, _) = repository.read(&read.ok_or_else(|| not_found("Version"))?)?;
        Ok(api::Artifact {
            name: artifact.name().to_owned(),
            namespace: artifact.namespace().to_owned(),
            description: config.description,
            latest_version: latest.map(ToString::to_string),
            versions: versions.iter().map(ToString::to_string).collect(),
            tags: config.tags,
        })
    }

    /// Its versions, the highest first.
    ///
    /// # Errors
    /// There is no such artifact.
    pub fn versions(&self, artifact: &ArtifactId) -> Result<api::Versions, ClientError> {
        let repository = self.repository(artifact);
        let mut rows = Vec::new();
        for version in repository.versions()?.iter().rev() {
            let Some(read) = repository.manifest(&address::tag(version))? else {
                continue;
            };
            // A tag of something else is no version of ours.
            let Ok((config, readme)) = read.manifest()?.readme() else {
                continue;
            };
            let config: Config = parsed(&repository.blob(&config)?)?;
            rows.push(api::VersionRow {
                version: config.version,
                checksum: readme.digest.as_str().to_owned(),
                size: readme.size,
                published_at: config.published_at,
                yanked: false,
            });
        }
        Ok(api::Versions { versions: rows })
    }

    /// That the registry answers, and takes the login.
    ///
    /// # Errors
    /// It does not.
    pub fn greet(&self) -> Result<(), ClientError> {
        let answer = self.session.send(&ask(Method::GET, "/v2/", ""))?;
        expect(&answer, &[StatusCode::OK])
    }

    fn repository(&self, artifact: &ArtifactId) -> Repository<'_> {
        let name = match (self.exact, self.path.is_empty()) {
            (true, _) => self.path.clone(),
            (false, true) => artifact.to_string(),
            (false, false) => format!("{}/{artifact}", self.path),
        };
        Repository {
            session: &self.session,
            name,
        }
    }
}

fn chosen(repository: &Repository<'_>, selector: &Selector) -> Result<Version, ClientError> {
    if let Selector::Exact(version) = selector {
        return Ok(version.clone());
    }
    let versions = repository.versions()?;
    choose(selector, &versions)
        .cloned()
        .ok_or_else(|| not_found("Version"))
}

fn choose<'a>(selector: &Selector, versions: &'a [Version]) -> Option<&'a Version> {
    selector.choose(versions.iter().map(|version| (version, false, version)))
}
