//! Paths below a directory that somebody else may have filled: opened and made without ever following a symbolic
//! link or leaving the directory (openat2(2), `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Opens `path` (its leading `/` does not count) below `root`, as `O_PATH`.
pub(crate) fn open(root: BorrowedFd, path: &Path) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    Ok(rustix::fs::openat2(
        root,
        relative,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        BENEATH,
    )?)
}

/// Opens the directory `path` below `root`, making it and its parents (0755) where they are missing.
pub(crate) fn directory(root: BorrowedFd, path: &Path) -> io::Result<OwnedFd> {
    if let Ok(found) = open(root, path) {
        return Ok(found);
    }
    let mut current = open(root, Path::new("."))?;
    for part in path.components().filter(|part| *part != Component::RootDir) {
        let Component::Normal(name) = part else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        current = rustix::fs::openat2(&current, name, flags, Mode::empty(), BENEATH)?;
    }
    Ok(current)
}

/// Opens the directory that holds `path`, making it where it is missing; with the last component.
pub(crate) fn parent<'a>(root: BorrowedFd, path: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((directory(root, path.parent().unwrap_or(Path::new("/")))?, name))
}

/// Makes an empty file to mount onto, unless there is something already; opened as `O_PATH`.
pub(crate) fn file(root: BorrowedFd, path: &Path) -> io::Result<OwnedFd> {
    if let Ok(found) = open(root, path) {
        return Ok(found);
    }
    let (parent, name) = parent(root, path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(&parent, name, flags, Mode::from_raw_mode(0o644), BENEATH)?;
    open(root, path)
}
