//! `up`: brings the ecosystem up, and stays with its logs unless it is detached.

mod ends;

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use ends::Ends;

use super::evidence::Recorder;
use super::follow::{self, LiveLogs, Outcome, Signals, View};
use super::imports::{self, Purpose};
use super::wish::{self, Wish};
use super::{Context, preflight, privilege, supply, why};
use crate::cli;
use crate::control::api::{DownRequest, Phase, ServiceStatus, UpRequest};
use crate::control::client::ProgressStream;
use crate::desired::Desired;
use crate::error::Error;
use crate::roster::services_of;
use crate::session::Session;

/// Most preparations at the same time without `--workers`.
pub(super) const WORKERS: usize = 4;

pub(super) fn run(context: &Context, arguments: &cli::UpArguments) -> Result<(), Error> {
    let begun = Instant::now();
    let (config, services) = cli::split_config(&arguments.targets);
    if !arguments.dry_run {
        let purpose = Purpose::start(arguments.trust, &arguments.supply);
        imports::settle(context, config.as_deref(), purpose)?;
    }
    let mut wish = wish::load(context, config.as_deref())?;
    wish::known(&wish, &services)?;
    let ends = ends(&wish, &services, arguments)?;
    supply::settle(context, &mut wish.desired, &services, &arguments.supply)?;
    if arguments.dry_run {
        return super::dry_run::run(context, &wish, &services);
    }
    privilege::require_root()?;
    preflight::check(context, &wish.desired)?;
    super::evidence::check(arguments.bundle.as_deref())?;
    wish::unlock(context, &mut wish.desired, &services)?;
    let recorder = Recorder::new("up", arguments.bundle.as_deref(), &wish.desired)?;
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
        begun,
        limit: arguments.timeout,
        detached,
        ends,
        recorder: &recorder,
        is_ours: Cell::new(false),
    };
    let result = follow::block_on(up.run(&request));
    recorder.finish(context, result)
}

/// The flags that name whose end ends everything; a service that is named is one of those that are started.
fn ends(wish: &Wish, services: &[String], arguments: &cli::UpArguments) -> Result<Ends, Error> {
    let ecosystem = &wish.desired.ecosystem;
    let name = arguments.exit_code_from.as_deref();
    if let Some(name) = name {
        wish::known(wish, &[name.to_owned()])?;
        let started = || wish.graph.with_needs(&services_of(ecosystem, services));
        let is_service = ecosystem.services.contains_key(name);
        if !is_service || !(services.is_empty() || started().iter().any(|one| one == name)) {
            return Err(Error::Usage {
                message: format!("'{name}' is no service that this command starts"),
                hint: Some(format!("name it: `pactown up {name} --exit-code-from {name}`")),
            });
        }
    }
    Ok(Ends::of(ecosystem, arguments.abort_on_exit, name))
}

/// How many supervisors are asked after the first.
const ATTEMPTS: u32 = 3;

struct Up<'a> {
    context: &'a Context,
    wish: &'a Wish,
    /// When the command began: `--timeout` counts from there.
    begun: Instant,
    limit: Option<Duration>,
    detached: bool,
    ends: Ends,
    recorder: &'a Recorder<'a>,
    /// Whether the instance began with this command, whichever supervisor it has by now.
    is_ours: Cell<bool>,
}

