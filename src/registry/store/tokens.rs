//! Tokens: random, kept as a hash, with scopes, an end, and a way to end them sooner.

use std::fmt;
use std::str::FromStr;

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::blobs::random_hex;
use super::{Batch, Store, StoreError};
use crate::registry::name::{ArtifactId, checked};

/// What a token may do. Text: `admin`, `read:NAMESPACE`, `publish:NAMESPACE[/NAME]`; `*` is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything.
    Admin,
    /// Read a namespace, or all with `None`.
    Read(Option<String>),
    /// Publish and yank in a namespace (all with `None`), or one name of it.
    Publish(Option<String>, Option<String>),
}

impl Scope {
    /// Whether it lets read this namespace. Who publishes may read.
    pub fn reads(&self, namespace: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Read(own) | Self::Publish(own, _) => own.as_deref().is_none_or(|own| own == namespace),
        }
    }

    /// Whether it lets publish this artifact.
    pub fn publishes(&self, artifact: &ArtifactId) -> bool {
        match self {
            Self::Admin => true,
            Self::Read(_) => false,
            Self::Publish(namespace, name) => {
                namespace.as_deref().is_none_or(|own| own == artifact.namespace())
                    && name.as_deref().is_none_or(|own| own == artifact.name())
            }
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |what: &str, text: &str| match text {
            "*" => Ok(None),
            text => checked(what, text).map(Some),
        };
        match text.split_once(':') {
            None if text == "admin" => Ok(Self::Admin),
            Some(("read", rest)) => {
                let namespace = rest.strip_suffix("/*").unwrap_or(rest);
                part("namespace", namespace).map(Self::Read)
            }
            Some(("publish", rest)) => {
                let (namespace, name) = rest.split_once('/').unwrap_or((rest, "*"));
                Ok(Self::Publish(part("namespace", namespace)?, part("name", name)?))
            }
            _ => {
                let shown: String = text.chars().take(64).flat_map(char::escape_default).collect();
                Err(format!(
                    "'{shown}' is no scope: write admin, read:NAMESPACE, publish:NAMESPACE or publish:NAMESPACE/NAME"
                ))
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn part(text: &Option<String>) -> &str {
            text.as_deref().unwrap_or("*")
        }
        match self {
            Self::Admin => out.write_str("admin"),
            Self::Read(namespace) => write!(out, "read:{}", part(namespace)),
            Self::Publish(namespace, name) => write!(out, "publish:{}/{}", part(namespace), part(name)),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// A token as it is kept: without what makes it work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called when it is revoked.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970; `None`: never.
    pub expires_at: Option<i64>,
    /// Seconds since 1970.
    pub revoked_at: Option<i64>,
}

impl Token {
    /// Whether it works at this time.
    pub fn is_valid(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A token as it is wished for.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Seconds since 1970; `None`: never.
    pub expires_at: Option<i64>,
}

impl Batch<'_> {
    /// Makes a token. Its secret is in the answer and nowhere else: the store keeps its hash.
    ///
    /// # Errors
    /// The database fails.
    pub fn create_token(&mut self, wish: &NewToken, now: i64) -> Result<(Token, String), StoreError> {
        let id = random_hex(6)?;
        let secret = format!("pactown_{id}_{}", random_hex(32)?);
        let scopes = serde_json::json!(wish.scopes).to_string();
        self.sql
            .prepare_cached(
                "INSERT INTO token (id, name, hash, scopes, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![id, wish.name, hash(&secret), scopes, now, wish.expires_at])?;
        let token = Token {
            id,
            name: wish.name.clone(),
            scopes: wish.scopes.clone(),
            created_at: now,
            expires_at: wish.expires_at,
            revoked_at: None,
        };
        Ok((token, secret))
    }

    /// Ends a token; ended already is fine.
    ///
    /// # Errors
    /// There is none with this id.
    pub fn revoke_token(&mut self, id: &str, now: i64) -> Result<(), StoreError> {
        let changed = self
            .sql
            .prepare_cached("UPDATE token SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1")?
            .execute(params![id, now])?;
        if changed == 0 {
            return Err(StoreError::NotFound("Token"));
        }
        Ok(())
    }
}

impl Store {
    /// All tokens, the newest last.
    ///
    /// # Errors
    /// The database fails.
    pub fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT id, name, scopes, created_at, expires_at, revoked_at FROM token ORDER BY created_at, rowid",
            )?;
            let rows = statement.query_map([], row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The token with this secret, whether or not it still works. Takes as long for a wrong secret as for a right
    /// one.
    ///
    /// # Errors
    /// The database fails.
    pub fn token(&self, secret: &str) -> Result<Option<Token>, StoreError> {
        let id = secret
            .strip_prefix("pactown_")
            .and_then(|rest| rest.split_once('_'));
        let id = id.map_or("", |(id, _)| id);
        let found = self.read(|sql| {
            let found = sql
                .prepare_cached(
                    "SELECT id, name, scopes, created_at, expires_at, revoked_at, hash FROM token WHERE id = ?1",
                )?
                .query_row([id], |found| Ok((row(found)?, found.get::<_, Vec<u8>>(6)?)))
                .optional()?;
            Ok(found)
        })?;
        let given = hash(secret);
        Ok(found
            .filter(|(_, kept)| bool::from(kept.ct_eq(&given)))
            .map(|(token, _)| token))
    }
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

fn row(row: &Row<'_>) -> rusqlite::Result<Token> {
    let scopes: String = row.get(2)?;
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        scopes: serde_json::from_str(&scopes).unwrap_or_default(),
        created_at: row.get(3)?,
        expires_at: row.get(4)?,
        revoked_at: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_say_what_they_allow() {
        let api = ArtifactId::new("acme", "api").unwrap();
        for (text, reads, publishes) in [
            ("admin", true, true),
            ("read:acme", true, false),
            ("read:*", true, false),
            ("read:beta", false, false),
            ("publish:acme", true, true),
            ("publish:acme/*", true, true),
            ("publish:acme/api", true, true),
            ("publish:acme/web", true, false),
            ("publish:beta/*", false, false),
            ("publish:*", true, true),
        ] {
            let scope: Scope = text.parse().unwrap();
            assert_eq!(
                (scope.reads("acme"), scope.publishes(&api)),
                (reads, publishes),
                "{text}"
            );
            assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
        }
        for bad in [
            "",
            "root",
            "read",
            "read:",
            "publish:ACME",
            "publish:a/b/c",
            "admin:x",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
