//! A place below the new root for what is there only while the root is built: overlay layers, covers for masked paths.
//!
//! One small tmpfs, detached once with everything on it: each detachment costs a grace period of the kernel's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::MntFlags;

use crate::beneath;
use crate::detached::{QUIET, attach, filesystem};
use crate::error::{During, Result};

/// Where it is, below the new root.
const PLACE: &str = "/.stage";

/// The stage while it is there.
pub(crate) struct Stage(OwnedFd);

impl Stage {
    /// Makes it.
    pub(crate) fn new(new_root: BorrowedFd) -> Result<Self> {
        let settings =
            [("size", "4096"), ("mode", "0700")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let tree = filesystem("tmpfs", &settings, QUIET | libc::MOUNT_ATTR_NOEXEC)?;
        attach(new_root, &tree, Path::new(PLACE))?;
        let directory = beneath::open(new_root, Path::new(PLACE)).during(|| "open the stage".to_owned())?;
        Ok(Self(directory))
    }

    /// Attaches a detached tree on it under a short name.
    pub(crate) fn put(&self, name: &str, tree: &OwnedFd) -> Result<()> {
        attach(self.as_fd(), tree, Path::new(name))
    }

    /// Detaches it. What was cloned from it, and file systems that were made of what lay on it, live on.
    pub(crate) fn remove(self, new_root: BorrowedFd) -> Result<()> {
        drop(self.0);
        rustix::process::fchdir(new_root).during(|| "enter the new root".to_owned())?;
        let name = PLACE.trim_start_matches('/');
        nix::mount::umount2(name, MntFlags::MNT_DETACH).during(|| "detach the stage".to_owned())?;
        rustix::process::chdir("/").during(|| "leave the new root".to_owned())?;
        rustix::fs::unlinkat(new_root, name, rustix::fs::AtFlags::REMOVEDIR)
            .during(|| "remove the stage".to_owned())
    }
}

impl AsFd for Stage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
