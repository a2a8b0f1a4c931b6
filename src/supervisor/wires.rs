//! The instance's network, on a thread of its own: everything that enters network namespaces happens there, one thing
//! after another.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use pactown_netns::{Anchors, Error, Network, NetworkSpec, Node, Policy, Result, Watch};
use tokio::sync::oneshot;

use crate::network;

type Job = Box<dyn FnOnce(&mut Option<Network>) + Send>;

/// The way to that thread. Its methods block: they are for blocking tasks.
#[derive(Clone)]
pub(super) struct Wires {
    jobs: mpsc::Sender<Job>,
    spec: NetworkSpec,
    /// The newest rules that wait to be put into force.
    rules: Arc<Mutex<Option<Policy>>>,
    /// Addresses of builds, and who has each: one list, whoever builds for whichever wish.
    builds: Arc<Mutex<BTreeMap<Ipv4Addr, String>>>,
}

impl Wires {
    /// Starts the thread. Nothing exists in the kernel yet.
    pub(super) fn start(spec: NetworkSpec) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            let mut network = None;
            while let Ok(job) = inbox.recv() {
                job(&mut network);
            }
        });
        Self {
            jobs,
            spec,
            rules: Arc::default(),
            builds: Arc::default(),
        }
    }

    /// What it is made from.
    pub(super) fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Makes what is missing of router and uplink, with what another process held of them. Answers what the network
    /// hangs on from now on.
    pub(super) fn create(&self, anchors: Option<Anchors>) -> Result<Vec<OwnedFd>> {
        let spec = self.spec.clone();
        self.ask(move |slot| {
            let network = match slot {
                Some(network) => {
                    network.join_to_the_host()?;
                    network
                }
                none => none.insert(match anchors {
                    Some(anchors) => Network::adopt(&spec, anchors)?,
                    None => Network::create(&spec)?,
                }),
            };
            network.anchors().descriptors()
        })
    }

    /// Sets an address apart for the build `name`: one that is free, and its proxy's port.
    pub(super) fn take_build(&self, name: &str) -> Option<(Ipv4Addr, u16)> {
        let mut taken = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        let free = network::build_proxies(self.spec.subnet)
            .into_iter()
            .find(|(address, _)| !taken.contains_key(address))?;
        taken.insert(free.0, name.to_owned());
        Some(free)
    }

    /// Another build may have the address of `name`.
    pub(super) fn release_build(&self, name: &str) {
        let mut taken = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, holder| holder != name);
    }

    /// Makes a node; answers its namespace's file.
    pub(super) fn attach(&self, node: Node) -> Result<PathBuf> {
        self.with(move |network| network.attach(&node))
    }

    /// Removes a node; one that is gone is fine.
    pub(super) fn detach(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.with(move |network| network.detach(&name))
    }

    /// Puts these rules in the place of the ones before, in line with all that is asked of the network: the answer comes
    /// when they, or newer ones, are in force. Does not block.
    pub(super) fn apply(&self, policy: Policy) -> oneshot::Receiver<Result<()>> {
        let newest =
            |rules: &Mutex<Option<Policy>>| rules.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(policy);
        let (answer, wait) = oneshot::channel();
        let rules = Arc::clone(&self.rules);
        let job: Job = Box::new(move |slot| {
            // Nothing waits any more: a job before this one took them along.
            let done = match (newest(&rules), slot) {
                (None, _) => Ok(()),
                (Some(policy), Some(network)) => network.apply(&policy),
                (Some(_), None) => Err(no_network()),
            };
            let _ = answer.send(done);
        });
        // When the thread is gone, so is the answer's sender.
        let _ = self.jobs.send(job);
        wait
    }

    /// Waits until all that was asked of the network before is done.
    pub(super) fn reach(&self) -> oneshot::Receiver<()> {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |_| {
            let _ = answer.send(());
        });
        let _ = self.jobs.send(job);
        wait
    }

    /// Hears it when other programs may have changed something of the network.
    pub(super) fn watch(&self) -> Result<Watch> {
        self.with(|network| network.watch())
    }

    /// Puts back what other programs have taken away, and says what that was; `None` when there is no network any more.
    pub(super) fn mend(&self) -> Result<Option<Vec<String>>> {
        self.ask(|slot| slot.as_ref().map(Network::mend).transpose())
    }

    /// Sockets for a name forwarder.
    pub(super) fn forwarder_sockets(&self) -> Result<(UdpSocket, TcpListener)> {
        self.with(|network| network.forwarder_sockets())
    }

    /// A listening socket for a build's proxy, at the router.
    pub(super) fn proxy_socket(&self, port: u16) -> Result<TcpListener> {
        self.with(move |network| network.proxy_socket(port))
    }

    /// Removes everything; `anchors` are for a network that is not at hand.
    pub(super) fn delete(&self, anchors: Option<Anchors>) -> Result<()> {
        let spec = self.spec.clone();
        self.ask(move |slot| match (slot.take(), anchors) {
            (Some(network), _) => network.remove(),
            (None, Some(anchors)) => anchors.remove(&spec),
            (None, None) => Network::delete(&spec),
        })
    }

    /// The router's address.
    pub(super) fn router(&self) -> Ipv4Addr {
        self.spec.subnet.router()
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Network) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |slot| match slot {
            Some(network) => work(network),
            None => Err(no_network()),
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<Network>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = mpsc::channel();
        let job: Job = Box::new(move |slot| {
            let _ = answer.send(work(slot));
        });
        let gone = |_| Error::Addresses("the network thread has ended".to_owned());
        self.jobs.send(job).map_err(|_| gone(mpsc::RecvError))?;
        wait.recv().map_err(gone)?
    }
}

fn no_network() -> Error {
    Error::Addresses("the instance has no network yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pactown_netns::Subnet;

    #[test]
    fn builds_of_two_wishes_never_have_the_same_address_or_port() {
        let wires = Wires::start(NetworkSpec {
            instance: "one".to_owned(),
            tag: "0123".to_owned(),
            directory: PathBuf::from("/nowhere"),
            subnet: Subnet {
                network: Ipv4Addr::new(10, 64, 0, 0),
                prefix: 22,
            },
        });
        let later = wires.clone();
        let first = wires.take_build("build-a").expect("free");
        let second = later.take_build("build-b").expect("free");
        assert!(first.0 != second.0 && first.1 != second.1, "{first:?} {second:?}");
        later.release_build("build-a");
        assert_eq!(later.take_build("build-c"), Some(first));
    }
}
