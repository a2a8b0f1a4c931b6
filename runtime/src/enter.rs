//! One more process in a running sandbox (`exec`): in all of its namespaces and groups, held as the service is.
//!
//! Two steps, because a process cannot enter a pid namespace itself, only its next child can (setns(2)): a go-between
//! enters, clones the process as its sibling (so that the keeper is its parent and reaps it), and ends.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::pty::OpenptFlags;

use crate::cgroup::Cgroup;
use crate::error::{During, Failure, FailureKind, Result};
use crate::init::stdio;
use crate::landlock::Rules;
use crate::program::Program;
use crate::report::{Report, Reporter};
use crate::seccomp::Filter;
use crate::sys::{self, Cloned};

/// Where to, and what.
pub(crate) struct Enter<'a> {
    /// The sandbox's pid 1.
    pub(crate) init: BorrowedFd<'a>,
    /// Its groups.
    pub(crate) cgroup: &'a Cgroup,
    /// Its user namespace, from the keeper: that of pid 1 is the host's.
    pub(crate) userns: BorrowedFd<'a>,
    /// Its filter.
    pub(crate) seccomp: &'a Filter,
    /// What its programs may do with files.
    pub(crate) landlock: &'a Rules,
    /// The program.
    pub(crate) program: &'a Program,
    /// stdin, stdout, stderr.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// stdin is a terminal of the sandbox, to be the controlling one.
    pub(crate) terminal: bool,
}

impl Enter<'_> {
    /// Starts it; returns its host pid and the pipe that closes when `execve` has succeeded. Waits for the
    /// go-between only, a few milliseconds.
    pub(crate) fn start(&self) -> Result<(i32, OwnedFd)> {
        let (mut reports, reporter) = std::io::pipe().during(|| "make the report pipe".to_owned())?;
        let group = self.cgroup.entrance()?;
        let group = group.as_ref().map(AsFd::as_fd);
        match sys::clone3(0, group).during(|| "fork the go-between".to_owned())? {
            Cloned::Child => {
                drop(reports);
                self.go_between(reporter.into())
            }
            Cloned::Parent(pid, _) => {
                drop(reporter);
                let first = read_line(&mut reports);
                waitpid(Pid::from_raw(pid), None).during(|| "wait for the go-between".to_owned())?;
                match serde_json::from_slice(&first) {
                    Ok(Report::Pid(pid)) => Ok((pid, reports.into())),
                    Ok(Report::Failed(failure)) => Err(failure),
                    _ => Err(Failure::new(
                        FailureKind::Environment,
                        "enter the sandbox",
                        "it is ending",
                    )),
                }
            }
        }
    }

    fn go_between(&self, reporter: OwnedFd) -> ! {
        let mut keep: Vec<i32> = self.stdio.iter().map(AsRawFd::as_raw_fd).collect();
        keep.extend([
            self.init.as_raw_fd(),
            self.userns.as_raw_fd(),
            reporter.as_raw_fd(),
        ]);
        sys::close_all_except(3, &keep);
        let mut reporter = Reporter::new(reporter);
        match self.enter() {
            Ok(Cloned::Parent(pid, _)) => reporter.say(&Report::Pid(pid)),
            Ok(Cloned::Child) => {
                let failure = self.become_program();
                reporter.say(&Report::Failed(failure));
                sys::exit_now(127);
            }
            Err(failure) => reporter.say(&Report::Failed(failure)),
        }
        sys::exit_now(0)
    }

    /// Groups first, while the host's cgroup file system is in sight; undumpable before, because from the moment of the
    /// `setns` processes inside could otherwise look at this one, which still has the host's memory (CVE-2016-9962).
    fn enter(&self) -> Result<Cloned> {
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .during(|| "become undumpable".to_owned())?;
        self.cgroup.join()?;
        let namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP;
        nix::sched::setns(self.init, namespaces).during(|| "join the sandbox's namespaces".to_owned())?;
        sys::clone3(libc::CLONE_PARENT, None).during(|| "fork the process".to_owned())
    }

    fn become_program(&self) -> Failure {
        let prepare = || -> Result<()> {
            nix::unistd::setsid().during(|| "begin a session".to_owned())?;
            stdio(&self.stdio)?;
            if self.terminal {
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                    .during(|| "take the terminal".to_owned())?;
            }
            Ok(())
        };
        match prepare() {
            Ok(()) => self.program.run(self.userns, self.landlock, self.seccomp),
            Err(failure) => failure,
        }
    }
}

fn read_line(pipe: &mut std::io::PipeReader) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    while matches!(pipe.read(&mut byte), Ok(1)) && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    line
}

/// A new terminal of the sandbox's own devpts: master and slave; the slave belongs to `owner` (host ids).
/// The node is opened below the sandbox's root without following links, and must lie on a devpts (CVE-2025-52565).
pub(crate) fn terminal(init_pid: i32, owner: (u32, u32)) -> Result<(OwnedFd, OwnedFd)> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let step = || "open a terminal in the sandbox".to_owned();
    let root = rustix::fs::open(
        format!("/proc/{init_pid}/root"),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .during(step)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat2(
        root.as_fd(),
        Path::new("dev/pts/ptmx"),
        flags,
        Mode::empty(),
        resolve,
    )
    .during(step)?;
    let kind = rustix::fs::fstatfs(&master).during(step)?;
    if kind.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Failure::new(
            FailureKind::Environment,
            step(),
            "`/dev/pts/ptmx` is not on a devpts",
        ));
    }
    rustix::pty::unlockpt(&master).during(step)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .during(step)?;
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(owner.0),
        rustix::fs::Gid::from_raw(owner.1),
    );
    rustix::fs::fchown(&slave, Some(uid), Some(gid)).during(step)?;
    Ok((master, slave))
}
