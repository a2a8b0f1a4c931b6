//! A request under way: its progress shown, its logs beside it, Ctrl-C turned into an ordered end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::config::ecosystem::{ServiceName, UnitName};
use crate::control::api::{DownRequest, Phase, Progress, ServiceStatus};
use crate::control::client::ProgressStream;
use crate::error::Error;
use crate::instance::Instance;
use crate::logs::{Event, Follower, Joiner, Stopper};
use crate::output::{LogStyle, LogView, Output};
use crate::roster::Seat;
use crate::session::Session;

/// How a request came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was settled with this exit code.
    Settled(i32),
    /// The user ended it with this signal.
    Interrupted(i32),
    /// Time was up.
    TimedOut,
    /// The stream ended: the instance is gone.
    Ended,
}

/// What progress has told so far.
pub(super) struct View<'a> {
    output: &'a Output,
    /// The latest row of each service.
    pub(super) rows: BTreeMap<ServiceName, ServiceStatus>,
    /// The latest plan: one operation with its cause a line.
    pub(super) plan: Vec<String>,
    /// Plans and states are not shown.
    pub(super) silent: bool,
    /// Logs beside it: those of each sandbox that progress tells of.
    pub(super) logs: Option<LiveLogs>,
}

impl<'a> View<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            rows: BTreeMap::new(),
            plan: Vec::new(),
            silent: false,
            logs: None,
        }
    }

    /// Shows a line of progress; the exit code when it settles the request.
    pub(super) fn take(&mut self, progress: Progress) -> Option<i32> {
        match progress {
            Progress::Plan { lines } => self.plan(lines),
            Progress::Resolved { .. } | Progress::Built { .. } => {}
            Progress::Service { status } => self.row(*status),
            Progress::Build { service, line } => self.output.build(&service, &line),
            Progress::Notice { text } => self.output.notice(&text),
            Progress::Failure {
                service,
                cause,
                details,
                log,
            } => self.output.failure(&service, &cause, &details, &log),
            Progress::Settled { exit_code } => return Some(exit_code),
        }
        None
    }

    fn plan(&mut self, lines: Vec<String>) {
        if !self.silent {
            lines.iter().for_each(|line| self.output.line(line));
        }
        self.plan = lines;
    }

    fn row(&mut self, status: ServiceStatus) {
        if !self.silent {
            self.output.status(&status);
        }
        if let Some(logs) = &mut self.logs {
            logs.follow(&status);
        }
        self.rows.insert(status.name.clone(), status);
    }

    /// Prints what is left of the logs, and ends them.
    pub(super) fn finish(&mut self) {
        if let Some(logs) = self.logs.take() {
            logs.finish();
        }
    }

    /// Names of services in one of these states, for messages.
    pub(super) fn names_in(&self, phases: &[Phase]) -> Vec<String> {
        let matching = self.rows.values().filter(|row| phases.contains(&row.state));
        matching.map(|row| row.name.clone()).collect()
    }
}

/// The signals that end a command in order.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: whoever started the command wants it to outlive the terminal (nohup(1)).
    hangup: Option<Signal>,
}

