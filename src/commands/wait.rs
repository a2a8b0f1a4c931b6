//! `wait`: until services are in a state, or cannot get there any more. Changes nothing and owns nothing.

use std::time::Duration;

use serde::Serialize;

use super::{Context, follow, wish};
use crate::cli;
use crate::control::Client;
use crate::control::api::{Goal, Progress, ServiceStatus, WaitRequest};
use crate::control::client::ProgressStream;
use crate::error::Error;
use crate::instance::Instance;
use crate::remains;
use crate::session::{self, Session};

/// How often the supervisor is asked: it may be lost in between, and another one takes its place.
const ATTEMPTS: u32 = 3;

/// How it ended, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(rename = "for")]
    goal: Goal,
    reached: bool,
    /// The service that is not there.
    service: Option<String>,
    /// Why.
    cause: Option<String>,
    #[serde(skip)]
    timed_out: bool,
}

impl Outcome {
    fn reached(goal: Goal) -> Self {
        Self {
            goal,
            reached: true,
            service: None,
            cause: None,
            timed_out: false,
        }
    }

    fn never(goal: Goal, service: Option<String>, cause: &str) -> Self {
        Self {
            reached: false,
            service,
            cause: Some(cause.to_owned()),
            ..Self::reached(goal)
        }
    }

    fn error(self) -> Option<Error> {
        let cause = self.cause?;
        let message = match self.service {
            Some(service) => format!("'{service}' is not {}: {cause}", self.goal),
            None => cause,
        };
        Some(match self.timed_out {
            true => Error::Timeout(message),
            false => Error::Failed(message),
        })
    }
}

pub(super) fn run(context: &Context, arguments: &cli::WaitArguments) -> Result<(), Error> {
    let (instance, file) = wish::instance(context, None)?;
    let outcome = match client(&instance)? {
        Some(client) => follow::block_on(patiently(&instance, client, arguments))?,
        None => {
            wish::known(&wish::load(context, Some(&file))?, &arguments.services)?;
            nothing_runs(arguments.goal)
        }
    };
    if context.json {
        context.output.json(&outcome)?;
    }
    outcome.error().map_or(Ok(()), Err)
}

fn nothing_runs(goal: Goal) -> Outcome {
    match goal {
        Goal::Stopped => Outcome::reached(goal),
        _ => Outcome::never(goal, None, "nothing runs, start it with 'pactown up'"),
    }
}

/// The running instance; one that is just being made is waited for.
fn client(instance: &Instance) -> Result<Option<Client>, Error> {
    if nix::unistd::Uid::effective().is_root() {
        return Ok(Session::find(instance)?.map(|session| session.client));
    }
    let exists = remains::is_alive(&instance.run_dir()) || instance.control_socket().exists();
    let answers = exists && session::is_answering(instance);
    Ok(answers.then(|| Client::new(&instance.control_socket())))
}

async fn patiently(
    instance: &Instance,
    client: Client,
    arguments: &cli::WaitArguments,
) -> Result<Outcome, Error> {
    match tokio::time::timeout(arguments.timeout, ask(instance, &client, arguments)).await {
        Ok(outcome) => outcome,
        Err(_) => late(&client, arguments).await,
    }
}

/// Asks, and once more each time that the supervisor is lost: the next one may know, or nothing runs any more.
async fn ask(instance: &Instance, client: &Client, arguments: &cli::WaitArguments) -> Result<Outcome, Error> {
    let request = WaitRequest {
        services: arguments.services.clone(),
        goal: arguments.goal,
    };
    let mut attempt = 1;
    loop {
        let outcome = match client.post_stream("/v1/wait", &request).await {
            Ok(mut stream) => until_settled(&mut stream, arguments.goal).await,
            Err(error) => Err(error),
        };
        match outcome {
            Err(Error::Lost(_)) if self::client(instance)?.is_none() => {
                return Ok(nothing_runs(arguments.goal));
            }
            Err(Error::Lost(_)) if attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn until_settled(stream: &mut ProgressStream, goal: Goal) -> Result<Outcome, Error> {
    // The last failure before the end is the reason for it; earlier ones are other services'.
    let mut why = None;
    while let Some(progress) = stream.next().await? {
        match progress {
            Progress::Failure { service, cause, .. } => why = Some((service, cause)),
            Progress::Settled { exit_code: 0 } => return Ok(Outcome::reached(goal)),
            Progress::Settled { .. } => {
                let (service, cause) = why.unzip();
                let cause = cause.unwrap_or_else(|| "the ecosystem went down".to_owned());
                return Ok(Outcome::never(goal, service, &cause));
            }
            _ => {}
        }
    }
    Err(Error::Lost("the supervisor ended".to_owned()))
}

/// Time is up: what is known of the first one that may be meant.
async fn late(client: &Client, arguments: &cli::WaitArguments) -> Result<Outcome, Error> {
    let rows: Vec<ServiceStatus> = client.get_json("/v1/services").await.unwrap_or_default();
    let asked = |name: &String| arguments.services.contains(name);
    let named = |row: &&ServiceStatus| asked(&row.name) || asked(&row.service);
    let states: Vec<String> = rows.iter().filter(named).map(state).collect();
    let limit = seconds(arguments.timeout);
    let cause = format!("not {} within {limit}: {}", arguments.goal, states.join(", "));
    Ok(Outcome {
        timed_out: true,
        ..Outcome::never(arguments.goal, None, &cause)
    })
}

/// `web is running, health starting`.
fn state(row: &ServiceStatus) -> String {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let phase = word(serde_json::json!(row.state));
    match word(serde_json::json!(row.health)).as_str() {
        "none" => format!("{} is {phase}", row.name),
        health => format!("{} is {phase}, health {health}", row.name),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
