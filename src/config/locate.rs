//! Which file is meant: the named one, the one in a named directory, or the one in this directory or above.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

const NAME: &str = "saas.pactown.yaml";
const SUFFIX: &str = ".pactown.yaml";

/// The absolute path of the ecosystem file. Without a name, `from` and the directories above it are searched.
pub fn locate(named: Option<&Path>, from: &Path) -> Result<PathBuf, Error> {
    let from = absolute(from)?;
    match named {
        Some(named) => at(&absolute(&from.join(named))?),
        None => above(&from),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path)
        .map_err(|error| usage(format!("'{}': {error}", path.display()), "name the file"))
}

fn at(path: &Path) -> Result<PathBuf, Error> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if path.is_dir() {
        let hint = format!("write a '{NAME}', or name the file");
        return within(path)?
            .ok_or_else(|| usage(format!("no ecosystem file in '{}'", path.display()), &hint));
    }
    let why = match path.symlink_metadata() {
        Ok(_) => "is not a file".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    let hint = format!("name an ecosystem file, or the directory that holds '{NAME}'");
    Err(usage(format!("'{}' {why}", path.display()), &hint))
}

fn above(from: &Path) -> Result<PathBuf, Error> {
    for directory in from.ancestors() {
        if let Some(found) = within(directory)? {
            return Ok(found);
        }
    }
    let message = format!("no '{NAME}' in '{}' or a directory above it", from.display());
    Err(usage(
        message,
        "go to the directory of the ecosystem, or name its file",
    ))
}

/// The file of this directory: the one of the usual name, else the only one.
fn within(directory: &Path) -> Result<Option<PathBuf>, Error> {
    let usual = directory.join(NAME);
    if usual.is_file() {
        return Ok(Some(usual));
    }
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(None);
    };
    let mut others: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_other(path))
        .collect();
    others.sort();
    match others.len() {
        0 | 1 => Ok(others.pop()),
        _ => {
            let names: Vec<_> = others
                .iter()
                .filter_map(|path| path.file_name())
                .map(Path::new)
                .collect();
            let names: Vec<_> = names.iter().map(|name| format!("'{}'", name.display())).collect();
            let message = format!(
                "several ecosystem files in '{}': {}",
                directory.display(),
                names.join(", ")
            );
            Err(usage(message, "name one of them"))
        }
    }
}

fn is_other(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.ends_with(SUFFIX) && name != SUFFIX) && path.is_file()
}

fn usage(message: String, hint: &str) -> Error {
    Error::Usage {
        message,
        hint: Some(hint.to_owned()),
    }
}
