//! The supervisor as the keeper sees it: a child that is started again when it dies, until it ends with 0.

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::protocol::ExitStatus;

/// First pause before a restart; doubled for each death that comes soon after a start.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(5);
/// A supervisor that lived this long is not in a crash loop.
const STABLE: Duration = Duration::from_secs(10);

pub(super) struct Supervisor {
    arguments: Vec<OsString>,
    pid: Option<i32>,
    started: Instant,
    pause: Duration,
    due: Option<Instant>,
    finished: bool,
}

impl Supervisor {
    pub(super) fn new(arguments: Vec<OsString>) -> Self {
        Self {
            arguments,
            pid: None,
            started: Instant::now(),
            pause: PAUSE,
            due: None,
            finished: false,
        }
    }

    /// Starts it, from the keeper's own sealed program.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new("/proc/self/exe");
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        self.pid = Some(child.id().cast_signed());
        self.started = Instant::now();
        self.due = None;
        Ok(())
    }

    /// Takes note of a death; whether it was this process.
    pub(super) fn ended(&mut self, pid: i32, status: ExitStatus) -> bool {
        if self.pid != Some(pid) {
            return false;
        }
        self.pid = None;
        self.finished = status == ExitStatus::Code(0);
        self.pause = if self.started.elapsed() > STABLE {
            PAUSE
        } else {
            (self.pause * 2).min(LONGEST)
        };
        self.due = (!self.finished).then(|| Instant::now() + self.pause);
        true
    }

    /// Whether it has ended for good.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Time until it must be started again.
    pub(super) fn restart_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    pub(super) fn restart_when_due(&mut self) -> io::Result<()> {
        match self.due {
            Some(due) if due <= Instant::now() => self.start(),
            _ => Ok(()),
        }
    }

    /// Asks it to end everything in order; whether it lives.
    pub(super) fn terminate(&self) -> bool {
        let pid = self.pid.map(Pid::from_raw);
        pid.is_some_and(|pid| kill(pid, Signal::SIGTERM).is_ok())
    }

    pub(super) fn kill(&mut self) {
        self.due = None;
        if let Some(pid) = self.pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
