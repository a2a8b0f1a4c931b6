//! `publish`: READMEs are checked first, all of them, and only then sent.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::connect::{Connection, connect, connect_for, failed, repository};
use super::keys;
use super::proof::Proof;
use super::resolve::DEPENDS_ON;
use crate::cli::{self, PublishArguments};
use crate::commands::{Context, wish};
use crate::config::Ecosystem;
use crate::config::ecosystem::Service;
use crate::error::Error;
use crate::markpact::{self, Recipe};
use crate::registry::api;
use crate::registry::client::{Client, Place, Receipt, oci};
use crate::registry::evidence::Evidence;
use crate::registry::name::{ArtifactId, Reference};
use crate::registry::signing::{Claim, Envelope, SigningKey};
use crate::registry::store::Digest;
use crate::registry::version::{self, Selector};

/// Longest description.
const MAX_DESCRIPTION: usize = 1024;

pub(in crate::commands) fn run(context: &Context, arguments: &PublishArguments) -> Result<(), Error> {
    let key = arguments.sign.as_deref().map(keys::signing).transpose()?;
    // While this is still the user that may make sandboxes.
    let proof = match arguments.test {
        true => Some(Proof::of(context, &tested(&arguments.targets))?),
        false => None,
    };
    let (connection, mut wishes) = wishes(context, arguments)?;
    for wish in &mut wishes {
        if let Some(proof) = &proof {
            proof.attach(context, &wish.readme, &mut wish.publish)?;
        }
    }
    let mut results = Vec::new();
    for Wish { publish, .. } in &wishes {
        let signature = key.as_ref().map(|key| sign(key, publish)).transpose()?;
        let receipt = match arguments.dry_run {
            true => None,
            false => {
                let sent = connection.client.publish(publish, signature.as_ref());
                Some(sent.map_err(failed)?)
            }
        };
        match context.json {
            true => results.push(result(publish, receipt.as_ref(), key.as_ref())),
            false => tell(context, &connection, publish, receipt.as_ref(), key.as_ref()),
        }
    }
    match context.json {
        true => context.output.json(&results),
        false => Ok(()),
    }
}

/// A README, and what is published of it.
struct Wish {
    readme: PathBuf,
    publish: api::Publish,
}

fn wishes(context: &Context, arguments: &PublishArguments) -> Result<(Connection, Vec<Wish>), Error> {
    match arguments.targets.as_slice() {
        [readme] if is_readme(readme) => {
            let connection = connect(context, &arguments.registry)?;
            let wish = of_readme(Path::new(readme), arguments, &connection.namespace)?;
            Ok((connection, vec![wish]))
        }
        [readme, address] if is_readme(readme) && address.starts_with(oci::SCHEME) => {
            to_repository(Path::new(readme), address, arguments)
        }
        targets => of_ecosystem(context, targets, arguments),
    }
}

/// What is tested: the same without where it goes.
fn tested(targets: &[String]) -> Vec<String> {
    let mut targets = targets.to_vec();
    targets.retain(|target| !target.starts_with(oci::SCHEME));
    targets
}

fn sign(key: &SigningKey, publish: &api::Publish) -> Result<Envelope, Error> {
    let wrong = |message: String| Error::Usage { message, hint: None };
    let artifact = ArtifactId::new(&publish.namespace, &publish.name).map_err(wrong)?;
    let digest = Digest::of(publish.readme_content.as_bytes());
    let claim = Claim {
        artifact: &artifact,
        version: &version::parse(&publish.version).map_err(wrong)?,
        digest: &digest,
    };
    Ok(key.sign(claim, Evidence::within(&publish.metadata, &digest)))
}

fn result(publish: &api::Publish, receipt: Option<&Receipt>, key: Option<&SigningKey>) -> Value {
    let digest = Digest::of(publish.readme_content.as_bytes());
    let manifest = receipt.and_then(|receipt| receipt.manifest.as_ref());
    json!({
        "artifact": format!("{}/{}", publish.namespace, publish.name),
        "version": publish.version,
        "checksum": receipt.map(|receipt| &receipt.checksum),
        "manifest": manifest.map(ToString::to_string),
        "evidence": Evidence::within(&publish.metadata, &digest),
        "signed_by": key.map(|key| key.public().id()),
        "published": receipt.is_some(),
    })
}

