//! What changes an artifact that is there, and what only administrators may ask.

use axum::http::Method;
use serde_json::json;

use super::{Client, ClientError, artifact_path, encoded, version_path};
use crate::registry::api;
use crate::registry::name::ArtifactId;

impl Client {
    /// Hides a version from new resolutions, or shows it again.
    ///
    /// # Errors
    /// There is none, or the token does not allow it.
    pub fn yank(
        &self,
        artifact: &ArtifactId,
        version: &semver::Version,
        yanked: bool,
    ) -> Result<(), ClientError> {
        let path = format!("{}/yank", version_path(artifact, &version.to_string()));
        let _: api::Done = self.send(Method::POST, &path, Some(&json!(api::Yank { yanked })))?;
        Ok(())
    }

    /// Takes an artifact away.
    ///
    /// # Errors
    /// There is none, or the token does not allow it.
    pub fn delete(&self, artifact: &ArtifactId) -> Result<(), ClientError> {
        let _: api::Done = self.send(Method::DELETE, &artifact_path(artifact), None)?;
        Ok(())
    }

    /// Makes a token.
    ///
    /// # Errors
    /// A scope is none, or the caller is no administrator.
    pub fn create_token(&self, wish: &api::NewToken) -> Result<api::TokenMade, ClientError> {
        self.send(Method::POST, "/v1/tokens", Some(&json!(wish)))
    }

    /// All tokens.
    ///
    /// # Errors
    /// The caller is no administrator.
    pub fn tokens(&self) -> Result<Vec<api::Token>, ClientError> {
        let tokens: api::Tokens = self.send(Method::GET, "/v1/tokens", None)?;
        Ok(tokens.tokens)
    }

    /// Ends a token.
    ///
    /// # Errors
    /// There is none, or the caller is no administrator.
    pub fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        let path = format!("/v1/tokens/{}", encoded(id));
        let _: api::Done = self.send(Method::DELETE, &path, None)?;
        Ok(())
    }

    /// The token that this client carries.
    ///
    /// # Errors
    /// It does not work.
    pub fn own_token(&self) -> Result<api::Token, ClientError> {
        self.send(Method::GET, "/v1/token", None)
    }

    /// Lets the registry check all it has.
    ///
    /// # Errors
    /// The caller is no administrator.
    pub fn check(&self) -> Result<api::Checked, ClientError> {
        self.send(Method::POST, "/v1/admin/check", None)
    }

    /// Lets the registry remove what nothing names.
    ///
    /// # Errors
    /// The caller is no administrator.
    pub fn sweep(&self) -> Result<api::Swept, ClientError> {
        self.send(Method::POST, "/v1/admin/sweep", None)
    }
}
