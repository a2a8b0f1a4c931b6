//! Network namespaces as files: made on a thread that is thrown away, kept by a bind mount, entered the same way.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{During, Result};

/// Makes a new namespace and binds it to `path`; then runs `inside` in it. On failure nothing is left at `path`.
pub(crate) fn create<T: Send>(path: &Path, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    make_file(path)?;
    let made = on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).during(|| "create a network namespace".to_owned())?;
        // The thread's own link: the process's would still be the old namespace.
        nix::mount::mount(
            Some("/proc/thread-self/ns/net"),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .during(|| format!("bind the network namespace to `{}`", path.display()))?;
        inside()
    });
    if made.is_err() {
        let _ = delete(path);
    }
    made
}

/// The namespace at `path`, to be kept: it then lives without its file, too.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).during(|| format!("open the network namespace `{}`", path.display()))?;
    Ok(file.into())
}

/// Runs `inside` in that namespace.
pub(crate) fn within<T: Send>(
    namespace: impl AsFd + Sync,
    inside: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    on_a_thread(|| {
        setns(&namespace, CloneFlags::CLONE_NEWNET).during(|| "enter a network namespace".to_owned())?;
        inside()
    })
}

/// Binds the namespace to `path`, where its file was taken away. One that is there stays.
pub(crate) fn bind(namespace: impl AsFd, path: &Path) -> Result<()> {
    if exists(path) {
        return Ok(());
    }
    make_file(path)?;
    let from = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    nix::mount::mount(
        Some(from.as_str()),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .during(|| format!("bind the network namespace to `{}`", path.display()))
}

/// An empty file to bind a namespace to.
fn make_file(path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).during(|| format!("create `{}`", directory.display()))?;
    }
    File::create(path)
        .map(drop)
        .during(|| format!("create `{}`", path.display()))
}

/// A TCP connection to `address` as a process in the namespace at `path` would make it: what its rules refuse is
/// refused. The socket may be used anywhere.
///
/// # Errors
/// The namespace is gone. Inside: the connection did not come about within `limit`.
pub fn connect(path: &Path, address: SocketAddr, limit: Duration) -> Result<io::Result<TcpStream>> {
    let namespace = File::open(path).during(|| format!("open `{}`", path.display()))?;
    within(&namespace, || Ok(TcpStream::connect_timeout(&address, limit)))
}

/// The links of the namespace at `path` with their counters, as in its `/proc/net/dev` (proc_pid_net(5)); also when
/// nothing runs in it any more.
///
/// # Errors
/// The namespace is gone.
pub fn links(path: &Path) -> Result<String> {
    let namespace = File::open(path).during(|| format!("open `{}`", path.display()))?;
    within(&namespace, || {
        fs::read_to_string("/proc/thread-self/net/dev").during(|| "read its links".to_owned())
    })
}

/// Lets go of the namespace at `path`; the kernel removes it, and its links, when nothing runs in it any more.
/// Already gone is success.
pub(crate) fn delete(path: &Path) -> Result<()> {
    match nix::mount::umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno).during(|| format!("unmount `{}`", path.display())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.during(|| format!("remove `{}`", path.display())),
    }
}

/// Whether a namespace is bound there (and not just an empty file).
pub(crate) fn exists(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| {
        nix::sys::statfs::fstatfs(&file).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
    })
}

/// A thread that has entered a namespace is never used again: it would be a trap for whoever came next.
pub(crate) fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, work)
            .during(|| "start a thread".to_owned())?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Writes a network setting of the namespace that the calling thread is in. An absent one (IPv6 switched off in the
/// kernel) is ignored where `optional`.
pub(crate) fn sysctl(name: &str, value: &str, optional: bool) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    match fs::write(&path, value) {
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.during(|| format!("set `{path}` to {value}")),
    }
}
