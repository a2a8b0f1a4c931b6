//! The login file: which registry is meant when none is named, and a token for each that was logged in to.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What `login` keeps: `registry.json` in the user's configuration directory, for its owner only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logins {
    /// The registry that was logged in to last.
    #[serde(default)]
    pub default: Option<String>,
    /// A token for each registry.
    #[serde(default)]
    pub tokens: BTreeMap<String, String>,
}

impl Logins {
    /// Where the file is for a user with this home and environment.
    pub fn path(home: &Path, config_home: Option<&str>) -> PathBuf {
        let base = config_home.map(PathBuf::from).filter(|path| path.is_absolute());
        base.unwrap_or_else(|| home.join(".config"))
            .join("pactown/registry.json")
    }

    /// What the file says; nothing when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no login file.
    pub fn read(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file whole; nobody but its owner can ever read it.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let directory = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let aside = file.with_extension(format!("json.{}", std::process::id()));
        let write = || {
            let mut out: File = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&aside)?;
            out.write_all(&serde_json::to_vec_pretty(self)?)?;
            out.sync_all()?;
            fs::rename(&aside, file)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }
}
