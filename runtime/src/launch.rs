//! The keeper's side of a launch: one `clone3`, and a pipe to read the rest from. Never waits.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::Spec;

use crate::cgroup::Cgroup;
use crate::error::{During, Result};
use crate::idmap;
use crate::init;
use crate::landlock::Rules;
use crate::mounts::{IdMap, Operation};
use crate::program::Program;
use crate::rootfs::Root;
use crate::seccomp::Filter;
use crate::sys::{self, Cloned};

/// Everything that a sandbox is made of, all decided and opened.
pub(crate) struct Launch<'a> {
    /// The OCI spec.
    pub(crate) spec: &'a Spec,
    /// Its process.
    pub(crate) program: &'a Program,
    /// Compiled filter.
    pub(crate) seccomp: &'a Filter,
    /// What its programs may do with files.
    pub(crate) landlock: &'a Rules,
    /// Its root, filled, see [`crate::rootfs::skeleton`].
    pub(crate) skeleton: BorrowedFd<'a>,
    /// What the keeper holds for it, see [`crate::secrets`].
    pub(crate) secrets: Option<BorrowedFd<'a>>,
    /// Its groups; they exist.
    pub(crate) cgroup: &'a Cgroup,
    /// stdin, stdout, stderr.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// The user namespace that the service joins last.
    pub(crate) userns: BorrowedFd<'a>,
    /// Read end of the keeper's life pipe.
    pub(crate) life: BorrowedFd<'a>,
    /// User namespaces for id-mapped mounts.
    pub(crate) maps: Vec<(IdMap, BorrowedFd<'a>)>,
}

/// A sandbox in the making.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Host pid of its pid 1.
    pub(crate) pid: i32,
    /// Descriptor of that process.
    pub(crate) pidfd: OwnedFd,
    /// Reports, see [`crate::report`].
    pub(crate) reports: OwnedFd,
}

impl Launch<'_> {
    /// Makes the sandbox's pid 1, which does everything else itself and reports.
    pub(crate) fn start(&self, operations: &[Operation]) -> Result<Launched> {
        let (reports, reporter) = std::io::pipe().during(|| "make the report pipe".to_owned())?;
        let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let group = self.cgroup.entrance()?;
        let group = group.as_ref().map(AsFd::as_fd);
        match sys::clone3(flags, group)
            .during(|| "create the mount, pid, ipc and uts namespaces".to_owned())?
        {
            Cloned::Child => {
                let reporter = OwnedFd::from(reporter);
                sys::close_all_except(3, &init::needed(self, &reporter));
                init::run(self, operations, reporter)
            }
            Cloned::Parent(pid, pidfd) => {
                let pidfd = pidfd
                    .ok_or(std::io::ErrorKind::NotFound)
                    .map_err(std::io::Error::from);
                Ok(Launched {
                    pid,
                    pidfd: pidfd.during(|| "take the pidfd".to_owned())?,
                    reports: reports.into(),
                })
            }
        }
    }

    pub(crate) fn root(&self) -> Root<'_> {
        Root {
            spec: self.spec,
            skeleton: self.skeleton,
            secrets: self.secrets,
            cgroup: self.cgroup,
            maps: &self.maps,
            lower: idmap::lower_map(self.spec),
        }
    }
}

/// Start time of a process in clock ticks since boot: `/proc/<pid>/stat`, field 22 (proc_pid_stat(5)).
/// With the pid it names a process for ever.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, may contain spaces and parentheses: count from its last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
