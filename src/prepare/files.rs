//! The files layer: a README's `file` blocks as files. Only into a fresh directory that nobody else can reach.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::layers::{LayerError, Step};
use crate::markpact::recipe::FileBlock;

/// Permission bits that a file block can ask for: neither set-uid nor set-gid.
const MODE: u32 = 0o777;

/// Writes `files` below `making` and answers the directory that holds them. Their paths are relative and clean: the
/// README's reader refuses others.
pub(super) fn write(making: &Path, files: &[FileBlock]) -> Result<PathBuf, LayerError> {
    let content = making.join("content");
    directory(&content)?;
    for file in files {
        let path = content.join(&file.path);
        let mut parent = content.clone();
        for part in Path::new(&file.path)
            .parent()
            .into_iter()
            .flat_map(Path::components)
        {
            parent.push(part);
            directory(&parent)?;
        }
        let mut written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .step("create", &path)?;
        written.write_all(file.content.as_bytes()).step("write", &path)?;
        written
            .set_permissions(Permissions::from_mode(file.mode & MODE))
            .step("set the mode of", &path)?;
    }
    Ok(content)
}

/// A directory of mode 755, whatever the umask.
fn directory(path: &Path) -> Result<(), LayerError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).step("create", path),
        _ => fs::set_permissions(path, Permissions::from_mode(0o755)).step("set the mode of", path),
    }
}
