//! What can be done within a transaction: publish, yank, delete.

use rusqlite::{OptionalExtension, Transaction, params};
use semver::Version;

use super::blobs::{Blobs, Staged};
use super::{Digest, StoreError, search};
use crate::registry::name::ArtifactId;
use crate::registry::version::{Selector, identity};

/// A transaction that several writers share; each one's changes can be undone alone.
pub struct Batch<'c> {
    pub(super) sql: &'c Transaction<'c>,
    pub(super) blobs: &'c Blobs,
    named: bool,
}

/// What is published.
#[derive(Debug)]
pub struct Publication {
    /// The artifact.
    pub artifact: ArtifactId,
    /// The version.
    pub version: Version,
    /// One line; empty leaves the artifact's as it is.
    pub description: String,
    /// Words to find it by; they are added to the artifact's.
    pub tags: Vec<String>,
    /// A JSON object.
    pub metadata: String,
    /// The README, for the search index.
    pub readme: String,
    /// The README, on disk.
    pub content: Staged,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The content's digest.
    pub digest: Digest,
    /// Whether it was not there before.
    pub is_new: bool,
}

impl<'c> Batch<'c> {
    pub(super) fn new(sql: &'c Transaction<'c>, blobs: &'c Blobs) -> Self {
        Self {
            sql,
            blobs,
            named: false,
        }
    }

