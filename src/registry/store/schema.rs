//! The database: its tables, how it is opened, and how an older one becomes a current one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// How long another process may hold the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `user_version` says of this layout.
const LAYOUT: i64 = 1;

/// `artifact.latest` and `artifact.live` follow from `version`; they are kept for the lists.
/// `version.identity` is the version without its build metadata. A deleted version stays, as a tombstone.
const TABLES: &str = "
CREATE TABLE artifact (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '[]',
    latest TEXT,
    live INTEGER NOT NULL DEFAULT 0,
    UNIQUE (namespace, name),
    UNIQUE (namespace, folded)
) STRICT;
CREATE INDEX artifact_name ON artifact (name);
CREATE TABLE version (
    id INTEGER PRIMARY KEY,
    artifact INTEGER NOT NULL REFERENCES artifact (id),
    number TEXT NOT NULL,
    identity TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    published_at TEXT NOT NULL,
    metadata TEXT NOT NULL,
    yanked INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    UNIQUE (artifact, identity)
) STRICT;
CREATE INDEX version_digest ON version (digest);
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE VIRTUAL TABLE labels USING fts5 (
    name, description, tags,
    tokenize = 'trigram', content = '', contentless_delete = 1, detail = full
);
CREATE VIRTUAL TABLE words USING fts5 (
    readme,
    tokenize = 'porter unicode61', content = '', contentless_delete = 1, detail = none
);
";

/// The connection that writes.
///
/// # Errors
/// The file cannot be opened, is no database, or is of a newer layout.
pub(super) fn open(file: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: an acknowledged transaction survives a power cut, not only a crash of the program.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.set_prepared_statement_cache_capacity(64);
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    match transaction.pragma_query_value(None, "user_version", |row| row.get(0))? {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", LAYOUT)?;
        }
        LAYOUT => {}
        _ => {
            let newer = std::io::Error::other("it was made by a newer pactown");
            return Err(StoreError::File("opening the store", newer));
        }
    }
    transaction.commit()?;
    Ok(connection)
}

/// A connection that only reads.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
