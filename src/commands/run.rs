//! `run README`, and `run SERVICE:JOB`, which is elsewhere: one README on its own, in front: an ecosystem of one service that ends with it, and its exit code.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;

use super::follow::{self, LiveLogs, Outcome, Signals, View};
use super::{Context, job, preflight, privilege, supply, up};
use crate::author::service_name;
use crate::caller::Caller;
use crate::cli;
use crate::config::ecosystem::{
    Egress, Exceptions, Isolation, Limits, OnUnhealthy, Place, Registry, Restart, Service,
};
use crate::config::{self, Ecosystem, Written};
use crate::control::api::{DownRequest, Phase, ServiceStatus, UpRequest};
use crate::control::client::ProgressStream;
use crate::desired::{Desired, Supply};
use crate::error::Error;
use crate::instance::{Instance, SCRATCH_ROOT};
use crate::markpact;
use crate::markpact::Recipe;
use crate::markpact::recipe::WorkloadKind;
use crate::roster::Roster;
use crate::secrets::Secrets;
use crate::session::Session;

/// The port of a service that is run on its own.
const PORT: u16 = 8000;

pub(super) fn run(context: &Context, arguments: &cli::RunArguments) -> Result<(), Error> {
    if let Some(names) = job::named(&arguments.readme) {
        return job::run(context, arguments, names);
    }
    let options = Options {
        port: arguments.port.filter(|port| *port > 0).unwrap_or(PORT),
        once: arguments.once,
        limit: arguments.timeout,
        env: arguments.env.clone(),
        supply: arguments.supply,
    };
    in_front(context, &arguments.readme, options)
}

/// `exec README`: the same as a job.
pub(super) fn job(context: &Context, readme: &Path) -> Result<(), Error> {
    let options = Options {
        port: PORT,
        once: true,
        limit: None,
        env: Vec::new(),
        supply: cli::SupplyArguments::default(),
    };
    in_front(context, readme, options)
}

struct Options {
    port: u16,
    once: bool,
    limit: Option<Duration>,
    env: Vec<String>,
    supply: cli::SupplyArguments,
}

/// An ecosystem of one README as it is written.
///
/// # Errors
/// All problems of the README; it has nothing to run; as [`supply::alone`].
pub(super) fn on_its_own(
    context: &Context,
    readme: &Path,
    supply: cli::SupplyArguments,
) -> Result<Desired, Error> {
    let options = Options {
        port: PORT,
        once: false,
        limit: None,
        env: Vec::new(),
        supply,
    };
    desired(context, read(readme)?, &options)
}

/// An ecosystem of one README whose build blocks are run.
///
/// # Errors
/// As [`on_its_own`], but there need be nothing to run.
pub(super) fn to_build(
    context: &Context,
    readme: &Path,
    supply: cli::SupplyArguments,
) -> Result<Desired, Error> {
    let options = Options {
        port: PORT,
        once: false,
        limit: None,
        env: Vec::new(),
        supply,
    };
    desired(context, markpact::read(&up::absolute(readme))?, &options)
}

/// The README, which has something to run.
fn read(readme: &Path) -> Result<Recipe, Error> {
    let recipe = markpact::read(&up::absolute(readme))?;
    match recipe.run {
        Some(_) => Ok(recipe),
        None => Err(Error::Usage {
            message: format!("`{}` has nothing to run", readme.display()),
            hint: Some("add a `markpact:run` block".to_owned()),
        }),
    }
}

fn in_front(context: &Context, readme: &Path, options: Options) -> Result<(), Error> {
    let mut recipe = read(readme)?;
    if options.once {
        recipe.workload.kind = WorkloadKind::Job;
    }
    privilege::require_root()?;
    let desired = desired(context, recipe, &options)?;
    preflight::check(context, &desired)?;
    make_room()?;
    // It keeps nothing: what it writes goes with the rest of the instance.
    follow::block_on(attend(context, &desired, options.limit))
}

/// The directory above is root's; only what is below becomes the invoking user's.
pub(super) fn make_room() -> Result<(), Error> {
    std::fs::create_dir_all(SCRATCH_ROOT).map_err(|error| Error::Environment {
        message: format!("cannot make `{SCRATCH_ROOT}`: {error}"),
        hint: None,
    })
}

/// An ecosystem of this one service.
fn desired(context: &Context, recipe: Recipe, options: &Options) -> Result<Desired, Error> {
    let name = service_name(&recipe.readme);
    let instance = Instance::new(&name, &recipe.readme, None);
    let mut env = IndexMap::new();
    for pair in &options.env {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::Usage {
            message: format!("'{pair}' is no NAME=VALUE"),
            hint: None,
        })?;
        env.insert(key.to_owned(), value.to_owned());
    }
    let service = service(&name, &recipe, options.port, env)?;
    let ecosystem = Ecosystem {
        file: recipe.readme.clone(),
        name: name.clone(),
        version: "0.1.0".to_owned(),
        description: String::new(),
        base_port: PORT,
        // Root's own directory: in one that everybody may write, somebody could have laid a link for us to follow.
        sandbox_root: instance.scratch(),
        network: "pactown-net".to_owned(),
        strict_ports: false,
        loopback_compat: true,
        isolation: Isolation::Strict,
        registry: Registry {
            url: String::new(),
            namespace: String::new(),
            token: None,
        },
        secrets: IndexMap::new(),
        limits: config::ecosystem::Limits::default(),
        services: IndexMap::from([(name.clone(), service)]),
        imports: Vec::new(),
    };
    let mut desired = Desired {
        instance,
        ecosystem,
        recipes: IndexMap::from([(name, recipe)]),
        caller: Caller::detect(),
        secrets: Secrets::default(),
        supply: Supply::default(),
    };
    supply::alone(context, &mut desired, &options.supply)?;
    Ok(desired)
}

