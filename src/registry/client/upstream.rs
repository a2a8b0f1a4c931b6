//! A registry that another one mirrors: each question is asked once, and an answer that is known is not sent again.

use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::transport::{ClientError, Http, success};
use super::wire::is_private;
use super::{artifact_path, version_path};
use crate::registry::api;
use crate::registry::name::ArtifactId;
use crate::registry::server::{Away, Listed, Upstream};

/// A server of this program, asked over HTTP.
pub struct Original(Http);

impl std::fmt::Debug for Original {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Original({})", self.0.base())
    }
}

impl Original {
    /// The server at `url`, as [`super::address`] writes it.
    ///
    /// # Errors
    /// The token would travel in the clear; or no certificates can be read.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ClientError> {
        if token.is_some() && !is_private(url) {
            return Err(ClientError::Unreachable(format!(
                "the token for {url} would travel in the clear: use https"
            )));
        }
        Http::new(url, token).map(Self)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Away> {
        let answer = self.0.get(path, None).and_then(success).map_err(away)?;
        read(answer.body())
    }
}

impl Upstream for Original {
    fn versions(&self, artifact: &ArtifactId, tag: Option<&str>) -> Result<Listed, Away> {
        let path = format!("{}/versions", artifact_path(artifact));
        let answer = self.0.get(&path, tag).map_err(away)?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => Ok(Listed::Unchanged),
            // It tells nobody that it has something that may not be read.
            StatusCode::NOT_FOUND => Ok(Listed::Missing),
            _ => {
                let answer = success(answer).map_err(away)?;
                let tag = answer.headers().get(header::ETAG);
                let listed: api::Versions = read(answer.body())?;
                Ok(Listed::Changed {
                    tag: tag.and_then(|tag| tag.to_str().ok()).map(ToOwned::to_owned),
                    versions: listed.versions,
                })
            }
        }
    }

    fn version(&self, artifact: &ArtifactId, number: &semver::Version) -> Result<api::Version, Away> {
        self.get(&version_path(artifact, &number.to_string()))
    }

    fn artifact(&self, artifact: &ArtifactId) -> Result<api::Artifact, Away> {
        self.get(&artifact_path(artifact))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Away> {
    super::read(body).map_err(away)
}

fn away(error: ClientError) -> Away {
    Away(error.to_string())
}