impl Signals {
    pub(super) fn catch() -> Result<Self, Error> {
        let caught = |kind: SignalKind| {
            signal(kind).map_err(|error| Error::Internal {
                message: "cannot catch signals".to_owned(),
                source: Some(Box::new(error)),
            })
        };
        // Before it is caught, or it would not be ignored any more.
        let ends_with_its_terminal = !is_ignored(SignalKind::hangup());
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: ends_with_its_terminal
                .then(|| caught(SignalKind::hangup()))
                .transpose()?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> i32 {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = hung_up => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

/// Whether this process ignores a signal: `SigIgn` of proc_pid_status(5), a mask whose lowest bit is signal 1.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// Shows progress until the request is settled, the user interrupts, or time is up.
pub(super) async fn until_settled(
    stream: &mut ProgressStream,
    view: &mut View<'_>,
    signals: &mut Signals,
    limit: Option<Duration>,
) -> Result<Outcome, Error> {
    let started = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        if let Some(outcome) = next(stream, view, signals, left).await? {
            return Ok(outcome);
        }
    }
}

/// Takes one line of progress, unless something else comes first.
pub(super) async fn next(
    stream: &mut ProgressStream,
    view: &mut View<'_>,
    signals: &mut Signals,
    limit: Option<Duration>,
) -> Result<Option<Outcome>, Error> {
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        progress = stream.next() => Ok(match progress? {
            None => Some(Outcome::Ended),
            Some(progress) => view.take(progress).map(Outcome::Settled),
        }),
        number = signals.next() => Ok(Some(Outcome::Interrupted(number))),
        () = over => Ok(Some(Outcome::TimedOut)),
    }
}

/// The rows as they are now; those that progress has told, when nobody answers.
pub(super) async fn rows(session: &Session, view: &View<'_>) -> Vec<ServiceStatus> {
    let rows = session
        .client
        .get_json::<Vec<ServiceStatus>>("/v1/services")
        .await;
    rows.unwrap_or_else(|_| view.rows.values().cloned().collect())
}

/// Brings the instance down in order; a signal meanwhile kills what is left. Returns when everything has ended.
pub(super) async fn bring_down(
    session: &Session,
    instance: &Instance,
    request: DownRequest,
    view: &mut View<'_>,
    signals: &mut Signals,
) -> Result<i32, Error> {
    let mut stream = session.client.post_stream("/v1/down", &request).await?;
    let mut code = 0;
    loop {
        match until_settled(&mut stream, view, signals, None).await? {
            Outcome::Settled(settled) => code = settled,
            Outcome::Interrupted(_) => {
                let kill = DownRequest {
                    kill: true,
                    ..request.clone()
                };
                stream = session.client.post_stream("/v1/down", &kill).await?;
            }
            Outcome::TimedOut | Outcome::Ended => break,
        }
    }
    session.wait_for_end(instance)?;
    Ok(code)
}

/// Logs on the screen while a command runs, printed by a thread of their own.
pub(super) struct LiveLogs {
    instance: Instance,
    known: BTreeSet<UnitName>,
    seats: Sender<Seat>,
    joiner: Joiner,
    stopper: Stopper,
    printer: JoinHandle<()>,
}

impl LiveLogs {
    /// Begins at the present end of the logs of these sandboxes. Without `prefixed` lines are shown as they are.
    pub(super) fn start(
        instance: &Instance,
        seats: Vec<Seat>,
        prefixed: bool,
        output: &Output,
    ) -> Result<Self, Error> {
        let paths: Vec<PathBuf> = seats.iter().map(|seat| instance.log_file(&seat.unit())).collect();
        let follower = Follower::new(&paths).map_err(|error| Error::Environment {
            message: format!("cannot follow the logs: {error}"),
            hint: Some("`sysctl fs.inotify.max_user_instances` may be too low".to_owned()),
        })?;
        let style = LogStyle {
            prefixed,
            ..LogStyle::default()
        };
        let (sender, newcomers) = mpsc::channel();
        let known = seats.iter().map(Seat::unit).collect();
        let (joiner, stopper) = (follower.joiner(), follower.stopper());
        let view = output.logs(seats, style);
        Ok(Self {
            instance: instance.clone(),
            known,
            seats: sender,
            joiner,
            stopper,
            printer: std::thread::spawn(move || print(follower, view, &newcomers)),
        })
    }

    /// Follows this sandbox, too, from when it is first told of.
    fn follow(&mut self, status: &ServiceStatus) {
        if self.known.insert(status.name.clone()) {
            // Before its log: a line of it is only shown by who it is from.
            let _ = self.seats.send(status.seat());
            self.joiner.add(self.instance.log_file(&status.name));
        }
    }

    fn finish(self) {
        self.stopper.stop();
        let _ = self.printer.join();
    }
}

/// Prints lines until the follower ends; `newcomers` are the sandboxes whose logs have joined it, in the same order.
fn print(mut follower: Follower, mut view: LogView, newcomers: &Receiver<Seat>) {
    while let Ok(event) = follower.next_event() {
        match event {
            Event::Line(index, line) => {
                while view.known() <= index
                    && let Ok(seat) = newcomers.try_recv()
                {
                    view.add(seat);
                }
                view.show(index, &line);
            }
            Event::Idle => view.flush(),
            Event::End => break,
        }
    }
    view.flush();
}

/// Runs a command's asynchronous part on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Internal {
            message: "cannot start the event loop".to_owned(),
            source: Some(Box::new(error)),
        })?
        .block_on(future)
}