fn service(name: &str, recipe: &Recipe, port: u16, env: IndexMap<String, String>) -> Result<Service, Error> {
    let health = recipe.health.as_ref().map(|block| {
        config::health_check(&block.text, port).map_err(|message| Error::Usage {
            message: format!("{}:{}: {message}", recipe.readme.display(), block.lines.first),
            hint: None,
        })
    });
    Ok(Service {
        name: name.to_owned(),
        place: Place::default(),
        readme: recipe.readme.clone(),
        readme_place: Place::default(),
        from: None,
        port,
        port_explicit: true,
        ports: Vec::new(),
        env,
        env_passthrough: Vec::new(),
        depends_on: Vec::new(),
        health: health.transpose()?.and_then(Written::check),
        unchecked: false,
        timeout: Duration::from_secs(300),
        // Its end is the command's end.
        restart: Restart::No,
        on_unhealthy: OnUnhealthy::None,
        // It is run now.
        schedule: None,
        stop_signal: nix::libc::SIGTERM,
        stop_grace: Duration::from_secs(10),
        replicas: None,
        sandbox_path: None,
        volumes: Vec::new(),
        mounts: Vec::new(),
        limits: Limits::default(),
        egress: Egress::All,
        build_hosts: Vec::new(),
        host_access: Vec::new(),
        run_as_root: false,
        toolchains: Vec::new(),
        secrets: Vec::new(),
        rootfs: None,
        pre_start: None,
        exceptions: Exceptions::default(),
    })
}

async fn attend(context: &Context, desired: &Desired, limit: Option<Duration>) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let session = Session::ensure(desired)?;
    let roster = Roster::of_file(&desired.ecosystem);
    let seats = roster.units().map(|(_, seat)| seat.clone()).collect();
    let logs = LiveLogs::start(&desired.instance, seats, false, &context.output)?;
    let request = UpRequest {
        desired: Box::new(desired.clone()),
        services: Vec::new(),
        attached: true,
        no_health: false,
        sequential: false,
        workers: 1,
        strict_ports: false,
        remove_orphans: true,
        force_recreate: false,
    };
    let mut stream = match session.client.post_stream("/v1/up", &request).await {
        Ok(stream) => stream,
        Err(error) => {
            session.leave_nothing(&desired.instance).await?;
            return Err(error);
        }
    };
    let mut view = View::new(&context.output);
    view.silent = true;
    view.logs = Some(logs);
    let result = until_over(&mut stream, &mut view, &mut signals, limit).await;
    if session.client.is_alive().await {
        follow::bring_down(
            &session,
            &desired.instance,
            DownRequest::default(),
            &mut view,
            &mut signals,
        )
        .await?;
    }
    session.wait_for_end(&desired.instance)?;
    view.finish();
    result
}

/// Until the service has ended by itself, a signal comes, or time is up.
async fn until_over(
    stream: &mut ProgressStream,
    view: &mut View<'_>,
    signals: &mut Signals,
    limit: Option<Duration>,
) -> Result<(), Error> {
    let started = std::time::Instant::now();
    loop {
        if let Some(row) = view.rows.values().find(|row| is_over(row)) {
            return ended(row);
        }
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        match follow::next(stream, view, signals, left).await? {
            Some(Outcome::Interrupted(number)) => return Err(Error::Child(128 + number)),
            Some(Outcome::TimedOut) => {
                let limit = humantime::format_duration(limit.unwrap_or_default());
                return Err(Error::Timeout(format!("it still ran after {limit}")));
            }
            Some(Outcome::Ended) => return Ok(()),
            // Ready, or failed, which the next row tells.
            Some(Outcome::Settled(_)) | None => {}
        }
    }
}

fn is_over(row: &ServiceStatus) -> bool {
    matches!(
        row.state,
        Phase::Completed | Phase::Failed | Phase::Stopped | Phase::Blocked
    )
}

fn ended(row: &ServiceStatus) -> Result<(), Error> {
    match (row.state, row.exit_code) {
        (_, Some(0)) | (Phase::Completed, _) => Ok(()),
        (_, Some(code)) => Err(Error::Child(code)),
        (_, None) => Err(Error::Failed(
            row.cause.clone().unwrap_or_else(|| "it did not run".to_owned()),
        )),
    }
}
