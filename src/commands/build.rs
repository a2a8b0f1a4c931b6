//! `build`: runs the `build` blocks of READMEs in build sandboxes and copies out what they made.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::wish::{self, Wish};
use super::{Context, errand, preflight, privilege, run, supply, up};
use crate::bundle::artifacts;
use crate::cli::BuildArguments;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{BuildRequest, Progress};
use crate::desired::Desired;
use crate::error::{Error, chain};
use crate::prepare::Layers;

/// What `--json` says of one build.
#[derive(Serialize)]
struct Built {
    service: ServiceName,
    /// Where its artifacts are.
    output: PathBuf,
    /// Their paths below it.
    artifacts: Vec<String>,
}

pub(super) fn run(context: &Context, arguments: &BuildArguments) -> Result<(), Error> {
    let (desired, services) = wanted(context, arguments)?;
    if arguments.list {
        return list(context, &desired, &services);
    }
    if services.is_empty() {
        return Err(nothing(&desired, None));
    }
    privilege::require_root()?;
    preflight::check(context, &desired)?;
    run::make_room()?;
    // What was built stays until it is copied.
    let _hold = Layers::system().hold().map_err(|error| broken(&error))?;
    let request = BuildRequest {
        desired: Box::new(desired),
        services,
    };
    let layers = ask(context, &request)?;
    let alone = arguments.target.is_some();
    let mut built = Vec::new();
    for (service, layer) in layers {
        let output = up::absolute(&arguments.output);
        let output = if alone { output } else { output.join(&service) };
        built.push(take_out(&request.desired, service, &layer, output)?);
    }
    report(context, &built)
}

/// Whose blocks are run: of the service or README that is named, or of all that have some.
fn wanted(context: &Context, arguments: &BuildArguments) -> Result<(Desired, Vec<ServiceName>), Error> {
    if let Some(target) = &arguments.target
        && (target.ends_with(".md") || Path::new(target).is_file())
    {
        let desired = run::to_build(context, Path::new(target), arguments.supply)?;
        let services: Vec<ServiceName> = desired.recipes.keys().cloned().collect();
        require(&desired, &services)?;
        return Ok((desired, services));
    }
    let Wish { mut desired, .. } = wish::load(context, None)?;
    let services: Vec<ServiceName> = match &arguments.target {
        Some(name) => {
            let services = &desired.ecosystem.services;
            if !services.contains_key(name) {
                let known: Vec<&str> = services.keys().map(String::as_str).collect();
                return Err(Error::Usage {
                    message: format!(
                        "there is no service '{name}' in `{}`",
                        desired.ecosystem.file.display()
                    ),
                    hint: Some(format!("there are {}", known.join(", "))),
                });
            }
            vec![name.clone()]
        }
        None => {
            let recipes = desired.recipes.iter();
            recipes
                .filter(|(_, recipe)| !recipe.builds().is_empty())
                .map(|(name, _)| name.clone())
                .collect()
        }
    };
    require(&desired, &services)?;
    supply::settle(context, &mut desired, &services, &arguments.supply)?;
    Ok((desired, services))
}

/// Each of them has something to build.
fn require(desired: &Desired, services: &[ServiceName]) -> Result<(), Error> {
    let has_none = |name: &&ServiceName| desired.recipes[*name].builds().is_empty();
    match services.iter().find(has_none) {
        Some(name) => Err(nothing(desired, Some(name))),
        None => Ok(()),
    }
}

fn nothing(desired: &Desired, service: Option<&str>) -> Error {
    let place = match service {
        Some(name) => desired.recipes[name].readme.display().to_string(),
        None => desired.ecosystem.file.display().to_string(),
    };
    Error::Usage {
        message: format!("`{place}` has nothing to build"),
        hint: Some("add a `markpact:build` block to the README".to_owned()),
    }
}

/// Which READMEs have build blocks, and where.
fn list(context: &Context, desired: &Desired, services: &[ServiceName]) -> Result<(), Error> {
    let blocks: Vec<_> = services
        .iter()
        .flat_map(|name| {
            let recipe = &desired.recipes[name];
            recipe.builds().into_iter().map(move |build| {
                let place = format!("{}:{}", recipe.readme.display(), build.text.lines.first);
                (name, place, build.artifacts)
            })
        })
        .collect();
    if context.json {
        let blocks: Vec<_> = blocks
            .iter()
            .map(|(name, place, artifacts)| {
                serde_json::json!({"service": name, "block": place, "artifacts": artifacts})
            })
            .collect();
        return context.output.json(&blocks);
    }
    let rows = blocks.into_iter().map(|(name, place, artifacts)| {
        let artifacts = match artifacts.is_empty() {
            true => "whatever it writes".to_owned(),
            false => artifacts.join(", "),
        };
        vec![name.clone(), place, artifacts]
    });
    context
        .output
        .table(&["SERVICE", "BLOCK", "ARTIFACTS"], rows.collect());
    Ok(())
}

/// Has the supervisor build: the layer of each.
fn ask(context: &Context, request: &BuildRequest) -> Result<Vec<(ServiceName, PathBuf)>, Error> {
    let mut built = Vec::new();
    let exit_code = errand::run(
        context,
        &request.desired,
        ("/v1/build", request),
        &mut |progress| match progress {
            Progress::Built { service, layer } => {
                built.push((service, layer));
                None
            }
            other => Some(other),
        },
    )?;
    let message = "not everything could be built".to_owned();
    match exit_code {
        0 => Ok(built),
        3 => Err(Error::Environment { message, hint: None }),
        _ => Err(Error::Failed(message)),
    }
}

fn take_out(desired: &Desired, service: ServiceName, layer: &Path, output: PathBuf) -> Result<Built, Error> {
    let recipe = &desired.recipes[&service];
    let mut wanted: Vec<String> = recipe
        .builds()
        .into_iter()
        .flat_map(|build| build.artifacts)
        .collect();
    wanted.sort();
    wanted.dedup();
    let owner = (desired.caller.uid, desired.caller.gid);
    let artifacts = artifacts::take_out(layer, &wanted, &output, owner).map_err(|error| match error {
        artifacts::TakeError::Absent(path) => Error::Failed(format!(
            "{}: the build of '{service}' made no `{path}`",
            recipe.readme.display()
        )),
        artifacts::TakeError::Empty => Error::Failed(format!(
            "{}: the build of '{service}' made nothing",
            recipe.readme.display()
        )),
        error => broken(&error),
    })?;
    Ok(Built {
        service,
        output,
        artifacts,
    })
}

fn broken(error: &dyn std::error::Error) -> Error {
    Error::Environment {
        message: chain(error),
        hint: None,
    }
}

fn report(context: &Context, built: &[Built]) -> Result<(), Error> {
    if context.json {
        return context.output.json(&built);
    }
    for one in built {
        let artifacts = one.artifacts.join(", ");
        let line = format!("{}: {artifacts} in `{}`", one.service, one.output.display());
        context.output.line(&line);
    }
    Ok(())
}
