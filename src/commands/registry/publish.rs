//! `publish`: READMEs are checked first, all of them, and only then sent.

use std::path::Path;

use serde_json::{Map, json};

use super::connect::{Connection, connect, connect_for, failed, repository};
use crate::cli::{self, PublishArguments};
use crate::commands::{Context, wish};
use crate::error::Error;
use crate::markpact::{self, Recipe};
use crate::registry::api;
use crate::registry::client::{Client, Place, oci};
use crate::registry::name::ArtifactId;
use crate::registry::version::{self, Selector};

/// Longest description.
const MAX_DESCRIPTION: usize = 1024;

pub(in crate::commands) fn run(context: &Context, arguments: &PublishArguments) -> Result<(), Error> {
    let (connection, wishes) = match arguments.targets.as_slice() {
        [readme] if is_readme(readme) => {
            let connection = connect(context, &arguments.registry)?;
            let wish = of_readme(Path::new(readme), arguments, &connection.namespace)?;
            (connection, vec![wish])
        }
        [readme, address] if is_readme(readme) && address.starts_with(oci::SCHEME) => {
            to_repository(Path::new(readme), address, arguments)?
        }
        targets => of_ecosystem(context, targets, arguments)?,
    };
    let mut results = Vec::new();
    for wish in &wishes {
        let published = match arguments.dry_run {
            true => None,
            false => Some(connection.client.publish(wish).map_err(failed)?),
        };
        let told = format!("{}/{}@{}", wish.namespace, wish.name, wish.version);
        if context.json {
            results.push(json!({
                "artifact": format!("{}/{}", wish.namespace, wish.name),
                "version": wish.version,
                "checksum": published.as_ref().map(|published| &published.checksum),
                "manifest": published.as_ref().and_then(|published| published.manifest.as_ref()).map(ToString::to_string),
                "published": published.is_some(),
            }));
        } else {
            context.output.line(&match &published {
                Some(published) => format!(
                    "published {told} sha256:{} to {}",
                    published.checksum, connection.place
                ),
                None => format!("would publish {told} to {}", connection.place),
            });
            if let Some(digest) = published.and_then(|published| published.manifest) {
                context.output.line(&format!("manifest {digest}"));
            }
        }
    }
    if context.json {
        context.output.json(&results)
    } else {
        Ok(())
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
) -> Result<(Connection, Vec<api::Publish>), Error> {
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
        .filter(|service| services.is_empty() || services.contains(&service.name));
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
        wish.description = description(arguments, recipe);
        wish.metadata = Map::from_iter([("ecosystem".to_owned(), json!(ecosystem.name))]);
        wishes.push(wish);
    }
    Ok((connection, wishes))
}

/// A README to the repository that is named, whose last two names are namespace and name.
fn to_repository(
    readme: &Path,
    address: &str,
    arguments: &PublishArguments,
) -> Result<(Connection, Vec<api::Publish>), Error> {
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

fn of_readme(readme: &Path, arguments: &PublishArguments, namespace: &str) -> Result<api::Publish, Error> {
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
) -> Result<api::Publish, Error> {
    let recipe = markpact::read(readme)?;
    let Some(number) = number else {
        return Err(Error::Usage {
            message: "a README has no version of its own".to_owned(),
            hint: Some(format!("pactown publish {} --version 1.0.0", readme.display())),
        });
    };
    let mut wish = composed(readme, name, number, arguments, namespace)?;
    wish.description = description(arguments, Some(&recipe));
    Ok(wish)
}

fn composed(
    readme: &Path,
    name: &str,
    number: &str,
    arguments: &PublishArguments,
    namespace: &str,
) -> Result<api::Publish, Error> {
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
    Ok(api::Publish {
        name: name.to_owned(),
        version: number.to_owned(),
        readme_content,
        namespace: namespace.to_owned(),
        description: String::new(),
        tags: arguments.tags.clone(),
        metadata: Map::new(),
    })
}

fn description(arguments: &PublishArguments, recipe: Option<&Recipe>) -> String {
    let title = recipe.and_then(|recipe| recipe.title.clone()).unwrap_or_default();
    let text = arguments.description.clone().unwrap_or(title);
    text.chars().take(MAX_DESCRIPTION).collect()
}
