//! Build sandboxes: made by the keeper like any other, with the network open, alone in the instance's network.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pactown_runtime::client::Client;
use pactown_runtime::protocol::{Call, ExitStatus, LogFile, What};

use super::wires::Wires;
use crate::identity::Ledger;
use crate::instance::Instance;
use crate::logs::{Follower, Stream};
use crate::network;
use crate::prepare::{BuildRunner, BuildSite, RunnerError};
use crate::spec::Bundle;

/// Size of a build's log, in bytes.
const LOG_BYTES: u64 = 64 << 20;

/// Runs the build sandboxes of one instance.
#[derive(Clone)]
pub(super) struct Builder {
    instance: Instance,
    wires: Wires,
    nameservers: Vec<IpAddr>,
    addresses: Arc<Mutex<BTreeMap<Ipv4Addr, String>>>,
    socket: PathBuf,
}

impl Builder {
    /// For this instance.
    pub(super) fn new(instance: Instance, wires: Wires, nameservers: Vec<IpAddr>) -> Self {
        Self {
            socket: instance.keeper_socket(),
            instance,
            wires,
            nameservers,
            addresses: Arc::default(),
        }
    }

    fn take_address(&self, name: &str) -> Option<Ipv4Addr> {
        let mut taken = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let free = network::build_addresses(self.wires.spec().subnet)
            .into_iter()
            .find(|address| !taken.contains_key(address))?;
        taken.insert(free, name.to_owned());
        Some(free)
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
    fn open(&self, name: &str, online: bool) -> Result<BuildSite, RunnerError> {
        let address = self
            .take_address(name)
            .ok_or_else(|| io::Error::other("too many builds at the same time"))?;
        let ids = Ledger::system().allocate(&self.key(name))?;
        let node = online.then(|| network::build_node(name, address, ids));
        let netns = node.map(|node| self.wires.attach(node)).transpose()?;
        Ok(BuildSite {
            ids,
            netns,
            bundle: self.instance.bundle(name),
            cgroup: self.instance.cgroup(name),
            nameservers: self.nameservers.clone(),
        })
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

    fn close(&self, name: &str) {
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
        let mut taken = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, holder| holder != name);
    }
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
