//! `report`: what services have used since they came up, also after the end; and whether that is within a budget.

use pactown_runtime::cgroup::Cgroup;
use pactown_runtime::disk;

use super::{Context, privilege, ps, wish};
use crate::control::api::ServiceStatus;
use crate::error::Error;
use crate::events::{self, Used};
use crate::instance::Instance;
use crate::report::{self, Living, Report, budget};
use crate::{cli, config, stats};

pub(super) fn run(context: &Context, arguments: &cli::ReportArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, file) = wish::instance(context, None)?;
    let budget = match &arguments.budget {
        None => None,
        Some(path) => {
            let wish = wish::load(context, Some(&file))?;
            let names = wish.desired.ecosystem.services.keys();
            let names: Vec<&str> = names.map(String::as_str).collect();
            Some(config::budget::load(path, &names)?)
        }
    };
    let report = gather(&instance, &ps::living(&instance)?.unwrap_or_default());
    if report.services.is_empty() {
        let message = "nothing has run yet; `pactown up -d` brings the ecosystem up";
        return Err(Error::Failed(message.to_owned()));
    }
    if arguments.suggest {
        let suggested = report::suggest::Suggested::of(&report);
        return match context.json {
            true => context.output.json(&suggested),
            false => {
                context.output.text(&suggested.yaml());
                Ok(())
            }
        };
    }
    match context.json {
        true => context.output.json(&report)?,
        false => context.output.report(&report),
    }
    let beyond = budget.map_or_else(Vec::new, |budget| budget::exceeded(&budget, &report));
    match beyond.is_empty() {
        true => Ok(()),
        false => Err(Error::Failed(beyond.join("\n"))),
    }
}

/// From the events, and from the counters of what runs, which `rows` tell.
pub(super) fn gather(instance: &Instance, rows: &[ServiceStatus]) -> Report {
    let living: Vec<Living> = rows.iter().filter_map(|row| look(instance, row)).collect();
    let all = living.first().and_then(|_| Cgroup::open(&instance.group()).ok());
    let all = all.map(|group| Used::of(&group.usage()));
    let events = events::read(instance);
    report::report(events::of_this_life(&events), &living, all.as_ref())
}

fn look(instance: &Instance, row: &ServiceStatus) -> Option<Living> {
    row.pid?;
    let now = stats::now(instance, row);
    let (rx_bytes, tx_bytes) = now.network.unzip();
    let space = disk::space(&instance.disk(&row.name));
    let started = row.started_at_usec.unwrap_or(now.wall_usec);
    Some(Living {
        name: row.name.clone(),
        seconds: now.wall_usec.saturating_sub(started) as f64 / 1e6,
        used: Used {
            rx_bytes,
            tx_bytes,
            disk_bytes: space.map(|space| space.used),
            disk_full: space.is_some_and(|space| space.is_full()),
            ..Used::of(&now.used)
        },
    })
}
