//! The calls of the protocol, one function each: what is asked → what is done → the answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::prepare::Prepared;
use super::sandbox::{Outputs, Sandbox, failed};
use super::{Keeper, Source};
use crate::cgroup::Cgroup;
use crate::cri::Cutter;
use crate::error::{During, Failure, FailureKind, Result};
use crate::failpoint;
use crate::launch::{self, Launch};
use crate::mask::{self, Masker};
use crate::protocol::{Call, Listed, LogFile, Request, What};
use crate::secrets;

/// Capacity of the output pipes in bytes: what a service may write while the keeper is busy elsewhere.
const PIPE: usize = 256 * 1024;

impl Keeper {
    pub(super) fn call(&mut self, connection: u64, request: Request, descriptors: Vec<OwnedFd>) {
        let to = (connection, request.seq);
        let outcome = match request.call {
            Call::Subscribe => self.subscribe(connection),
            Call::Prepare { id, bundle } => self.prepare(&id, &bundle),
            // These answer by themselves: two of them later, when their process has executed its program.
            Call::Create { id, bundle, log } => self.create(to, &id, bundle, log).map(|()| None),
            Call::Exec { id, process } => self.exec(to, &id, &process, &descriptors).map(|()| None),
            Call::Signal { id, signal } => self.signal(&id, signal),
            Call::Kill { id } => self.signal(&id, libc::SIGKILL),
            Call::Hold { key } => {
                self.held.insert(format!("hold:{key}"), descriptors);
                Ok(Some(What::Done))
            }
            Call::Release { key } => {
                let held = self.held.remove(&format!("hold:{key}"));
                held.iter().flatten().for_each(unlock);
                Ok(Some(What::Done))
            }
            Call::Held { key } => {
                self.hand_out(to, &key);
                Ok(None)
            }
            Call::Helper { id, argv, uid, gid } => self.help(&id, &argv, (uid, gid), descriptors),
            Call::Forget { id } => self.forget(&id),
            // Answered once the lines are written.
            Call::Append { log, lines } => {
                self.append(to, log, &lines);
                Ok(None)
            }
            Call::List => Ok(Some(self.list())),
            Call::Shutdown => {
                self.end();
                Ok(Some(What::Done))
            }
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(what)) => self.answer(to, what, &[]),
            Err(failure) => self.answer(to, failed(failure), &[]),
        }
    }

    fn subscribe(&mut self, connection: u64) -> Result<Option<What>> {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.subscribed = true;
        }
        Ok(Some(What::Done))
    }

    fn create(&mut self, to: (u64, u64), id: &str, bundle: PathBuf, log: LogFile) -> Result<()> {
        if self.sandboxes.get(id).is_some_and(|sandbox| !sandbox.is_over()) {
            return Err(Failure::new(
                FailureKind::Request,
                format!("create sandbox `{id}`"),
                "it exists already",
            ));
        }
        let prepared = self.take(id, &bundle)?;
        let hidden = self.hidden(id)?;
        let run = format!("starting run={}", log.run);
        let log = self.logs.open(log, &run);
        match self.begin(id, &prepared) {
            Err(failure) => {
                self.logs.note(log, &failure.to_string());
                self.logs.close(log);
                Err(failure)
            }
            Ok((cgroup, launched, outputs)) => {
                let sandbox = Sandbox {
                    bundle,
                    pid: launched.pid,
                    start_time: launch::start_time(launched.pid).unwrap_or(0),
                    pidfd: launched.pidfd,
                    cgroup,
                    log,
                    outputs,
                    hidden,
                    reports: Some(launched.reports),
                    unread: Vec::new(),
                    requester: Some(to),
                    started: false,
                    failure: None,
                    status: None,
                    reaped: false,
                    record: None,
                    exit: None,
                };
                self.register_sandbox(id, sandbox)
                    .during(|| "watch the sandbox".to_owned())
            }
        }
    }

    /// What is held for this sandbox to be shown to it alone.
    fn secrets(&self, id: &str) -> Option<BorrowedFd<'_>> {
        let held = self.held.get(&format!("hold:{}", secrets::key(id)))?;
        held.first().map(AsFd::as_fd)
    }

    /// What keeps that out of the log.
    fn hidden(&self, id: &str) -> Result<Option<[mask::Stream; 2]>> {
        let Some(held) = self.secrets(id) else {
            return Ok(None);
        };
        // Where it may not be, swap is what the supervisor has told of; the sandbox is made all the same.
        let _ = secrets::stay_in_memory();
        let files = secrets::read(held).during(|| format!("read the secrets of `{id}`"))?;
        let masker = Masker::new(files.values().map(Vec::as_slice))?;
        Ok(masker.map(|masker| [mask::Stream::new(masker.clone()), mask::Stream::new(masker)]))
    }

    /// The sandbox's group, its pid 1, its outputs; or nothing of them.
    fn begin(&self, id: &str, prepared: &Prepared) -> Result<(Cgroup, launch::Launched, Outputs)> {
        let linux = prepared.spec.linux().as_ref();
        let path = linux
            .and_then(|linux| linux.cgroups_path().clone())
            .unwrap_or_default();
        let resources = linux.and_then(|linux| linux.resources().clone());
        let cgroup = Cgroup::create(&path.to_string_lossy(), resources.as_ref())?;
        let launched = failpoint::hit("cgroup-created")
            .during(|| "create the cgroup".to_owned())
            .and_then(|()| self.launch(id, prepared, &cgroup));
        match launched {
            Ok((launched, outputs)) => Ok((cgroup, launched, outputs)),
            Err(failure) => {
                let _ = cgroup.delete(super::DYING);
                Err(failure)
            }
        }
    }

    fn launch(&self, id: &str, prepared: &Prepared, cgroup: &Cgroup) -> Result<(launch::Launched, Outputs)> {
        let Some(namespace) = self.namespaces.get(id) else {
            return Err(Failure::new(
                FailureKind::Request,
                "find the user namespace",
                "it was not prepared",
            ));
        };
        let null = File::open("/dev/null").during(|| "open `/dev/null`".to_owned())?;
        let (out, out_writer) = output_pipe().during(|| "make an output pipe".to_owned())?;
        let (err, err_writer) = output_pipe().during(|| "make an output pipe".to_owned())?;
        let launched = Launch {
            spec: &prepared.spec,
            program: &prepared.program,
            seccomp: &prepared.seccomp,
            landlock: &prepared.landlock,
            skeleton: prepared.skeleton.as_fd(),
            secrets: self.secrets(id),
            cgroup,
            stdio: [null.as_fd(), out_writer.as_fd(), err_writer.as_fd()],
            userns: namespace.descriptor.as_fd(),
            life: self.life.0.as_fd(),
            maps: namespace
                .mounts
                .iter()
                .map(|(map, fd)| (map.clone(), fd.as_fd()))
                .collect(),
        }
        .start(&prepared.mounts)?;
        failpoint::hit("init-cloned").during(|| "clone pid 1".to_owned())?;
        Ok((
            launched,
            [Some((out, Cutter::stdout())), Some((err, Cutter::stderr()))],
        ))
    }

    fn register_sandbox(&mut self, id: &str, sandbox: Sandbox) -> io::Result<()> {
        let reports = sandbox
            .reports
            .as_ref()
            .map(|pipe| pipe.as_fd().try_clone_to_owned())
            .transpose()?;
        self.sandboxes.insert(id.to_owned(), sandbox);
        if let Some(reports) = reports {
            self.watch(reports.as_fd(), Source::Reports(id.to_owned()))?;
            if let Some(sandbox) = self.sandboxes.get_mut(id) {
                sandbox.reports = Some(reports);
            }
        }
        self.watch_outputs(id)
    }

    fn signal(&mut self, id: &str, number: i32) -> Result<Option<What>> {
        let step = || format!("signal sandbox `{id}`");
        if let Some((pid, _)) = self.helpers.iter().find(|(_, helper)| *helper == id) {
            let signal = nix::sys::signal::Signal::try_from(number).during(step)?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), signal).during(step)?;
            return Ok(Some(What::Done));
        }
        let Some(sandbox) = self.sandboxes.get(id) else {
            return Err(Failure::new(
                FailureKind::Request,
                step(),
                "there is none of this name",
            ));
        };
        if !sandbox.reaped {
            let signal = rustix::process::Signal::from_named_raw(number).ok_or(io::ErrorKind::InvalidInput);
            let signal = signal.map_err(io::Error::from).during(step)?;
            match rustix::process::pidfd_send_signal(&sandbox.pidfd, signal) {
                Err(rustix::io::Errno::SRCH) | Ok(()) => {}
                Err(error) => return Err(error).during(step),
            }
        }
        Ok(Some(What::Done))
    }

    /// Answers with what is held under `key`: sending duplicates it.
    fn hand_out(&self, to: (u64, u64), key: &str) {
        let held = self
            .held
            .get(&format!("hold:{key}"))
            .map_or(&[][..], Vec::as_slice);
        let descriptors: Vec<BorrowedFd> = held.iter().map(AsFd::as_fd).collect();
        self.answer(
            to,
            What::Held {
                count: descriptors.len(),
            },
            &descriptors,
        );
    }

    fn help(
        &mut self,
        id: &str,
        argv: &[String],
        owner: (u32, u32),
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<What>> {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(argv)
            .env_clear()
            .uid(owner.0)
            .gid(owner.1)
            .current_dir("/");
        let mut descriptors = descriptors.into_iter();
        command.stdin(descriptors.next().map_or_else(Stdio::null, Stdio::from));
        command.stdout(descriptors.next().map_or_else(Stdio::null, Stdio::from));
        let child = command.spawn().during(|| format!("start helper `{id}`"))?;
        let pid = child.id().cast_signed();
        self.helpers.insert(pid, id.to_owned());
        let start_time = launch::start_time(pid).unwrap_or(0);
        Ok(Some(What::Created {
            id: id.to_owned(),
            pid,
            start_time,
        }))
    }

    fn forget(&mut self, id: &str) -> Result<Option<What>> {
        if self.sandboxes.get(id).is_some_and(|sandbox| !sandbox.is_over()) {
            return Err(Failure::new(
                FailureKind::Request,
                format!("forget sandbox `{id}`"),
                "it still runs",
            ));
        }
        self.sandboxes.remove(id);
        self.namespaces.remove(id);
        self.prepared.remove(id);
        Ok(Some(What::Done))
    }

    fn list(&self) -> What {
        let row = |(id, sandbox): (&String, &Sandbox)| Listed {
            id: id.clone(),
            bundle: Some(sandbox.bundle.clone()),
            pid: (!sandbox.reaped).then_some((sandbox.pid, sandbox.start_time)),
            exit: sandbox.exit.clone(),
        };
        let helper = |(pid, id): (&i32, &String)| Listed {
            id: id.clone(),
            bundle: None,
            pid: Some((*pid, launch::start_time(*pid).unwrap_or(0))),
            exit: None,
        };
        What::Listed {
            sandboxes: self
                .sandboxes
                .iter()
                .map(row)
                .chain(self.helpers.iter().map(helper))
                .collect(),
        }
    }
}

/// Ends a lock (flock(2)) at once, for all copies of the descriptor: a child that was just cloned has one until it comes to
/// closing it, and on a busy machine the next who wants the lock would be refused meanwhile.
fn unlock(descriptor: &OwnedFd) {
    let _ = rustix::fs::flock(descriptor, rustix::fs::FlockOperation::Unlock);
}

fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    // A smaller pipe still works, it only makes the writer wait more often.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE);
    // Only our end: the service's must block, or programs would see errors instead of waiting.
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((reader.into(), writer.into()))
}
