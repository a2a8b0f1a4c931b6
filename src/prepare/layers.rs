//! The store of layers: one directory per key, complete or absent. Knows nothing of what is in a layer.
//!
//! ```text
//! <root>/<key>/            a complete layer, owned by root, never changed again; or a link to one of the same content
//! <root>/.making-<key>/    one that is being made; only under the key's lock
//! <root>/.making-<key>.N/  what was being made when its maker died: for whoever finds it to remove
//! <root>/.locks/<key>      lock files (flock(2)): freed by the kernel when their holder dies
//! <root>/.records/<key>    what the dependencies in a layer are, for lock files; written before the layer
//! <root>/.removed-<key>    one that is being removed
//! <root>/.store            whoever makes or mounts layers holds this lock shared, whoever removes some alone
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

mod removal;

pub use removal::Kept;

/// The layers of this machine, shared by all instances.
#[derive(Debug, Clone)]
pub struct Layers {
    root: PathBuf,
}

/// A step on the store that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{path}`")]
pub struct LayerError {
    /// What was being done.
    pub step: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A result with the step and path that failed.
pub(super) trait Step<T> {
    /// Names the step.
    fn step(self, step: &'static str, path: &Path) -> Result<T, LayerError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str, path: &Path) -> Result<T, LayerError> {
        self.map_err(|error| LayerError {
            step,
            path: path.to_owned(),
            source: error.into(),
        })
    }
}

/// While it is there, no layer is removed.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "freed by the kernel when it is closed")] File);

/// A layer in the making. Dropping it leaves its directory for the next holder of the lock to clear away.
#[derive(Debug)]
pub struct Making<'a> {
    layers: &'a Layers,
    key: &'a str,
    _hold: Hold,
    _lock: File,
}

impl Layers {
    /// `/var/cache/pactown/layers`.
    pub fn system() -> Self {
        Self::at(Path::new(crate::instance::LAYER_ROOT))
    }

    /// A store in another directory.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The complete layer `key`, if it is there.
    pub fn lookup(&self, key: &str) -> Option<PathBuf> {
        // What is mounted is no link; one that leads nowhere is no layer.
        let layer = fs::canonicalize(self.root.join(key)).ok()?;
        Some(layer).filter(|path| path.is_dir())
    }

    /// What was recorded of the layer `key`.
    pub fn record<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let text = fs::read(self.records().join(key)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Records what is in the layer `key`, which its maker holds the lock of.
    pub(super) fn note(&self, key: &str, record: &impl serde::Serialize) -> Result<(), LayerError> {
        let records = self.records();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&records)
            .step("create", &records)?;
        let (path, new) = (records.join(key), records.join(format!(".new-{key}")));
        let text = serde_json::to_vec(record).map_err(io::Error::other);
        let text = text.step("write", &new)?;
        let mut file = File::create(&new).step("create", &new)?;
        io::Write::write_all(&mut file, &text).step("write", &new)?;
        file.sync_all().step("sync", &new)?;
        fs::rename(&new, &path).step("rename", &new)
    }

    /// Lets the layer `key` be found as `other` too: they hold the same.
    pub(super) fn alias(&self, key: &str, other: &str) -> Result<(), LayerError> {
        if self.lookup(other).is_some() {
            return Ok(());
        }
        let making = self.begin(other)?;
        if self.lookup(other).is_none() {
            let link = self.root.join(other);
            making.clear(&link)?;
            std::os::unix::fs::symlink(key, &link).step("link", &link)?;
        }
        Ok(())
    }

    fn records(&self) -> PathBuf {
        self.root.join(".records")
    }

    /// Makes a layer although `key` may be there: `make` answers which directory becomes one, and of which key. One that
    /// is there already is kept.
    pub(super) fn renew<E: From<LayerError>>(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<(PathBuf, String), E>,
    ) -> Result<PathBuf, E> {
        let making = self.begin(key)?;
        let directory = making.directory()?;
        let made = make(&directory).and_then(|(content, other)| {
            let _other = if other == key {
                None
            } else {
                Some(self.begin(&other)?)
            };
            match self.lookup(&other) {
                Some(layer) => Ok(layer),
                None => Ok(making.commit_as(&content, &other)?),
            }
        });
        making.discard();
        made
    }

