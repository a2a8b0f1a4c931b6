//! `up`: brings the ecosystem up, and stays with its logs unless it is detached.

use std::path::Path;
use std::time::Duration;

use super::follow::{self, LiveLogs, Outcome, Signals, View};
use super::wish::{self, Wish};
use super::{Context, preflight, privilege, supply, why};
use crate::cli;
use crate::control::api::{DownRequest, Phase, ServiceStatus, UpRequest};
use crate::control::client::ProgressStream;
use crate::desired::Desired;
use crate::error::Error;
use crate::session::Session;

/// Most preparations at the same time without `--workers`.
pub(super) const WORKERS: usize = 4;

pub(super) fn run(context: &Context, arguments: &cli::UpArguments) -> Result<(), Error> {
    let (config, services) = cli::split_config(&arguments.targets);
    let mut wish = wish::load(context, config.as_deref())?;
    wish::known(&wish, &services)?;
    supply::settle(context, &mut wish.desired, &services, &arguments.supply)?;
    if arguments.dry_run {
        return super::dry_run::run(context, &wish, &services);
    }
    privilege::require_root()?;
    preflight::check(context, &wish.desired)?;
    wish::unlock(context, &mut wish.desired, &services)?;
    let detached = arguments.detach || arguments.wait;
    let request = UpRequest {
        desired: Box::new(wish.desired.clone()),
        services: services.clone(),
        attached: !detached,
        no_health: arguments.no_health,
        sequential: arguments.sequential,
        workers: arguments.workers.map_or(WORKERS, usize::from),
        strict_ports: arguments.strict_ports || wish.desired.ecosystem.strict_ports,
        remove_orphans: arguments.remove_orphans,
        force_recreate: arguments.force_recreate,
    };
    let up = Up {
        context,
        wish: &wish,
        limit: arguments.timeout,
        detached,
    };
    follow::block_on(up.run(&request))
}

/// How many supervisors are asked after the first.
const ATTEMPTS: u32 = 3;

struct Up<'a> {
    context: &'a Context,
    wish: &'a Wish,
    limit: Option<Duration>,
    detached: bool,
}

