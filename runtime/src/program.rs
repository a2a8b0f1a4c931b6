//! The last steps before a program of the sandbox runs: give up everything, then `execve`. Used by the service itself
//! and by `exec`, so that both are held in the same way.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};

use crate::error::{During, Failure, FailureKind, Result};
use crate::landlock::Rules;
use crate::layer::Layer;
use crate::seccomp::Filter;
use crate::sys;

/// The umask when the spec names none: the keeper's own would hide everything from the service's other users.
const DEFAULT_UMASK: u32 = 0o022;

/// A program, decided and encoded: nothing after this allocates much or can be misread.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    args: Vec<CString>,
    env: Vec<CString>,
    path: Vec<PathBuf>,
    cwd: PathBuf,
    uid: u32,
    gid: u32,
    rlimits: Vec<PosixRlimit>,
    umask: u32,
    /// What it keeps, in its user namespace: the same in each of its sets.
    capabilities: CapsHashSet,
}

impl Program {
    /// Reads an OCI `process`.
    pub(crate) fn new(process: &Process) -> Result<Self> {
        let words = |list: &Option<Vec<String>>| {
            let encoded: std::result::Result<Vec<CString>, _> = list
                .iter()
                .flatten()
                .map(|word| CString::new(word.as_str()))
                .collect();
            encoded.map_err(|_| {
                Failure::new(
                    FailureKind::Request,
                    "read the arguments and the environment",
                    "a NUL byte is in them",
                )
            })
        };
        let args = words(process.args())?;
        if args.is_empty() {
            return Err(Failure::new(
                FailureKind::Request,
                "read the arguments",
                "there are none",
            ));
        }
        let env = process.env().iter().flatten();
        let path = env
            .clone()
            .find_map(|variable| variable.strip_prefix("PATH="))
            .unwrap_or("/usr/local/bin:/usr/bin:/bin");
        Ok(Self {
            args,
            env: words(process.env())?,
            path: path.split(':').map(PathBuf::from).collect(),
            cwd: process.cwd().clone(),
            uid: process.user().uid(),
            gid: process.user().gid(),
            rlimits: process.rlimits().clone().unwrap_or_default(),
            umask: process.user().umask().unwrap_or(DEFAULT_UMASK),
            capabilities: capabilities(process),
        })
    }

    /// Becomes the program: returns only when that failed. The order is the point:
    ///
    /// 1. limits, while the host's rules for raising them still apply;
    /// 2. the user namespace, last of all namespaces: so it owns none of the others, and root in it has no power there;
    /// 3. the bounding set while CAP_SETPCAP is still there; then groups, gid, uid, each of which needs the one before;
    /// 4. the remaining sets; a keyring of its own; `no_new_privs`; the Landlock domain, whose rules were made while every
    ///    place could be opened; the filter, which would refuse several of the calls above;
    /// 5. descriptors: close-on-exec, so that the status pipe tells of the `execve`.
    pub(crate) fn run(&self, userns: BorrowedFd, landlock: &Rules, seccomp: &Filter) -> Failure {
        match self.give_up(userns, landlock, seccomp) {
            Ok(()) => self.execute(),
            Err(failure) => failure,
        }
    }

