//! `--locked` and `--offline`: where dependencies may come from, checked before anything is made.

use std::path::Path;

use super::Context;
use crate::cli::SupplyArguments;
use crate::config::ecosystem::Place;
use crate::desired::Desired;
use crate::diagnostics::{Problem, Problems, Severity};
use crate::drift;
use crate::error::Error;
use crate::lockfile::{Damage, Lockfile, NAME};
use crate::prepare::{Layers, Tools};
use crate::resolver;

/// The lock beside the ecosystem file; `None` when there is none.
///
/// # Errors
/// It cannot be read, or is damaged: one problem with its line.
pub(super) fn read(file: &Path) -> Result<Option<Lockfile>, Problems> {
    let path = Lockfile::beside(file);
    let damage = match std::fs::read_to_string(&path) {
        Ok(text) => match Lockfile::parse(&text) {
            Ok(lock) => return Ok(Some(lock)),
            Err(damage) => damage,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Damage {
            line: 0,
            message: format!("cannot be read: {error}"),
        },
    };
    Err(Problems(vec![Problem {
        severity: Severity::Error,
        file: path,
        place: Place {
            line: damage.line,
            column: usize::from(damage.line > 0),
        },
        length: 0,
        message: damage.message,
        help: Some(
            "take it from version control again, or remove it and write it anew with `pactown lock`"
                .to_owned(),
        ),
        source: None,
    }]))
}

/// A lock that is there can be used.
///
/// # Errors
/// It is damaged.
pub(super) fn sound(desired: &Desired) -> Result<(), Error> {
    read(&desired.ecosystem.file).map(drop).map_err(Error::from)
}

/// Takes the flags into the wish; `names` are the services, or replicas, that are asked for, none = all.
///
/// # Errors
/// The lock is damaged; `locked`: there is none, or the files are not as it says; `offline`: something is not in the cache.
pub(super) fn settle(
    context: &Context,
    desired: &mut Desired,
    names: &[String],
    arguments: &SupplyArguments,
) -> Result<(), Error> {
    sound(desired)?;
    desired.supply.locked = arguments.locked;
    desired.supply.offline = arguments.offline;
    desired.supply.hermetic = arguments.hermetic;
    desired.close();
    match &desired.supply.lock {
        None if arguments.locked => return Err(none(desired)),
        Some(lock) if arguments.locked => {
            let problems = drift::find(desired, lock);
            if !problems.is_empty() {
                return Err(Problems(problems).into());
            }
        }
        Some(lock) => stale(context, desired, lock),
        None => {}
    }
    match arguments.offline {
        true => cached(desired, names),
        false => Ok(()),
    }
}

fn none(desired: &Desired) -> Error {
    Error::Usage {
        message: format!(
            "there is no `{}`",
            Lockfile::beside(&desired.ecosystem.file).display()
        ),
        hint: Some("`pactown lock` writes it".to_owned()),
    }
}

/// Says of which services the lock does not decide the dependencies.
fn stale(context: &Context, desired: &Desired, lock: &Lockfile) {
    // `up` has written down what comes from a registry, and nobody has locked the rest.
    if lock.services.is_empty() {
        return;
    }
    for (name, recipe) in &desired.recipes {
        if !drift::unresolved(recipe, lock.resolutions(name)).is_empty() {
            context.output.notice(&format!(
                "{name}: its dependencies are not as in `{NAME}` and are resolved anew; `pactown lock` writes them down"
            ));
        }
    }
}

/// Every layer of dependencies of the services, and of what they need, is in the cache.
fn cached(desired: &Desired, names: &[String]) -> Result<(), Error> {
    let needed = resolver::needed(&desired.ecosystem, names)?;
    let (tools, layers) = (Tools::find(desired), Layers::system());
    let mut missing = Vec::new();
    for (name, recipe) in &desired.recipes {
        if !needed.contains(name) {
            continue;
        }
        // A toolchain that is missing is told when the service is made.
        let plans = tools.layers(name, recipe).unwrap_or_default();
        let absent = plans
            .iter()
            .filter(|plan| plan.language().is_some() && layers.lookup(&plan.key).is_none());
        missing.extend(
            absent.map(|plan| format!("{} dependencies of '{name}' ({})", plan.kind(), plan.summary())),
        );
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Environment {
        message: format!("not in the cache: {}", missing.join("; ")),
        hint: Some("run the command once without `--offline`".to_owned()),
    })
}

/// The same for a README on its own: its lock is that of the ecosystem that names it, in its directory or one above.
///
/// # Errors
/// As [`settle`].
pub(super) fn alone(
    context: &Context,
    desired: &mut Desired,
    arguments: &SupplyArguments,
) -> Result<(), Error> {
    let Some((name, recipe)) = desired.recipes.first() else {
        return Ok(());
    };
    let (name, readme) = (name.clone(), recipe.readme.clone());
    let found = readme.ancestors().skip(1).find_map(|directory| {
        let file = directory.join(NAME);
        let lock = read(&file).transpose()?;
        let of_it = |lock: Lockfile| {
            let mut services = lock.services.clone();
            services.retain(|service| directory.join(&service.readme) == readme);
            services.truncate(1);
            (!services.is_empty()).then_some(Lockfile { services, ..lock })
        };
        lock.map(of_it).transpose()
    });
    let lock = found.transpose()?;
    let Some(mut lock) = lock else {
        return match arguments.locked {
            true => Err(Error::Usage {
                message: format!(
                    "no `{NAME}` in the README's folder or above names `{}`",
                    readme.display()
                ),
                hint: Some("`pactown lock` writes it for an ecosystem".to_owned()),
            }),
            false => settle(context, desired, &[], arguments),
        };
    };
    for service in &mut lock.services {
        service.name.clone_from(&name);
        // It is the README itself that is asked for.
        service.readme = readme
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        service.rootfs = None;
    }
    desired.supply.lock = Some(lock);
    settle(context, desired, &[], arguments)
}