/// How an attached run came to its end.
enum End {
    /// Everything has ended by itself and well.
    Itself,
    /// Something failed; with this exit code.
    Failed(i32),
    /// It was not ready in time.
    Late,
    /// A signal came.
    Interrupted(i32),
    /// This sandbox ended, which was to end everything.
    Aborted(Box<ServiceStatus>),
    /// Somebody else ended it.
    Gone,
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
        self.is_ours.set(self.is_ours.get() || session.is_new);
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
        if self.detached {
            return self.leave(&session, &mut stream, &mut view, signals).await;
        }
        let ended = self.stay(&session, &mut stream, &mut view, signals).await;
        view.finish();
        ended
    }

    fn logs(&self) -> Result<LiveLogs, Error> {
        let seats = self.wish.roster.units().map(|(_, seat)| seat.clone()).collect();
        LiveLogs::start(&self.wish.desired.instance, seats, true, &self.context.output)
    }

    /// What is left of the time until everything must be ready.
    fn left(&self) -> Option<Duration> {
        Some(self.limit?.saturating_sub(self.begun.elapsed()))
    }

    /// `-d`: the ecosystem runs on without this command, unless it was not ready in time.
    async fn leave(
        &self,
        session: &Session,
        stream: &mut ProgressStream,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let outcome = follow::until_settled(stream, view, signals, self.left()).await?;
        self.record(session, view).await;
        let result = match outcome {
            Outcome::Settled(0) => {
                self.picture(session).await;
                return Ok(());
            }
            Outcome::Settled(code) => return Err(failed(self.context, &self.wish.desired, view, code)),
            Outcome::Ended => return Err(gone()),
            Outcome::TimedOut => self.late(session, view).await,
            Outcome::Interrupted(number) => Error::Child(128 + number),
        };
        match self.is_ours.get() {
            true => self.take_down(session, view, signals).await?,
            false => self
                .context
                .output
                .notice("what ran before is left as it is; what was asked for goes on in the background"),
        }
        Err(result)
    }

    /// Attached: stays until a signal, until everything has ended by itself, until an end that ends everything, or
    /// until something failed at the start.
    async fn stay(
        &self,
        session: &Session,
        stream: &mut ProgressStream,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let end = self.until_end(session, stream, view, signals).await?;
        if !matches!(end, End::Gone) {
            self.record(session, view).await;
        }
        let result = match &end {
            End::Gone => return Err(gone()),
            End::Itself | End::Aborted(_) => Ok(()),
            End::Failed(code) => Err(failed(self.context, &self.wish.desired, view, *code)),
            End::Late => Err(self.late(session, view).await),
            End::Interrupted(number) => Err(Error::Child(128 + number)),
        };
        if matches!(result, Err(Error::Child(_))) {
            self.context.output.notice("stopping; Ctrl-C again kills");
        }
        self.take_down(session, view, signals).await?;
        match end {
            End::Aborted(by) => self.aborted(&by, view),
            _ => result,
        }
    }

    /// The end in order, when it is not over already.
    async fn take_down(
        &self,
        session: &Session,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let instance = &self.wish.desired.instance;
        match session.client.is_alive().await {
            true => follow::bring_down(session, instance, DownRequest::default(), view, signals)
                .await
                .map(drop),
            false => session.wait_for_end(instance),
        }
    }

    /// What an end that ended everything means, once everything is down.
    fn aborted(&self, by: &ServiceStatus, view: &View<'_>) -> Result<(), Error> {
        if let Some(remark) = self.ends.remark(by, &view.rows) {
            self.context.output.notice(&remark);
        }
        self.ends.verdict(by, &view.rows)
    }

    async fn until_end(
        &self,
        session: &Session,
        stream: &mut ProgressStream,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<End, Error> {
        loop {
            if let Some(by) = self.ends.cause(&view.rows) {
                return Ok(self.abort(by));
            }
            let end = match follow::next(stream, view, signals, self.left()).await? {
                None => continue,
                Some(Outcome::Settled(0)) => break,
                Some(Outcome::Settled(code)) => End::Failed(code),
                Some(Outcome::TimedOut) => End::Late,
                Some(Outcome::Interrupted(number)) => End::Interrupted(number),
                Some(Outcome::Ended) => End::Gone,
            };
            return Ok(end);
        }
        self.picture(session).await;
        self.watch(stream, view, signals).await
    }

    /// Shows what happens until a signal comes, something ends that ends everything, or nothing runs any more.
    async fn watch(
        &self,
        stream: &mut ProgressStream,
        view: &mut View<'_>,
        signals: &mut Signals,
    ) -> Result<End, Error> {
        let resting = |row: &ServiceStatus| {
            let ended = matches!(
                row.state,
                Phase::Completed | Phase::Failed | Phase::Blocked | Phase::Stopped
            );
            ended && row.next_run.is_none()
        };
        loop {
            if let Some(by) = self.ends.cause(&view.rows) {
                return Ok(self.abort(by));
            }
            if !view.rows.is_empty() && view.rows.values().all(resting) {
                let failed = view.names_in(&[Phase::Failed, Phase::Backoff, Phase::Blocked]);
                return Ok(match failed.is_empty() {
                    true => End::Itself,
                    false => End::Failed(1),
                });
            }
            match follow::next(stream, view, signals, None).await? {
                Some(Outcome::Interrupted(number)) => return Ok(End::Interrupted(number)),
                Some(Outcome::Ended) => return Ok(End::Itself),
                _ => {}
            }
        }
    }

    fn abort(&self, by: &ServiceStatus) -> End {
        let told = ends::told(by);
        self.context
            .output
            .notice(&format!("{} {told}; everything is taken down", by.name));
        End::Aborted(Box::new(by.clone()))
    }

    /// Takes for `--bundle` what only a running ecosystem tells.
    async fn record(&self, session: &Session, view: &View<'_>) {
        if self.recorder.is_wanted() {
            let rows = follow::rows(session, view).await;
            self.recorder
                .take(self.context, &self.wish.desired, &rows, &view.plan);
        }
    }

    async fn late(&self, session: &Session, view: &View<'_>) -> Error {
        let rows = follow::rows(session, view).await;
        late(self.context, &self.wish.desired, &rows, self.limit)
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

/// What was not ready in time, each with what `why` says of it.
pub(super) fn late(
    context: &Context,
    desired: &Desired,
    rows: &[ServiceStatus],
    limit: Option<Duration>,
) -> Error {
    let found = why::of_late(desired, rows);
    for one in &found {
        context.output.explanation(one);
    }
    let names: Vec<&str> = found.iter().map(|one| one.service.as_str()).collect();
    Error::Timeout(format!(
        "not ready within {}: {}",
        humantime::format_duration(limit.unwrap_or_default()),
        match names.is_empty() {
            true => "nothing was started yet".to_owned(),
            false => names.join(", "),
        }
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
