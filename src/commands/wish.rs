//! From the files to the wish: the ecosystem, its READMEs and who asks; every problem of all of them at once.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::{Context, supply};
use crate::caller::Caller;
use crate::config::ecosystem::{Place, Service};
use crate::config::{self, Ecosystem};
use crate::desired::{Desired, Supply};
use crate::diagnostics::{Problem, Problems, Severity};
use crate::error::Error;
use crate::imports;
use crate::instance::{Instance, RUN_ROOT};
use crate::markpact::recipe::{DepsBlock, DepsLanguage};
use crate::markpact::{self, Recipe};
use crate::output;
use crate::resolver::{self, Graph};
use crate::roster::{Roster, Scale};
use crate::secrets::{self, Secrets};
use crate::state::{self, InstanceRecord};

/// What shall run, and its order.
pub(crate) struct Wish {
    pub(crate) desired: Desired,
    pub(crate) graph: Graph,
    /// How many replicas of which services of the instance that runs were asked for by hand.
    pub(crate) scale: Scale,
    /// The sandboxes that there are with that.
    pub(crate) roster: Roster,
    /// Remarks on the file; `load` shows them.
    pub(crate) warnings: Vec<Problem>,
}

/// Every name is a service, or one of its replicas.
pub(super) fn known(wish: &Wish, names: &[String]) -> Result<(), Error> {
    let services = &wish.desired.ecosystem.services;
    let is_there = |name: &&String| services.contains_key(*name) || wish.roster.has(name);
    let Some(unknown) = names.iter().find(|name| !is_there(name)) else {
        return Ok(());
    };
    let nearest = services
        .keys()
        .max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown)))
        .filter(|name| strsim::jaro(name, unknown) > 0.7);
    Err(Error::Usage {
        message: format!(
            "there is no service '{unknown}' in `{}`",
            wish.desired.ecosystem.file.display()
        ),
        hint: Some(match nearest {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!(
                "there are {}",
                services.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        }),
    })
}

/// Reads everything. Warnings are shown, also when something else is wrong.
///
/// # Errors
/// No file, or all problems of the file and its READMEs.
pub(crate) fn load(context: &Context, named: Option<&Path>) -> Result<Wish, Error> {
    let file = locate(context, named)?;
    let wish = read(&file, label(context)?, &|warnings| {
        context.output.warnings(warnings)
    })?;
    let desired = &wish.desired;
    output::hide(&secrets::at_rest(&desired.ecosystem, &desired.caller));
    Ok(wish)
}

/// Asks for the values that `services` need, with what they depend on; without names, those of all. From now on no
/// output shows them.
///
/// # Errors
/// Every secret that has no value.
pub(crate) fn unlock(context: &Context, desired: &mut Desired, services: &[String]) -> Result<(), Error> {
    let ecosystem = &desired.ecosystem;
    let needed = resolver::needed(ecosystem, services)?;
    desired.secrets = secrets::gather(ecosystem, &desired.caller, &needed)?;
    output::hide(&desired.secrets);
    for remark in desired.secrets.remarks() {
        context.output.notice(&remark);
    }
    Ok(())
}

/// The same for those who show nothing.
///
/// # Errors
/// As [`load`].
pub(crate) fn read(file: &Path, label: Option<&str>, warn: &dyn Fn(&[Problem])) -> Result<Wish, Error> {
    let caller = Caller::detect();
    let loaded = config::load(file, &caller.env)?;
    warn(&loaded.warnings);
    let mut ecosystem = loaded.ecosystem;
    let lock = supply::read(file).ok().flatten();
    let artifacts = lock.as_ref().map_or(&[][..], |lock| &lock.artifacts);
    let mut problems = imports::changed(&ecosystem.file, artifacts);
    let recipes = recipes(&mut ecosystem, &mut problems);
    let graph = match Graph::of(&ecosystem) {
        Ok(graph) if problems.is_empty() => graph,
        Ok(_) => return Err(Problems(problems).into()),
        Err(cycles) => {
            problems.extend(cycles.0);
            return Err(Problems(problems).into());
        }
    };
    let instance = Instance::new(&ecosystem.name, &ecosystem.file, label);
    let mut desired = Desired {
        instance,
        ecosystem,
        recipes,
        caller,
        // A damaged one is told by those who start something.
        supply: Supply {
            lock,
            ..Supply::default()
        },
        secrets: Secrets::default(),
    };
    resolver::default_checks(&mut desired);
    let scale = scale(&desired);
    let roster = Roster::of(&desired.ecosystem, &scale);
    Ok(Wish {
        roster: roster.unwrap_or_else(|_| Roster::of_file(&desired.ecosystem)),
        scale,
        desired,
        graph,
        warnings: loaded.warnings,
    })
}

/// What the supervisor keeps on disk, for those who may read it.
fn scale(desired: &Desired) -> Scale {
    let record = state::read::<InstanceRecord>(&desired.instance.record());
    record
        .ok()
        .flatten()
        .map(|record| record.scale)
        .unwrap_or_default()
}

