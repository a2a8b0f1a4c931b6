//! Verbs that only show: `graph`, `config`, `schema`, `env`, `parse`, `spec`. They touch nothing.

use std::fs;

use serde_json::Value;

use super::wish::{self, Wish};
use super::{Context, up};
use crate::cli;
use crate::config;
use crate::config::ecosystem::UnitName;
use crate::desired::Desired;
use crate::error::{Error, chain};
use crate::host::HostFacts;
use crate::identity::IdRange;
use crate::markpact::{self, Recipe};
use crate::network;
use crate::output;
use crate::prepare::{Extras, LayerPlan, Stack, Tools};
use crate::resolver::{self, Format};
use crate::roster::Member;
use crate::spec::portable::Portable;
use crate::spec::{self, Placement, SandboxPlan};

pub(super) fn graph(context: &Context, arguments: &cli::GraphArguments) -> Result<(), Error> {
    let wish = wish::load(context, arguments.config.as_deref())?;
    let format = if context.json {
        Format::Json
    } else {
        arguments.format
    };
    context
        .output
        .text(&resolver::render(&wish.desired, &wish.graph, format));
    Ok(())
}

pub(super) fn config(context: &Context, arguments: &cli::ConfigArguments) -> Result<(), Error> {
    let wish = wish::load(context, arguments.config.as_deref())?;
    let normal = config::normal_form(&wish.desired.ecosystem);
    if context.json {
        return context.output.json(&normal);
    }
    let text = serde_yaml::to_string(&normal).map_err(|source| Error::Internal {
        message: "cannot write YAML".to_owned(),
        source: Some(Box::new(source)),
    })?;
    context.output.text(&text);
    Ok(())
}

pub(super) fn schema(context: &Context) -> Result<(), Error> {
    context.output.json(&config::schema())
}

pub(super) fn env(context: &Context, arguments: &cli::ServiceArguments) -> Result<(), Error> {
    let wish = wish::load(context, None)?;
    wish::known(&wish, std::slice::from_ref(&arguments.service))?;
    let unit = unit(&wish, &arguments.service);
    // Without its toolchain a service cannot start, but all else about it can be told.
    let extras = match preparation(&wish.desired, &unit) {
        Ok((_, extras)) => extras,
        Err(error) => {
            context.output.notice(&error.to_string());
            Extras::default()
        }
    };
    let member = member(&wish.desired, &unit)?;
    let mut variables = resolver::variables(&wish.desired, member, &extras);
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    if context.json {
        return context.output.json(&variables);
    }
    let rows = variables
        .into_iter()
        .map(|variable| vec![variable.name, variable.value, variable.source.to_string()]);
    context.output.table(&["NAME", "VALUE", "FROM"], rows.collect());
    Ok(())
}

/// The sandbox that is shown for this name: of a service with replicas the first.
pub(super) fn unit(wish: &Wish, name: &str) -> UnitName {
    let meant = wish.roster.meant(&[name.to_owned()]);
    meant.into_iter().next().unwrap_or_else(|| name.to_owned())
}

/// The sandbox of this name.
pub(super) fn member<'a>(desired: &'a Desired, name: &str) -> Result<Member<'a>, Error> {
    Member::named(&desired.ecosystem, name).ok_or_else(|| Error::Internal {
        message: format!("there is no '{name}'"),
        source: None,
    })
}

/// The layers of a service and what they add, as far as this host's toolchains go.
fn preparation(desired: &Desired, unit: &str) -> Result<(Vec<LayerPlan>, Extras), Error> {
    let service = member(desired, unit)?.service;
    let tools = Tools::find(desired);
    let recipe = &desired.recipes[&service.name];
    let layers = tools.layers(&service.name, recipe).map_err(|missing| {
        let hint = Some(missing.remedy.to_owned());
        Error::Environment {
            message: missing.to_string(),
            hint,
        }
    })?;
    let extras = tools.extras(&layers, service);
    Ok((layers, extras))
}

pub(super) fn parse(context: &Context, arguments: &cli::ParseArguments) -> Result<(), Error> {
    let recipe = markpact::read(&up::absolute(&arguments.readme))?;
    if context.json {
        return context.output.json(&recipe);
    }
    context.output.text(&output::visible(&described(&recipe)));
    Ok(())
}

fn described(recipe: &Recipe) -> String {
    let mut text = format!("{}\n", recipe.title.as_deref().unwrap_or("(no title)"));
    let mut row = |lines: Option<markpact::recipe::Lines>, kind: &str, what: &str| {
        let place = lines.map_or_else(
            || "-".to_owned(),
            |lines| format!("{}-{}", lines.first, lines.last),
        );
        text.push_str(&format!("  {place:>9}  {kind:<9} {what}\n"));
    };
    for file in &recipe.files {
        let size = file.content.len();
        row(
            Some(file.lines),
            "file",
            &format!("{} ({size} bytes, mode {:o})", file.path, file.mode),
        );
    }
    for deps in &recipe.deps {
        let names: Vec<&str> = deps.requirements.iter().map(|(_, name)| name.as_str()).collect();
        row(
            Some(deps.lines),
            "deps",
            &format!("{:?}: {}", deps.language, names.join(", ")).to_lowercase(),
        );
    }
    if let Some(run) = &recipe.run {
        row(run.lines, "run", &first_line(&run.command));
    }
    if let Some(health) = &recipe.health {
        row(Some(health.lines), "health", &first_line(&health.text));
    }
    scripts(recipe, &mut row);
    for (line, note) in &recipe.notes {
        let place = if *line > 0 {
            format!(" (line {line})")
        } else {
            String::new()
        };
        text.push_str(&format!("  note{place}: {note}\n"));
    }
    text
}

