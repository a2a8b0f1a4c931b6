//! `registry import-python`: the versions of the older tool's `index.json`, published one by one.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connect::{connect, failed};
use super::only;
use crate::cli::ImportArguments;
use crate::commands::Context;
use crate::error::Error;
use crate::registry::api;
use crate::registry::text::plain;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    artifacts: BTreeMap<String, Artifact>,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    versions: BTreeMap<String, Version>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    readme_content: String,
    #[serde(default)]
    published_at: Value,
    #[serde(default)]
    metadata: Map<String, Value>,
}

fn default_namespace() -> String {
    api::DEFAULT_NAMESPACE.to_owned()
}

pub(super) fn run(context: &Context, arguments: &ImportArguments) -> Result<(), Error> {
    let file = arguments.directory.join("index.json");
    let unreadable = |error: &dyn std::fmt::Display| Error::Environment {
        message: format!("{}: {error}", file.display()),
        hint: Some("give the folder that the older tool's registry was started with".to_owned()),
    };
    let text = fs::read(&file).map_err(|error| unreadable(&error))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    let connection = connect(context, &only(&arguments.registry))?;
    let (mut taken, mut refused) = (0_usize, Vec::new());
    for artifact in index.artifacts.values() {
        for version in artifact.versions.values() {
            match connection.client.publish(&wish(artifact, version), None) {
                Ok(_) => taken += 1,
                // One bad name is no reason to lose the others.
                Err(error) => {
                    let name = format!("{}/{}@{}", artifact.namespace, artifact.name, version.version);
                    refused.push((plain(&name), failed(error).to_string()));
                }
            }
        }
    }
    if context.json {
        context
            .output
            .json(&json!({"imported": taken, "refused": refused}))?;
    } else {
        for (name, reason) in &refused {
            context.output.line(&format!("refused {name}: {reason}"));
        }
        context
            .output
            .line(&format!("imported {taken} versions into {}", connection.place));
    }
    match refused.len() {
        0 => Ok(()),
        count => Err(Error::Failed(format!("{count} versions were refused"))),
    }
}

/// When it was published there is kept beside what its publisher added.
fn wish(artifact: &Artifact, version: &Version) -> api::Publish {
    let mut metadata = version.metadata.clone();
    if !version.published_at.is_null() {
        metadata.insert("imported_published_at".to_owned(), version.published_at.clone());
    }
    api::Publish {
        name: artifact.name.clone(),
        version: version.version.clone(),
        readme_content: version.readme_content.clone(),
        namespace: artifact.namespace.clone(),
        description: artifact.description.clone(),
        tags: artifact.tags.clone(),
        metadata,
    }
}
