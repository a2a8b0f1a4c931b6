//! The limited disk of one sandbox: an ext4 image in pactown's own folder, where nobody but root can change it behind
//! the kernel's back, mounted while the sandbox is there. What services wrote stays in the image.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pactown_runtime::disk;

/// The disk of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The image; its folder is made for root alone.
    pub image: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file.
    #[error("cannot {step} `{path}`")]
    File {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no program that makes file systems.
    #[error("a limited disk needs `mkfs.ext4`: install e2fsprogs")]
    NoProgram,
    /// It failed.
    #[error("`mkfs.ext4` could not make `{path}`: {said}")]
    Program {
        /// The image.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] pactown_runtime::error::Failure),
}

impl Disk {
    /// Makes the image unless there is one, larger if it is smaller than it shall be, and mounts it. Mounted already is
    /// success.
    ///
    /// # Errors
    /// The image is larger than it shall be, or cannot be made or mounted.
    pub fn make(&self, mkfs: Option<&Path>) -> Result<(), DiskError> {
        disk::refuse_smaller(&self.image, self.size)?;
        let folder = self.image.parent().unwrap_or(Path::new("/"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed("create", folder))?;
        match self.image.exists() {
            true => self.enlarge(&self.image)?,
            false => self.format(mkfs.ok_or(DiskError::NoProgram)?)?,
        }
        Ok(disk::mount(&self.image, &self.at)?)
    }

    /// A file of the right size takes no room before something is written to it.
    fn enlarge(&self, path: &Path) -> Result<(), DiskError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path).map_err(failed("open", path))?;
        file.set_len(self.size).map_err(failed("enlarge", path))
    }

    /// Under another name until it is complete: a crash leaves no image that cannot be mounted.
    fn format(&self, mkfs: &Path) -> Result<(), DiskError> {
        let making = self.image.with_extension("making");
        match fs::remove_file(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &making)(error))?,
            _ => {}
        }
        self.enlarge(&making)?;
        // No blocks are kept for root: all of it is the service's. Tables are written when they are used.
        let output = Command::new(mkfs)
            .args([
                "-q",
                "-F",
                "-m",
                "0",
                "-b",
                "4096",
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
            ])
            .arg(&making)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .map_err(failed("run", mkfs))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(DiskError::Program { path: making, said });
        }
        fs::rename(&making, &self.image).map_err(failed("rename", &making))
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::File { step, path, source }
}

/// Removes the images in `folder`, with what services wrote; whether there were any.
///
/// # Errors
/// They are still there.
pub fn remove_images(folder: &Path) -> Result<bool, DiskError> {
    match fs::remove_dir_all(folder) {
        Ok(()) => {
            // The folder of all ecosystems stays while it holds another one's.
            let _ = folder.parent().map(fs::remove_dir);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", folder)(error)),
    }
}
