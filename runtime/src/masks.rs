//! Paths of a new root that are hidden or closed for writing. Which ones is the spec's business.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::MntFlags;
use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use crate::beneath;
use crate::error::{During, Result};
use crate::rootfs::{QUIET, RDONLY, STAGE, attach, attach_at, filesystem};
use crate::sys;

/// Hides `maskedPaths` and closes `readonlyPaths` for writing. Paths that do not exist need no hiding.
pub(crate) fn apply(spec: &Spec, new_root: BorrowedFd) -> Result<()> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let covers = Covers::new(new_root)?;
    for path in linux.masked_paths().iter().flatten() {
        let Ok(point) = beneath::open(new_root, Path::new(path)) else {
            continue;
        };
        let kind = rustix::fs::fstat(&point).during(|| format!("look at `{path}`"))?;
        let is_directory = FileType::from_raw_mode(kind.st_mode) == FileType::Directory;
        attach_at(&covers.one(is_directory)?, &point).map_err(|mut failure| {
            failure.step = format!("mask `{path}`");
            failure
        })?;
    }
    covers.remove(new_root)?;
    for path in linux.readonly_paths().iter().flatten() {
        let Ok(point) = beneath::open(new_root, Path::new(path)) else {
            continue;
        };
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(&point, "", flags | OpenTreeFlags::AT_RECURSIVE)
            .during(|| format!("open `{path}`"))?;
        sys::mount_setattr(tree.as_fd(), RDONLY | QUIET, None, true)
            .during(|| format!("make `{path}` read-only"))?;
        attach_at(&tree, &point)?;
    }
    Ok(())
}

/// An empty file and an empty directory in a small tmpfs, cloned over everything that is masked. A file and not
/// `/dev/null`: a device on a read-only mount still says that it may be written. The tmpfs is attached meanwhile,
/// because older kernels clone attached trees only.
struct Covers {
    stage: OwnedFd,
}

impl Covers {
    fn new(new_root: BorrowedFd) -> Result<Self> {
        let settings =
            [("size", "4096"), ("mode", "0555")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let tree = filesystem("tmpfs", &settings, QUIET | libc::MOUNT_ATTR_NOEXEC)?;
        attach(new_root, &tree, Path::new(STAGE))?;
        let stage = beneath::open(new_root, Path::new(STAGE)).during(|| "open the stage".to_owned())?;
        rustix::fs::mkdirat(&stage, "directory", Mode::from_raw_mode(0o555))
            .during(|| "make an empty directory".to_owned())?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&stage, "file", flags, Mode::from_raw_mode(0o444))
            .during(|| "make an empty file".to_owned())?;
        Ok(Self { stage })
    }

    fn one(&self, directory: bool) -> Result<OwnedFd> {
        let name = if directory { "directory" } else { "file" };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree =
            rustix::mount::open_tree(&self.stage, name, flags).during(|| format!("clone an empty {name}"))?;
        let attributes = RDONLY | QUIET | libc::MOUNT_ATTR_NOEXEC;
        sys::mount_setattr(tree.as_fd(), attributes, None, false)
            .during(|| format!("close an empty {name}"))?;
        Ok(tree)
    }

    /// The clones live on without it.
    fn remove(self, new_root: BorrowedFd) -> Result<()> {
        rustix::process::fchdir(new_root).during(|| "enter the new root".to_owned())?;
        drop(self.stage);
        let name = STAGE.trim_start_matches('/');
        nix::mount::umount2(name, MntFlags::MNT_DETACH).during(|| "detach the stage".to_owned())?;
        rustix::process::chdir("/").during(|| "leave the new root".to_owned())?;
        rustix::fs::unlinkat(new_root, name, rustix::fs::AtFlags::REMOVEDIR)
            .during(|| "remove the stage".to_owned())
    }
}
