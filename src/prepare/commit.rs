//! Turns what a build sandbox wrote into a layer: root's, without set-uid bits, device nodes and overlay marks.
//!
//! The sandbox is gone when this runs, so nothing below changes under it; still nothing is followed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::layers::{LayerError, Step};

/// The mark of a directory that hides lower ones (kernel: filesystems/overlayfs.rst, "whiteouts and opaque
/// directories"). In a lower layer it would hide other layers.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Cleans the tree at `top`, which becomes the root of a layer.
pub(super) fn clean(top: &Path) -> Result<(), LayerError> {
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        own(&directory)?;
        let _ = rustix::fs::lremovexattr(&directory, OPAQUE);
        for entry in fs::read_dir(&directory).step("read", &directory)? {
            let path = entry.step("read", &directory)?.path();
            if fs::symlink_metadata(&path).step("look at", &path)?.is_dir() {
                directories.push(path);
            } else {
                leaf(&path)?;
            }
        }
    }
    fs::set_permissions(top, Permissions::from_mode(0o755)).step("set the mode of", top)
}

/// Whiteouts (character devices), sockets and pipes mean nothing in a layer.
fn leaf(path: &Path) -> Result<(), LayerError> {
    let kind = fs::symlink_metadata(path).step("look at", path)?.file_type();
    if kind.is_file() || kind.is_symlink() {
        return own(path);
    }
    debug_assert!(kind.is_char_device() || kind.is_fifo() || kind.is_socket() || kind.is_block_device());
    fs::remove_file(path).step("remove", path)
}

/// chown(2) clears the set-uid bit of files; it is cleared here too, for it does not when root owns them already.
fn own(path: &Path) -> Result<(), LayerError> {
    let metadata = fs::symlink_metadata(path).step("look at", path)?;
    lchown(path, Some(0), Some(0)).step("change the owner of", path)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o6000 != 0 && !metadata.is_symlink() {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o1777)).step("set the mode of", path)?;
    }
    Ok(())
}