pub(crate) fn locate(context: &Context, named: Option<&Path>) -> Result<PathBuf, Error> {
    let here = std::env::current_dir().map_err(|error| Error::Environment {
        message: format!("the current folder cannot be read: {error}"),
        hint: None,
    })?;
    config::locate(named.or(context.file.as_deref()), &here)
}

/// `--instance`, checked: it becomes part of file and kernel names.
pub(crate) fn label(context: &Context) -> Result<Option<&str>, Error> {
    let Some(label) = context.instance.as_deref() else {
        return Ok(None);
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=31).contains(&label.len()) && label.chars().all(fits) && !label.starts_with('-') {
        return Ok(Some(label));
    }
    Err(Error::Usage {
        message: format!("'{label}' is no instance name"),
        hint: Some("use up to 31 lower-case letters, digits and '-'".to_owned()),
    })
}

/// The README of every service; its `health` block and its schedule count where the file names none.
fn recipes(ecosystem: &mut Ecosystem, problems: &mut Vec<Problem>) -> IndexMap<String, Recipe> {
    let mut recipes = IndexMap::new();
    let file = ecosystem.file.clone();
    // Services may share a README; its problems are told once.
    let mut read: IndexMap<PathBuf, Option<Recipe>> = IndexMap::new();
    for (name, service) in &mut ecosystem.services {
        let recipe = read.entry(service.readme.clone()).or_insert_with_key(|path| {
            markpact::read(path)
                .map_err(|found| problems.extend(found.0))
                .ok()
        });
        let Some(recipe) = recipe.clone() else { continue };
        if recipe.run.is_none() {
            problems.push(nothing_to_run(&file, service));
        }
        problems.extend(foreign_packages(service, &recipe));
        if service.health.is_none() && !service.unchecked {
            adopt_health(service, &recipe, problems);
        }
        if service.schedule.is_none() {
            service.schedule.clone_from(&recipe.workload.schedule);
        }
        recipes.insert(name.clone(), recipe);
    }
    recipes
}

fn adopt_health(service: &mut Service, recipe: &Recipe, problems: &mut Vec<Problem>) {
    let Some(block) = &recipe.health else { return };
    match config::health_check(&block.text, service.port) {
        Ok(written) => {
            service.unchecked = written == config::Written::None;
            service.health = written.check();
        }
        Err(message) => problems.push(Problem {
            severity: Severity::Error,
            file: recipe.readme.clone(),
            place: Place {
                line: block.lines.first,
                column: 1,
            },
            length: 1,
            message,
            help: Some("write a path such as `/health`, or a mapping as in `health_check`".to_owned()),
            source: None,
        }),
    }
}

/// Packages of the host's distribution have no place in another one's root.
fn foreign_packages(service: &Service, recipe: &Recipe) -> Option<Problem> {
    service.rootfs.as_ref()?;
    let is_system = |block: &&DepsBlock| block.language == DepsLanguage::System;
    let block = recipe.deps.iter().find(is_system)?;
    Some(Problem {
        severity: Severity::Error,
        file: recipe.readme.clone(),
        place: Place {
            line: block.lines.first,
            column: 1,
        },
        length: 1,
        message: format!(
            "packages of the host's distribution cannot be put over the `rootfs` of '{}'",
            service.name
        ),
        help: Some("install them in that directory, or take `rootfs` out".to_owned()),
        source: None,
    })
}

fn nothing_to_run(file: &Path, service: &Service) -> Problem {
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        place: service.readme_place,
        length: 1,
        message: format!(
            "service '{}' has nothing to run: `{}` has no run block",
            service.name,
            service.readme.display()
        ),
        help: Some("add a `markpact:run` block to the README".to_owned()),
        source: None,
    }
}

/// The instance and its file, for verbs that must work whatever the file says by now.
///
/// # Errors
/// There is no file, or it is broken and nothing runs from it.
pub(crate) fn instance(context: &Context, named: Option<&Path>) -> Result<(Instance, PathBuf), Error> {
    let file = locate(context, named)?;
    let label = label(context)?;
    match config::load(&file, &Caller::detect().env) {
        Ok(loaded) => {
            output::hide(&secrets::at_rest(&loaded.ecosystem, &Caller::detect()));
            let own = Instance::new(&loaded.ecosystem.name, &file, label);
            // Renamed since: what runs from this file is still meant.
            let renamed = if own.run_dir().exists() {
                None
            } else {
                running(&file, label)
            };
            Ok((renamed.unwrap_or(own), file))
        }
        Err(problems) => match running(&file, label) {
            Some(instance) => Ok((instance, file)),
            None => Err(problems.into()),
        },
    }
}

/// The instance that was made from `file`.
fn running(file: &Path, label: Option<&str>) -> Option<Instance> {
    let entries = std::fs::read_dir(RUN_ROOT).ok()?.flatten();
    entries
        .filter_map(|entry| Instance::in_directory(&entry.path()))
        .filter(|instance| instance.label.as_deref() == label)
        .find(|instance| {
            let record = state::read::<InstanceRecord>(&instance.record()).ok().flatten();
            record.is_some_and(|record| record.desired.ecosystem.file == file)
        })
}
