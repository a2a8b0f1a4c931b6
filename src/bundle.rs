//! A bundle on disk, for this program's own runtime: `config.json`, the files that its mounts name, an empty `root/`. Made and removed here.
//!
//! What is in it is decided in [`crate::spec`].

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::spec::Bundle;

pub mod artifacts;
pub mod portable;
mod tree;

/// A bundle that could not be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{path}`")]
pub struct BundleError {
    /// What was being done.
    pub step: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Bundle {
    /// Writes the bundle into its directory, replacing one that is there. Readable by root only: the environment of
    /// the service is in it.
    pub fn write(&self) -> Result<(), BundleError> {
        self.remove()?;
        directory(&self.directory.join("root"))?;
        for (name, text) in &self.files {
            let path = self.directory.join(name);
            path.parent().map_or(Ok(()), directory)?;
            file(&path, text.as_bytes())?;
        }
        let spec = serde_json::to_vec(&self.spec).expect("an OCI spec has only text keys");
        file(&self.directory.join("config.json"), &spec)
    }

    /// Removes the bundle's directory; one that is gone is fine.
    pub fn remove(&self) -> Result<(), BundleError> {
        match fs::remove_dir_all(&self.directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BundleError {
                step: "remove",
                path: self.directory.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

fn directory(path: &Path) -> Result<(), BundleError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| BundleError {
            step: "create",
            path: path.to_owned(),
            source,
        })
}

fn file(path: &Path, content: &[u8]) -> Result<(), BundleError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(|source| BundleError {
            step: "write",
            path: path.to_owned(),
            source,
        })
}