    fn give_up(&self, userns: BorrowedFd, landlock: &Rules, seccomp: &Filter) -> Result<()> {
        let domain = landlock.prepare()?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(self.umask));
        for limit in &self.rlimits {
            setrlimit(resource(limit.typ())?, limit.soft(), limit.hard())
                .during(|| format!("set the limit {:?}", limit.typ()))?;
        }
        if !Layer::UserNamespace.is_off() {
            nix::sched::setns(userns, CloneFlags::CLONE_NEWUSER)
                .during(|| "join the user namespace".to_owned())?;
        }
        self.become_user()?;
        match nix::unistd::chdir(&self.cwd) {
            // Its directory belongs to an id of the namespace that was left out.
            Err(_) if Layer::UserNamespace.is_off() => {}
            entered => entered.during(|| format!("enter `{}`", self.cwd.display()))?,
        }
        own_keyring()?;
        rustix::thread::set_no_new_privs(true).during(|| "set no_new_privs".to_owned())?;
        sys::reset_signals();
        sys::cloexec_from(3);
        if let Some(domain) = domain {
            sys::landlock_restrict(domain.as_fd()).during(|| "enter the Landlock domain".to_owned())?;
        }
        seccomp.load().during(|| "load the seccomp filter".to_owned())
    }

    /// Its user and group, with no capability but those that its spec names.
    fn become_user(&self) -> Result<()> {
        let drop_all = !Layer::Capabilities.is_off();
        let others = caps::runtime::thread_all_supported();
        for capability in others.difference(&self.capabilities).filter(|_| drop_all) {
            caps::drop(None, CapSet::Bounding, *capability).during(|| "empty the bounding set".to_owned())?;
        }
        // Else another uid than 0 would lose them (capabilities(7), "Effect of user ID changes").
        let keep = !self.capabilities.is_empty();
        rustix::thread::set_keep_capabilities(keep).during(|| "keep capabilities".to_owned())?;
        nix::unistd::setgroups(&[]).during(|| "drop the supplementary groups".to_owned())?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        nix::unistd::setresgid(gid, gid, gid).during(|| format!("become group {gid}"))?;
        nix::unistd::setresuid(uid, uid, uid).during(|| format!("become user {uid}"))?;
        // Ambient ones last: they must be in two of the others.
        for set in [
            CapSet::Inheritable,
            CapSet::Effective,
            CapSet::Permitted,
            CapSet::Ambient,
        ] {
            if drop_all {
                self.confine(set).during(|| format!("set the {set:?} set"))?;
            }
        }
        Ok(())
    }

    fn confine(&self, set: CapSet) -> std::result::Result<(), caps::errors::CapsError> {
        match self.capabilities.is_empty() {
            true => caps::clear(None, set),
            false => caps::set(None, set, &self.capabilities),
        }
    }

    /// `execvpe`: with a slash the path itself, else the first that works of PATH.
    fn execute(&self) -> Failure {
        let name = self.args[0].to_string_lossy().into_owned();
        let candidates: Vec<CString> = match name.contains('/') {
            true => vec![self.args[0].clone()],
            false => self
                .path
                .iter()
                .filter_map(|dir| CString::new(dir.join(&name).as_os_str().as_bytes()).ok())
                .collect(),
        };
        let mut worst = Errno::ENOENT;
        for candidate in candidates {
            let Err(errno) = nix::unistd::execve(&candidate, &self.args, &self.env);
            if !matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
                worst = errno;
            }
        }
        let kind = if worst == Errno::ENOENT {
            FailureKind::NotFound
        } else {
            FailureKind::NotExecutable
        };
        Failure::new(kind, format!("execute `{name}`"), worst.desc())
    }
}

/// A session keyring that nothing outside shares: keyrings know no namespaces (keyrings(7)). Where the kernel has none, or
/// a container around us refuses them, there is nothing to share.
fn own_keyring() -> Result<()> {
    match sys::join_session_keyring() {
        Err(error) if [Some(libc::ENOSYS), Some(libc::EPERM)].contains(&error.raw_os_error()) => Ok(()),
        other => other.during(|| "join a session keyring".to_owned()),
    }
}

/// Its capabilities as the bounding set of its spec has them.
fn capabilities(process: &Process) -> CapsHashSet {
    let sets = process.capabilities().as_ref();
    let named = sets
        .and_then(|sets| sets.bounding().as_ref())
        .into_iter()
        .flatten();
    named
        .filter_map(|name| format!("CAP_{name}").parse().ok())
        .collect()
}

fn resource(kind: PosixRlimitType) -> Result<Resource> {
    Ok(match kind {
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        other => {
            return Err(Failure::new(
                FailureKind::Request,
                "read the limits",
                format!("{other:?} is not supported"),
            ));
        }
    })
}
