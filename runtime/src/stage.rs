//! A place under the new root for what is there only while the root is built: overlay layers, covers for masked paths.
//!
//! One small tmpfs, at the place where the new root is attached next, which so covers it. It goes with the old root and
//! everything on it: each detachment costs a grace period of the kernel's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::detached::{QUIET, attach, filesystem};
use crate::error::{During, Result};
use crate::rootfs::attach_by_path;

/// The stage while the root is built.
pub(crate) struct Stage(OwnedFd);

impl Stage {
    /// Makes it, at the place of the new root.
    pub(crate) fn new(place: &Path) -> Result<Self> {
        let settings =
            [("size", "4096"), ("mode", "0700")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let tree = filesystem("tmpfs", &settings, QUIET | libc::MOUNT_ATTR_NOEXEC)?;
        let directory = attach_by_path(tree.as_fd(), place).during(|| "attach the stage".to_owned())?;
        Ok(Self(directory))
    }

    /// Attaches a detached tree on it under a short name.
    pub(crate) fn put(&self, name: &str, tree: &OwnedFd) -> Result<()> {
        attach(self.as_fd(), tree, Path::new(name))
    }
}

impl AsFd for Stage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
