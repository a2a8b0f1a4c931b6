//! Contents, one file each, named by their SHA-256: written aside, flushed, renamed.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::hex;

/// A SHA-256, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::digits(Sha256::digest(bytes)))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = String;

    /// With or without `sha256:` in front.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == 64 && digits.bytes().all(is_digit) {
            Ok(Self(digits.to_owned()))
        } else {
            Err("a digest is sha256: and 64 lower-case hexadecimal digits".to_owned())
        }
    }
}

/// Bytes from the kernel's generator, as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String, StoreError> {
    let mut buffer = vec![0_u8; bytes];
    let filled = rustix::rand::getrandom(&mut buffer[..], rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(count) if count == bytes => Ok(hex::digits(&buffer)),
        Ok(_) => Err(StoreError::file("getrandom")(ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(StoreError::file("getrandom")(error.into())),
    }
}

/// The contents of a store.
pub struct Blobs {
    directory: PathBuf,
    incoming: PathBuf,
    own: Mutex<Option<Incoming>>,
    count: AtomicU64,
}

/// This process's place for what it writes; locked while the process lives.
struct Incoming {
    directory: PathBuf,
    _lock: Flock<File>,
}

/// A content that is on disk, not yet under its name. Dropped, it is gone.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Renamed or already gone: nothing is left either way.
        let _ = fs::remove_file(&self.path);
    }
}

impl Blobs {
    /// Makes the folders and removes what dead processes left in them.
    pub(super) fn open(store: &Path) -> Result<Self, StoreError> {
        let directory = store.join("blobs/sha256");
        let incoming = store.join("incoming");
        fs::create_dir_all(&directory).map_err(StoreError::file("creating the folder of contents"))?;
        fs::create_dir_all(&incoming).map_err(StoreError::file("creating the folder of new contents"))?;
        sync_directory(&store.join("blobs"))?;
        sweep(&incoming);
        Ok(Self {
            directory,
            incoming,
            own: Mutex::new(None),
            count: AtomicU64::new(0),
        })
    }

    /// Writes `bytes` aside and flushes them. Blocks.
    ///
    /// # Errors
    /// The disk is full or refuses.
    pub fn stage(&self, bytes: &[u8]) -> Result<Staged, StoreError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let staged = Staged {
            path: self.own_incoming()?.join(number.to_string()),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let write = || {
            let mut file = File::create_new(&staged.path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(StoreError::file("writing a content"))?;
        Ok(staged)
    }

    /// Gives a content its name; durable after [`Blobs::sync`]. The caller holds the database's write lock, so that
    /// no sweep takes the content for garbage before it is named there.
    pub(super) fn adopt(&self, staged: &Staged) -> Result<(), StoreError> {
        fs::rename(&staged.path, self.path(&staged.digest)).map_err(StoreError::file("naming a content"))
    }

    /// Flushes the names.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        sync_directory(&self.directory)
    }

    /// A content, checked against its digest.
    ///
    /// # Errors
    /// It is gone or damaged, or cannot be read.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        match fs::read(self.path(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(StoreError::Corrupt(digest.clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::Corrupt(digest.clone())),
            Err(error) => Err(StoreError::file("reading a content")(error)),
        }
    }

    /// Every content that has a name, and its size.
    pub(super) fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let read = StoreError::file("listing the contents");
        let entries = fs::read_dir(&self.directory).map_err(read)?;
        let named = entries.flatten().filter_map(|entry| {
            let digest = entry.file_name().to_str()?.parse().ok()?;
            Some((digest, entry.metadata().ok()?.len()))
        });
        Ok(named.collect())
    }

    /// Takes a content away; already gone is fine.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::file("removing a content")(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.as_str())
    }

    fn own_incoming(&self) -> Result<PathBuf, StoreError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            *own = Some(Incoming::make(&self.incoming)?);
        }
        Ok(own.as_ref().map(|own| own.directory.clone()).unwrap_or_default())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What is not removed here is swept at the next opening.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Incoming {
    /// A new folder, locked before anybody else could think that its process is dead.
    fn make(parent: &Path) -> Result<Self, StoreError> {
        loop {
            let directory = parent.join(random_hex(8)?);
            let make = || {
                fs::create_dir(&directory)?;
                File::open(&directory)
            };
            let file = match make() {
                Ok(file) => file,
                // Swept in between.
                Err(error) if error.kind() == ErrorKind::NotFound && parent.exists() => continue,
                Err(error) => return Err(StoreError::file("creating the folder of new contents")(error)),
            };
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                && directory.exists()
            {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }
}

/// Removes the folders whose process is gone: nobody holds their lock.
fn sweep(incoming: &Path) {
    for entry in fs::read_dir(incoming).into_iter().flatten().flatten() {
        if let Ok(file) = File::open(entry.path())
            && let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        {
            // Its own process has ended, and another sweep may be faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Flushes the names in a directory.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::file("flushing a folder"))
}
