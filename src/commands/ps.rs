//! `ps` and `ls`: what runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Context, follow, wish};
use crate::cli;
use crate::control::Client;
use crate::control::api::ServiceStatus;
use crate::error::Error;
use crate::instance::{Instance, RUN_ROOT};
use crate::remains;
use crate::session;
use crate::state::{self, InstanceRecord};

/// How often a supervisor that takes a question and gives no answer is asked again, and the pause before that.
const DYING: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// `ps`: the services of one instance.
pub(super) fn run(context: &Context, arguments: &cli::PsArguments) -> Result<(), Error> {
    let (instance, file) = wish::instance(context, arguments.config.as_deref())?;
    let rows = rows(context, &instance, &file)?;
    if context.json {
        return context.output.json(&rows);
    }
    context.output.services(&rows);
    for row in rows.iter() {
        for text in &row.notices {
            context.output.notice(&format!("{}: {text}", row.name));
        }
    }
    Ok(())
}

/// What the supervisor says; without one, every service of the file is stopped.
fn rows(context: &Context, instance: &Instance, file: &Path) -> Result<Vec<ServiceStatus>, Error> {
    if let Some(rows) = living(instance)? {
        return Ok(rows);
    }
    let Ok(wish) = wish::load(context, Some(file)) else {
        return Ok(Vec::new());
    };
    let seats = wish.roster.units().map(|(_, seat)| seat);
    Ok(seats.map(ServiceStatus::resting).collect())
}

/// What the supervisor says; `None` when there is none.
pub(super) fn living(instance: &Instance) -> Result<Option<Vec<ServiceStatus>>, Error> {
    answered(instance, "/v1/services")
}

/// The same, once all events that led there can be read.
pub(super) fn settled(instance: &Instance) -> Result<Option<Vec<ServiceStatus>>, Error> {
    answered(instance, "/v1/services/settled")
}

fn answered(instance: &Instance, path: &str) -> Result<Option<Vec<ServiceStatus>>, Error> {
    let exists = || remains::is_alive(&instance.run_dir()) || instance.control_socket().exists();
    let mut looks = DYING;
    while looks > 0 && exists() && session::is_answering(instance) {
        let client = Client::new(&instance.control_socket());
        match follow::block_on(client.get_json(path)) {
            // It ended between the two looks, or is dying: its socket closes with its last thread, which nothing tells.
            Err(Error::Failed(_) | Error::Lost(_)) => std::thread::sleep(PAUSE),
            answer => return answer.map(Some),
        }
        looks -= 1;
    }
    // Its services may well run: nobody can tell.
    if remains::is_alive(&instance.run_dir()) {
        return Err(session::silent(instance));
    }
    Ok(None)
}

/// One row of `ls`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    state: &'static str,
    services: usize,
    file: Option<PathBuf>,
}

/// `ls`: the instances of this machine.
pub(super) fn list(context: &Context) -> Result<(), Error> {
    super::privilege::require_root()?;
    let mut rows: Vec<Row> = fs::read_dir(RUN_ROOT)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| row(&entry.path()))
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    if context.json {
        return context.output.json(&rows);
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.state.to_owned(),
            row.services.to_string(),
            row.file
                .as_ref()
                .map(|file| file.display().to_string())
                .unwrap_or_default(),
        ]
    });
    context
        .output
        .table(&["NAME", "STATE", "SERVICES", "FILE"], cells.collect());
    Ok(())
}

fn row(directory: &Path) -> Option<Row> {
    let instance = Instance::in_directory(directory)?;
    let record = state::read::<InstanceRecord>(&instance.record()).ok().flatten();
    let state = match (
        remains::is_alive(directory),
        record.as_ref().is_some_and(|record| record.ending),
    ) {
        (false, _) => "crashed",
        (true, true) => "ending",
        (true, false) => "running",
    };
    Some(Row {
        name: instance.name,
        state,
        services: record
            .as_ref()
            .map_or(0, |record| record.desired.ecosystem.services.len()),
        file: record.map(|record| record.desired.ecosystem.file),
    })
}
