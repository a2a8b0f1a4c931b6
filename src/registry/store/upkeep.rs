//! Looking after a store: every content against its digest, and contents that nothing names any more.

use std::collections::HashSet;

use super::{Batch, Digest, Store, StoreError};

/// What a check of the whole store found.
#[derive(Debug, Default)]
pub struct Health {
    /// Versions that were looked at.
    pub versions: usize,
    /// Artifact, version and digest of those whose content is damaged or gone.
    pub damaged: Vec<(String, String, Digest)>,
    /// What the database says of itself, when it is not `ok`.
    pub database: Vec<String>,
}

/// What was removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Contents.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Reads every content, and lets the database check itself.
    ///
    /// # Errors
    /// The database cannot be read at all.
    pub fn check(&self) -> Result<Health, StoreError> {
        let rows: Vec<(String, String, String)> = self.read(|sql| {
            let mut statement = sql.prepare(
                "SELECT a.namespace || '/' || a.name, v.number, v.digest
                 FROM version v JOIN artifact a ON a.id = v.artifact WHERE NOT v.deleted ORDER BY 1, 2",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let mut health = Health {
            versions: rows.len(),
            ..Health::default()
        };
        for (artifact, number, digest) in rows {
            let Ok(digest) = digest.parse::<Digest>() else {
                health.database.push(format!("{artifact} {number} has no digest"));
                continue;
            };
            if self.blobs().read(&digest).is_err() {
                health.damaged.push((artifact, number, digest));
            }
        }
        let words: Vec<String> = self.read(|sql| {
            let mut statement = sql.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        health
            .database
            .extend(words.into_iter().filter(|word| word != "ok"));
        Ok(health)
    }
}

impl Batch<'_> {
    /// Removes contents that no version names. No publish can be half-way: it would need this transaction.
    ///
    /// # Errors
    /// The database or the disk fails.
    pub fn sweep(&mut self) -> Result<Swept, StoreError> {
        let mut statement = self
            .sql
            .prepare("SELECT DISTINCT digest FROM version WHERE NOT deleted")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        let named: HashSet<String> = rows.collect::<Result<_, _>>()?;
        let mut swept = Swept::default();
        for (digest, size) in self.blobs.list()? {
            if !named.contains(digest.as_str()) {
                self.blobs.remove(&digest)?;
                swept.count += 1;
                swept.bytes += size;
            }
        }
        Ok(swept)
    }
}
