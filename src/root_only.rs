//! Directories that must be root's alone: whoever owned one of them, or a link in its place, could lead what is written
//! there to files of others.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;
use crate::instance::{FALLBACK_ROOT, LAYER_ROOT, LOG_ROOT, RUN_ROOT};

/// Bits of a mode that let others write.
const WRITABLE: u32 = 0o022;

/// Looks at those that are there. A link is as good as a directory when it is root's too.
///
/// # Errors
/// One is not root's alone; nothing was touched.
pub fn check() -> Result<(), Error> {
    for path in [RUN_ROOT, LOG_ROOT, LAYER_ROOT, FALLBACK_ROOT].map(Path::new) {
        if let Some(fault) = fault(path) {
            return Err(Error::Environment {
                message: format!("`{}` {fault}: it must be root's alone", path.display()),
                hint: Some(format!(
                    "look at what is there (`ls -la {}`), and move it away or give it to root (`chown root`, `chmod go-w`)",
                    path.display()
                )),
            });
        }
    }
    Ok(())
}

/// What is wrong with `path`, in words that follow its name.
fn fault(path: &Path) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("cannot be looked at ({error})")),
        Ok(there) => there,
    };
    // What a link leads to belongs to whoever made the link.
    let target = match fs::metadata(path) {
        Err(_) => return Some("is a link that leads nowhere".to_owned()),
        Ok(target) => target,
    };
    match [&there, &target].into_iter().find(|one| one.uid() != own) {
        Some(strange) => Some(format!("belongs to uid {}", strange.uid())),
        None if !target.is_dir() => Some("is no directory".to_owned()),
        None if target.mode() & WRITABLE != 0 => Some("can be written by others".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_others_can_write_or_lead_elsewhere_is_named() {
        let place = std::env::temp_dir().join(format!("pactown-root-only-{}", std::process::id()));
        let (directory, link) = (place.join("directory"), place.join("link"));
        fs::create_dir_all(&directory).unwrap();
        let told = |path: &Path| fault(path).unwrap_or_default();
        assert_eq!(
            (told(&directory), told(&place.join("none"))),
            (String::new(), String::new())
        );
        symlink(&directory, &link).unwrap();
        assert_eq!(told(&link), "");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(told(&link), "can be written by others");
        fs::remove_dir(&directory).unwrap();
        assert_eq!(told(&link), "is a link that leads nowhere");
        fs::write(&directory, "").unwrap();
        assert_eq!(told(&directory), "is no directory");
        fs::remove_dir_all(&place).unwrap();
    }
}
