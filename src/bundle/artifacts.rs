//! Artifacts of a build: a copy of what it made, for the invoking user. Beside the place first, then there by renaming:
//! nothing half-copied is seen, and no link that an earlier build has left is followed.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Why nothing, or not everything, was taken out.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The build did not make this.
    #[error("the build made no `{0}`")]
    Absent(String),
    /// It made nothing at all.
    #[error("the build made nothing")]
    Empty,
    /// A file could not be written.
    #[error("cannot copy to `{path}`")]
    Copy {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Copies `wanted` (relative, clean paths; none: everything) out of the directory `layer` into `output`, which is made for
/// `owner` (uid, gid) when it is not there; what has these names there is replaced. Answers the paths below `output`.
///
/// # Errors
/// As [`TakeError`]; what was in `output` is then still there.
pub fn take_out(
    layer: &Path,
    wanted: &[String],
    output: &Path,
    owner: (u32, u32),
) -> Result<Vec<String>, TakeError> {
    let wanted = match wanted {
        [] => names(layer).map_err(|source| failed(layer, source))?,
        wanted => wanted.to_vec(),
    };
    if wanted.is_empty() {
        return Err(TakeError::Empty);
    }
    let absent = |path: &&String| fs::symlink_metadata(layer.join(path)).is_err();
    if let Some(path) = wanted.iter().find(absent) {
        return Err(TakeError::Absent(path.clone()));
    }
    directories(output, owner).map_err(|source| failed(output, source))?;
    let apart = output.join(format!(".pactown-{}", std::process::id()));
    let copied = copy_all(layer, &wanted, &apart, owner).and_then(|()| put(&apart, output));
    let _ = fs::remove_dir_all(&apart);
    copied.map_err(|source| failed(output, source))?;
    Ok(wanted)
}

fn failed(path: &Path, source: io::Error) -> TakeError {
    TakeError::Copy {
        path: path.to_owned(),
        source,
    }
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The directory and those above it that are missing, each the owner's.
fn directories(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    let missing = path.ancestors().take_while(|above| !above.exists());
    let missing: Vec<&Path> = missing.collect();
    missing.into_iter().rev().try_for_each(|directory| {
        fs::create_dir(directory)?;
        lchown(directory, Some(owner.0), Some(owner.1))
    })
}

fn copy_all(layer: &Path, wanted: &[String], apart: &Path, owner: (u32, u32)) -> io::Result<()> {
    let _ = fs::remove_dir_all(apart);
    fs::create_dir(apart)?;
    fs::set_permissions(apart, Permissions::from_mode(0o700))?;
    for path in wanted {
        let target = apart.join(path);
        directories(target.parent().unwrap_or(apart), owner)?;
        copy(&layer.join(path), &target, owner)?;
    }
    Ok(())
}

/// One entry with all below it. Links stay as they are, and lead where they lead.
fn copy(from: &Path, to: &Path, owner: (u32, u32)) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if metadata.is_dir() {
        fs::create_dir(to)?;
        for name in names(from)? {
            copy(&from.join(&name), &to.join(&name), owner)?;
        }
        fs::set_permissions(to, metadata.permissions())?;
    } else {
        fs::copy(from, to)?;
    }
    lchown(to, Some(owner.0), Some(owner.1))
}

/// Renames each entry of `apart` into `output`, over what has its name there.
fn put(apart: &Path, output: &Path) -> io::Result<()> {
    for name in names(apart)? {
        let target = output.join(&name);
        match fs::symlink_metadata(&target) {
            Ok(old) if old.is_dir() => fs::remove_dir_all(&target)?,
            Ok(_) => fs::remove_file(&target)?,
            Err(_) => {}
        }
        fs::rename(apart.join(&name), target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_replaces_what_was_there_and_links_are_not_followed() {
        let top = std::env::temp_dir().join(format!("pactown-artifacts-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        let (layer, output) = (top.join("layer"), top.join("a/out"));
        fs::create_dir_all(layer.join("dist/sub")).unwrap();
        fs::write(layer.join("dist/sub/app"), "new").unwrap();
        fs::write(layer.join("other"), "x").unwrap();
        fs::create_dir_all(top.join("elsewhere")).unwrap();
        fs::create_dir_all(&output).unwrap();
        symlink(top.join("elsewhere"), output.join("dist")).unwrap();
        fs::write(output.join("mine"), "mine").unwrap();
        let owner = (
            nix::unistd::Uid::effective().as_raw(),
            nix::unistd::Gid::effective().as_raw(),
        );
        let wanted = ["dist/sub".to_owned()];
        assert_eq!(take_out(&layer, &wanted, &output, owner).unwrap(), wanted);
        assert_eq!(fs::read_to_string(output.join("dist/sub/app")).unwrap(), "new");
        assert_eq!(names(&output).unwrap(), ["dist", "mine"]);
        assert_eq!(names(&top.join("elsewhere")).unwrap(), [""; 0]);
        let all = take_out(&layer, &[], &output, owner).unwrap();
        assert_eq!(all, ["dist", "other"]);
        let absent = take_out(&layer, &["no".to_owned()], &output, owner).unwrap_err();
        assert!(matches!(absent, TakeError::Absent(path) if path == "no"));
        fs::remove_dir_all(top).unwrap();
    }
}
