//! `publish`, `pull` and `registry …`: what travels between this machine's files and a registry.

mod connect;
mod import;
mod keys;
mod login;
mod proof;
mod publish;
mod pull;
mod resolve;
mod serve;
mod token;

use serde_json::json;

use super::Context;
use crate::cli::{
    ArtifactArguments, Command, DeleteArguments, GcArguments, RegistryArguments, RegistryOptions,
    RegistryVerb, SearchArguments, VerifyArguments, YankArguments,
};
use crate::error::Error;
use crate::output;
use crate::registry::evidence::Evidence;
use crate::registry::name::{ArtifactId, Reference};
use crate::registry::signing::Envelope;
use crate::registry::text::plain;
use crate::registry::version::Selector;
use connect::{Connection, connect, failed};

pub(super) use publish::run as publish;
pub(super) use pull::run as pull;
pub(super) use resolve::{Found, Part};

/// `registry …`.
pub(super) fn run(context: &Context, arguments: &RegistryArguments) -> Result<(), Error> {
    match &arguments.verb {
        RegistryVerb::Serve(arguments) => serve::run(context, arguments),
        RegistryVerb::Login(arguments) => login::login(context, arguments),
        RegistryVerb::Logout(arguments) => login::logout(context, arguments),
        RegistryVerb::Search(arguments) => search(context, arguments),
        RegistryVerb::Info(arguments) => info(context, arguments),
        RegistryVerb::Versions(arguments) => versions(context, arguments),
        RegistryVerb::Yank(arguments) => yank(context, arguments),
        RegistryVerb::Delete(arguments) => delete(context, arguments),
        RegistryVerb::Token(arguments) => token::run(context, &arguments.verb),
        RegistryVerb::Keygen(arguments) => keys::generate(context, arguments),
        RegistryVerb::Verify(arguments) => verify(context, arguments),
        RegistryVerb::Resolve(arguments) => resolve::run(context, arguments),
        RegistryVerb::Gc(arguments) => sweep(context, arguments),
        RegistryVerb::ImportPython(arguments) => import::run(context, arguments),
    }
}

/// The older program's server has other defaults.
pub(super) fn as_older_program(command: &mut Command) {
    if let Command::Registry(arguments) = command
        && let RegistryVerb::Serve(arguments) = &mut arguments.verb
    {
        serve::as_older_program(arguments);
    }
}

/// The registry of verbs that know no namespace.
fn only(registry: &Option<String>) -> RegistryOptions {
    RegistryOptions {
        registry: registry.clone(),
        ..RegistryOptions::default()
    }
}

fn search(context: &Context, arguments: &SearchArguments) -> Result<(), Error> {
    let connection = connect(context, &only(&arguments.registry))?;
    let (text, namespace) = (arguments.text.as_deref(), arguments.namespace.as_deref());
    let found = connection
        .client
        .list(text, namespace, arguments.limit)
        .map_err(failed)?;
    if context.json {
        return context.output.json(&found);
    }
    let row = |artifact: &crate::registry::api::Artifact| {
        vec![
            plain(&format!("{}/{}", artifact.namespace, artifact.name)),
            plain(artifact.latest_version.as_deref().unwrap_or("")),
            plain(&artifact.description),
        ]
    };
    if found.is_empty() {
        context
            .output
            .notice(&format!("nothing found in {}", connection.place));
    } else {
        let header = ["NAME", "LATEST", "DESCRIPTION"];
        context.output.table(&header, found.iter().map(row).collect());
    }
    Ok(())
}

fn info(context: &Context, arguments: &ArtifactArguments) -> Result<(), Error> {
    let connection = connect(context, &arguments.registry)?;
    let artifact = connection.artifact(&arguments.artifact)?;
    let found = connection
        .client
        .artifact(&artifact)
        .map_err(|error| not_found(&artifact.to_string(), error))?;
    let latest = latest(&connection, &artifact, &found)?;
    if context.json {
        let mut told = json!(found);
        told["evidence"] = json!(latest.evidence);
        told["signed_by"] = json!(latest.signed_by);
        return context.output.json(&told);
    }
    let lines = [
        ("name", artifact.to_string()),
        ("description", found.description),
        ("latest", found.latest_version.unwrap_or_default()),
        ("versions", found.versions.join(", ")),
        ("tags", found.tags.join(", ")),
        (
            "tests",
            latest
                .evidence
                .map(|evidence| evidence.to_string())
                .unwrap_or_default(),
        ),
        ("signed by", latest.signed_by.join(", ")),
        ("registry", connection.place.to_string()),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        context.output.line(&format!("{name:<12} {}", plain(value)));
    }
    Ok(())
}

/// What the latest version says of itself. Who has signed it is proved by `pull --require-signature`.
#[derive(Default)]
struct Latest {
    evidence: Option<Evidence>,
    signed_by: Vec<String>,
}

fn latest(
    connection: &Connection,
    artifact: &ArtifactId,
    found: &crate::registry::api::Artifact,
) -> Result<Latest, Error> {
    let Some(number) = found.latest_version.as_deref().and_then(|text| text.parse().ok()) else {
        return Ok(Latest::default());
    };
    let client = &connection.client;
    let fetched = client.fetch_exact(artifact, &number).map_err(failed)?;
    let signatures = client.signatures(&fetched).map_err(failed)?;
    let ids = signatures.iter().flat_map(Envelope::key_ids);
    Ok(Latest {
        evidence: fetched.evidence(),
        signed_by: ids.map(plain).collect(),
    })
}

