//! Starts the keeper from a copy of this program that nothing can write to (CVE-2019-5736): a read-only, detached clone
//! of the executable's mount, or a sealed memfd where the host refuses that.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use crate::sys;

/// Exit code of a keeper that found another one in its place.
pub const ALREADY_RUNNING: i32 = 75;

/// Starts `pactown __keeper <directory>` and returns once it listens. Its messages go to `<directory>/keeper.log`.
/// `place` gets its pid before it has done anything, to put it into a control group: what it makes is born there.
///
/// # Errors
/// `AlreadyExists` when another keeper holds the directory; what `place` says; otherwise what the keeper wrote before it
/// died.
pub fn spawn_keeper(
    directory: &Path,
    arguments: &[&OsStr],
    place: impl FnOnce(u32) -> io::Result<()>,
) -> io::Result<()> {
    let program = sealed(Path::new("/proc/self/exe"))?;
    let log = directory.join("keeper.log");
    let messages = File::options().create(true).append(true).mode(0o600).open(&log)?;
    // What a caller left open (the lock of `flock LOCK pactown up -d`) would live as long as the ecosystem.
    sys::cloexec_from(3);
    // The path is resolved before close-on-exec takes effect, so the descriptor itself is not inherited.
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .arg("__keeper")
        .arg(directory)
        .args(arguments)
        .current_dir("/");
    let mut keeper = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(messages)
        .spawn()?;
    if let Err(error) = place(keeper.id()).and_then(|()| let_go(&mut keeper)) {
        // Its input ends without the word: it leaves, and has touched nothing.
        drop(keeper.stdin.take());
        let _ = keeper.wait();
        return Err(error);
    }
    let mut ready = String::new();
    if let Some(mut pipe) = keeper.stdout.take() {
        pipe.read_to_string(&mut ready)?;
    }
    if ready == "ready\n" {
        return Ok(());
    }
    match keeper.wait()?.code() {
        Some(ALREADY_RUNNING) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        _ => Err(io::Error::other(last_lines(&log))),
    }
}

/// What the keeper waits for on its stdin.
pub(crate) const GO: &[u8] = b"go\n";

fn let_go(keeper: &mut Child) -> io::Result<()> {
    match keeper.stdin.take() {
        Some(mut gate) => gate.write_all(GO),
        None => Ok(()),
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    if lines.is_empty() {
        "the keeper died without a word".to_owned()
    } else {
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

/// The executable, opened so that no path and no `/proc/<pid>/exe` leads to a writable file.
fn sealed(program: &Path) -> io::Result<OwnedFd> {
    read_only_clone(program).or_else(|_| memory_copy(program))
}

fn read_only_clone(program: &Path) -> io::Result<OwnedFd> {
    let path = fs::canonicalize(program)?;
    let tree = rustix::mount::open_tree(
        CWD,
        &path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    sys::mount_setattr(
        tree.as_fd(),
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        None,
        false,
    )?;
    Ok(tree)
}

fn memory_copy(program: &Path) -> io::Result<OwnedFd> {
    let memory = memfd_create(c"pactown", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut copy = File::from(memory);
    io::copy(&mut File::open(program)?, &mut copy)?;
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy.into())
}