fn tell(
    context: &Context,
    connection: &Connection,
    publish: &api::Publish,
    receipt: Option<&Receipt>,
    key: Option<&SigningKey>,
) {
    let (namespace, name, number) = (&publish.namespace, &publish.name, &publish.version);
    let told = format!("{namespace}/{name}@{number}");
    let place = &connection.place;
    context.output.line(&match receipt {
        Some(receipt) => format!("published {told} sha256:{} to {place}", receipt.checksum),
        None => format!("would publish {told} to {place}"),
    });
    let digest = Digest::of(publish.readme_content.as_bytes());
    let manifest = receipt.and_then(|receipt| receipt.manifest.as_ref());
    let lines = [
        manifest.map(|digest| format!("manifest {digest}")),
        Evidence::within(&publish.metadata, &digest).map(|evidence| format!("tests {evidence}")),
        key.map(|key| format!("signed by {}", key.public().id())),
    ];
    for line in lines.into_iter().flatten() {
        context.output.line(&line);
    }
}

fn is_readme(target: &str) -> bool {
    Path::new(target)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

fn of_ecosystem(
    context: &Context,
    targets: &[String],
    arguments: &PublishArguments,
) -> Result<(Connection, Vec<Wish>), Error> {
    let (config, services) = cli::split_config(targets);
    let wish = wish::load(context, config.as_deref())?;
    let ecosystem = &wish.desired.ecosystem;
    if let Some(unknown) = services
        .iter()
        .find(|name| !ecosystem.services.contains_key(*name))
    {
        let names: Vec<&str> = ecosystem.services.keys().map(String::as_str).collect();
        return Err(Error::Usage {
            message: format!("there is no service '{unknown}'"),
            hint: Some(format!("services: {}", names.join(", "))),
        });
    }
    let chosen = ecosystem
        .services
        .values()
        .filter(|service| services.is_empty() || services.contains(&service.name))
        // What comes from a registry is there.
        .filter(|service| service.from.is_none());
    let connection = connect_for(&arguments.registry, Some(ecosystem))?;
    let number = arguments.version.as_ref().unwrap_or(&ecosystem.version);
    let mut wishes = Vec::new();
    for service in chosen {
        let recipe = wish.desired.recipes.get(&service.name);
        let mut wish = composed(
            &service.readme,
            &service.name,
            number,
            arguments,
            &connection.namespace,
        )?;
        wish.publish.description = description(arguments, recipe);
        wish.publish.metadata = metadata(ecosystem, service, &connection.namespace);
        wishes.push(wish);
    }
    Ok((connection, wishes))
}

/// A README to the repository that is named, whose last two names are namespace and name.
fn to_repository(
    readme: &Path,
    address: &str,
    arguments: &PublishArguments,
) -> Result<(Connection, Vec<Wish>), Error> {
    let wrong = |message: String| Error::Usage {
        message,
        hint: Some("pactown publish README.md oci://HOST[:PORT]/NAMESPACE/NAME:1.0.0".to_owned()),
    };
    let address: oci::Address = address.parse().map_err(wrong)?;
    let artifact = address.artifact().map_err(wrong)?;
    if arguments
        .name
        .as_deref()
        .is_some_and(|name| name != artifact.name())
    {
        return Err(wrong(format!(
            "--name is another one than that of {address}: leave it out"
        )));
    }
    let tagged = match &address.wanted {
        None => None,
        Some(oci::Wanted::Version(Selector::Exact(version))) => Some(version.to_string()),
        Some(_) => return Err(wrong(format!("{address} names no version"))),
    };
    let number = arguments.version.clone().or(tagged);
    let wish = of_readme_as(
        readme,
        arguments,
        (artifact.namespace(), artifact.name()),
        number.as_deref(),
    )?;
    let place = repository(&arguments.registry, &address)?;
    let connection = Connection {
        client: Client::oci(place.open().map_err(failed)?),
        namespace: artifact.namespace().to_owned(),
        place: Place::Oci(place),
    };
    Ok((connection, vec![wish]))
}

/// Where a service comes from, and what it needs: with this, whoever takes it gets that too.
fn metadata(ecosystem: &Ecosystem, service: &Service, namespace: &str) -> Map<String, Value> {
    let mut metadata = Map::from_iter([("ecosystem".to_owned(), json!(ecosystem.name))]);
    let needed = service
        .depends_on
        .iter()
        .filter(|dependency| dependency.required && dependency.endpoint.is_none());
    let needs: Vec<String> = needed
        .filter_map(|dependency| {
            let from = ecosystem.services.get(&dependency.name)?.from.clone();
            let text = from.unwrap_or_else(|| format!("{}@{}", dependency.name, dependency.version));
            let any = || format!("{}@*", dependency.name).parse::<Reference>();
            let reference = text.parse::<Reference>().or_else(|_| any()).ok()?;
            Some(reference.in_namespace(namespace))
        })
        .collect();
    if !needs.is_empty() {
        metadata.insert(DEPENDS_ON.to_owned(), json!(needs));
    }
    metadata
}

fn of_readme(readme: &Path, arguments: &PublishArguments, namespace: &str) -> Result<Wish, Error> {
    let folder = std::path::absolute(readme)
        .ok()
        .and_then(|path| Some(path.parent()?.file_name()?.to_owned()));
    let folder = folder
        .and_then(|folder| folder.into_string().ok())
        .unwrap_or_default();
    let name = arguments.name.clone().unwrap_or(folder);
    of_readme_as(
        readme,
        arguments,
        (namespace, &name),
        arguments.version.as_deref(),
    )
}

fn of_readme_as(
    readme: &Path,
    arguments: &PublishArguments,
    (namespace, name): (&str, &str),
    number: Option<&str>,
) -> Result<Wish, Error> {
    let recipe = markpact::read(readme)?;
    let Some(number) = number else {
        return Err(Error::Usage {
            message: "a README has no version of its own".to_owned(),
            hint: Some(format!("pactown publish {} --version 1.0.0", readme.display())),
        });
    };
    let mut wish = composed(readme, name, number, arguments, namespace)?;
    wish.publish.description = description(arguments, Some(&recipe));
    Ok(wish)
}

fn composed(
    readme: &Path,
    name: &str,
    number: &str,
    arguments: &PublishArguments,
    namespace: &str,
) -> Result<Wish, Error> {
    let wrong = |message: String, hint: &str| Error::Usage {
        message,
        hint: Some(hint.to_owned()),
    };
    ArtifactId::new(namespace, name)
        .map_err(|error| wrong(error, "choose another one: --name NAME, --namespace NAME"))?;
    version::parse(number).map_err(|error| wrong(error, "write it with three numbers: --version 1.2.3"))?;
    let readme_content = std::fs::read_to_string(readme).map_err(|error| Error::Environment {
        message: format!("{} cannot be read: {error}", readme.display()),
        hint: None,
    })?;
    if let Some((line, path)) = markpact::first_include(&readme_content) {
        return Err(wrong(
            format!(
                "{}:{line}: it includes `{path}`, and what is published has to stand alone",
                readme.display()
            ),
            "put the blocks of that README into this one",
        ));
    }
    let publish = api::Publish {
        name: name.to_owned(),
        version: number.to_owned(),
        readme_content,
        namespace: namespace.to_owned(),
        description: String::new(),
        tags: arguments.tags.clone(),
        metadata: Map::new(),
    };
    Ok(Wish {
        readme: readme.to_owned(),
        publish,
    })
}

fn description(arguments: &PublishArguments, recipe: Option<&Recipe>) -> String {
    let title = recipe.and_then(|recipe| recipe.title.clone()).unwrap_or_default();
    let text = arguments.description.clone().unwrap_or(title);
    text.chars().take(MAX_DESCRIPTION).collect()
}
