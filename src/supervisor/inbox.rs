//! The socket on which a service says how it is (sd_notify(3)): made for each run, held by the keeper, which outlives
//! the supervisor, and removed with the sandbox. What is said there is read in [`crate::health::notify`].

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use pactown_runtime::protocol::Call;

use super::keeper::Keeper;
use crate::health::notify;

/// The name under which the keeper holds the socket of `service`.
pub(super) fn key(service: &str) -> String {
    format!("notify:{service}")
}

/// Binds a new socket in `directory` that only `owner`, a uid of the host, may write to; the keeper holds it.
pub(super) fn make(directory: &Path, owner: u32, service: &str, keeper: &Keeper) -> io::Result<()> {
    remove(directory)?;
    let private = directory.parent().unwrap_or(directory);
    DirBuilder::new().recursive(true).mode(0o700).create(private)?;
    // Reached from inside only: there the directory is mounted, and the service has to pass through it.
    fs::create_dir(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o711))?;
    let path = directory.join(notify::NAME);
    let socket = UnixDatagram::bind(&path)?;
    chown(&path, Some(owner), None)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let key = key(service);
    keeper
        .ask_blocking(Call::Hold { key }, &[socket.as_fd()])
        .map_err(|failure| io::Error::other(failure.to_string()))?;
    Ok(())
}

/// Removes the directory; one that is gone is fine.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
