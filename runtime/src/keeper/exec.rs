//! `Exec`: one more process in a running sandbox, held as the service is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxIdMapping, Process, Spec};

use super::prepare::{process as service, read_spec};
use super::sandbox::Exec;
use super::{Keeper, Source};
use crate::enter::{self, Enter};
use crate::error::{During, Failure, FailureKind, Result};
use crate::landlock::Rules;
use crate::mounts;
use crate::program::Program;

impl Keeper {
    pub(super) fn exec(
        &mut self,
        to: (u64, u64),
        id: &str,
        process: &Process,
        descriptors: &[OwnedFd],
    ) -> Result<()> {
        let step = format!("enter sandbox `{id}`");
        let refuse = |why: &str| Failure::new(FailureKind::Request, step.clone(), why);
        let sandbox = self
            .sandboxes
            .get(id)
            .filter(|sandbox| !sandbox.reaped && sandbox.requester.is_none());
        let sandbox = sandbox.ok_or_else(|| refuse("it does not run"))?;
        let spec = read_spec(&sandbox.bundle)?;
        let merged = merge(service(&spec)?, process);
        let (program, init) = (
            Program::new(&merged)?,
            (sandbox.pid, sandbox.pidfd.as_fd().try_clone_to_owned()),
        );
        let pidfd = init.1.during(|| step.clone())?;
        let cgroup = sandbox.cgroup.clone();
        let seccomp = self.filter(&spec)?;
        let landlock = Rules::of(&spec, &mounts::operations(&spec)?);
        let namespace = self
            .namespaces
            .get(id)
            .ok_or_else(|| refuse("its user namespace is gone"))?;
        let terminal = process.terminal().unwrap_or(false);
        let pty = if terminal {
            Some(enter::terminal(init.0, host_owner(&spec, &merged))?)
        } else {
            None
        };
        let stdio: [BorrowedFd; 3] = match (&pty, descriptors) {
            (Some((_, slave)), _) => [slave.as_fd(), slave.as_fd(), slave.as_fd()],
            (None, [a, b, c]) => [a.as_fd(), b.as_fd(), c.as_fd()],
            _ => return Err(refuse("three descriptors must come along")),
        };
        let enter = Enter {
            init: pidfd.as_fd(),
            cgroup: &cgroup,
            userns: namespace.descriptor.as_fd(),
            seccomp: &seccomp,
            landlock: &landlock,
            program: &program,
            stdio,
            terminal,
        };
        let (pid, reports) = enter.start()?;
        let master = pty.map(|(master, _)| master);
        self.register_exec(to, pid, reports, master).during(|| step)
    }

    fn register_exec(
        &mut self,
        to: (u64, u64),
        pid: i32,
        reports: OwnedFd,
        master: Option<OwnedFd>,
    ) -> io::Result<()> {
        let watched = self.watch(reports.as_fd(), Source::ExecReports(pid));
        let exec = Exec {
            pid,
            connection: to.0,
            seq: to.1,
            reports,
            master,
            started: false,
            failure: None,
        };
        self.execs.insert(pid, exec);
        watched.map(drop)
    }
}

/// The service's process with the arguments of another: what that leaves open is the service's.
fn merge(service: &Process, wanted: &Process) -> Process {
    let mut merged = service.clone();
    merged.set_args(wanted.args().clone());
    if !wanted.cwd().as_os_str().is_empty() && wanted.cwd() != std::path::Path::new("/") {
        merged.set_cwd(wanted.cwd().clone());
    }
    if let Some(env) = wanted.env().as_ref().filter(|env| !env.is_empty()) {
        let mut all = service.env().clone().unwrap_or_default();
        let name = |variable: &String| variable.split('=').next().unwrap_or("").to_owned();
        all.retain(|old| !env.iter().any(|new| name(new) == name(old)));
        all.extend(env.iter().cloned());
        merged.set_env(Some(all));
    }
    merged
}

/// Host ids of the process's user.
fn host_owner(spec: &Spec, process: &Process) -> (u32, u32) {
    let linux = spec.linux().clone().unwrap_or_default();
    let base =
        |map: &Option<Vec<LinuxIdMapping>>| map.iter().flatten().next().map_or(0, LinuxIdMapping::host_id);
    (
        base(linux.uid_mappings()) + process.user().uid(),
        base(linux.gid_mappings()) + process.user().gid(),
    )
}
