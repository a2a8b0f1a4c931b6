//! A file as a disk: an ext4 image behind a loop device, mounted at a directory. What is written there can never be more
//! than the file may grow to: the kernel then answers ENOSPC. May be called from a process with threads.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::MntFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MoveMountFlags;

use crate::error::{During, Failure, FailureKind, Result};
use crate::{detached, sys};

/// How often another loop device is tried when somebody else has just taken the free one.
const TRIES: u32 = 50;
/// How long a mount that is going may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes at the end of an image that may be of no use.
const TAIL: u64 = 4 << 20;

/// Mounts the file system in `image` at the directory `at`, which is made; lets it grow to the size of the image. The
/// loop device goes with the mount.
///
/// # Errors
/// There are no loop devices (loop(4)), or the image holds no ext4.
pub fn mount(image: &Path, at: &Path) -> Result<()> {
    if is_mounted(at) {
        return Ok(());
    }
    fs::create_dir_all(at).during(|| format!("create `{}`", at.display()))?;
    let file = OpenOptions::new().read(true).write(true).open(image);
    let file = file.during(|| format!("open `{}`", image.display()))?;
    let size = file
        .metadata()
        .during(|| format!("look at `{}`", image.display()))?
        .len();
    wait_until_free(image)?;
    // Held until it is mounted: it clears itself with its last user.
    let (_device, path) = attach(&file).during(|| format!("make a loop device of `{}`", image.display()))?;
    let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let settings = [setting("source", &path.to_string_lossy())];
    let flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOATIME;
    let tree = detached::filesystem("ext4", &settings, flags)?;
    grow(&tree, &file, size).during(|| format!("let the file system in `{}` grow", image.display()))?;
    rustix::mount::move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .during(|| format!("mount `{}` at `{}`", image.display(), at.display()))
}

/// Waits until no loop device shows the image any more: a sandbox that is just ending holds on to its mounts a moment
/// longer than to its processes, and two file systems on one image would destroy it. The kernel tells nobody.
fn wait_until_free(image: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let step = || format!("look for loop devices of `{}`", image.display());
    // As the kernel names it.
    let whole = fs::canonicalize(image).during(step)?;
    while is_shown(&whole).during(step)? {
        if Instant::now() >= deadline {
            let why = "another mount of it has not gone";
            let step = format!("mount `{}`", image.display());
            return Err(Failure::new(FailureKind::Environment, step, why));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Whether a loop device shows this file, whose path has no links.
fn is_shown(image: &Path) -> io::Result<bool> {
    for device in fs::read_dir("/sys/block")? {
        // Most are no loop devices, and one may go at any moment.
        let file = fs::read_to_string(device?.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(file.trim_end_matches('\n')) == image {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A loop device of this file, and its path.
fn attach(file: &File) -> io::Result<(File, PathBuf)> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    for _ in 0..TRIES {
        let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop(control.as_fd())?));
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        match sys::configure_loop(device.as_fd(), file.as_fd()) {
            Ok(()) => return Ok((device, path)),
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

/// To `bytes`, the size of its device, unless it has it. That is a privilege of its own (CAP_SYS_RESOURCE), so it is
/// asked for only when something would be gained.
fn grow(tree: &OwnedFd, image: &File, bytes: u64) -> io::Result<()> {
    let (block, blocks) = geometry(image)?;
    let wanted = bytes / block;
    if wanted <= blocks {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(tree, ".", flags, Mode::empty())?;
    match sys::resize_ext4(root.as_fd(), wanted) {
        // A last group with no room for its own tables is left out when the file system is made.
        Err(_) if (wanted - blocks) * block < TAIL => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let why = "that needs CAP_SYS_RESOURCE, which this process does not have; leave `disk` as it was";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
        }
        other => other,
    }
}

/// Size of a block in bytes, and how many there are, from the superblock (kernel: filesystems/ext4/globals.rst).
fn geometry(image: &File) -> io::Result<(u64, u64)> {
    let mut superblock = [0; 1024];
    image.read_exact_at(&mut superblock, 1024)?;
    let word = |at: usize| {
        let bytes = [
            superblock[at],
            superblock[at + 1],
            superblock[at + 2],
            superblock[at + 3],
        ];
        u64::from(u32::from_le_bytes(bytes))
    };
    Ok((1024 << word(0x18).min(6), word(0x4) | word(0x150) << 32))
}

/// Takes the mount at `at` away, and the directory; its loop device goes with its last user. Already gone is success.
///
/// # Errors
/// It is still there.
pub fn unmount(at: &Path) -> Result<()> {
    while is_mounted(at) {
        nix::mount::umount2(at, MntFlags::MNT_DETACH).during(|| format!("unmount `{}`", at.display()))?;
    }
    match fs::remove_dir(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).during(|| format!("remove `{}`", at.display()))
        }
        _ => Ok(()),
    }
}

/// Whether something is mounted at this directory: it is on another device than the one above.
pub fn is_mounted(at: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev());
    match (device(at), device(at.parent().unwrap_or(Path::new("/")))) {
        (Ok(own), Ok(above)) => own != above,
        _ => false,
    }
}

/// The room on a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In use.
    pub used: u64,
    /// In all.
    pub size: u64,
    /// What can still be written.
    pub available: u64,
}

impl Space {
    /// Whether a large write is refused: ext4 takes one as a whole or not at all, so a little may be left.
    pub fn is_full(&self) -> bool {
        self.available < 2 << 20
    }
}

/// The room on the disk mounted at `at`; `None` when there is none.
pub fn space(at: &Path) -> Option<Space> {
    if !is_mounted(at) {
        return None;
    }
    let seen = rustix::fs::statvfs(at).ok()?;
    Some(Space {
        used: seen.f_blocks.saturating_sub(seen.f_bfree) * seen.f_frsize,
        size: seen.f_blocks * seen.f_frsize,
        available: seen.f_bavail * seen.f_frsize,
    })
}

/// Whether the file system in `image` fits into `size` bytes; no image does.
///
/// # Errors
/// It is larger, and what to do then.
pub fn refuse_smaller(image: &Path, size: u64) -> Result<()> {
    let seen = File::open(image).and_then(|file| geometry(&file));
    let has = seen.map_or(0, |(block, blocks)| block * blocks);
    if has <= size {
        return Ok(());
    }
    let why = format!(
        "it has {} MiB already, and a disk can only grow: `pactown down --volumes` removes it with what is in it",
        has >> 20
    );
    let step = format!("make the disk `{}` smaller", image.display());
    Err(Failure::new(FailureKind::Environment, step, why))
}
