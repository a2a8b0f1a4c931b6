//! The writable directories of a service on disk: made, locked, and brought in line with a changed README.
//!
//! What lies in an upper directory was written by a service and is not trusted: nothing in it is opened for reading
//! or followed. Every path is walked beneath one open directory, without symbolic links (openat2(2)).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::key::hex;
use super::layers::{LayerError, Step};
use crate::markpact::recipe::FileBlock;
use crate::spec::{Writable, ids};

/// The hashes of the `file` blocks that an upper directory was last used with: path → mode and SHA-256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest(pub BTreeMap<String, String>);

impl Manifest {
    /// The manifest of these blocks.
    pub fn of(files: &[FileBlock]) -> Self {
        let entry = |file: &FileBlock| {
            let hash = hex(file.content.as_bytes());
            (file.path.clone(), format!("{:o} {hash}", file.mode))
        };
        Self(files.iter().map(entry).collect())
    }

    /// Paths whose block is new in `next` or differs there.
    fn changed(&self, next: &Self) -> Vec<String> {
        next.0
            .iter()
            .filter(|(path, hash)| self.0.get(*path) != Some(*hash))
            .map(|(path, _)| path.clone())
            .collect()
    }
}

/// Most levels of a directory that is removed from an upper directory.
const DEEPEST: u32 = 200;

/// A service's place below a sandbox root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The sandbox root, `.pactown-sandboxes` by default (with `.instances/<instance>` for a named instance).
    pub root: PathBuf,
    /// The service's name, or `<name>-<n>` for a replica.
    pub name: String,
    /// `sandbox_path`: another upper directory.
    pub upper: Option<PathBuf>,
}

impl Place {
    /// Upper, work and home directory. All below one parent, so that one id-mapped mount holds them.
    pub fn writable(&self) -> Writable {
        match &self.upper {
            None => Writable {
                upper: self.root.join(&self.name),
                work: self.root.join(".work").join(&self.name),
                home: self.root.join(".home").join(&self.name),
            },
            Some(upper) => {
                let parent = upper.parent().unwrap_or(Path::new("/"));
                let sibling = |kind: &str| {
                    let name = upper
                        .file_name()
                        .map_or_else(|| self.name.clone(), |name| name.to_string_lossy().into());
                    parent.join(kind).join(name)
                };
                Writable {
                    upper: upper.clone(),
                    work: sibling(".work"),
                    home: sibling(".home"),
                }
            }
        }
    }

    fn manifest(&self) -> PathBuf {
        self.beside(".files")
    }

    /// The service's entry in a directory beside the upper directories.
    fn beside(&self, directory: &str) -> PathBuf {
        let upper = self.writable().upper;
        let parent = upper.parent().unwrap_or(Path::new("/")).join(directory);
        parent.join(upper.file_name().unwrap_or_default())
    }

    /// Takes the upper directory for one sandbox: an overlay's upper must never be used twice at a time. The lock
    /// lasts as long as the answer, or a copy of it in another process, is open. `Ok(None)`: somebody else has it.
    pub fn lock(&self, owner: (u32, u32)) -> Result<Option<OwnedFd>, LayerError> {
        let path = self.beside(".locks");
        parents(&path, owner)?;
        let mut file = OpenOptions::new();
        file.create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let file = file.open(&path).step("open", &path)?;
        fchown(&file, Some(owner.0), Some(owner.1)).step("change the owner of", &path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file.into())),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).step("lock", &path),
        }
    }

    /// Makes the directories for a service of the user `owner` (uid, gid) and brings the upper directory in line with
    /// the README's `files`. Answers the paths that were removed from it: the README wins where it changed. Without a
    /// record of an earlier README nothing is removed. Only for the holder of the lock.
    pub fn make(&self, owner: (u32, u32), files: &[FileBlock]) -> Result<Vec<String>, LayerError> {
        let writable = self.writable();
        let before = fs::read(self.manifest())
            .ok()
            .and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
        kept(&writable.upper, owner)?;
        kept(&writable.home, owner)?;
        // The overlay's own scratch: never kept, for a killed sandbox may have left a half-made file in it.
        remove_tree(&writable.work)?;
        parents(&writable.work, owner)?;
        create(&writable.work, owner)?;
        let next = Manifest::of(files);
        let removed = before.map_or(Ok(Vec::new()), |before| {
            refresh(&writable.upper, &before.changed(&next))
        })?;
        self.remember(&next, owner)?;
        Ok(removed)
    }

    fn remember(&self, manifest: &Manifest, owner: (u32, u32)) -> Result<(), LayerError> {
        let path = self.manifest();
        parents(&path, owner)?;
        let temporary = path.with_file_name(format!(".{}.new", self.name));
        remove_file(&temporary)?;
        let text = serde_json::to_vec(manifest).expect("a map of texts is JSON");
        let mut file = File::create_new(&temporary).step("create", &temporary)?;
        file.write_all(&text).step("write", &temporary)?;
        fchown(&file, Some(owner.0), Some(owner.1)).step("change the owner of", &temporary)?;
        fs::rename(&temporary, &path).step("rename", &temporary)
    }

    /// Removes the overlay's work directory; it is made again at the next start.
    pub fn remove_work(&self) -> Result<(), LayerError> {
        remove_tree(&self.writable().work)
    }
}

