//! What the machine has for a wish: toolchains, the host, its file systems, a network with name servers.

use std::net::IpAddr;
use std::os::fd::AsFd;

use indexmap::IndexMap;
use pactown_netns::resolver::{self as names, Resolver};
use pactown_netns::{Anchors, NetworkSpec, subnet};
use pactown_runtime::protocol::Call;

use super::builder::Builder;
use super::engine::Engine;
use super::keeper::Keeper;
use super::making::{self, Site};
use super::requests::refusal;
use super::wires::Wires;
use super::wish::{FORWARDER, blocking};
use super::{keepsake, mender, traits};
use crate::control::api::Progress;
use crate::control::server::Refusal;
use crate::desired::Desired;
use crate::error::chain;
use crate::host::HostFacts;
use crate::network;
use crate::prepare::{Tools, settings};
use crate::proxy::Parents;
use crate::roster::Roster;
use crate::state::{self, NetworkRecord};

/// Ids that own nothing.
const NOBODY: u32 = 65_534;

impl Engine {
    /// What the machine has for the wish, and what the user should know of it. It changes nothing of what runs: the wish
    /// may be refused still, or be none.
    pub(super) async fn survey(
        &mut self,
        desired: Desired,
        roster: Roster,
    ) -> Result<(Site, Option<String>), Refusal> {
        let (root, notice) = making::root(&desired).map_err(|lack| refusal(&lack, 3))?;
        self.ensure_network(&desired).await?;
        let (Some(wires), Some(network)) = (self.wires.clone(), self.network.as_ref()) else {
            return Err(refusal("the network could not be made", 125));
        };
        let (ecosystem, subnet) = (&desired.ecosystem, network.spec.subnet);
        let lives = |name: &str| self.state.units.contains_key(name);
        let addresses = network::addresses(ecosystem, &roster, subnet, &network.addresses, lives)
            .map_err(|lack| refusal(&lack, 3))?;
        let nameservers = self.nameservers(&wires).await?;
        let builder = Builder::new(
            self.instance.clone(),
            wires.clone(),
            Parents::of(&settings::proxies(&desired.caller)),
        );
        let keeper = self.keeper.clone();
        let read = move || {
            let site = Site {
                tools: Tools::find(&desired),
                host: HostFacts::read(),
                prints: IndexMap::new(),
                roster,
                addresses,
                nameservers,
                root,
                wires,
                keeper,
                builder,
                desired,
            };
            let prints = traits::fingerprints(&site);
            Site { prints, ..site }
        };
        Ok((blocking(read).await?, notice))
    }

    /// Router and uplink, in a subnet that nobody else uses.
    async fn ensure_network(&mut self, desired: &Desired) -> Result<(), Refusal> {
        if self.network.is_none() {
            let instance = desired.instance.clone();
            let record = blocking(move || choose_network(&instance)).await?;
            let record = record.map_err(|cause| refusal(&cause, 3))?;
            self.wires = Some(Wires::start(record.spec.clone()));
            self.network = Some(record);
        }
        self.plug_in(None).await
    }

    /// Makes or finds router and uplink; the keeper holds what they hang on.
    pub(super) async fn plug_in(&mut self, anchors: Option<Anchors>) -> Result<(), Refusal> {
        let Some(wires) = self.wires.clone() else {
            return Ok(());
        };
        let network = wires.clone();
        let made = blocking(move || network.create(anchors)).await?;
        let anchors = made.map_err(|error| refusal(&chain(&error), 3))?;
        // A keeper that is gone takes this process along.
        let _ = keepsake::give_anchors(&self.keeper, &anchors);
        if !std::mem::replace(&mut self.tended, true) {
            mender::start(wires, self.messages.clone());
        }
        Ok(())
    }

    /// Name servers that answer inside; starts the forwarder where the host's own answer on loopback only.
    async fn nameservers(&mut self, wires: &Wires) -> Result<Vec<IpAddr>, Refusal> {
        match names::detect() {
            Resolver::Direct(servers) => Ok(servers),
            Resolver::None => Ok(Vec::new()),
            Resolver::Forwarded(_) => {
                self.start_forwarder().await;
                Ok(vec![wires.router().into()])
            }
        }
    }

    /// Starts the name forwarder unless it runs. When it cannot, outside names do not resolve inside, which is said.
    pub(super) async fn start_forwarder(&mut self) {
        let Resolver::Forwarded(upstreams) = names::detect() else {
            return;
        };
        let running = self.keeper.list().await.unwrap_or_default();
        let runs = running
            .iter()
            .any(|one| one.id == FORWARDER && one.exit.is_none());
        let (Some(wires), false) = (self.wires.clone(), runs) else {
            return;
        };
        let keeper = self.keeper.clone();
        let started = blocking(move || forward(&wires, &keeper, &upstreams)).await;
        if let Ok(Err(cause)) = started {
            self.audience.tell(&Progress::Notice {
                text: format!("names of the outside will not resolve in services: {cause}"),
            });
        }
    }
}

/// Chosen and written down under the machine's lock: two instances must not choose the same subnet.
fn choose_network(instance: &crate::instance::Instance) -> Result<NetworkRecord, String> {
    let _lock = state::lock().map_err(|error| chain(&error))?;
    let taken: Vec<_> = state::networks()
        .iter()
        .map(|network| network.spec.subnet)
        .collect();
    let subnet = subnet::choose_free(&instance.tag, &taken).map_err(|error| chain(&error))?;
    let record = NetworkRecord {
        spec: NetworkSpec {
            instance: instance.name.clone(),
            tag: instance.tag.clone(),
            directory: instance.netns_dir(),
            subnet,
        },
        addresses: IndexMap::new(),
        builds: network::build_addresses(subnet),
        published: IndexMap::new(),
    };
    state::write(&instance.network_record(), &record).map_err(|error| chain(&error))?;
    Ok(record)
}

fn forward(wires: &Wires, keeper: &Keeper, upstreams: &[IpAddr]) -> Result<(), String> {
    let (udp, tcp) = wires.forwarder_sockets().map_err(|error| chain(&error))?;
    let mut argv = vec!["__forwarder".to_owned()];
    argv.extend(upstreams.iter().map(IpAddr::to_string));
    let call = Call::Helper {
        id: FORWARDER.to_owned(),
        argv,
        uid: NOBODY,
        gid: NOBODY,
    };
    let started = keeper.ask_blocking(call, &[udp.as_fd(), tcp.as_fd()]);
    started.map(drop).map_err(|failure| failure.to_string())
}
