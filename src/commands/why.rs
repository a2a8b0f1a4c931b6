//! `why`: one cause, what shows it, what to do next; for one service, or for all that are not as they should be.

use super::{Context, privilege, ps, wish};
use crate::cli;
use crate::control::api::{Phase, ServiceStatus};
use crate::desired::Desired;
use crate::error::Error;
use crate::why::{Cause, Diagnosis, diagnose, facts};

pub(super) fn run(context: &Context, arguments: &cli::WhyArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let wish = wish::load(context, None)?;
    if let Some(service) = &arguments.service {
        wish::known(&wish, std::slice::from_ref(service))?;
    }
    let rows = ps::settled(&wish.desired.instance)?;
    let facts = facts::gather(&wish.desired.instance, &wish.desired, rows.as_deref());
    let found = match &arguments.service {
        Some(name) => {
            let meant = |facts: &&facts::Facts| facts.name == *name || facts.row.service == *name;
            facts.iter().filter(meant).map(diagnose).collect()
        }
        None => facts::wrong(&facts),
    };
    if context.json {
        context.output.json(&found)?;
    } else {
        found.iter().for_each(|one| context.output.diagnosis(one));
        if found.is_empty() {
            context.output.line(match rows {
                Some(_) => "all is well",
                None => "all is well: the ecosystem is not running, and nothing failed when it last did",
            });
        }
    }
    if found.iter().any(|one| one.kind.is_wrong()) {
        // Everything worth saying was said.
        return Err(Error::Failed(String::new()));
    }
    Ok(())
}

/// For an `up` that failed: what `why` would say of the services that failed by themselves, where that is more than the
/// row's own cause.
pub(super) fn of_failed(desired: &Desired, rows: &[ServiceStatus]) -> Vec<Diagnosis> {
    let facts = facts::gather(&desired.instance, desired, Some(rows));
    let mut found = facts::wrong(&facts);
    found.retain(|one| !matches!(one.kind, Cause::Blocked | Cause::Waiting));
    found
}

/// For an `up` whose time is over: what `why` says of every service that is not ready, and of jobs that still run.
pub(super) fn of_late(desired: &Desired, rows: &[ServiceStatus]) -> Vec<Diagnosis> {
    let facts = facts::gather(&desired.instance, desired, Some(rows));
    let working = |facts: &&facts::Facts| facts.config.job && facts.row.state == Phase::Running;
    let mut found = facts::wrong(&facts);
    found.retain(|one| {
        !facts
            .iter()
            .filter(working)
            .any(|facts| facts.name == one.service)
    });
    found.extend(facts.iter().filter(working).map(|facts| Diagnosis {
        service: facts.name.clone(),
        kind: Cause::Waiting,
        cause: "is a job that runs and has not ended yet".to_owned(),
        evidence: facts.log.last().cloned().into_iter().collect(),
        next: vec![format!("pactown logs {}", facts.name)],
    }));
    found
}
