//! `pull`: fetches READMEs, checks them, and only then puts them in their place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::connect::{connect, failed, repository};
use super::keys;
use super::{not_found, reference, usage};
use crate::cli::PullArguments;
use crate::commands::Context;
use crate::error::Error;
use crate::registry::client::{Client, ClientError, Fetched, oci};
use crate::registry::name::{ArtifactId, Reference};
use crate::registry::signing::PublicKey;
use crate::registry::version::Selector;

/// What became of a README.
pub(super) enum Placed {
    New,
    Replaced,
    AlreadyThere,
}

pub(in crate::commands) fn run(context: &Context, arguments: &PullArguments) -> Result<(), Error> {
    let key = arguments
        .require_signature
        .as_deref()
        .map(keys::required)
        .transpose()?;
    // Everything is fetched and checked before anything is written.
    let fetched = fetch(context, arguments, key.as_ref())?;
    let places: Vec<PathBuf> = fetched
        .iter()
        .map(|found| place(&arguments.output, found))
        .collect();
    for (found, place) in fetched.iter().zip(&places) {
        may_write(found, place, arguments.force)?;
    }
    let mut results = Vec::new();
    for (found, place) in fetched.iter().zip(&places) {
        let placed = put(&found.readme, place).map_err(|error| Error::Environment {
            message: format!("{} cannot be written: {error}", place.display()),
            hint: None,
        })?;
        results.push(json!({
            "artifact": found.artifact.to_string(),
            "version": found.version.to_string(),
            "sha256": found.digest.as_str(),
            "manifest": found.manifest.as_ref().map(ToString::to_string),
            "evidence": found.evidence(),
            "signed_by": key.as_ref().map(PublicKey::id),
            "path": place,
        }));
        if !context.json {
            tell(context, found, place, &placed, key.as_ref());
        }
    }
    if context.json {
        context.output.json(&results)
    } else {
        Ok(())
    }
}

/// What one argument means.
enum Source {
    /// The registry that is meant.
    Registry(Reference),
    /// A repository of an OCI registry.
    Oci(oci::Address, ArtifactId),
}

fn fetch(
    context: &Context,
    arguments: &PullArguments,
    key: Option<&PublicKey>,
) -> Result<Vec<Fetched>, Error> {
    let texts = &arguments.references;
    let sources: Vec<Source> = texts.iter().map(|text| source(text)).collect::<Result<_, _>>()?;
    let named = sources.iter().any(|source| matches!(source, Source::Registry(_)));
    let connection = match named {
        true => Some(connect(context, &arguments.registry)?),
        false => None,
    };
    let mut fetched = Vec::new();
    for (source, text) in sources.iter().zip(texts) {
        let found = match (source, &connection) {
            (Source::Oci(address, artifact), _) => {
                let remote = repository(&arguments.registry, address)?.open().map_err(failed)?;
                let latest = oci::Wanted::Version(Selector::Latest);
                let wanted = address.wanted.as_ref().unwrap_or(&latest);
                let found = remote.fetch_wanted(artifact, wanted);
                checked(&Client::oci(remote), found, key)
            }
            (Source::Registry(reference), Some(connection)) => {
                let found = connection.client.fetch(reference, &connection.namespace);
                checked(&connection.client, found, key)
            }
            (Source::Registry(_), None) => continue,
        };
        fetched.push(found.map_err(|error| not_found(text, error))?);
    }
    Ok(fetched)
}

/// What was fetched, when the key that is required has signed it.
fn checked(
    client: &Client,
    found: Result<Fetched, ClientError>,
    key: Option<&PublicKey>,
) -> Result<Fetched, ClientError> {
    let found = found?;
    if let Some(key) = key {
        found.signed_by(key, &client.signatures(&found)?)?;
    }
    Ok(found)
}

fn source(text: &str) -> Result<Source, Error> {
    if !text.starts_with(oci::SCHEME) {
        return reference(text).map(Source::Registry);
    }
    let address: oci::Address = text.parse().map_err(usage)?;
    let artifact = address.artifact().map_err(usage)?;
    Ok(Source::Oci(address, artifact))
}

fn tell(context: &Context, found: &Fetched, place: &Path, placed: &Placed, key: Option<&PublicKey>) {
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
    if let Some(evidence) = found.evidence() {
        context.output.line(&format!("tests {evidence}"));
    }
    if let Some(key) = key {
        context.output.line(&format!("signed by {}", key.id()));
    }
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
pub(super) fn put(readme: &str, place: &Path) -> io::Result<Placed> {
    let before = fs::read(place).ok();
    if before.as_deref() == Some(readme.as_bytes()) {
        return Ok(Placed::AlreadyThere);
    }
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let aside = folder.join(format!(".README.md.{}", std::process::id()));
    let write = || {
        let mut file = File::create_new(&aside)?;
        file.write_all(readme.as_bytes())?;
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
