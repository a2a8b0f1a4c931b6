//! Sandboxes and `exec` processes that the keeper has made: their reports, their end, their record.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Keeper, Source};
use crate::cgroup::{Cgroup, Usage};
use crate::cri::Cutter;
use crate::error::{Failure, FailureKind, Result};
use crate::failpoint;
use crate::mask;
use crate::protocol::{ExitRecord, ExitStatus, What};
use crate::report::Report;

/// stdout and stderr of a sandbox, until they end.
pub(super) type Outputs = [Option<(OwnedFd, Cutter)>; 2];

/// A sandbox, from its clone until it is forgotten.
pub(super) struct Sandbox {
    pub(super) bundle: PathBuf,
    pub(super) pid: i32,
    pub(super) start_time: u64,
    pub(super) pidfd: OwnedFd,
    pub(super) cgroup: Cgroup,
    /// Number of its log, see [`super::logs::Logs`].
    pub(super) log: u64,
    pub(super) outputs: Outputs,
    /// What goes over its outputs and is not for the log, in the order of these.
    pub(super) hidden: Option<[mask::Stream; 2]>,
    pub(super) reports: Option<OwnedFd>,
    pub(super) unread: Vec<u8>,
    /// Who waits for `Created`: connection and sequence number.
    pub(super) requester: Option<(u64, u64)>,
    /// Its service runs, or has run.
    pub(super) started: bool,
    pub(super) failure: Option<Failure>,
    pub(super) status: Option<ExitStatus>,
    pub(super) reaped: bool,
    /// Set when nothing more comes; it is over when this is in the log.
    pub(super) record: Option<ExitRecord>,
    pub(super) exit: Option<ExitRecord>,
}

impl Sandbox {
    pub(super) fn is_over(&self) -> bool {
        self.exit.is_some()
    }

    /// SIGKILL to pid 1: its pid namespace goes along. By descriptor, so never to a stranger with its number. What is
    /// only on its way into the namespace (`exec`) is in the cgroup.
    pub(super) fn kill(&self) {
        if !self.reaped {
            self.cgroup.kill();
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        }
    }

    /// Everything that will ever come has come.
    fn has_ended(&self) -> bool {
        self.reaped && self.reports.is_none() && self.outputs.iter().all(Option::is_none)
    }
}

/// A process of an `Exec` call.
pub(super) struct Exec {
    pub(super) pid: i32,
    pub(super) connection: u64,
    pub(super) seq: u64,
    pub(super) reports: OwnedFd,
    pub(super) master: Option<OwnedFd>,
    pub(super) started: bool,
    pub(super) failure: Option<Failure>,
}