    /// Runs `act` so that its changes are undone when it fails, and the others' stay.
    pub(super) fn apart<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.sql.execute_batch("SAVEPOINT act")?;
        let outcome = act(self);
        let end = if outcome.is_ok() {
            "RELEASE act"
        } else {
            "ROLLBACK TO act; RELEASE act"
        };
        // A full disk may have undone the whole transaction, savepoint included: `finish` tells everybody.
        let ended = self.sql.execute_batch(end);
        let value = outcome?;
        ended?;
        Ok(value)
    }

    /// What must be on disk before the transaction.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        if self.sql.is_autocommit() {
            return Err(StoreError::Full);
        }
        if self.named { self.blobs.sync() } else { Ok(()) }
    }

    /// Publishes a version. The same content again is no change; what was deleted comes back with the same content
    /// only.
    ///
    /// # Errors
    /// The version exists with other content, or the name is too close to another one.
    pub fn publish(&mut self, publication: &Publication, now: &str) -> Result<Published, StoreError> {
        let artifact = self.artifact(&publication.artifact)?;
        let found = self.existing(artifact, &publication.version)?;
        let digest = publication.content.digest.clone();
        let is_new = match &found {
            None => true,
            Some((_, _, deleted)) if *deleted => true,
            Some(_) => false,
        };
        match found {
            Some((_, taken, _)) if taken != digest.as_str() => {
                return Err(StoreError::Conflict(format!(
                    "{} {} is already published with other content; versions never change",
                    publication.artifact, publication.version
                )));
            }
            Some((_, _, false)) if self.blobs.read(&digest).is_ok() => {
                return Ok(Published { digest, is_new });
            }
            Some((id, ..)) => {
                self.adopt(&publication.content)?;
                self.sql
                    .prepare_cached("UPDATE version SET deleted = 0 WHERE id = ?1")?
                    .execute([id])?;
            }
            None => {
                self.adopt(&publication.content)?;
                self.insert(artifact, publication, now)?;
            }
        }
        self.describe(artifact, publication)?;
        self.refresh(artifact, Some(publication))?;
        Ok(Published { digest, is_new })
    }

    /// Hides a version from new resolutions, or shows it again.
    ///
    /// # Errors
    /// There is no such version.
    pub fn yank(&mut self, artifact: &ArtifactId, version: &Version, yanked: bool) -> Result<(), StoreError> {
        let id = self.find(artifact)?;
        let changed = self
            .sql
            .prepare_cached(
                "UPDATE version SET yanked = ?3 WHERE artifact = ?1 AND identity = ?2 AND NOT deleted",
            )?
            .execute(params![id, identity(version), yanked])?;
        if changed == 0 {
            return Err(StoreError::NotFound("Version"));
        }
        self.refresh(id, None)
    }

    /// Takes an artifact away with all its versions. Their numbers stay taken.
    ///
    /// # Errors
    /// There is no such artifact.
    pub fn delete(&mut self, artifact: &ArtifactId) -> Result<(), StoreError> {
        let id = self.find(artifact)?;
        self.sql
            .prepare_cached("UPDATE version SET deleted = 1 WHERE artifact = ?1")?
            .execute([id])?;
        self.sql
            .prepare_cached("UPDATE artifact SET description = '', tags = '[]' WHERE id = ?1")?
            .execute([id])?;
        self.refresh(id, None)
    }

    fn adopt(&mut self, content: &Staged) -> Result<(), StoreError> {
        self.named = true;
        self.blobs.adopt(content)
    }

    /// Its row, made when there is none.
    fn artifact(&self, artifact: &ArtifactId) -> Result<i64, StoreError> {
        let folded = artifact.folded();
        let found: Option<(i64, String)> = self
            .sql
            .prepare_cached("SELECT id, name FROM artifact WHERE namespace = ?1 AND folded = ?2")?
            .query_row([artifact.namespace(), &folded], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match found {
            Some((id, name)) if name == artifact.name() => Ok(id),
            Some((_, name)) => Err(StoreError::Conflict(format!(
                "the name '{}' is too close to '{name}', which exists",
                artifact.name()
            ))),
            None => {
                self.sql
                    .prepare_cached("INSERT INTO artifact (namespace, name, folded) VALUES (?1, ?2, ?3)")?
                    .execute([artifact.namespace(), artifact.name(), &folded])?;
                Ok(self.sql.last_insert_rowid())
            }
        }
    }

    fn find(&self, artifact: &ArtifactId) -> Result<i64, StoreError> {
        self.sql
            .prepare_cached("SELECT id FROM artifact WHERE namespace = ?1 AND name = ?2 AND live")?
            .query_row([artifact.namespace(), artifact.name()], |row| row.get(0))
            .optional()?
            .ok_or(StoreError::NotFound("Artifact"))
    }

    /// Row, digest and whether it is deleted.
    fn existing(&self, artifact: i64, version: &Version) -> Result<Option<(i64, String, bool)>, StoreError> {
        let found = self
            .sql
            .prepare_cached("SELECT id, digest, deleted FROM version WHERE artifact = ?1 AND identity = ?2")?
            .query_row(params![artifact, identity(version)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        Ok(found)
    }

    fn insert(&self, artifact: i64, publication: &Publication, now: &str) -> Result<(), StoreError> {
        self.sql
            .prepare_cached(
                "INSERT INTO version (artifact, number, identity, digest, size, published_at, metadata)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                artifact,
                publication.version.to_string(),
                identity(&publication.version),
                publication.content.digest.as_str(),
                publication.content.size.cast_signed(),
                now,
                publication.metadata,
            ])?;
        Ok(())
    }

    fn describe(&self, artifact: i64, publication: &Publication) -> Result<(), StoreError> {
        let tags: String = self
            .sql
            .prepare_cached("SELECT tags FROM artifact WHERE id = ?1")?
            .query_row([artifact], |row| row.get(0))?;
        let mut tags: Vec<String> = serde_json::from_str(&tags).unwrap_or_default();
        for tag in &publication.tags {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        self.sql
            .prepare_cached(
                "UPDATE artifact SET tags = ?2, description = CASE ?3 WHEN '' THEN description ELSE ?3 END
                 WHERE id = ?1",
            )?
            .execute(params![
                artifact,
                serde_json::Value::from(tags).to_string(),
                publication.description
            ])?;
        Ok(())
    }

    /// Makes what follows from the versions true again: the latest one, whether anything is left, the search index.
    fn refresh(&self, artifact: i64, published: Option<&Publication>) -> Result<(), StoreError> {
        let mut statement = self
            .sql
            .prepare_cached("SELECT number, yanked FROM version WHERE artifact = ?1 AND NOT deleted")?;
        let rows: Vec<(String, bool)> = statement
            .query_map([artifact], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let versions: Vec<(Version, bool)> = rows
            .iter()
            .filter_map(|(number, yanked)| Some((Version::parse(number).ok()?, *yanked)))
            .collect();
        let candidates = versions
            .iter()
            .map(|(version, yanked)| (version, *yanked, version));
        let latest = Selector::Latest.choose(candidates);
        self.sql
            .prepare_cached("UPDATE artifact SET latest = ?2, live = ?3 WHERE id = ?1")?
            .execute(params![
                artifact,
                latest.map(ToString::to_string),
                !versions.is_empty()
            ])?;
        // The words are those of the latest README; of an artifact without a release, of what was published last.
        let words = published
            .filter(|published| latest.is_none_or(|latest| *latest == published.version))
            .map(|published| published.readme.as_str());
        search::index(self.sql, artifact, words)
    }
}
