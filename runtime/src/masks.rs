//! Paths of a new root that are hidden or closed for writing. Which ones is the spec's business.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use crate::beneath;
use crate::detached::{QUIET, RDONLY, attach_at};
use crate::error::{During, Result};
use crate::layer::Layer;
use crate::stage::Stage;
use crate::sys;

/// Hides `maskedPaths` and closes `readonlyPaths` for writing. Paths that do not exist need no hiding.
pub(crate) fn apply(spec: &Spec, new_root: BorrowedFd, stage: &Stage) -> Result<()> {
    let Some(linux) = spec.linux().as_ref().filter(|_| !Layer::Masks.is_off()) else {
        return Ok(());
    };
    let covers = Covers::new(stage)?;
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

/// An empty file and an empty directory on the stage, cloned over everything that is masked. A file and not
/// `/dev/null`: a device on a read-only mount still says that it may be written. On the stage, because older kernels
/// clone attached trees only.
struct Covers<'a> {
    stage: &'a Stage,
}

impl<'a> Covers<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        rustix::fs::mkdirat(stage, "directory", Mode::from_raw_mode(0o555))
            .during(|| "make an empty directory".to_owned())?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(stage, "file", flags, Mode::from_raw_mode(0o444))
            .during(|| "make an empty file".to_owned())?;
        Ok(Self { stage })
    }

    fn one(&self, directory: bool) -> Result<OwnedFd> {
        let name = if directory { "directory" } else { "file" };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree =
            rustix::mount::open_tree(self.stage, name, flags).during(|| format!("clone an empty {name}"))?;
        let attributes = RDONLY | QUIET | libc::MOUNT_ATTR_NOEXEC;
        sys::mount_setattr(tree.as_fd(), attributes, None, false)
            .during(|| format!("close an empty {name}"))?;
        Ok(tree)
    }
}
