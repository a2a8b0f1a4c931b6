//! The child side of a launch: pid 1 of the sandbox. Builds it, starts the service, and stays: reaps, forwards signals,
//! reports the end. Never returns into the keeper's code.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use caps::{CapSet, Capability};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxNamespaceType;

use crate::error::{During, Failure, Result};
use crate::launch::Launch;
use crate::layer::Layer;
use crate::mounts::Operation;
use crate::protocol::ExitStatus;
use crate::report::{Report, Reporter};
use crate::rootfs;
use crate::secrets;
use crate::sys::{self, Cloned};

/// Signals that pid 1 hands on to the service.
const FORWARDED: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// Life of pid 1.
pub(crate) fn run(launch: &Launch, operations: &[Operation], reporter: OwnedFd) -> ! {
    let mut reporter = Reporter::new(reporter);
    match start(launch, operations) {
        Ok(service) => {
            reporter.say(&Report::Started);
            // What the keeper's heap was at this moment would stay here as long as the service runs.
            sys::trim_heap();
            let status = watch(service, launch.life);
            reporter.say(&Report::Exited(status));
            sys::exit_now(status.code());
        }
        Err(failure) => {
            reporter.say(&Report::Failed(failure));
            sys::exit_now(125);
        }
    }
}

/// Builds the sandbox and starts the service, in an order that matters:
/// cgroup before its namespace (else that is rooted one level too high: the kernel roots it at the group of the process
/// that calls, which for a flag of `clone3` is the keeper, also with `CLONE_INTO_CGROUP`); network by path before the mounts (the path is
/// the host's, and `/sys` shows the network namespace that mounts it); everything before the service exists.
fn start(launch: &Launch, operations: &[Operation]) -> Result<Pid> {
    let _ = rustix::thread::set_name(c"pactown:init");
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .during(|| "become undumpable".to_owned())?;
    secrets::stay_in_memory_too();
    launch.cgroup.join()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).during(|| "create a cgroup namespace".to_owned())?;
    join_network(launch)?;
    // Mount points are for the service to see; the keeper's umask would close them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rootfs::build(&launch.root(), operations)?;
    if let Some(name) = launch.spec.hostname() {
        nix::unistd::sethostname(name).during(|| format!("set the host name `{name}`"))?;
    }
    let (service, outcome) = fork_service(launch)?;
    // Meanwhile the service is on its way to its `execve`.
    settle()?;
    executed(outcome)?;
    Ok(service)
}

fn join_network(launch: &Launch) -> Result<()> {
    let namespaces = launch
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().clone())
        .unwrap_or_default();
    match namespaces
        .iter()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::Network)
    {
        None => Ok(()),
        Some(_) if Layer::Network.is_off() => Ok(()),
        Some(namespace) => match namespace.path() {
            None => nix::sched::unshare(CloneFlags::CLONE_NEWNET)
                .during(|| "create a network namespace".to_owned()),
            Some(path) => {
                let file =
                    File::open(path).during(|| format!("open the network namespace `{}`", path.display()))?;
                nix::sched::setns(&file, CloneFlags::CLONE_NEWNET)
                    .during(|| format!("join the network namespace `{}`", path.display()))
            }
        },
    }
}

/// Forks the service; with a pipe that closes when it has executed its program, or tells why it could not.
fn fork_service(launch: &Launch) -> Result<(Pid, PipeReader)> {
    let (outcome, report) = std::io::pipe().during(|| "make the exec pipe".to_owned())?;
    match sys::clone3(0, None).during(|| "fork the service".to_owned())? {
        Cloned::Child => {
            drop(outcome);
            let failure = become_service(launch);
            Reporter::new(report.into()).say(&Report::Failed(failure));
            sys::exit_now(127);
        }
        Cloned::Parent(pid, _) => Ok((Pid::from_raw(pid), outcome)),
    }
}

fn executed(mut outcome: PipeReader) -> Result<()> {
    let mut text = String::new();
    outcome
        .read_to_string(&mut text)
        .during(|| "read the exec pipe".to_owned())?;
    match serde_json::from_str(text.trim()) {
        Ok(Report::Failed(failure)) => Err(failure),
        _ => Ok(()),
    }
}