impl Up<'_> {
    /// A supervisor that dies meanwhile is followed by another, which is asked the same: what was done is done.
    async fn run(&self, request: &UpRequest) -> Result<(), Error> {
        // Caught before anything exists: an early Ctrl-C must be followed by an end in order too.
        let mut signals = Signals::catch()?;
        let mut left = ATTEMPTS;
        loop {
            match self.ask(request, &mut signals).await {
                Err(Error::Lost(_)) if left > 0 => left -= 1,
                outcome => return outcome,
            }
        }
    }

    async fn ask(&self, request: &UpRequest, signals: &mut Signals) -> Result<(), Error> {
        let instance = &self.wish.desired.instance;
        let session = Session::ensure(&self.wish.desired)?;
        let logs = if self.detached { None } else { Some(self.logs()?) };
        let mut stream = match session.client.post_stream("/v1/up", request).await {
            Ok(stream) => stream,
            Err(lost @ Error::Lost(_)) => return Err(lost),
            Err(error) => {
                session.leave_nothing(instance).await?;
                return Err(error);
            }
        };
        let mut view = View::new(&self.context.output);
        view.logs = logs;
        let outcome = follow::until_settled(&mut stream, &mut view, signals, self.limit).await?;
        if self.detached {
            return self.leave(&session, outcome, &mut view, signals).await;
        }
        let ended = self
            .stay(&session, outcome, &mut stream, &mut view, signals)
            .await;
        view.finish();
        ended
    }

    fn logs(&self) -> Result<LiveLogs, Error> {
        let seats = self.wish.roster.units().map(|(_, seat)| seat.clone()).collect();
        LiveLogs::start(&self.wish.desired.instance, seats, true, &self.context.output)
    }

    /// `-d`: the ecosystem runs on without this command.
    async fn leave(
        &self,
        session: &Session,
        outcome: Outcome,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        match outcome {
            Outcome::Settled(0) => {
                self.picture(session).await;
                Ok(())
            }
            Outcome::Settled(code) => Err(failed(self.context, &self.wish.desired, view, code)),
            Outcome::TimedOut => Err(late(view, self.limit)),
            Outcome::Ended => Err(gone()),
            Outcome::Interrupted(number) if session.is_new => {
                follow::bring_down(
                    session,
                    &self.wish.desired.instance,
                    DownRequest::default(),
                    view,
                    signals,
                )
                .await?;
                Err(Error::Child(128 + number))
            }
            Outcome::Interrupted(number) => {
                self.context
                    .output
                    .notice("interrupted; what was asked for goes on in the background");
                Err(Error::Child(128 + number))
            }
        }
    }

    /// Attached: stays until a signal, until everything has ended by itself, or until something failed at the start.
    async fn stay(
        &self,
        session: &Session,
        outcome: Outcome,
        stream: &mut ProgressStream,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let result = match outcome {
            Outcome::Settled(0) => {
                self.picture(session).await;
                self.watch(stream, view, signals).await?
            }
            Outcome::Settled(code) => Err(failed(self.context, &self.wish.desired, view, code)),
            Outcome::TimedOut => Err(late(view, self.limit)),
            Outcome::Interrupted(number) => Err(Error::Child(128 + number)),
            Outcome::Ended => return Err(gone()),
        };
        if matches!(result, Err(Error::Child(_))) {
            self.context.output.notice("stopping; Ctrl-C again kills");
        }
        if session.client.is_alive().await {
            follow::bring_down(
                session,
                &self.wish.desired.instance,
                DownRequest::default(),
                view,
                signals,
            )
            .await?;
        } else {
            session.wait_for_end(&self.wish.desired.instance)?;
        }
        result
    }

    /// Shows what happens until a signal comes or nothing runs any more.
    async fn watch(
        &self,
        stream: &mut ProgressStream,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<Result<(), Error>, Error> {
        let resting = |row: &ServiceStatus| {
            let ended = matches!(
                row.state,
                Phase::Completed | Phase::Failed | Phase::Blocked | Phase::Stopped
            );
            ended && row.next_run.is_none()
        };
        loop {
            if !view.rows.is_empty() && view.rows.values().all(resting) {
                let names = view.names_in(&[Phase::Failed, Phase::Backoff, Phase::Blocked]);
                return Ok(if names.is_empty() {
                    Ok(())
                } else {
                    Err(failed(self.context, &self.wish.desired, view, 1))
                });
            }
            tokio::select! {
                progress = stream.next() => match progress? {
                    None => return Ok(Ok(())),
                    Some(progress) => { view.take(progress); }
                },
                number = signals.next() => return Ok(Err(Error::Child(128 + number))),
            }
        }
    }

    async fn picture(&self, session: &Session) {
        if let Ok(rows) = session
            .client
            .get_json::<Vec<ServiceStatus>>("/v1/services")
            .await
        {
            self.context.output.picture(&self.wish.desired, &rows);
        }
    }
}

/// What failed, with its reasons shown.
pub(super) fn failed(context: &Context, desired: &Desired, view: &View<'_>, code: i32) -> Error {
    let names = view.names_in(&[Phase::Failed, Phase::Backoff, Phase::Blocked]);
    let message = format!("not everything is up: {}", names.join(", "));
    let rows: Vec<ServiceStatus> = view.rows.values().cloned().collect();
    for reason in why::of_failed(desired, &rows) {
        context.output.reason(&reason);
    }
    match code {
        3 => Error::Environment { message, hint: None },
        _ => Error::Failed(message),
    }
}

/// What was not ready in time.
pub(super) fn late(view: &View<'_>, limit: Option<Duration>) -> Error {
    let names = view.names_in(&[Phase::Waiting, Phase::Preparing, Phase::Starting, Phase::Running]);
    Error::Timeout(format!(
        "not ready within {}: {}",
        humantime::format_duration(limit.unwrap_or_default()),
        names.join(", ")
    ))
}

/// Somebody else ended it.
pub(super) fn gone() -> Error {
    Error::Failed("the ecosystem was brought down meanwhile".to_owned())
}

/// Where a relative path of the command line is.
pub(super) fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
