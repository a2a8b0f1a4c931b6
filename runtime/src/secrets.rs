//! Files that one sandbox is shown and that are written nowhere: their way from whoever knows them through the keeper into
//! a ramfs of the sandbox's own.
//!
//! What lies in a ramfs is never swapped (kernel: filesystems/ramfs-rootfs-initramfs.rst), other than a tmpfs or a memfd. On
//! the way the files lie in one nameless file of a ramfs that is mounted nowhere, and travel as its descriptor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::DumpableBehavior;

use crate::error::{During, Failure, Result};
use crate::protocol::FailureKind;
use crate::rootfs::{QUIET, RDONLY, attach, filesystem};
use crate::sys;

/// Name → content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The key under which the keeper holds what [`write`] gives, for sandbox `id`.
pub fn key(id: &str) -> String {
    format!("secrets:{id}")
}

/// The files as one descriptor, for [`crate::protocol::Call::Hold`].
///
/// # Errors
/// There is no memory, or the process may not mount (CAP_SYS_ADMIN).
pub fn write(files: &Files) -> io::Result<OwnedFd> {
    unswappable(&serde_json::to_vec(files)?)
}

/// A nameless file with this content that is never swapped and has no path anywhere.
///
/// # Errors
/// As [`write`].
pub fn unswappable(content: &[u8]) -> io::Result<OwnedFd> {
    let tree = filesystem("ramfs", &[], QUIET).map_err(io::Error::other)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&tree, ".", flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    file.write_all(content)?;
    Ok(file.into())
}

/// The files of a descriptor that [`write`] has made.
///
/// # Errors
/// It holds something else.
pub fn read(descriptor: BorrowedFd) -> io::Result<Files> {
    Ok(serde_json::from_slice(&content(descriptor)?)?)
}

/// All of a file, wherever the place in it is: that is shared with whoever has a duplicate.
///
/// # Errors
/// It cannot be read.
pub fn content(descriptor: BorrowedFd) -> io::Result<Vec<u8>> {
    let file = File::from(descriptor.try_clone_to_owned()?);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// From now on nothing that this process has in memory is written to a disk: no page of it is swapped once it is used
/// (mlockall(2)), and no core is dumped of it, whatever the limits and the pattern say (`PR_SET_DUMPABLE`, prctl(2)).
///
/// # Errors
/// It may not lock so much (CAP_IPC_LOCK, RLIMIT_MEMLOCK). No core is dumped all the same.
pub fn stay_in_memory() -> io::Result<()> {
    let undumped = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all)?;
    Ok(undumped?)
}

/// Mounts the files at `target`, read-only, for `owner` alone.
pub(crate) fn mount(
    held: Option<BorrowedFd>,
    new_root: BorrowedFd,
    target: &Path,
    owner: (u32, u32),
    attributes: u64,
) -> Result<()> {
    let refuse = || Failure::new(FailureKind::Request, "find its files", "nobody gave them");
    let files = read(held.ok_or_else(refuse)?).during(|| "read its files".to_owned())?;
    let mode = ("mode".to_owned(), "0500".to_owned());
    let tree = filesystem("ramfs", &[mode], attributes & !RDONLY)?;
    for (name, content) in &files {
        put(tree.as_fd(), name, content, owner).during(|| format!("write `{name}`"))?;
    }
    give(tree.as_fd(), owner).during(|| "give it to its user".to_owned())?;
    attach(new_root, &tree, target)?;
    sys::mount_setattr(tree.as_fd(), RDONLY, None, false).during(|| "make it read-only".to_owned())
}

fn put(tree: BorrowedFd, name: &str, content: &[u8], owner: (u32, u32)) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(tree, name, flags, Mode::RUSR)?;
    let mut file = File::from(file);
    file.write_all(content)?;
    give(file.as_fd(), owner)
}

fn give(what: BorrowedFd, (uid, gid): (u32, u32)) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(rustix::fs::chownat(
        what,
        "",
        owner.0,
        owner.1,
        AtFlags::EMPTY_PATH,
    )?)
}
