//! Files that one sandbox is shown and that are written nowhere: their way from whoever knows them through the keeper into
//! a ramfs of the sandbox's own.
//!
//! What lies in a ramfs is never swapped (kernel: filesystems/ramfs-rootfs-initramfs.rst), other than a tmpfs or a memfd. On
//! the way the files lie in one nameless file of a ramfs that is mounted nowhere, and travel as its descriptor: eight bytes
//! with the length of an index (little-endian), the index, which is JSON of names and lengths, and the contents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::DumpableBehavior;

use crate::detached::{QUIET, RDONLY, attach, filesystem};
use crate::error::{During, Failure, FailureKind, Result};
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
    let lengths: BTreeMap<&str, usize> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.len()))
        .collect();
    let index = serde_json::to_vec(&lengths)?;
    let mut whole = (index.len() as u64).to_le_bytes().to_vec();
    whole.extend(index);
    files.values().for_each(|content| whole.extend(content));
    unswappable(&whole)
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
    let file = File::from(descriptor.try_clone_to_owned()?);
    let content = |(name, part): (String, Range<u64>)| {
        let mut content = vec![0; size(part.end - part.start)?];
        file.read_exact_at(&mut content, part.start)?;
        Ok((name, content))
    };
    index(&file)?.into_iter().map(content).collect()
}

/// The names of the files, and where their contents are: all that may be known without reading a secret.
fn index(file: &File) -> io::Result<BTreeMap<String, Range<u64>>> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let whole = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)?;
    let mut from = u64::from_le_bytes(length).checked_add(8).ok_or_else(broken)?;
    if from > whole {
        return Err(broken());
    }
    let mut index = vec![0; size(from - 8)?];
    file.read_exact_at(&mut index, 8)?;
    let lengths: BTreeMap<String, u64> = serde_json::from_slice(&index)?;
    let mut part = |(name, length): (String, u64)| {
        let start = from;
        from = start
            .checked_add(length)
            .filter(|end| *end <= whole)
            .ok_or_else(broken)?;
        Ok((name, start..from))
    };
    lengths.into_iter().map(&mut part).collect()
}

fn size(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(io::Error::other)
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
    KNOWS.store(true, Ordering::Relaxed);
    let undumped = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all)?;
    Ok(undumped?)
}

/// Whether this process, or the one it was cloned from, has been told that it knows secrets.
static KNOWS: AtomicBool = AtomicBool::new(false);

/// The same for a clone, as far as it may: it has a copy of all that its parent knows, and no lock of its memory
/// (mlockall(2)). Only pages that are there are locked: to touch the others would make copies of them.
pub(crate) fn stay_in_memory_too() {
    if KNOWS.load(Ordering::Relaxed) {
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
    }
}

/// Mounts the files at `target`, read-only, for `owner` alone. The kernel copies their contents: pid 1, which lives as long
/// as the service, never has them in its own memory.
pub(crate) fn mount(
    held: Option<BorrowedFd>,
    new_root: BorrowedFd,
    target: &Path,
    owner: (u32, u32),
    attributes: u64,
) -> Result<()> {
    let refuse = || Failure::new(FailureKind::Request, "find its files", "nobody gave them");
    let held = held.ok_or_else(refuse)?;
    let step = || "read its files".to_owned();
    let held = File::from(held.try_clone_to_owned().during(step)?);
    let files = index(&held).during(step)?;
    let mode = ("mode".to_owned(), "0500".to_owned());
    let tree = filesystem("ramfs", &[mode], attributes & !RDONLY)?;
    for (name, part) in files {
        put(tree.as_fd(), &name, (&held, part), owner).during(|| format!("write `{name}`"))?;
    }
    give(tree.as_fd(), owner).during(|| "give it to its user".to_owned())?;
    attach(new_root, &tree, target)?;
    sys::mount_setattr(tree.as_fd(), RDONLY, None, false).during(|| "make it read-only".to_owned())
}

fn put(tree: BorrowedFd, name: &str, (from, part): (&File, Range<u64>), owner: (u32, u32)) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(tree, name, flags, Mode::RUSR)?;
    let mut at = part.start;
    while at < part.end {
        let left = size(part.end - at)?;
        if rustix::fs::sendfile(&file, from, Some(&mut at), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
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