/// The directory of the volume `name` below a sandbox root, made for the user `owner`.
pub fn volume(root: &Path, name: &str, owner: (u32, u32)) -> Result<PathBuf, LayerError> {
    let path = root.join(".volumes").join(name);
    kept(&path, owner)?;
    Ok(path)
}

/// Removes the volume `name`; one that is not there is fine.
pub fn remove_volume(root: &Path, name: &str) -> Result<(), LayerError> {
    remove_tree(&root.join(".volumes").join(name))
}

/// A directory that a service writes. A symbolic link in its place is refused: the owner of its target must not
/// change.
fn kept(path: &Path, owner: (u32, u32)) -> Result<(), LayerError> {
    parents(path, owner)?;
    create(path, owner)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let handle = rustix::fs::open(path, flags, Mode::empty()).step("open", path)?;
    let (uid, gid) = (ids::on_disk(owner.0), ids::on_disk(owner.1));
    fchown(&handle, Some(uid), Some(gid)).step("change the owner of", path)
}

/// The directories above `path`. Those that are missing become the invoking user's: nothing of root's may appear in
/// a project.
fn parents(path: &Path, owner: (u32, u32)) -> Result<(), LayerError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|above| !above.exists())
        .collect();
    missing
        .into_iter()
        .rev()
        .try_for_each(|above| create(above, owner))
}

fn create(path: &Path, owner: (u32, u32)) -> Result<(), LayerError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).step("create", path),
        Ok(()) => lchown(path, Some(owner.0), Some(owner.1)).step("change the owner of", path),
    }
}

fn remove_tree(path: &Path) -> Result<(), LayerError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).step("remove", path),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), LayerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).step("remove", path),
        _ => Ok(()),
    }
}

/// Removes what stands in the way of `paths` (relative, clean) in the directory `upper`, so that the layers below
/// show: the entry itself, whatever it is, or anything on the way to it that is no directory. Answers the paths that
/// were in the way.
pub fn refresh(upper: &Path, paths: &[String]) -> Result<Vec<String>, LayerError> {
    let top: OwnedFd = File::open(upper).step("open", upper)?.into();
    let mut removed = Vec::new();
    for path in paths {
        if uncover(top.as_fd(), Path::new(path)).step("clear the way in", &upper.join(path))? {
            removed.push(path.clone());
        }
    }
    Ok(removed)
}

/// Whether something was removed.
fn uncover(top: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
    let mut at = top
        .try_clone_to_owned()
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let parts: Vec<_> = path.components().collect();
    for (index, part) in parts.iter().enumerate() {
        let name = Path::new(part.as_os_str());
        let kind = match rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            other => FileType::from_raw_mode(other?.st_mode),
        };
        if index + 1 == parts.len() || kind != FileType::Directory {
            remove_beneath(at.as_fd(), name, kind, DEEPEST)?;
            return Ok(true);
        }
        at = enter(at.as_fd(), name)?;
        show_lower(&at);
    }
    Ok(false)
}

fn enter(at: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(at, name, flags, Mode::empty(), resolve)
}

/// A directory that the service removed and made again hides the README's; the mark goes, what is in it stays.
fn show_lower(directory: &OwnedFd) {
    let _ = rustix::fs::fremovexattr(directory, "trusted.overlay.opaque");
}

/// Removes `name`, a tree of at most `depth` levels if it is one. A service can make trees of any depth; such a one
/// is left for its owner to remove.
fn remove_beneath(at: BorrowedFd<'_>, name: &Path, kind: FileType, depth: u32) -> Result<(), Errno> {
    if kind != FileType::Directory {
        return rustix::fs::unlinkat(at, name, AtFlags::empty());
    }
    let deeper = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    let directory = enter(at, name)?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let child = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        if child == Path::new(".") || child == Path::new("..") {
            continue;
        }
        let stat = rustix::fs::statat(&directory, child, AtFlags::SYMLINK_NOFOLLOW)?;
        remove_beneath(
            directory.as_fd(),
            child,
            FileType::from_raw_mode(stat.st_mode),
            deeper,
        )?;
    }
    rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests;
