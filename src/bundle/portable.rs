//! A bundle for other runtimes on disk: made in a directory that is new or empty, or not at all.
//!
//! The directories above the root are open for all to pass, since runtimes look for it from inside the user namespace.
//! `config.json` is root's only: the environment of the service is in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::tree::ids;
use super::{BundleError, tree};
use crate::prepare::disk::Disk;
use crate::spec::portable::{Content, Entry, Portable};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Whether a bundle can be made at `directory`: it is not there, or empty.
///
/// # Errors
/// It holds something, is no directory, or cannot be read.
pub fn is_free(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The image of a limited disk that nothing can be copied from: it is there, and not mounted.
pub fn unmounted(disk: &Disk) -> Option<&Path> {
    let hidden = disk.image.exists() && !pactown_runtime::disk::is_mounted(&disk.at);
    hidden.then_some(&disk.image)
}

/// Whether a path of the host is there and no directory.
pub fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_dir())
}

/// The nearest directory above `directory` that others may not pass, if there is one.
pub fn closed_above(directory: &Path) -> Option<PathBuf> {
    let closed = |path: &&Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 == 0);
    directory.ancestors().skip(1).find(closed).map(Path::to_path_buf)
}

impl Portable {
    /// Writes the bundle. On failure nothing of it is left, and what was there before is as it was.
    ///
    /// # Errors
    /// The step that failed and its path; `directory` holds something already.
    pub fn write(&self, directory: &Path) -> Result<(), BundleError> {
        let fail = |step, source| BundleError {
            step,
            path: directory.to_owned(),
            source,
        };
        if !is_free(directory).map_err(|source| fail("look into", source))? {
            return Err(fail("use", io::ErrorKind::DirectoryNotEmpty.into()));
        }
        let before = Before::of(directory);
        let made = fs::create_dir_all(directory).map_err(|source| fail("create", source));
        let written = made.and_then(|()| self.fill(directory));
        if written.is_err() {
            before.restore(directory);
        }
        written
    }

    fn fill(&self, directory: &Path) -> Result<(), BundleError> {
        let fail = |step: &'static str, path: PathBuf| {
            move |error: Errno| BundleError {
                step,
                path,
                source: error.into(),
            }
        };
        let top = rustix::fs::openat(CWD, directory, DIRECTORY, Mode::empty());
        let top = top.map_err(fail("open", directory.to_owned()))?;
        let passable = fs::set_permissions(directory, fs::Permissions::from_mode(0o711));
        passable.map_err(|source| BundleError {
            step: "open for all to pass",
            path: directory.to_owned(),
            source,
        })?;
        for entry in &self.entries {
            make(&top, entry).map_err(fail("write", directory.join(&entry.path)))?;
        }
        let spec = serde_json::to_vec_pretty(&self.spec).expect("an OCI spec has only text keys");
        let config = Path::new("config.json");
        text(top.as_fd(), config, &spec, 0o600, (0, 0)).map_err(fail("write", directory.join(config)))
    }
}

/// What there was before a bundle was written.
struct Before {
    /// The mode of the directory, if it was there.
    mode: Option<fs::Permissions>,
    /// What was not there of it and above it, innermost first.
    missing: Vec<PathBuf>,
}

impl Before {
    fn of(directory: &Path) -> Self {
        let missing = directory.ancestors().take_while(|path| !path.exists());
        Self {
            mode: fs::metadata(directory).ok().map(|found| found.permissions()),
            missing: missing.map(Path::to_path_buf).collect(),
        }
    }

    /// Removes what was written. Errors are not told: the one that led here is.
    fn restore(self, directory: &Path) {
        let _ = fs::remove_dir_all(directory.join("rootfs"));
        let _ = fs::remove_file(directory.join("config.json"));
        if let Some(mode) = self.mode {
            let _ = fs::set_permissions(directory, mode);
        }
        // Whatever others have put there meanwhile keeps its directory.
        for path in self.missing {
            let _ = fs::remove_dir(path);
        }
    }
}

