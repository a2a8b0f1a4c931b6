//! A copy of directories that lie over each other, with other owners.
//!
//! The kernel merges them: a detached, read-only overlay that nobody can see and that is gone with its descriptor.
//! What a service wrote is not trusted: every entry is opened below the open directory around it, without following links,
//! and only regular files are read.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::spec::portable::{Owners, Tree};

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Most levels that are copied: each holds two descriptors.
const DEEPEST: u32 = 200;

/// Copies what the merged directories hold into the directory `to`, which takes the mode and owner of the topmost.
pub(super) fn copy(tree: &Tree, to: &OwnedFd) -> Result<(), Errno> {
    let mut layers = Vec::new();
    for layer in &tree.layers {
        match rustix::fs::openat(CWD, layer, OPEN | OFlags::DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => layers.push(opened?),
        }
    }
    match merged(layers)? {
        Some(from) => Copy(&tree.owners).directory(&from, to, DEEPEST),
        None => Ok(()),
    }
}

/// The directories as one; none are nothing.
fn merged(mut layers: Vec<OwnedFd>) -> Result<Option<OwnedFd>, Errno> {
    if layers.len() < 2 {
        return Ok(layers.pop());
    }
    // By descriptor: a colon in a path would be taken for a separator.
    let paths: Vec<String> = layers
        .iter()
        .map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()))
        .collect();
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
    rustix::mount::fsconfig_set_string(&context, "lowerdir", paths.join(":").as_str())?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let root = rustix::fs::openat(&mount, ".", OPEN | OFlags::DIRECTORY, Mode::empty())?;
    Ok(Some(root))
}

struct Copy<'a>(&'a Owners);

impl Copy<'_> {
    fn directory(&self, from: &OwnedFd, to: &OwnedFd, deepest: u32) -> Result<(), Errno> {
        if deepest == 0 {
            return Err(Errno::NAMETOOLONG);
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(from, to, name, deepest)?;
            }
        }
        self.dress(to, &rustix::fs::fstat(from)?)
    }

    fn entry(&self, from: &OwnedFd, to: &OwnedFd, name: &CStr, deepest: u32) -> Result<(), Errno> {
        let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let open =
                    |at: &OwnedFd| rustix::fs::openat(at, name, OPEN | OFlags::DIRECTORY, Mode::empty());
                self.directory(&open(from)?, &open(to)?, deepest - 1)
            }
            FileType::RegularFile => self.file(from, to, name),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                self.dress_name(to, name, &found)
            }
            FileType::Fifo => {
                rustix::fs::mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                self.dress_name(to, name, &found)?;
                rustix::fs::chmodat(to, name, mode(&found), AtFlags::empty())
            }
            // A socket without its server is nothing; a device is none of the service's making.
            _ => Ok(()),
        }
    }

    fn file(&self, from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        // Not to wait for the other end of what has become a fifo meanwhile.
        let source = rustix::fs::openat(from, name, OPEN | OFlags::NONBLOCK, Mode::empty())?;
        let found = rustix::fs::fstat(&source)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, new, Mode::from_raw_mode(0o600))?;
        io::copy(
            &mut File::from(source),
            &mut File::from(target.try_clone().map_err(|_| Errno::MFILE)?),
        )
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.dress(&target, &found)
    }

    /// Owner first: a change of it takes set-id bits away. The time last: programs compare it with that of what they
    /// have compiled.
    fn dress(&self, copy: &OwnedFd, found: &Stat) -> Result<(), Errno> {
        let (uid, gid) = ids(self.0.of_copy((found.st_uid, found.st_gid)));
        rustix::fs::fchown(copy, uid, gid)?;
        rustix::fs::fchmod(copy, mode(found))?;
        rustix::fs::futimens(copy, &times(found))
    }

    fn dress_name(&self, at: impl AsFd, name: &CStr, found: &Stat) -> Result<(), Errno> {
        let (uid, gid) = ids(self.0.of_copy((found.st_uid, found.st_gid)));
        rustix::fs::chownat(&at, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::utimensat(&at, name, &times(found), AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn mode(found: &Stat) -> Mode {
    Mode::from_raw_mode(found.st_mode & 0o7777)
}

fn times(found: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    }
}

/// A uid and gid as system calls take them.
pub(super) fn ids((uid, gid): (u32, u32)) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}
