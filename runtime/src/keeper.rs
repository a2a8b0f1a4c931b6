//! The keeper: one process per instance, parent of every sandbox's pid 1. Makes sandboxes on request, pumps their output
//! into log files, reaps, records. Single-threaded and without an async runtime, so it may clone freely.
//!
//! It knows no networks and no policy, and decides nothing: it does what it is asked, and tells what happened.

mod book;
mod calls;
mod connection;
mod exec;
mod logs;
mod notes;
mod prepare;
mod pump;
mod sandbox;
mod supervisor;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::failpoint;
use crate::protocol::{ExitStatus, What};
use crate::seal::{ALREADY_RUNNING, GO};
use connection::Connection;
use prepare::{Prepared, UserNamespace};
use sandbox::{Exec, Sandbox};
use supervisor::Supervisor;

/// What a descriptor in the event loop belongs to.
#[derive(Debug, Clone)]
enum Source {
    Listener,
    Signals,
    Connection(u64),
    Reports(String),
    /// The set of all outputs.
    Outputs,
    Output(String, usize),
    LogWriter,
    ExecReports(i32),
}

/// The keeper's whole state; it has no other owner.
struct Keeper {
    epoll: Epoll,
    /// The outputs of the sandboxes, as one source: while the logs take nothing, none is looked at.
    outputs: Epoll,
    sources: BTreeMap<u64, Source>,
    next_source: u64,
    listener: OwnedFd,
    signals: SignalFd,
    /// Read end for the sandboxes' pid 1, write end for nobody but this process: its end is their end.
    life: (PipeReader, PipeWriter),
    sandboxes: BTreeMap<String, Sandbox>,
    namespaces: BTreeMap<String, UserNamespace>,
    prepared: BTreeMap<String, Prepared>,
    filters: BTreeMap<String, std::rc::Rc<crate::seccomp::Filter>>,
    held: BTreeMap<String, Vec<OwnedFd>>,
    connections: BTreeMap<u64, Connection>,
    execs: BTreeMap<i32, Exec>,
    helpers: BTreeMap<i32, String>,
    supervisor: Supervisor,
    logs: logs::Logs,
    room: pump::Room,
    /// Sandboxes that wait for their logs: to be told as running, or as ended.
    unwritten: Vec<String>,
    notes: notes::Notes,
    /// An end in order was asked for.
    asked: bool,
    ending: bool,
}

/// Signals that ask for an end in order. SIGURG is what systemd sends to everything in the instance's scope: nobody but
/// the keeper takes it for an end, so the services get their stop signals one after another.
const ENDING: &[Signal] = &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGURG];

/// How long the kernel may take to let go of the processes of a sandbox that has ended, while everything else waits. A group
/// that is not gone by then is removed with the instance.
const DYING: Duration = Duration::from_millis(50);

/// Runs the keeper of the instance in `directory` until its supervisor has finished. The supervisor is this program
/// with `supervisor` as arguments. Logs lie in `directory` or below `logs`, which is made. Says `ready` on stdout once it listens, and closes it.
pub fn run(directory: &Path, supervisor: Vec<OsString>, logs: &Path) -> ExitCode {
    let _ = rustix::thread::set_name(c"pactown:keeper");
    match start(directory, supervisor, logs) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            ExitCode::from(u8::try_from(ALREADY_RUNNING).unwrap_or(1))
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "keeper: {error}");
            ExitCode::FAILURE
        }
        Ok((mut keeper, _lock)) => {
            let outcome = keeper.serve();
            let _ = fs::remove_file(directory.join("keeper.sock"));
            if let Err(error) = outcome {
                let _ = writeln!(io::stderr(), "keeper: {error}");
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
    }
}

/// Whoever started us is putting us into a control group: nothing may be born outside of it.
fn wait_for_go() -> io::Result<()> {
    let mut word = Vec::new();
    io::stdin().read_to_end(&mut word)?;
    if word == GO {
        Ok(())
    } else {
        Err(io::Error::other("nobody let it begin"))
    }
}

fn start(directory: &Path, supervisor: Vec<OsString>, logs: &Path) -> io::Result<(Keeper, Flock<File>)> {
    wait_for_go()?;
    let _ = nix::unistd::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Before anything else is touched: of two keepers the second leaves without a trace.
    let lock = lock(directory)?;
    failpoint::hit("keeper-locked")?;
    let signals = signals()?;
    let listener = listen(&directory.join("keeper.sock"))?;
    failpoint::hit("keeper-listening")?;
    // A disk that refuses costs the logs, not the services.
    let _ = fs::create_dir_all(logs);
    let mut keeper = Keeper {
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        outputs: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        sources: BTreeMap::new(),
        next_source: 0,
        listener,
        signals,
        life: io::pipe()?,
        sandboxes: BTreeMap::new(),
        namespaces: BTreeMap::new(),
        prepared: BTreeMap::new(),
        filters: BTreeMap::new(),
        held: BTreeMap::new(),
        connections: BTreeMap::new(),
        execs: BTreeMap::new(),
        helpers: BTreeMap::new(),
        supervisor: Supervisor::new(supervisor),
        logs: logs::Logs::new(vec![directory.to_owned(), logs.to_owned()])?,
        room: pump::Room::default(),
        unwritten: Vec::new(),
        notes: notes::Notes::default(),
        asked: false,
        ending: false,
    };
    let (listener, signals) = (
        keeper.listener.try_clone()?,
        keeper.signals.as_fd().try_clone_to_owned()?,
    );
    keeper.watch(listener.as_fd(), Source::Listener)?;
    keeper.watch(signals.as_fd(), Source::Signals)?;
    // The descriptors watched are the clones: they must live as long as the loop.
    keeper.held.insert("keeper".to_owned(), vec![listener, signals]);
    keeper.start_log_writer()?;
    keeper.supervisor.start()?;
    failpoint::hit("supervisor-started")?;
    announce()?;
    Ok((keeper, lock))
}