fn make(top: &OwnedFd, entry: &Entry) -> Result<(), Errno> {
    let parent = entry.path.parent().unwrap_or(Path::new(""));
    let parent = directories(top, parent, entry.owner)?;
    let name = Path::new(entry.path.file_name().unwrap_or_default());
    match &entry.content {
        Content::Directory => one_directory(&parent, name, entry.owner).map(drop),
        Content::Text(content) => text(parent.as_fd(), name, content.as_bytes(), 0o644, entry.owner),
        Content::Copy(source) => {
            let content =
                fs::read(source).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            text(parent.as_fd(), name, &content, 0o644, entry.owner)
        }
        Content::Symlink(target) => {
            rustix::fs::symlinkat(target, &parent, name)?;
            let (uid, gid) = ids(entry.owner);
            rustix::fs::chownat(&parent, name, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        }
        Content::Tree(wanted) => {
            let to = one_directory(&parent, name, wanted.owners.of_copy((0, 0)))?;
            tree::copy(wanted, &to)
        }
    }
}

/// The directory `path` below `top`, made with those above it. Links on the way are not followed.
fn directories(top: &OwnedFd, path: &Path, owner: (u32, u32)) -> Result<OwnedFd, Errno> {
    let mut at = top.try_clone().map_err(|_| Errno::MFILE)?;
    for part in path.components() {
        at = one_directory(&at, Path::new(part.as_os_str()), owner)?;
    }
    Ok(at)
}

/// One that is there stays as it is.
fn one_directory(at: &OwnedFd, name: &Path, owner: (u32, u32)) -> Result<OwnedFd, Errno> {
    let is_new = match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => false,
        made => made.map(|()| true)?,
    };
    let found = rustix::fs::openat2(at, name, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    if is_new {
        let (uid, gid) = ids(owner);
        rustix::fs::fchown(&found, uid, gid)?;
        // The caller's umask would close what is for the service to see.
        rustix::fs::fchmod(&found, Mode::from_raw_mode(0o755))?;
    }
    Ok(found)
}

fn text(at: impl AsFd, name: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<(), Errno> {
    let file = match rustix::fs::openat(&at, name, NEW_FILE, Mode::from_raw_mode(0o600)) {
        // A place to mount onto that a copy has brought along.
        Err(Errno::EXIST) if content.is_empty() => return Ok(()),
        other => other?,
    };
    let mut file = File::from(file);
    file.write_all(content)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let (uid, gid) = ids(owner);
    rustix::fs::fchown(&file, uid, gid)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bundle whose second entry cannot be made.
    fn broken() -> Portable {
        let own = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let entry = |path: &str, content| Entry {
            path: path.into(),
            owner: own,
            content,
        };
        Portable {
            spec: Default::default(),
            entries: vec![
                entry("rootfs/etc", Content::Directory),
                entry("rootfs/etc/hosts", Content::Copy("/nothing/here".into())),
            ],
        }
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let top = std::env::temp_dir().join(format!("pactown-bundle-{}", std::process::id()));
        fs::create_dir_all(top.join("mine")).unwrap();
        let mode = fs::Permissions::from_mode(0o750);
        fs::set_permissions(top.join("mine"), mode).unwrap();

        let error = broken().write(&top.join("mine")).unwrap_err();
        assert_eq!(error.path, top.join("mine/rootfs/etc/hosts"));
        assert!(is_free(&top.join("mine")).unwrap());
        let mode = fs::metadata(top.join("mine")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o750);

        broken().write(&top.join("new/and/deep")).unwrap_err();
        assert!(!top.join("new").exists());
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_disk_is_out_of_reach_when_it_was_made_and_is_not_mounted() {
        let image = std::env::temp_dir().join(format!("pactown-image-{}", std::process::id()));
        let disk = Disk {
            at: "/nothing/here".into(),
            image: image.clone(),
            size: 0,
        };
        assert_eq!(unmounted(&disk), None, "nothing was written");
        fs::write(&image, "").unwrap();
        assert_eq!(unmounted(&disk), Some(image.as_path()));
        fs::remove_file(image).unwrap();
    }
}
