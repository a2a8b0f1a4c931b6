//! A wish, taken: what the machine has for it, what will change, ports, rules. Nothing of a service is made yet; what
//! fails here is refused as a whole.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use pactown_netns::resolver::{self as names, Resolver};
use pactown_netns::{Anchors, NetworkSpec, subnet};
use pactown_runtime::protocol::Call;
use serde_json::Value;

use super::builder::Builder;
use super::engine::Engine;
use super::keeper::Keeper;
use super::keepsake;
use super::loosened;
use super::making::{self, Site};
use super::mender;
use super::orphans;
use super::requests::refusal;
use super::step::Want;
use super::unit::{Need, Stage, Traits, Unit};
use super::wires::Wires;
use crate::config::ecosystem::{Service, ServiceName};
use crate::control::api::Progress;
use crate::control::server::Refusal;
use crate::desired::Desired;
use crate::error::chain;
use crate::host::HostFacts;
use crate::network;
use crate::plan::{self, Observed, Plan, Verb};
use crate::prepare::Tools;
use crate::resolver::{self, Graph};
use crate::state::{self, NetworkRecord};

/// The keeper's name for the name forwarder; no service can have it.
pub(super) const FORWARDER: &str = ".forwarder";
/// Ids that own nothing.
const NOBODY: u32 = 65_534;

/// What somebody wants.
pub(super) struct Wish {
    pub(super) desired: Desired,
    /// Only these and what they need; empty = all.
    pub(super) services: Vec<ServiceName>,
    /// Those that start anew whether or not they changed.
    pub(super) renew: Vec<ServiceName>,
    /// Scheduled jobs that run at once.
    pub(super) now: Vec<ServiceName>,
    pub(super) sequential: bool,
    pub(super) strict_ports: bool,
    /// What runs and is not in it is stopped; else it goes on.
    pub(super) remove_orphans: bool,
}

/// A wish that can be carried out.
pub(super) struct Accepted {
    pub(super) want: Want,
    /// Who must be ready for it to be fulfilled.
    pub(super) wanted: Vec<ServiceName>,
    /// What to tell first.
    pub(super) progress: Vec<Progress>,
}

impl Engine {
    pub(super) async fn accept(&mut self, mut wish: Wish) -> Result<Accepted, Refusal> {
        if self.state.ending {
            return Err(refusal("the ecosystem is going down", 1));
        }
        let orphans = match wish.remove_orphans {
            true => Vec::new(),
            false => self.keep_orphans(&mut wish.desired),
        };
        let graph =
            Graph::of(&wish.desired.ecosystem).map_err(|problems| refusal(&problems.to_string(), 2))?;
        let mut wanted = if wish.services.is_empty() {
            graph.start_order()
        } else {
            graph.with_needs(&wish.services)
        };
        wanted.retain(|name| !orphans.contains(name));
        let (site, notice) = self.survey(wish.desired).await?;
        let prints = fingerprints(&site);
        let mut plan = plan::plan(&site.desired, &wanted, &prints, &self.observed());
        let (mut renew, mut now) = (wish.renew, wish.now);
        let scheduled = |name: &ServiceName| {
            let service = site.desired.ecosystem.services.get(name);
            service.is_some_and(|service| service.schedule.is_some())
        };
        now.retain(scheduled);
        renew.retain(|name| !scheduled(name) || now.contains(name));
        force(&mut plan, &renew, Verb::Restart);
        force(&mut plan, &now, Verb::Start);
        let mut notices: Vec<String> = notice.into_iter().collect();
        notices.extend(orphans.iter().map(|name| orphans::notice(name)));
        notices.extend(self.publish(&site, &wanted, wish.strict_ports).await?);
        notices.extend(loosened::told(&site.desired, &wanted));
        self.allow(&site).await?;
        self.fingerprints.extend(
            wanted
                .iter()
                .filter_map(|name| Some((name.clone(), prints.get(name)?.clone()))),
        );
        let want = Want {
            units: traits(&site.desired, self.no_health),
            run: wanted.clone(),
            renew: plan.with(Verb::Restart),
            now,
            sequential: wish.sequential,
        };
        notices.extend(site.tools.settings.notices.iter().cloned());
        self.site = Some(Arc::new(site));
        self.wanted.clone_from(&wanted);
        self.remember_environment();
        self.remember();
        let mut progress = vec![Progress::Plan { lines: plan.lines() }];
        progress.extend(notices.into_iter().map(|text| Progress::Notice { text }));
        Ok(Accepted {
            want,
            wanted,
            progress,
        })
    }