fn become_service(launch: &Launch) -> Failure {
    let prepare = || -> Result<()> {
        // A session of its own: its process group is what signals are forwarded to.
        nix::unistd::setsid().during(|| "begin a session".to_owned())?;
        stdio(&launch.stdio)
    };
    match prepare() {
        Ok(()) => launch.program.run(launch.userns, launch.landlock, launch.seccomp),
        Err(failure) => failure,
    }
}

/// Makes these three descriptors stdin, stdout and stderr.
pub(crate) fn stdio(descriptors: &[BorrowedFd; 3]) -> Result<()> {
    rustix::stdio::dup2_stdin(descriptors[0]).during(|| "connect stdin".to_owned())?;
    rustix::stdio::dup2_stdout(descriptors[1]).during(|| "connect stdout".to_owned())?;
    rustix::stdio::dup2_stderr(descriptors[2]).during(|| "connect stderr".to_owned())
}

/// Pid 1 gives up what it no longer needs: its own ends of the log pipes (else they would never close), and every
/// capability but CAP_KILL, with which it signals the service across the user namespace.
fn settle() -> Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .during(|| "open `/dev/null`".to_owned())?;
    stdio(&[null.as_fd(), null.as_fd(), null.as_fd()])?;
    for capability in caps::runtime::thread_all_supported() {
        if capability != Capability::CAP_KILL {
            caps::drop(None, CapSet::Bounding, capability).during(|| "shrink the bounding set".to_owned())?;
        }
    }
    let only = std::iter::once(Capability::CAP_KILL).collect();
    caps::clear(None, CapSet::Inheritable).during(|| "empty the inheritable set".to_owned())?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &only).during(|| format!("shrink the {set:?} set"))?;
    }
    // After the last change of credentials, which would clear it (PR_SET_PDEATHSIG(2const)). The keeper may have died
    // before this line: the life pipe, polled from now on, closes that gap.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .during(|| "set the parent-death signal".to_owned())?;
    Ok(())
}

/// Until the service ends: reaps, forwards, and watches the keeper's pipe. Pid 1's end is the end of all inside.
fn watch(service: Pid, life: BorrowedFd) -> ExitStatus {
    let mut mask = SigSet::from_iter(FORWARDED.iter().copied());
    mask.add(Signal::SIGCHLD);
    let _ = mask.thread_block();
    let Ok(signals) = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
        return ExitStatus::Unknown;
    };
    loop {
        if let Some(status) = reap(service) {
            return status;
        }
        let mut sources = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(life, PollFlags::POLLIN),
        ];
        let _ = poll(&mut sources, PollTimeout::NONE);
        let keeper_died = sources[1].revents().is_some_and(|events| !events.is_empty());
        if keeper_died {
            return ExitStatus::Unknown;
        }
        while let Ok(Some(info)) = signals.read_signal() {
            forward(service, info.ssi_signo.cast_signed());
        }
    }
}

/// To the whole process group: a shell that waits for its server would keep SIGTERM to itself.
fn forward(service: Pid, number: i32) {
    if let Ok(signal) = Signal::try_from(number)
        && signal != Signal::SIGCHLD
    {
        let group = Pid::from_raw(-service.as_raw());
        let _ = kill(group, signal);
        if signal == Signal::SIGTERM {
            // A stopped process would never see it.
            let _ = kill(group, Signal::SIGCONT);
        }
    }
}

/// Collects every child that has ended; the service's own status when it is among them.
fn reap(service: Pid) -> Option<ExitStatus> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == service => ended = Some(ExitStatus::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == service => {
                ended = Some(ExitStatus::Signal(signal as i32))
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return ended,
            Ok(_) => {}
        }
    }
}

/// Descriptors that pid 1 needs; every other one is closed first of all.
pub(crate) fn needed(launch: &Launch, reporter: &OwnedFd) -> Vec<i32> {
    let mut keep: Vec<i32> = launch.stdio.iter().map(AsRawFd::as_raw_fd).collect();
    keep.extend([
        launch.life.as_raw_fd(),
        launch.userns.as_raw_fd(),
        launch.skeleton.as_raw_fd(),
        reporter.as_raw_fd(),
    ]);
    keep.extend(launch.maps.iter().map(|(_, fd)| fd.as_raw_fd()));
    keep.extend(launch.secrets.map(|fd| fd.as_raw_fd()));
    keep
}
