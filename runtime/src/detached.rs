//! Trees of mounts that are attached nowhere yet: new file systems, and the way to a place below the new root.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use crate::beneath;
use crate::error::{During, Result};

pub(crate) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(crate) const QUIET: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A new, detached instance of a kernel file system.
pub(crate) fn filesystem(kind: &str, options: &[(String, String)], attributes: u64) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .during(|| format!("open file system `{kind}`"))?;
    for (key, value) in options {
        let set = match value.is_empty() {
            true => rustix::mount::fsconfig_set_flag(&context, key.as_str()),
            false => rustix::mount::fsconfig_set_string(&context, key.as_str(), value.as_str()),
        };
        set.during(|| format!("set `{key}={value}` of `{kind}`"))?;
    }
    rustix::mount::fsconfig_create(&context).during(|| format!("create file system `{kind}`"))?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(u32::MAX));
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .during(|| format!("mount file system `{kind}`"))
}

/// A new, detached overlay of these layers, written to the first of `upper` with the second as its work directory; their
/// paths are taken from the working directory.
pub(crate) fn overlay(lower: &str, upper: Option<(&str, &str)>, attributes: u64) -> Result<OwnedFd> {
    let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut settings = vec![setting("lowerdir", lower)];
    if let Some((upper, work)) = upper {
        settings.extend([setting("upperdir", upper), setting("workdir", work)]);
    }
    settings.extend(["index", "metacopy", "redirect_dir", "xino"].map(|key| setting(key, "off")));
    filesystem("overlay", &settings, attributes)
}

/// Attaches a detached tree at `target`, making the mount point: a directory for a directory, else a file.
pub(crate) fn attach(new_root: BorrowedFd, tree: &OwnedFd, target: &Path) -> Result<()> {
    let kind = rustix::fs::fstat(tree).during(|| "look at the tree".to_owned())?;
    let point = match FileType::from_raw_mode(kind.st_mode) {
        FileType::Directory => beneath::directory(new_root, target),
        _ => beneath::file(new_root, target),
    };
    let point = point.during(|| format!("make the mount point `{}`", target.display()))?;
    attach_at(tree, &point)
}

pub(crate) fn attach_at(tree: &OwnedFd, point: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", point, "", flags).during(|| "attach".to_owned())
}
