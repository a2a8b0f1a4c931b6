//! Files of the user's, put in their places: all of them or none, nothing replaced unasked, as the user's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};

use crate::caller::Caller;
use crate::error::Error;

/// The folder of a file.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}

/// `path` as it is called from `folder`; both are absolute.
pub(super) fn relative(folder: &Path, path: &Path) -> String {
    let (folder, path) = (normal(folder), normal(path));
    let same = folder
        .components()
        .zip(path.components())
        .take_while(|(one, other)| one == other)
        .count();
    let up = folder.components().skip(same).map(|_| "..".to_owned());
    let down = path
        .components()
        .skip(same)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// Without `.` and `..`, by its text.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// Writes the files, and the folders that they need, as the caller's.
///
/// # Errors
/// One of them is there (unless `force`), or cannot be written: what was new is removed again.
pub(super) fn put(files: &[(PathBuf, String)], force: bool, caller: &Caller) -> Result<(), Error> {
    let there = files.iter().filter(|(path, _)| path.symlink_metadata().is_ok());
    let there: Vec<String> = there.map(|(path, _)| format!("`{}`", path.display())).collect();
    if !force && !there.is_empty() {
        return Err(Error::Usage {
            message: format!(
                "{} {} there already",
                there.join(", "),
                if there.len() == 1 { "is" } else { "are" }
            ),
            hint: Some("`--force` replaces; `-o` writes elsewhere".to_owned()),
        });
    }
    let mut made = Vec::new();
    for (path, text) in files {
        if let Err(error) = one(path, text, caller, &mut made) {
            remove(&made);
            return Err(Error::Environment {
                message: format!("cannot write `{}`: {error}", path.display()),
                hint: None,
            });
        }
    }
    Ok(())
}

/// Writes one file beside its place and moves it there; `made` learns what is new.
fn one(path: &Path, text: &str, caller: &Caller, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let folder = folder_of(path);
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder)?;
        made.push(folder.to_owned());
        std::os::unix::fs::chown(folder, Some(caller.uid), Some(caller.gid))?;
    }
    let is_new = path.symlink_metadata().is_err();
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(format!(".{}", std::process::id()));
    let partial = folder.join(name);
    let written = fill(&partial, text, caller).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    if written.is_ok() && is_new {
        made.push(path.to_owned());
    }
    written
}

fn fill(path: &Path, text: &str, caller: &Caller) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    fchown(&file, Some(caller.uid), Some(caller.gid))
}

/// The inverse: the newest first; a folder that somebody uses meanwhile stays.
fn remove(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = match path.is_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_the_folder() {
        let told = |folder: &str, path: &str| relative(Path::new(folder), Path::new(path));
        assert_eq!(told("/a/b", "/a/b/c/README.md"), "c/README.md");
        assert_eq!(told("/a/b", "/a/c/./README.md"), "../c/README.md");
        assert_eq!(told("/a/b/c/..", "/a/b/x"), "x");
        assert_eq!(told("/", "/x"), "x");
    }

    #[test]
    fn half_of_it_is_nothing() {
        let folder = std::env::temp_dir().join(format!("pactown-place-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let caller = Caller {
            uid: nix::unistd::Uid::effective().as_raw(),
            gid: nix::unistd::Gid::effective().as_raw(),
            ..crate::desired::tests::empty().caller
        };
        let file = |name: &str| (folder.join(name), "text\n".to_owned());
        // The second one's folder is a file.
        fs::write(folder.join("taken"), "").unwrap();
        let files = [file("new/a"), file("taken/b")];
        assert!(matches!(
            put(&files, false, &caller),
            Err(Error::Environment { .. })
        ));
        assert!(!folder.join("new").exists());
        assert!(put(&[file("new/a")], false, &caller).is_ok());
        let error = put(&[file("new/a"), file("b")], false, &caller).unwrap_err();
        assert!(error.exit_code() == 2 && !folder.join("b").exists(), "{error}");
        assert!(put(&[file("new/a")], true, &caller).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }
}
