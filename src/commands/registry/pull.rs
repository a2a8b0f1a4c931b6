//! `pull`: fetches READMEs, checks them, and only then puts them in their place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::connect::connect;
use super::{not_found, reference};
use crate::cli::PullArguments;
use crate::commands::Context;
use crate::error::Error;
use crate::registry::client::Fetched;

/// What became of a README.
enum Placed {
    New,
    Replaced,
    AlreadyThere,
}

pub(in crate::commands) fn run(context: &Context, arguments: &PullArguments) -> Result<(), Error> {
    let references: Vec<_> = arguments
        .references
        .iter()
        .map(|text| reference(text))
        .collect::<Result<_, _>>()?;
    let connection = connect(context, &arguments.registry)?;
    // Everything is fetched and checked before anything is written.
    let mut fetched = Vec::new();
    for (reference, text) in references.iter().zip(&arguments.references) {
        let found = connection.client.fetch(reference, &connection.namespace);
        fetched.push(found.map_err(|error| not_found(text, error))?);
    }
    let places: Vec<PathBuf> = fetched
        .iter()
        .map(|found| place(&arguments.output, found))
        .collect();
    for (found, place) in fetched.iter().zip(&places) {
        may_write(found, place, arguments.force)?;
    }
    let mut results = Vec::new();
    for (found, place) in fetched.iter().zip(&places) {
        let placed = put(found, place).map_err(|error| Error::Environment {
            message: format!("{} cannot be written: {error}", place.display()),
            hint: None,
        })?;
        results.push(json!({
            "artifact": found.artifact.to_string(),
            "version": found.version.to_string(),
            "sha256": found.digest.as_str(),
            "path": place,
        }));
        if !context.json {
            tell(context, found, place, &placed);
        }
    }
    if context.json {
        context.output.json(&results)
    } else {
        Ok(())
    }
}

fn tell(context: &Context, found: &Fetched, place: &Path, placed: &Placed) {
    let what = match placed {
        Placed::New => "pulled",
        Placed::Replaced => "replaced",
        Placed::AlreadyThere => "already there:",
    };
    let (artifact, version, digest) = (&found.artifact, &found.version, &found.digest);
    context.output.line(&format!(
        "{what} {artifact}@{version} {} {digest}",
        place.display()
    ));
}

/// Names are checked: they cannot lead out of the folder.
fn place(output: &Path, found: &Fetched) -> PathBuf {
    output.join(found.artifact.name()).join("README.md")
}

fn may_write(found: &Fetched, place: &Path, force: bool) -> Result<(), Error> {
    match fs::read(place) {
        Ok(bytes) if bytes != found.readme.as_bytes() && !force => Err(Error::Failed(format!(
            "{} is there and different; --force replaces it",
            place.display()
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Environment {
            message: format!("{} cannot be read: {error}", place.display()),
            hint: None,
        }),
    }
}

/// Written aside, flushed, renamed: whoever looks sees the old one or the new one.
fn put(found: &Fetched, place: &Path) -> io::Result<Placed> {
    let before = fs::read(place).ok();
    if before.as_deref() == Some(found.readme.as_bytes()) {
        return Ok(Placed::AlreadyThere);
    }
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let aside = folder.join(format!(".README.md.{}", std::process::id()));
    let write = || {
        let mut file = File::create_new(&aside)?;
        file.write_all(found.readme.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, place)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written?;
    Ok(match before {
        Some(_) => Placed::Replaced,
        None => Placed::New,
    })
}