    /// The layer `key`: the one that is there, else made by `make` in an empty directory that it is given. Whoever
    /// comes second waits for the first and finds the layer. `make` answers which directory below becomes the layer.
    pub fn obtain<E: From<LayerError>>(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<PathBuf, E>,
    ) -> Result<PathBuf, E> {
        if let Some(layer) = self.lookup(key) {
            self.used(key);
            return Ok(layer);
        }
        let making = self.begin(key)?;
        if let Some(layer) = self.lookup(key) {
            return Ok(layer);
        }
        let directory = making.directory()?;
        match make(&directory) {
            Ok(content) => Ok(making.commit(&content)?),
            Err(error) => {
                making.discard();
                Err(error)
            }
        }
    }

    /// Removes what was set aside, of whichever layer: it is nobody's. What is still being written is left for the next.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if in_the_making(&name).is_some() && name[1..].contains('.') {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Takes the lock of `key`, waiting for another holder.
    fn begin<'a>(&'a self, key: &'a str) -> Result<Making<'a>, LayerError> {
        let hold = self.hold()?;
        let locks = self.root.join(".locks");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&locks)
            .step("create", &locks)?;
        let path = locks.join(key);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = lock.step("open", &path)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).step("lock", &path)?;
        Ok(Making {
            layers: self,
            key,
            _hold: hold,
            _lock: lock,
        })
    }

    /// Keeps every layer from being removed: from looking one up until the kernel has it, or a bundle names it.
    ///
    /// # Errors
    /// The store cannot be locked.
    pub fn hold(&self) -> Result<Hold, LayerError> {
        self.locked(rustix::fs::FlockOperation::LockShared)
    }

    fn locked(&self, how: rustix::fs::FlockOperation) -> Result<Hold, LayerError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.root)
            .step("create", &self.root)?;
        let path = self.root.join(".store");
        let mut options = OpenOptions::new();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = lock.step("open", &path)?;
        rustix::fs::flock(&lock, how).step("lock", &path)?;
        Ok(Hold(lock))
    }

    /// Notes that the layer was used just now, as the time of its lock file. One that cannot be noted looks older.
    fn used(&self, key: &str) {
        let lock = OpenOptions::new()
            .write(true)
            .open(self.root.join(".locks").join(key));
        let _ = lock.and_then(|lock| lock.set_modified(std::time::SystemTime::now()));
    }
}

impl Making<'_> {
    fn path(&self) -> PathBuf {
        self.layers.root.join(format!(".making-{}", self.key))
    }

    /// An empty directory, after clearing away what a holder that died has left.
    fn directory(&self) -> Result<PathBuf, LayerError> {
        let path = self.path();
        self.set_aside(&path)?;
        self.layers.sweep();
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .step("create", &path)?;
        Ok(path)
    }

    /// Out of the way of the next one: the build of a supervisor that died may be dying still, and write as long.
    fn set_aside(&self, path: &Path) -> Result<(), LayerError> {
        let aside = (0..).map(|number: u32| self.layers.root.join(format!(".making-{}.{number}", self.key)));
        let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
        let Some(aside) = aside.into_iter().find(free) else {
            return Ok(());
        };
        match fs::rename(path, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).step("rename", path),
            _ => Ok(()),
        }
    }

    fn commit(&self, content: &Path) -> Result<PathBuf, LayerError> {
        let layer = self.commit_as(content, self.key)?;
        self.discard();
        Ok(layer)
    }

    /// Makes `content` the layer `key`: on the disk first, then visible, then the rename on the disk.
    fn commit_as(&self, content: &Path, key: &str) -> Result<PathBuf, LayerError> {
        let root = &self.layers.root;
        let handle = File::open(content).step("open", content)?;
        rustix::fs::syncfs(&handle).step("sync", content)?;
        let layer = root.join(key);
        self.clear(&layer)?;
        fs::rename(content, &layer).step("rename", content)?;
        File::open(root)
            .and_then(|root| root.sync_all())
            .step("sync", root)?;
        Ok(layer)
    }

    /// Removes a link that leads nowhere.
    fn clear(&self, layer: &Path) -> Result<(), LayerError> {
        match fs::symlink_metadata(layer) {
            Ok(metadata) if metadata.is_symlink() => fs::remove_file(layer).step("remove", layer),
            _ => Ok(()),
        }
    }

    /// What cannot be removed now is set aside by the next one who makes this layer.
    fn discard(&self) {
        let _ = fs::remove_dir_all(self.path());
        self.layers.sweep();
    }
}

/// The key of the layer that the directory `name` is, or was, the making of.
pub fn in_the_making(name: &str) -> Option<&str> {
    name.strip_prefix(".making-")?.split('.').next()
}
