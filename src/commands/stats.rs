//! `stats`: what services use, sample after sample, until the ecosystem ends.

use std::time::Duration;

use super::{Context, follow, wish};
use crate::cli;
use crate::control::Client;
use crate::control::api::ServiceStatus;
use crate::error::Error;
use crate::instance::Instance;
use crate::stats::{Sample, Sampler};
use crate::{remains, session};

pub(super) fn run(context: &Context, arguments: &cli::StatsArguments) -> Result<(), Error> {
    let (instance, _) = wish::instance(context, None)?;
    let client = reach(&instance)?;
    let stream = Stream {
        context,
        client,
        services: &arguments.services,
        interval: arguments.interval,
    };
    follow::block_on(stream.run(Sampler::new(instance), arguments.no_stream))
}

/// The control API of an instance that runs.
///
/// # Errors
/// It does not, and what to do then.
pub(super) fn reach(instance: &Instance) -> Result<Client, Error> {
    let exists = remains::is_alive(&instance.run_dir()) || instance.control_socket().exists();
    if exists && session::is_answering(instance) {
        return Ok(Client::new(&instance.control_socket()));
    }
    Err(not_running())
}

/// That nothing runs, with the next step.
pub(super) fn not_running() -> Error {
    Error::Failed("the ecosystem is not running; `pactown up -d` brings it up".to_owned())
}

struct Stream<'a> {
    context: &'a Context,
    client: Client,
    services: &'a [String],
    interval: Duration,
}

impl Stream<'_> {
    /// Samples at every interval; the first look only makes rates possible.
    async fn run(&self, mut sampler: Sampler, once: bool) -> Result<(), Error> {
        let rows = self.rows().await?;
        if rows.iter().all(|row| row.pid.is_none()) {
            return Err(Error::Failed(
                "no service runs; `pactown ps` shows why, `pactown up -d` brings them up".to_owned(),
            ));
        }
        sampler.sample(&rows);
        let mut lines = 0;
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once, and belongs to the look just taken.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let rows = match self.rows().await {
                Ok(rows) => rows,
                // It has ended, or is about to.
                Err(Error::Failed(_) | Error::Lost(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            lines = self.show(&sampler.sample(&rows), lines)?;
            if once {
                return Ok(());
            }
        }
    }

    async fn rows(&self) -> Result<Vec<ServiceStatus>, Error> {
        let mut rows: Vec<ServiceStatus> = self.client.get_json("/v1/services").await?;
        let is = |row: &ServiceStatus, name: &String| row.name == *name || row.service == *name;
        let unknown = |name: &&String| !rows.iter().any(|row| is(row, name));
        if let Some(name) = self.services.iter().find(unknown) {
            let known: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            return Err(Error::Usage {
                message: format!("no service '{name}' is in the ecosystem that runs"),
                hint: Some(format!("there are {}", known.join(", "))),
            });
        }
        let wanted = |row: &ServiceStatus| self.services.iter().any(|name| is(row, name));
        rows.retain(|row| self.services.is_empty() || wanted(row));
        Ok(rows)
    }

    /// Shows them in the place of `lines` lines; how many there are now.
    fn show(&self, samples: &[Sample], lines: usize) -> Result<usize, Error> {
        if !self.context.json {
            return Ok(self.context.output.samples(samples, lines));
        }
        for sample in samples {
            let text = serde_json::to_string(sample).map_err(|source| Error::Internal {
                message: "cannot write JSON".to_owned(),
                source: Some(Box::new(source)),
            })?;
            self.context.output.line(&text);
        }
        Ok(0)
    }
}
