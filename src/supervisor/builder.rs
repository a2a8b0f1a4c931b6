//! Build sandboxes: made by the keeper like any other, alone in the instance's network, with a proxy as their only way
//! out. The proxy is an unprivileged process of its own for each build, a child of the keeper too.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use pactown_runtime::client::Client;
use pactown_runtime::protocol::{Call, ExitStatus, LogFile, What};

use super::wires::Wires;
use crate::identity::Ledger;
use crate::instance::Instance;
use crate::logs::{Follower, Stream};
use crate::network;
use crate::prepare::{Access, BuildRunner, BuildSite, RunnerError};
use crate::proxy::{self, Contact, Parents, Rules};
use crate::spec::Bundle;

/// Ids that own nothing.
const NOBODY: u32 = 65_534;
/// Size of a build's log, in bytes.
const LOG_BYTES: u64 = 64 << 20;

/// Runs the build sandboxes of one instance.
#[derive(Clone)]
pub(super) struct Builder {
    instance: Instance,
    wires: Wires,
    parents: Parents,
    socket: PathBuf,
}

impl Builder {
    /// For this instance; `parents` are the proxies that the host itself must ask.
    pub(super) fn new(instance: Instance, wires: Wires, parents: Parents) -> Self {
        Self {
            socket: instance.keeper_socket(),
            instance,
            wires,
            parents,
        }
    }

    /// Starts the proxy of a build, in the host's network, with a socket at the router.
    fn start_proxy(
        &self,
        name: &str,
        port: u16,
        allowed: Option<BTreeSet<String>>,
    ) -> Result<(), RunnerError> {
        let socket = self.wires.proxy_socket(port)?;
        let rules = Rules {
            allowed,
            parents: self.parents.clone(),
        };
        let talk = proxy::open(&self.talk(name), &rules)?;
        let call = Call::Helper {
            id: proxy_id(name),
            argv: vec!["__proxy".to_owned()],
            uid: NOBODY,
            gid: NOBODY,
        };
        Client::connect(&self.socket)?.call(call, &[socket.as_fd(), talk.as_fd()])?;
        Ok(())
    }

    /// Ends the proxy of a build, if it has one, and waits for that: its port is the next one's, and it has told all.
    fn stop_proxy(&self, name: &str) -> Result<(), RunnerError> {
        let client = Client::connect(&self.socket)?;
        client.call(Call::Subscribe, &[])?;
        let id = proxy_id(name);
        client.call(Call::Kill { id: id.clone() }, &[])?;
        wait(&client, &id)?;
        client.close();
        Ok(())
    }

    /// The file through which a proxy is told its rules, and tells what was asked.
    fn talk(&self, name: &str) -> PathBuf {
        self.instance
            .run_dir()
            .join("builds")
            .join(format!("{name}.proxy"))
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.instance.name)
    }

    fn log(&self, name: &str) -> LogFile {
        LogFile {
            path: self.instance.run_dir().join("builds").join(format!("{name}.log")),
            max_bytes: LOG_BYTES,
            files: 1,
            run: 0,
        }
    }
}

impl BuildRunner for Builder {
    fn open(&self, name: &str, access: &Access) -> Result<BuildSite, RunnerError> {
        let (address, port) = self
            .wires
            .take_build(name)
            .ok_or_else(|| io::Error::other("too many builds at the same time"))?;
        let ids = Ledger::system().allocate(&self.key(name))?;
        let rules = match access {
            Access::Nothing => None,
            Access::Hosts(hosts) => Some(Some(hosts.clone())),
            Access::Anything => Some(None),
        };
        let mut site = BuildSite {
            ids,
            netns: None,
            bundle: self.instance.bundle(name),
            cgroup: self.instance.cgroup(name),
            nameservers: Vec::new(),
            proxy: None,
        };
        if let Some(allowed) = rules {
            site.netns = Some(self.wires.attach(network::build_node(name, address, ids))?);
            self.start_proxy(name, port, allowed)?;
            site.proxy = Some((self.wires.router(), port).into());
        }
        Ok(site)
    }

    fn run(
        &self,
        name: &str,
        bundle: &Bundle,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<ExitStatus, RunnerError> {
        bundle.write()?;
        let log = self.log(name);
        let mut follower = Follower::new(std::slice::from_ref(&log.path))?;
        let client = Client::connect(&self.socket)?;
        client.call(Call::Subscribe, &[])?;
        let call = Call::Create {
            id: name.to_owned(),
            bundle: bundle.directory.clone(),
            log,
        };
        client.send(call, &[])?;
        let (ended, end) = std::sync::mpsc::channel();
        let waiting = client.clone();
        let sandbox = name.to_owned();
        let stop = follower.stopper();
        let waiter = std::thread::spawn(move || {
            let _ = ended.send(wait(&waiting, &sandbox));
            stop.stop();
        });
        // The follower waits for the file to grow; the sandbox's end stops it after the last line.
        follower.run(&mut |_, line| {
            if line.stream != Stream::System {
                on_line(&line.text());
            }
        })?;
        let outcome = end.recv();
        client.close();
        let _ = waiter.join();
        outcome?
    }

    fn close(&self, name: &str) -> Vec<Contact> {
        let forget = Client::connect(&self.socket).map(|client| {
            let id = || name.to_owned();
            let _ = client.call(Call::Kill { id: id() }, &[]);
            let _ = client.call(Call::Forget { id: id() }, &[]);
        });
        let _ = forget;
        let _ = self.wires.detach(name);
        let _ = std::fs::remove_dir_all(self.instance.bundle(name));
        let _ = std::fs::remove_file(self.log(name).path);
        let _ = Ledger::system().release(&self.key(name));
        let _ = self.stop_proxy(name);
        let contacts = proxy::contacts(&self.talk(name));
        let _ = std::fs::remove_file(self.talk(name));
        self.wires.release_build(name);
        contacts
    }
}

/// The keeper's name for the proxy of a build; no sandbox can have it.
fn proxy_id(name: &str) -> String {
    format!(".proxy-{name}")
}

/// The build whose proxy is the keeper's `id`.
pub(super) fn of_proxy(id: &str) -> Option<&str> {
    id.strip_prefix(".proxy-")
}

/// Waits until the sandbox has ended, or could not be made.
fn wait(client: &Client, sandbox: &str) -> Result<ExitStatus, RunnerError> {
    while let Some((event, _)) = client.receive()? {
        match event.what {
            What::Exited { id, status } if id == sandbox => return Ok(status.status),
            What::Failed { step, causes, .. } => {
                return Err(io::Error::other(format!("cannot {step}: {}", causes.join(": "))).into());
            }
            _ => {}
        }
    }
    Err(io::Error::other("the keeper is gone").into())
}
