//! Where artifacts are kept: SQLite for names, versions, tokens and the search index, a file per content.
//!
//! ```text
//! registry.db            names and versions (WAL, synchronous FULL)
//! blobs/sha256/<hex>     contents, as in an OCI image layout
//! incoming/<process>/    contents that are being written; of dead processes: removed at the next opening
//! ```
//!
//! A publish is acknowledged once its content is on disk under its final name and the transaction that names it is in
//! the log on disk. Several processes may use one store at once. One thread writes; requests that come meanwhile share
//! its next transaction, and so one flush.

mod batch;
pub(crate) mod blobs;
pub(crate) mod read;
mod schema;
mod search;
pub(crate) mod tokens;
mod upkeep;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

pub use batch::{Batch, Publication, Published};
pub use blobs::{Blobs, Digest, Staged};
pub use read::{Artifact, Version};
pub use search::{Page, Wanted};
pub use tokens::{NewToken, Scope, Token};
pub use upkeep::{Health, Swept};
use writer::Writer;

/// Connections that wait for the next reader.
const IDLE_READERS: usize = 8;

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such artifact or version.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The name or version is taken by something else.
    #[error("{0}")]
    Conflict(String),
    /// A content is not what was published, or gone.
    #[error("content {0} is damaged")]
    Corrupt(Digest),
    /// The disk or a quota is full; nothing was kept.
    #[error("no space is left for the store")]
    Full,
    /// Another process kept the store busy for too long.
    #[error("the store is busy")]
    Busy,
    /// The database refuses.
    #[error("the store's database failed")]
    Database(#[source] rusqlite::Error),
    /// A file operation failed.
    #[error("{0} failed")]
    File(&'static str, #[source] std::io::Error),
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
    /// Tells a full disk from other failures of `act`.
    pub(crate) fn file(act: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::File(act, error),
        }
    }
}

/// An open store; clones share it. The last one that is dropped waits for what is being written.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    blobs: Arc<Blobs>,
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
}

impl Store {
    /// Opens the store in `directory`, and makes it when there is none. What processes that died were writing is
    /// removed.
    ///
    /// # Errors
    /// The directory cannot be written, or holds a store of a newer version.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(directory).map_err(StoreError::file("creating the store"))?;
        let blobs = Arc::new(Blobs::open(directory)?);
        let connection = schema::open(&directory.join("registry.db"))?;
        blobs::sync_directory(directory)?;
        Ok(Self(Arc::new(Shared {
            directory: directory.to_owned(),
            writer: Writer::start(connection, Arc::clone(&blobs))?,
            blobs,
            readers: Mutex::new(Vec::new()),
        })))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Its contents.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Reads within one snapshot.
    ///
    /// # Errors
    /// Those of `act`, or the database does not open.
    pub fn read<T>(&self, act: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.0.directory.join("registry.db"))?,
        };
        let transaction = connection.unchecked_transaction()?;
        let outcome = act(&transaction);
        transaction.commit()?;
        let mut readers = self.readers();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        outcome
    }

    /// Writes within a transaction that other writers may share; done once it is on disk.
    ///
    /// # Errors
    /// Those of `act`, whose own changes are then undone; or the transaction cannot be made durable.
    pub async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.writer.submit(act).await
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
