//! What is asked of the store and changes nothing.

use rusqlite::{Connection, OptionalExtension, Row};

use super::search::{self, Page, Wanted};
use super::{Digest, Store, StoreError};
use crate::registry::name::ArtifactId;
use crate::registry::version::Selector;

/// An artifact in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// One line.
    pub description: String,
    /// The highest release that is not yanked.
    pub latest: Option<String>,
    /// Versions that are not yanked, the lowest first.
    pub versions: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
}

/// A version, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: semver::Version,
    /// Of its README.
    pub digest: Digest,
    /// Bytes of its README.
    pub size: u64,
    /// When, in RFC 3339.
    pub published_at: String,
    /// A JSON object.
    pub metadata: String,
    /// Hidden from new resolutions.
    pub yanked: bool,
}

impl Store {
    /// One artifact.
    ///
    /// # Errors
    /// There is none.
    pub fn artifact(&self, id: &ArtifactId) -> Result<Artifact, StoreError> {
        self.read(|sql| {
            let (row, mut artifact) = find(sql, id)?;
            artifact.versions = numbers(sql, row)?;
            Ok(artifact)
        })
    }

    /// All its versions, the highest first, yanked ones too.
    ///
    /// # Errors
    /// There is no such artifact.
    pub fn versions(&self, id: &ArtifactId) -> Result<Vec<Version>, StoreError> {
        self.read(|sql| {
            let (row, _) = find(sql, id)?;
            let mut versions = versions(sql, row)?;
            versions.reverse();
            Ok(versions)
        })
    }

    /// The version that is meant.
    ///
    /// # Errors
    /// There is no such artifact, or none of its versions fits.
    pub fn version(&self, id: &ArtifactId, selector: &Selector) -> Result<Version, StoreError> {
        self.read(|sql| {
            let (row, _) = find(sql, id)?;
            let versions = versions(sql, row)?;
            selector
                .choose(
                    versions
                        .iter()
                        .map(|version| (&version.number, version.yanked, version)),
                )
                .cloned()
                .ok_or(StoreError::NotFound("Version"))
        })
    }

    /// A page of artifacts.
    ///
    /// # Errors
    /// The database fails.
    pub fn list(&self, wanted: &Wanted) -> Result<Page, StoreError> {
        self.read(|sql| search::page(sql, wanted))
    }

    /// The namespaces that have artifacts, sorted.
    ///
    /// # Errors
    /// The database fails.
    pub fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.read(|sql| {
            let mut statement =
                sql.prepare_cached("SELECT DISTINCT namespace FROM artifact WHERE live ORDER BY namespace")?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }

    /// The namespaces in which an artifact has a README with this digest.
    ///
    /// # Errors
    /// The database fails.
    pub fn holders(&self, digest: &Digest) -> Result<Vec<String>, StoreError> {
        self.read(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT DISTINCT a.namespace FROM version v JOIN artifact a ON a.id = v.artifact
                 WHERE v.digest = ?1 AND NOT v.deleted",
            )?;
            let names = statement.query_map([digest.as_str()], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }
}

fn find(sql: &Connection, id: &ArtifactId) -> Result<(i64, Artifact), StoreError> {
    sql.prepare_cached(
        "SELECT id, namespace, name, description, tags, latest FROM artifact
         WHERE namespace = ?1 AND name = ?2 AND live",
    )?
    .query_row([id.namespace(), id.name()], artifact_row)
    .optional()?
    .ok_or(StoreError::NotFound("Artifact"))
}

/// Of the columns id, namespace, name, description, tags, latest; still without its versions.
pub(super) fn artifact_row(row: &Row<'_>) -> rusqlite::Result<(i64, Artifact)> {
    let tags: String = row.get(4)?;
    let artifact = Artifact {
        namespace: row.get(1)?,
        name: row.get(2)?,
        description: row.get(3)?,
        latest: row.get(5)?,
        versions: Vec::new(),
        tags: serde_json::from_str(&tags).unwrap_or_default(),
    };
    Ok((row.get(0)?, artifact))
}

/// Versions that are not yanked, the lowest first.
pub(super) fn numbers(sql: &Connection, artifact: i64) -> Result<Vec<String>, StoreError> {
    let mut statement =
        sql.prepare_cached("SELECT number FROM version WHERE artifact = ?1 AND NOT deleted AND NOT yanked")?;
    let rows = statement.query_map([artifact], |row| row.get(0))?;
    let mut numbers: Vec<String> = rows.collect::<Result<_, _>>()?;
    numbers.sort_by_cached_key(|number| semver::Version::parse(number).ok());
    Ok(numbers)
}

/// All that are not deleted, the lowest first.
fn versions(sql: &Connection, artifact: i64) -> Result<Vec<Version>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT number, digest, size, published_at, metadata, yanked FROM version
         WHERE artifact = ?1 AND NOT deleted",
    )?;
    let rows = statement.query_map([artifact], |row| {
        let (number, digest): (String, String) = (row.get(0)?, row.get(1)?);
        let version = semver::Version::parse(&number).ok().zip(digest.parse().ok());
        let (published_at, metadata) = (row.get(3)?, row.get(4)?);
        let (size, yanked): (i64, bool) = (row.get(2)?, row.get(5)?);
        Ok(version.map(|(number, digest)| Version {
            number,
            digest,
            size: size.cast_unsigned(),
            published_at,
            metadata,
            yanked,
        }))
    })?;
    let mut versions: Vec<Version> = rows.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    versions.sort_by(|left, right| left.number.cmp(&right.number));
    Ok(versions)
}
