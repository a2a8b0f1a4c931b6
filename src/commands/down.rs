//! `down`: ends an instance in order, or removes what a crash left of it.

use std::io::IsTerminal;

use super::follow::{self, Signals, View};
use super::{Context, privilege, wish};
use crate::cli;
use crate::control::api::{DownRequest, Phase};
use crate::error::{Error, chain};
use crate::instance::Instance;
use crate::prepare::{disk, upper};
use crate::session::{self, Session};
use crate::state::{self, InstanceRecord};

pub(super) fn run(context: &Context, arguments: &cli::DownArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, file) = wish::instance(context, arguments.config.as_deref())?;
    if arguments.volumes {
        confirm(arguments)?;
    }
    let request = DownRequest {
        volumes: arguments.volumes,
        kill: arguments.kill,
        timeout: arguments.timeout.map(|time| time.as_secs_f64()),
    };
    let stopped = match Session::find(&instance) {
        Ok(Some(session)) => ordered(context, &instance, &session, request)?,
        // Nobody lives there, or nobody who answers.
        Ok(None) | Err(_) => by_force(context, &instance)?,
    };
    let removed = arguments.volumes && remove_volumes(context, &file, &instance)?;
    if !stopped && !removed {
        context.output.line("nothing to stop");
    }
    Ok(())
}

/// Asks before data is removed.
fn confirm(arguments: &cli::DownArguments) -> Result<(), Error> {
    if arguments.yes {
        return Ok(());
    }
    let refused = |message: &str| Error::Usage {
        message: message.to_owned(),
        hint: Some("`--yes` removes the volumes without asking".to_owned()),
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused(
            "`--volumes` removes data, and nobody is there to be asked",
        ));
    }
    crate::output::ask("remove the named volumes and limited disks, and what is in them? [y/N] ")
        .filter(|answer| ["y", "yes"].contains(&answer.to_lowercase().as_str()))
        .map(drop)
        .ok_or_else(|| refused("nothing was removed"))
}

fn ordered(
    context: &Context,
    instance: &Instance,
    session: &Session,
    request: DownRequest,
) -> Result<bool, Error> {
    let code = follow::block_on(async {
        let mut signals = Signals::catch()?;
        let mut view = View::new(&context.output);
        view.silent = true;
        let code = follow::bring_down(session, instance, request, &mut view, &mut signals).await?;
        for name in view.names_in(&[Phase::Stopped]) {
            context.output.line(&format!("stopped {name}"));
        }
        Ok(code)
    });
    match code {
        Ok(0) => Ok(true),
        // It died over it, or could not remove everything.
        Ok(_) | Err(_) => session::end_by_force(instance).map(|_| true),
    }
}

fn by_force(context: &Context, instance: &Instance) -> Result<bool, Error> {
    let existed = session::end_by_force(instance)?;
    if existed {
        context.output.line("removed what was left of an earlier run");
    }
    Ok(existed)
}

/// The volumes of the file as it is now; those of a running instance are removed by its supervisor.
fn remove_volumes(context: &Context, file: &std::path::Path, instance: &Instance) -> Result<bool, Error> {
    let desired = match wish::load(context, Some(file)) {
        Ok(wish) => wish.desired,
        Err(_) => match state::read::<InstanceRecord>(&instance.record()) {
            Ok(Some(record)) => record.desired,
            _ => return Ok(false),
        },
    };
    let broken = |error: &dyn std::error::Error| Error::Environment {
        message: chain(error),
        hint: None,
    };
    let images = crate::spec::images(&desired);
    let mut removed = disk::remove_images(&images).map_err(|error| broken(&error))?;
    let services = desired.ecosystem.services.values();
    for volume in services.flat_map(|service| &service.volumes) {
        for root in [
            crate::spec::sandbox_root(&desired),
            std::path::Path::new(crate::instance::FALLBACK_ROOT).join(&instance.name),
        ] {
            removed |= root.join(".volumes").join(&volume.name).exists();
            upper::remove_volume(&root, &volume.name).map_err(|error| broken(&error))?;
        }
    }
    Ok(removed)
}