/// Held from the keeper's first to its last moment: who cannot have it is the second.
fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("keeper.lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| io::Error::from(errno))
}

/// Signals come as something to read, in the loop's own time.
fn signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    ENDING.iter().for_each(|signal| mask.add(*signal));
    mask.thread_block()?;
    Ok(SignalFd::with_flags(
        &mask,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// A stale socket of a dead keeper is replaced: the lock proves that nobody listens on it.
fn listen(path: &PathBuf) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Tells whoever started us that we listen, and lets go of their pipe.
fn announce() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(b"ready\n")?;
    stdout.flush()?;
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

impl Keeper {
    /// The event loop. Ends when the supervisor has ended for good and nothing lives any more.
    fn serve(&mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); 64];
        while !(self.ending && self.sandboxes.values().all(Sandbox::is_over)) {
            let pause = self
                .supervisor
                .restart_in()
                .into_iter()
                .chain(self.logs.wait())
                .min();
            let timeout = pause.map_or(EpollTimeout::NONE, |pause| {
                EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO)
            });
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            for event in &events[..count] {
                if let Some(source) = self.sources.get(&event.data()).cloned() {
                    self.handle(event.data(), &source)?;
                }
            }
            self.tend_logs()?;
            if !self.ending {
                self.supervisor.restart_when_due()?;
            }
        }
        self.logs.end();
        failpoint::hit("keeper-ending")
    }

    fn handle(&mut self, token: u64, source: &Source) -> io::Result<()> {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.on_signals(),
            Source::Connection(number) => self.on_request(token, *number),
            Source::Reports(id) => self.on_reports(token, id),
            Source::Outputs => self.on_outputs(),
            Source::Output(id, stream) => self.on_output(token, id, *stream),
            Source::LogWriter => {
                self.on_log_writer(token);
                Ok(())
            }
            Source::ExecReports(pid) => self.on_exec_report(token, *pid),
        }
    }

    fn watch(&mut self, descriptor: BorrowedFd, source: Source) -> io::Result<u64> {
        let token = self.register(source);
        self.epoll
            .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(token)
    }

    /// A token for the events of this source.
    fn register(&mut self, source: Source) -> u64 {
        let token = self.next_source;
        self.next_source += 1;
        self.sources.insert(token, source);
        token
    }

    fn unwatch(&mut self, token: u64, descriptor: BorrowedFd) {
        self.sources.remove(&token);
        let _ = self.epoll.delete(descriptor);
    }

    fn on_signals(&mut self) -> io::Result<()> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                self.end_in_order();
            }
        }
        self.reap()
    }

    /// Hands on to the supervisor, which decides in what order things end. Asked twice, or without a supervisor, it is
    /// the end at once.
    fn end_in_order(&mut self) {
        let first = !std::mem::replace(&mut self.asked, true);
        if !(first && self.supervisor.terminate()) {
            self.end();
        }
    }

    /// Kills everything and lets the loop run out.
    fn end(&mut self) {
        self.ending = true;
        self.supervisor.kill();
        self.sandboxes.values().for_each(Sandbox::kill);
        self.execs.values().for_each(Exec::kill);
        for pid in self.helpers.keys() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), ExitStatus::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), ExitStatus::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if self.logs.ended(pid) {
                // The loop starts the next one.
            } else if self.supervisor.ended(pid, status) {
                if self.supervisor.is_finished() {
                    self.end();
                }
            } else if let Some(exec) = self.execs.remove(&pid) {
                self.exec_ended(exec, status);
            } else if let Some(id) = self.helpers.remove(&pid) {
                self.broadcast(&What::Exited {
                    id,
                    status: sandbox::record(status, None),
                });
            } else if let Some(id) = self.sandbox_of(pid) {
                self.sandbox_reaped(&id)?;
            }
        }
    }

    fn sandbox_of(&self, pid: i32) -> Option<String> {
        self.sandboxes
            .iter()
            .find(|(_, sandbox)| sandbox.pid == pid && !sandbox.is_over())
            .map(|(id, _)| id.clone())
    }
}
