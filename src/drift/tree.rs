//! The digest of a directory tree: names, kinds, modes, link targets and contents; no times, no owners.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// `sha256:…` over the tree at `top`. Nothing is followed.
pub(super) fn digest(top: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    directory(top, Path::new(""), &mut hash)?;
    Ok(format!("sha256:{}", crate::hex::digits(hash.finalize())))
}

fn directory(path: &Path, below: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&path)?;
        part(name.as_os_str().as_bytes(), hash);
        hash.update(metadata.mode().to_le_bytes());
        if metadata.is_dir() {
            directory(&path, &name, hash)?;
        } else if metadata.is_symlink() {
            part(fs::read_link(&path)?.as_os_str().as_bytes(), hash);
        } else if metadata.is_file() {
            hash.update(metadata.len().to_le_bytes());
            io::copy(&mut File::open(&path)?, &mut Writer(hash))?;
        }
    }
    Ok(())
}

/// With its length: no two trees give the same bytes.
fn part(bytes: &[u8], hash: &mut Sha256) {
    hash.update(bytes.len().to_le_bytes());
    hash.update(bytes);
}

struct Writer<'a>(&'a mut Sha256);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_mode_and_names_count_and_times_do_not() {
        let top = std::env::temp_dir().join(format!("pactown-tree-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(top.join("etc")).unwrap();
        fs::write(top.join("etc/hostname"), "one").unwrap();
        let first = digest(&top).unwrap();
        fs::write(top.join("etc/hostname"), "one").unwrap();
        assert_eq!(digest(&top).unwrap(), first);
        fs::write(top.join("etc/hostname"), "two").unwrap();
        let second = digest(&top).unwrap();
        assert_ne!(second, first);
        fs::rename(top.join("etc/hostname"), top.join("etc/hosts")).unwrap();
        let third = digest(&top).unwrap();
        assert_ne!(third, second);
        std::os::unix::fs::symlink("/nowhere", top.join("link")).unwrap();
        assert_ne!(digest(&top).unwrap(), third);
        fs::remove_dir_all(&top).unwrap();
        assert!(digest(&top).is_err());
    }
}