/// Its scripts, its tests, and the blocks that are only kept.
fn scripts(recipe: &Recipe, row: &mut dyn FnMut(Option<markpact::recipe::Lines>, &str, &str)) {
    for setup in &recipe.setup {
        row(Some(setup.lines), "setup", &first_line(&setup.text));
    }
    for job in &recipe.jobs {
        let what = format!("{}: {}", job.name, first_line(&job.command));
        row(Some(job.lines), "job", &what);
    }
    for test in &recipe.tests {
        let lines = markpact::recipe::Lines {
            first: test.line,
            last: test.line,
        };
        row(Some(lines), "test", &first_line(&test.title()));
    }
    for block in &recipe.others {
        let attributes = block
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> = std::iter::once(block.language.clone())
            .chain(attributes)
            .collect();
        row(Some(block.lines), &block.kind, words.join(" ").trim());
    }
}

/// The first line, and that there are more.
fn first_line(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or_default();
    match lines.count() {
        0 => first.to_owned(),
        more => format!("{first} … ({more} more)"),
    }
}

/// The bundle's `config.json` while the service runs, else the one that would be made.
pub(super) fn spec(context: &Context, arguments: &cli::SpecArguments) -> Result<(), Error> {
    let wish = wish::load(context, None)?;
    // Without a bundle the command line demands a name.
    let service = arguments.service.clone().unwrap_or_default();
    wish::known(&wish, std::slice::from_ref(&service))?;
    let unit = unit(&wish, &service);
    let bundle = wish.desired.instance.bundle(&unit);
    let existing = fs::read(bundle.join("config.json")).ok();
    let value: Value = match existing.and_then(|text| serde_json::from_slice(&text).ok()) {
        Some(value) => value,
        None => planned(&wish, &unit)?,
    };
    context.output.json(&value)
}

/// With the first free ids and addresses; what is chosen at `up` may differ in these numbers.
fn planned(wish: &Wish, name: &str) -> Result<Value, Error> {
    let (layers, extras) = preparation(&wish.desired, name)?;
    let store = std::path::Path::new(crate::instance::LAYER_ROOT);
    let mut stack = Stack::default();
    for layer in &layers {
        let pushed = stack.push(&layer.content, store.join(&layer.key));
        pushed.map_err(|error| Error::Environment {
            message: chain(&error),
            hint: None,
        })?;
    }
    let ids = IdRange {
        base: crate::identity::STORAGE_BASE + crate::identity::RANGE_SIZE,
    };
    let plan = sandbox(wish, name, ids, &stack, extras)?;
    serde_json::to_value(spec::build(&plan).spec).map_err(|source| Error::Internal {
        message: "cannot write the spec".to_owned(),
        source: Some(Box::new(source)),
    })
}

/// The bundle of the sandbox `name` for other runtimes.
///
/// # Errors
/// What it wrote is where it cannot be copied from.
pub(super) fn portable(
    wish: &Wish,
    name: &str,
    ids: IdRange,
    layers: &Stack,
    extras: Extras,
) -> Result<Portable, Error> {
    let disk = spec::disk(&wish.desired, member(&wish.desired, name)?);
    if let Some(image) = disk.as_ref().and_then(crate::bundle::portable::unmounted) {
        return Err(Error::Environment {
            message: format!(
                "{name}: what it has written is in `{}`, which is not mounted",
                image.display()
            ),
            hint: Some(format!("it is while '{name}' runs: `pactown up -d {name}` first")),
        });
    }
    let plan = sandbox(wish, name, ids, layers, extras)?;
    Ok(spec::portable::portable(&plan, &crate::bundle::portable::is_file))
}

/// The sandbox `name` with these ids and layers, and the first free addresses.
fn sandbox(
    wish: &Wish,
    name: &str,
    ids: IdRange,
    layers: &Stack,
    extras: Extras,
) -> Result<SandboxPlan, Error> {
    let desired = &wish.desired;
    let member = member(desired, name)?;
    let service = member.service;
    let internal = |message: String| Error::Internal {
        message,
        source: None,
    };
    let subnet = pactown_netns::subnet::choose(&desired.instance.tag, &[])
        .ok_or_else(|| internal("no subnet".to_owned()))?;
    let (ecosystem, none) = (&desired.ecosystem, network::Addresses::new());
    let addresses =
        network::addresses(ecosystem, &wish.roster, subnet, &none, |_| false).map_err(internal)?;
    let root = spec::sandbox_root(desired);
    let host = HostFacts::of(service.rootfs.as_deref());
    let placement = Placement {
        ids,
        layers: layers.app(),
        system: layers.system().cloned(),
        env: resolver::environment(desired, member, &extras),
        extras,
        place: spec::place_of(desired, &root, member),
        volumes: root,
        netns: Some(desired.instance.netns_dir().join(name)),
        hosts: network::hosts(ecosystem, member, &wish.roster, &addresses, subnet),
        nameservers: host.nameservers.clone(),
        notify: service.notifies().then(|| desired.instance.notify_dir(name)),
        // One that is not there is said at `up`.
        devices: service
            .exceptions
            .devices
            .iter()
            .filter_map(|device| crate::host::device(device).ok())
            .collect(),
        host,
    };
    spec::of_service(desired, member, placement)
        .ok_or_else(|| internal(format!("'{name}' has nothing to run")))
}
