//! `spec --bundle`: services as OCI bundles, for other runtimes. Writes into one directory, starts nothing.

use std::path::{Path, PathBuf};

use pactown_runtime::protocol::ExitStatus;
use serde::Serialize;

use super::wish::{self, Wish};
use super::{Context, privilege, show, supply, up};
use crate::bundle::portable as disk;
use crate::config::ecosystem::UnitName;
use crate::error::{Error, chain};
use crate::host::HostFacts;
use crate::identity::IdRange;
use crate::prepare::{
    self, Access, BuildContext, BuildRunner, BuildSite, Extras, Layers, RunnerError, Stack, Tools,
};
use crate::proxy::Contact;
use crate::spec::Bundle;
use crate::spec::portable::{self, Omission, Portable};

/// What `--json` says of a bundle.
#[derive(Serialize)]
struct Made {
    /// The sandbox.
    service: UnitName,
    /// Its bundle, absolute.
    bundle: PathBuf,
    /// What is not in it.
    omitted: Vec<Omission>,
}

/// Makes the bundle of `service` in `directory`; without one, of all services, in a directory each.
pub(super) fn run(context: &Context, service: Option<&str>, directory: &Path) -> Result<(), Error> {
    privilege::require_root()?;
    let wish = wish::load(context, None)?;
    supply::sound(&wish.desired)?;
    let directory = up::absolute(directory);
    let places = places(&wish, service, &directory)?;
    free(&directory)?;
    let tools = Tools::find(&wish.desired);
    // Until what is in them is copied.
    let _hold = Layers::system().hold().map_err(|error| Error::Environment {
        message: chain(&error),
        hint: None,
    })?;
    let mut bundles = Vec::new();
    for (number, (unit, place)) in (0..).zip(places) {
        let ids = IdRange::set_apart(&directory.to_string_lossy(), number);
        bundles.push((bundle(&wish, &tools, &unit, ids)?, unit, place));
    }
    let mut made = Vec::new();
    for (bundle, unit, place) in bundles {
        bundle.write(&place).map_err(|error| Error::Environment {
            message: chain(&error),
            hint: None,
        })?;
        made.push(Made {
            omitted: portable::omissions(
                &wish.desired.ecosystem,
                show::member(&wish.desired, &unit)?.service,
            ),
            service: unit,
            bundle: place,
        });
    }
    say(context, &directory, &made)
}

/// Which sandboxes, and where each bundle goes.
fn places(wish: &Wish, service: Option<&str>, directory: &Path) -> Result<Vec<(UnitName, PathBuf)>, Error> {
    let Some(name) = service else {
        let all = wish.roster.units().map(|(unit, _)| unit.clone());
        return Ok(all.map(|unit| (unit.clone(), directory.join(unit))).collect());
    };
    wish::known(wish, &[name.to_owned()])?;
    Ok(vec![(show::unit(wish, name), directory.to_owned())])
}

fn free(directory: &Path) -> Result<(), Error> {
    let refuse = |message: String| Error::Usage {
        message,
        hint: Some("name a folder that is new or empty".to_owned()),
    };
    match disk::is_free(directory) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refuse(format!("`{}` is not empty", directory.display()))),
        Err(error) => Err(refuse(format!(
            "`{}` cannot be used: {error}",
            directory.display()
        ))),
    }
}

fn bundle(wish: &Wish, tools: &Tools, unit: &str, ids: IdRange) -> Result<Portable, Error> {
    let (layers, extras) = layers(wish, tools, unit)?;
    show::portable(wish, unit, ids, &layers, extras)
}

/// The layers of a service, topmost first: what its README holds is written if need be, what is to be installed must
/// have been.
fn layers(wish: &Wish, tools: &Tools, unit: &str) -> Result<(Stack, Extras), Error> {
    let service = show::member(&wish.desired, unit)?.service;
    let missing = |message: String, hint: &str| Error::Environment {
        message,
        hint: Some(hint.to_owned()),
    };
    let recipe = &wish.desired.recipes[&service.name];
    let plans = tools
        .layers(&service.name, recipe)
        .map_err(|error| missing(error.to_string(), error.remedy))?;
    let context = BuildContext {
        readme: &service.readme,
        host: &HostFacts::of(None),
        toolchains: &tools.toolchains,
        settings: &tools.settings,
        // There is nothing here to fetch with.
        offline: true,
        strict: wish.desired.supply.locked,
        hosts: &[],
        learn: false,
    };
    let layers = prepare::make(&Layers::system(), &plans, context, &NoBuilds, &mut |_, _| {});
    let layers = layers.map_err(|error| {
        let message = format!("{}: {}", service.name, chain(&error));
        missing(
            message,
            "it has not been installed yet: `pactown up -d` and `pactown down` once do that, and what is installed is kept",
        )
    })?;
    Ok((layers, tools.extras(&plans, service)))
}

/// Installing takes a keeper and a network, which `up` has.
struct NoBuilds;

impl BuildRunner for NoBuilds {
    fn open(&self, _name: &str, _access: &Access) -> Result<BuildSite, RunnerError> {
        Err("it has not been installed yet".into())
    }

    fn run(&self, _: &str, _: &Bundle, _: &mut dyn FnMut(&str)) -> Result<ExitStatus, RunnerError> {
        Err("it has not been installed yet".into())
    }

    fn close(&self, _name: &str) -> Vec<Contact> {
        Vec::new()
    }
}

fn say(context: &Context, directory: &Path, made: &[Made]) -> Result<(), Error> {
    if let Some(closed) = disk::closed_above(directory) {
        context.output.notice(&format!(
            "`{}` is closed to others: a runtime that opens the root from inside the user namespace cannot pass it \
             (chmod o+x)",
            closed.display()
        ));
    }
    if context.json {
        return context.output.json(&made);
    }
    for one in made {
        context
            .output
            .line(&format!("{} {}", one.service, one.bundle.display()));
        for omission in &one.omitted {
            let text = format!(
                "{}: not in the bundle: {}: {}",
                one.service, omission.key, omission.text
            );
            context.output.notice(&text);
        }
    }
    Ok(())
}