    /// What exists, as a plan sees it.
    fn observed(&self) -> IndexMap<ServiceName, Observed> {
        let in_place = |unit: &Unit| match &unit.stage {
            _ if unit.traits.schedule.is_some() => unit.is_armed(),
            Stage::Rest(end) => *end == super::unit::End::Completed,
            Stage::Closing { .. } => false,
            _ => true,
        };
        let one = |(name, unit): (&ServiceName, &Unit)| {
            let observed = Observed {
                fingerprint: self.fingerprints.get(name).cloned().unwrap_or_default(),
                in_place: in_place(unit),
            };
            (name.clone(), observed)
        };
        self.state.units.iter().map(one).collect()
    }

    /// What the machine has for the wish: toolchains, host, file system, network.
    async fn survey(&mut self, desired: Desired) -> Result<(Site, Option<String>), Refusal> {
        let (root, notice) = making::root(&desired).map_err(|lack| refusal(&lack, 3))?;
        self.ensure_network(&desired).await?;
        let (Some(wires), Some(network)) = (self.wires.clone(), self.network.as_mut()) else {
            return Err(refusal("the network could not be made", 125));
        };
        let addresses = network::addresses(&desired.ecosystem, network.spec.subnet, &network.addresses)
            .map_err(|lack| refusal(&lack, 3))?;
        network.addresses = addresses.clone();
        let nameservers = self.nameservers(&wires).await?;
        let builder = Builder::new(self.instance.clone(), wires.clone(), nameservers.clone());
        let keeper = self.keeper.clone();
        let site =
            blocking(move || survey(desired, root, addresses, nameservers, wires, keeper, builder)).await?;
        Ok((site, notice))
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

    /// Puts the wish's rules into force.
    pub(super) async fn allow(&self, site: &Site) -> Result<(), Refusal> {
        let Some(network) = &self.network else {
            return Ok(());
        };
        let forwarder = site.nameservers.contains(&site.wires.router().into());
        let policy = network::policy(
            &site.desired.ecosystem,
            &site.addresses,
            &network.published,
            network.spec.subnet,
            forwarder,
        );
        let wires = site.wires.clone();
        let applied = blocking(move || wires.apply(policy)).await?;
        applied.map_err(|error| refusal(&chain(&error), 3))
    }
}

/// Runs blocking work off the loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| refusal(&format!("pactown's own fault: {error}"), 125))
}

fn survey(
    desired: Desired,
    root: PathBuf,
    addresses: IndexMap<ServiceName, std::net::Ipv4Addr>,
    nameservers: Vec<IpAddr>,
    wires: Wires,
    keeper: Keeper,
    builder: Builder,
) -> Site {
    let tools = Tools::find(&desired);
    Site {
        tools,
        host: HostFacts::read(),
        addresses,
        nameservers,
        root,
        wires,
        keeper,
        builder,
        desired,
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

/// What each service would be made from. A toolchain that is missing shows when the service is prepared.
pub(super) fn fingerprints(site: &Site) -> IndexMap<ServiceName, Value> {
    let one = |(name, service): (&ServiceName, &Service)| {
        let recipe = site.desired.recipes.get(name);
        let layers = recipe.and_then(|recipe| site.tools.layers(recipe).ok());
        let layers = layers.unwrap_or_default();
        let extras = site.tools.extras(&layers, service);
        let variables = resolver::variables(&site.desired, service, &extras);
        let print = plan::fingerprint(&site.desired, service, &variables, &layers);
        (name.clone(), print)
    };
    site.desired.ecosystem.services.iter().map(one).collect()
}

/// Has done what is asked for to what is named and would be kept, or wait for its time.
fn force(plan: &mut Plan, names: &[ServiceName], verb: Verb) {
    for operation in &mut plan.0 {
        let rests = matches!(operation.verb, Verb::Keep | Verb::Schedule);
        if rests && names.contains(&operation.service) {
            operation.verb = verb;
            operation.causes = vec!["asked for".to_owned()];
        }
    }
}

/// What order and time need to know of each service.
pub(super) fn traits(desired: &Desired, no_health: bool) -> Vec<(ServiceName, Traits)> {
    let one = |(name, service): (&ServiceName, &Service)| {
        let job = resolver::is_job(desired, name);
        let needs = service
            .depends_on
            .iter()
            .filter(|dependency| desired.ecosystem.services.contains_key(&dependency.name))
            .map(|dependency| Need {
                name: dependency.name.clone(),
                condition: resolver::condition(
                    dependency,
                    &desired.ecosystem,
                    desired.recipes.get(&dependency.name),
                ),
                required: dependency.required,
                restart: dependency.restart,
            })
            .collect();
        let traits = Traits {
            needs,
            job,
            schedule: service.schedule.clone(),
            checked: service.health.is_some() && !no_health && !job,
            timeout: service.timeout,
            restart: resolver::restart_policy(desired, name),
            on_unhealthy: service.on_unhealthy,
            signal: service.stop_signal,
            grace: service.stop_grace,
        };
        (name.clone(), traits)
    };
    desired.ecosystem.services.iter().map(one).collect()
}