impl Exec {
    pub(super) fn kill(&self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

impl Keeper {
    pub(super) fn on_reports(&mut self, token: u64, id: &str) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            self.sources.remove(&token);
            return Ok(());
        };
        let Some(pipe) = &sandbox.reports else {
            return Ok(());
        };
        let mut buffer = vec![0; 16 * 1024];
        match rustix::io::read(pipe.as_fd(), &mut buffer) {
            Ok(0) => {
                if let Some(pipe) = sandbox.reports.take() {
                    self.unwatch(token, pipe.as_fd());
                }
                self.settle(id)
            }
            Ok(count) => {
                sandbox.unread.extend_from_slice(&buffer[..count]);
                self.read_reports(id)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_reports(&mut self, id: &str) -> io::Result<()> {
        while let Some(sandbox) = self.sandboxes.get_mut(id) {
            let Some(end) = sandbox.unread.iter().position(|byte| *byte == b'\n') else {
                return Ok(());
            };
            let line: Vec<u8> = sandbox.unread.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Report::Started) => {
                    failpoint::hit("sandbox-started")?;
                    self.logs
                        .note(sandbox.log, &format!("started pid {}", sandbox.pid));
                    sandbox.started = true;
                    self.settle(id)?;
                }
                Ok(Report::Failed(failure)) => sandbox.failure = Some(failure),
                Ok(Report::Exited(status)) => sandbox.status = Some(status),
                Ok(Report::Pid(_)) | Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn sandbox_reaped(&mut self, id: &str) -> io::Result<()> {
        if let Some(sandbox) = self.sandboxes.get_mut(id) {
            sandbox.reaped = true;
        }
        self.settle(id)
    }

    /// What a sandbox waits for may have come: it runs, or has ended. Whoever is told either reads all of its log until
    /// then, unless the disk hangs.
    pub(super) fn settle(&mut self, id: &str) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id).filter(|sandbox| !sandbox.is_over()) else {
            return Ok(());
        };
        let ended = sandbox.has_ended();
        if ended && sandbox.record.is_none() {
            self.conclude(id)?;
        }
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return Ok(());
        };
        if !ended && (!sandbox.started || sandbox.requester.is_none()) {
            return Ok(());
        }
        if !self.logs.is_written(sandbox.log) {
            if !self.unwritten.iter().any(|waits| waits == id) {
                self.unwritten.push(id.to_owned());
            }
            return Ok(());
        }
        self.tell_start(id);
        if ended { self.tell_end(id) } else { Ok(()) }
    }

    /// The last of a sandbox has come: reads its usage, removes its groups, notes its end.
    fn conclude(&mut self, id: &str) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return Ok(());
        };
        failpoint::hit("sandbox-ended")?;
        let usage = sandbox.cgroup.usage();
        if let Err(failure) = sandbox.cgroup.delete(super::DYING) {
            self.logs.note(sandbox.log, &failure.to_string());
        }
        failpoint::hit("cgroup-deleted")?;
        // On v2 the kernel ends pid 1 together with the service that exceeds its memory, and nobody is left to report.
        let silent = if usage.hits.oom_kills > 0 {
            ExitStatus::Signal(libc::SIGKILL)
        } else {
            ExitStatus::Unknown
        };
        let record = record(sandbox.status.unwrap_or(silent), Some(usage));
        if sandbox.started {
            self.logs.note(sandbox.log, &ended_text(&record));
        }
        sandbox.record = Some(record);
        Ok(())
    }

    /// Answers whoever asked for the sandbox; one that has no log does not run.
    fn tell_start(&mut self, id: &str) {
        let Some(sandbox) = self.sandboxes.get_mut(id).filter(|sandbox| sandbox.started) else {
            return;
        };
        if sandbox.requester.is_some()
            && let Some(why) = self.logs.refused(sandbox.log)
        {
            sandbox.failure = Some(Failure::new(FailureKind::Environment, "open the log", why));
            sandbox.started = false;
            sandbox.kill();
            return;
        }
        let (pid, start_time) = (sandbox.pid, sandbox.start_time);
        if let Some(requester) = sandbox.requester.take() {
            let created = What::Created {
                id: id.to_owned(),
                pid,
                start_time,
            };
            self.answer(requester, created, &[]);
        }
    }

    /// Records the end and tells it.
    fn tell_end(&mut self, id: &str) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return Ok(());
        };
        self.logs.close(sandbox.log);
        if let Some(requester) = sandbox.requester.take() {
            let failure = sandbox.failure.take().unwrap_or_else(|| {
                Failure::new(
                    FailureKind::Environment,
                    "start the sandbox",
                    "its pid 1 was killed while it was being made",
                )
            });
            self.sandboxes.remove(id);
            self.answer(requester, failed(failure), &[]);
            return Ok(());
        }
        let Some(record) = sandbox.record.clone() else {
            return Ok(());
        };
        let _ = write_record(&sandbox.bundle, &record);
        failpoint::hit("exit-recorded")?;
        sandbox.exit = Some(record.clone());
        self.broadcast(&What::Exited {
            id: id.to_owned(),
            status: record,
        });
        Ok(())
    }

    pub(super) fn on_exec_report(&mut self, token: u64, pid: i32) -> io::Result<()> {
        let Some(exec) = self.execs.get_mut(&pid) else {
            self.sources.remove(&token);
            return Ok(());
        };
        let mut buffer = vec![0; 16 * 1024];
        let count = match rustix::io::read(exec.reports.as_fd(), &mut buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Ok(Report::Failed(failure)) = serde_json::from_slice(&buffer[..count]) {
            exec.failure = Some(failure);
            return Ok(());
        }
        self.exec_has_started(token, pid);
        Ok(())
    }

    /// The report pipe is at its end: `execve` has succeeded, unless a failure came before.
    fn exec_has_started(&mut self, token: u64, pid: i32) {
        let Some(exec) = self.execs.get_mut(&pid) else {
            return;
        };
        exec.started = exec.failure.is_none();
        let master = exec.master.take();
        let (to, started) = ((exec.connection, exec.seq), exec.started);
        self.sources.remove(&token);
        let _ = self.epoll.delete(exec.reports.as_fd());
        if started {
            let descriptors: Vec<_> = master.iter().map(AsFd::as_fd).collect();
            self.answer(to, What::ExecStarted { pid }, &descriptors);
        }
    }

    pub(super) fn exec_ended(&mut self, mut exec: Exec, status: ExitStatus) {
        let to = (exec.connection, exec.seq);
        self.sources
            .retain(|_, source| !matches!(source, Source::ExecReports(pid) if *pid == exec.pid));
        let _ = self.epoll.delete(exec.reports.as_fd());
        if !exec.started && exec.failure.is_none() {
            // It ended before the loop came to its report: what is in the pipe now is all there will be.
            let mut text = vec![0; 16 * 1024];
            let count = rustix::io::read(exec.reports.as_fd(), &mut text).unwrap_or(0);
            if let Ok(Report::Failed(failure)) = serde_json::from_slice(&text[..count]) {
                exec.failure = Some(failure);
            } else {
                let descriptors: Vec<_> = exec.master.iter().map(AsFd::as_fd).collect();
                self.answer(to, What::ExecStarted { pid: exec.pid }, &descriptors);
            }
        }
        match exec.failure {
            Some(failure) => self.answer(to, failed(failure), &[]),
            None => self.answer(to, What::ExecExited { status }, &[]),
        }
    }
}

pub(super) fn failed(failure: Failure) -> What {
    What::Failed {
        step: failure.step,
        causes: failure.causes,
        kind: failure.kind,
    }
}

pub(super) fn record(status: ExitStatus, usage: Option<Usage>) -> ExitRecord {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    ExitRecord {
        status,
        usage: usage.unwrap_or_default(),
        ended_at_usec: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
    }
}

fn ended_text(record: &ExitRecord) -> String {
    match record.status {
        ExitStatus::Code(code) => format!("exited with code {code}"),
        ExitStatus::Signal(signal) => format!("ended by signal {signal}"),
        ExitStatus::Unknown => "was killed".to_owned(),
    }
}

/// Written beside and renamed: a reader sees the old record or the new one.
fn write_record(bundle: &Path, record: &ExitRecord) -> Result<()> {
    use crate::error::During;
    let (path, beside) = (bundle.join("exit.json"), bundle.join(".exit.json.tmp"));
    let text = serde_json::to_vec(record).during(|| "encode the exit record".to_owned())?;
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, &path))
        .during(|| format!("write `{}`", path.display()))
}