fn versions(context: &Context, arguments: &ArtifactArguments) -> Result<(), Error> {
    let connection = connect(context, &arguments.registry)?;
    let artifact = connection.artifact(&arguments.artifact)?;
    let found = connection
        .client
        .versions(&artifact)
        .map_err(|error| not_found(&artifact.to_string(), error))?;
    if context.json {
        return context.output.json(&found.versions);
    }
    let row = |row: &crate::registry::api::VersionRow| {
        vec![
            plain(&row.version),
            plain(row.published_at.get(..19).unwrap_or(&row.published_at)),
            output::figures::bytes(Some(row.size)),
            if row.yanked { "yanked" } else { "" }.to_owned(),
            plain(&row.checksum),
        ]
    };
    let header = ["VERSION", "PUBLISHED", "SIZE", "STATE", "SHA256"];
    context
        .output
        .table(&header, found.versions.iter().map(row).collect());
    Ok(())
}

fn yank(context: &Context, arguments: &YankArguments) -> Result<(), Error> {
    let reference = reference(&arguments.reference)?;
    let Selector::Exact(version) = &reference.selector else {
        return Err(Error::Usage {
            message: format!("'{}' names no version", plain(&arguments.reference)),
            hint: Some(format!("write {}@1.2.3", plain(&reference.name))),
        });
    };
    let connection = connect(context, &arguments.registry)?;
    let artifact = reference.artifact(&connection.namespace).map_err(usage)?;
    let told = format!("{artifact}@{version}");
    connection
        .client
        .yank(&artifact, version, !arguments.undo)
        .map_err(|error| not_found(&told, error))?;
    let done = if arguments.undo { "restored" } else { "yanked" };
    if context.json {
        return context.output.json(&json!({"artifact": artifact.to_string(), "version": version.to_string(), "yanked": !arguments.undo}));
    }
    context.output.line(&format!("{done} {told}"));
    Ok(())
}

fn delete(context: &Context, arguments: &DeleteArguments) -> Result<(), Error> {
    let connection = connect(context, &arguments.registry)?;
    let artifact = connection.artifact(&arguments.artifact)?;
    let question = format!(
        "take {artifact} away from {} with all its versions? [y/N] ",
        connection.place
    );
    if !arguments.yes && output::ask(&question).as_deref() != Some("y") {
        return Err(Error::Failed("nothing was deleted".to_owned()));
    }
    connection
        .client
        .delete(&artifact)
        .map_err(|error| not_found(&artifact.to_string(), error))?;
    context.output.line(&format!("deleted {artifact}"));
    Ok(())
}

fn verify(context: &Context, arguments: &VerifyArguments) -> Result<(), Error> {
    let connection = connect(context, &arguments.registry)?;
    if let Some(text) = &arguments.reference {
        let reference = reference(text)?;
        let fetched = connection
            .client
            .fetch(&reference, &connection.namespace)
            .map_err(failed)?;
        context.output.line(&format!(
            "ok: {}@{} {}",
            fetched.artifact, fetched.version, fetched.digest
        ));
        if let Some(evidence) = fetched.evidence() {
            context.output.line(&format!("tests {evidence}"));
        }
        return Ok(());
    }
    let checked = connection.client.check().map_err(failed)?;
    if context.json {
        context.output.json(&checked)?;
    } else {
        for damaged in &checked.damaged {
            let told = format!(
                "damaged: {}@{} sha256:{}",
                damaged.artifact, damaged.version, damaged.checksum
            );
            context.output.line(&plain(&told));
        }
        for told in &checked.database {
            context.output.line(&plain(&format!("database: {told}")));
        }
    }
    match checked.damaged.len() + checked.database.len() {
        0 if context.json => Ok(()),
        0 => {
            context.output.line(&format!(
                "ok: {} versions are what was published",
                checked.versions
            ));
            Ok(())
        }
        bad => Err(Error::Failed(format!(
            "{bad} of {} versions are damaged",
            checked.versions
        ))),
    }
}

fn sweep(context: &Context, arguments: &GcArguments) -> Result<(), Error> {
    let connection = connect(context, &only(&arguments.registry))?;
    let swept = connection.client.sweep().map_err(failed)?;
    if context.json {
        return context.output.json(&swept);
    }
    let size = output::figures::bytes(Some(swept.bytes));
    context
        .output
        .line(&format!("removed {} contents, {size}", swept.count));
    Ok(())
}

impl Connection {
    fn artifact(&self, text: &str) -> Result<ArtifactId, Error> {
        let reference = reference(text)?;
        reference.artifact(&self.namespace).map_err(usage)
    }
}

fn reference(text: &str) -> Result<Reference, Error> {
    text.parse().map_err(usage)
}

fn usage(message: String) -> Error {
    Error::Usage {
        message,
        hint: Some("write [NAMESPACE/]NAME[@RANGE], such as acme/auth@^1.2".to_owned()),
    }
}

/// With the name of what was not found.
fn not_found(what: &str, error: crate::registry::client::ClientError) -> Error {
    match error {
        crate::registry::client::ClientError::Refused { status: 404, message } => {
            Error::Failed(format!("{what}: {}", message.to_lowercase()))
        }
        other => failed(other),
    }
}
