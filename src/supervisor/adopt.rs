//! A new supervisor takes over from one that died: what runs goes on, what was under way is ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pactown_netns::resolver::{self as names, Resolver};
use pactown_runtime::protocol::{Call, ExitRecord, Listed};

use super::builder::Builder;
use super::engine::{Engine, Message};
use super::keepsake;
use super::making::{self, Site};
use super::stamp::now_usec;
use super::step::resume::{Tidings, resume};
use super::step::{Action, Event, STEADY, Want};
use super::unit::{Stage, Unit};
use super::wires::Wires;
use super::{tell, wish};
use crate::config::ecosystem::ServiceName;
use crate::control::server::Refusal;
use crate::events::Kind;
use crate::host::HostFacts;
use crate::prepare::Tools;
use crate::state::{self, InstanceRecord, NetworkRecord, ProcessRecord, ServiceRecord};

/// How long an attached run waits for its command to come back.
const RETURN: Duration = Duration::from_secs(5);
/// Until the next try of what waited for one when the last supervisor died.
const SOON: Duration = Duration::from_millis(100);

impl Engine {
    /// Takes over what the records and the keeper know. A fresh instance has neither.
    pub(super) async fn adopt(&mut self) -> Result<(), String> {
        if let Some(damage) = state::damage(&self.instance) {
            return Err(damage);
        }
        let record: Option<InstanceRecord> =
            state::read_or_lay_aside(&self.instance, &self.instance.record())?;
        let network: Option<NetworkRecord> =
            state::read_or_lay_aside(&self.instance, &self.instance.network_record())?;
        let Some(network) = network else {
            return Ok(());
        };
        let Some(mut record) = record else {
            // The last one died over the first wish: nothing of it is known, and who wished it has seen it fail.
            self.wires = Some(Wires::start(network.spec));
            self.end_in_order().await;
            return Ok(());
        };
        if let Err(error) = keepsake::recall(self.keeper.socket(), &mut record.desired.caller) {
            tell(&format!("the caller's environment is lost: {error}"));
        }
        let wires = Wires::start(network.spec.clone());
        self.attached = record.attached;
        self.site = Some(Arc::new(self.site_of(&record, &network, &wires)));
        self.wires = Some(wires);
        self.network = Some(network);
        if let Err(refusal) = self.take_over_the_network().await {
            tell(&refusal.message);
        }
        let living = self.keeper.list().await.map_err(|failure| failure.to_string())?;
        self.chronicle.note(Kind::Adopted, None);
        self.take_over(&record, &living).await;
        if record.ending {
            self.end_in_order().await;
        } else if record.attached {
            self.wait_for_the_owner();
        }
        Ok(())
    }

    /// Rules, too: the last supervisor may have died between those of the router and those of the host.
    async fn take_over_the_network(&mut self) -> Result<(), Refusal> {
        let anchors = keepsake::recall_anchors(self.keeper.socket()).unwrap_or_default();
        self.plug_in(anchors).await?;
        match &self.site {
            Some(site) => self.allow(site).await,
            None => Ok(()),
        }
    }

    fn site_of(&self, record: &InstanceRecord, network: &NetworkRecord, wires: &Wires) -> Site {
        let desired = record.desired.clone();
        let nameservers: Vec<IpAddr> = match names::detect() {
            Resolver::Direct(servers) => servers,
            Resolver::Forwarded(_) => vec![wires.router().into()],
            Resolver::None => Vec::new(),
        };
        let root =
            making::root(&desired).map_or_else(|_| crate::spec::sandbox_root(&desired), |(root, _)| root);
        Site {
            tools: Tools::find(&desired),
            host: HostFacts::read(),
            addresses: network.addresses.clone(),
            builder: Builder::new(self.instance.clone(), wires.clone(), nameservers.clone()),
            nameservers,
            root,
            wires: wires.clone(),
            keeper: self.keeper.clone(),
            desired,
        }
    }

    /// Every service stands where it stood; what of it has happened meanwhile is gone through now. What else lives of a
    /// build or an unknown service is ended and removed.
    async fn take_over(&mut self, record: &InstanceRecord, living: &[Listed]) {
        self.no_health = record.no_health;
        self.wanted.clone_from(&record.wanted);
        for (name, traits) in wish::traits(&record.desired, self.no_health) {
            self.state.units.insert(name, Unit::new(traits));
        }
        let known =
            |listed: &Listed| self.state.units.contains_key(&listed.id) || listed.id == wish::FORWARDER;
        let strays: Vec<_> = living.iter().filter(|listed| !known(listed)).cloned().collect();
        for stray in &strays {
            self.end_stray(stray).await;
        }
        for record in state::services(&self.instance) {
            let listed = living.iter().find(|listed| listed.id == record.name);
            self.resume(record, listed).await;
        }
        self.go_on_probing();
        self.go_on_with_the_wish().await;
    }

    async fn resume(&mut self, record: ServiceRecord, listed: Option<&Listed>) {
        let name = record.name.clone();
        let (Some(unit), Ok(standing)) = (
            self.state.units.get_mut(&name),
            serde_json::from_value(record.standing.clone()),
        ) else {
            return;
        };
        let pid = listed.and_then(|listed| listed.pid);
        let exit = listed.and_then(|listed| listed.exit.clone());
        let tidings = resume(unit, standing, pid.is_some(), exit.is_some());
        let run = unit.run;
        let cold = matches!(unit.stage, Stage::Rest(_) | Stage::Backoff { .. });
        self.fingerprints.insert(name.clone(), record.fingerprint.clone());
        self.exits
            .extend(record.exit.clone().map(|exit| (name.clone(), exit)));
        if let (Some((pid, start_time)), true) = (pid, tidings == Tidings::None) {
            let process = record.process.filter(|process| process.pid == pid);
            let started_at_usec = process.map_or_else(now_usec, |process| process.started_at_usec);
            let process = ProcessRecord {
                pid,
                start_time,
                started_at_usec,
            };
            self.running.insert(name.clone(), process);
            self.hear(&name, run);
        }
        self.written.insert(name.clone(), record);
        match (tidings, pid) {
            (Tidings::Created, Some(pid)) => self.created(name, run, pid).await,
            (Tidings::Died, _) => self.died(name, exit).await,
            (Tidings::Stray, _) => {
                if let Some(listed) = listed {
                    self.end_stray(listed).await;
                }
            }
            (Tidings::Waits, _) => {
                self.act(Action::Retry(name.clone(), run, SOON)).await;
                self.act(Action::Discard(name)).await;
            }
            _ if cold => self.act(Action::Discard(name)).await,
            _ => {}
        }
    }

    /// It ended while nobody looked.
    async fn died(&mut self, name: String, exit: Option<ExitRecord>) {
        match exit {
            Some(record) => self.exited(name, record).await,
            None => {
                let cause = "ended while no supervisor watched".to_owned();
                self.advance(Event::Exited { name, code: 1, cause }).await;
            }
        }
    }

    async fn end_stray(&self, listed: &Listed) {
        let _ = self
            .keeper
            .ask(Call::Kill {
                id: listed.id.clone(),
            })
            .await;
        let (instance, wires, site) = (self.instance.clone(), self.wires.clone(), self.site.clone());
        let (keeper, id) = (self.keeper.clone(), listed.id.clone());
        let _ = wish::blocking(move || {
            making::discard(&instance, site.as_ref(), wires.as_ref(), &keeper, &id);
        })
        .await;
    }

    /// Probes that the last supervisor had under way.
    fn go_on_probing(&mut self) {
        let checked: Vec<_> = self
            .state
            .units
            .iter()
            .map(|(name, unit)| (name.clone(), unit.run, unit.stage.clone(), unit.traits.clone()))
            .collect();
        for (name, run, stage, traits) in checked {
            match stage {
                Stage::Running { ready: false } if traits.checked => self.probe(name, run, traits.timeout),
                Stage::Running { ready: true } => {
                    if traits.checked {
                        self.watch(name.clone(), run);
                    }
                    self.after(STEADY, Event::Steady(name, run));
                }
                _ => {}
            }
        }
    }

    /// A wish that was taken and not begun is begun now: services that have never stood anywhere are started, those that
    /// run and were made from something else start anew. What rests goes on resting.
    async fn go_on_with_the_wish(&mut self) {
        let Some(site) = self.site.clone() else { return };
        let prints = wish::fingerprints(&site);
        let differs = |name: &&ServiceName| self.fingerprints.get(*name) != prints.get(*name);
        let stage = |name: &ServiceName| self.state.units.get(name).map(|unit| &unit.stage);
        let wanted = self.wanted.iter();
        let want = Want {
            units: wish::traits(&site.desired, self.no_health),
            run: wanted
                .clone()
                .filter(|name| !self.written.contains_key(*name))
                .cloned()
                .collect(),
            renew: wanted
                .filter(|name| matches!(stage(name), Some(Stage::Running { .. } | Stage::Starting)))
                .filter(differs)
                .cloned()
                .collect(),
            now: Vec::new(),
            sequential: false,
        };
        for name in want.run.iter().chain(&want.renew) {
            let print = prints.get(name).cloned().unwrap_or_default();
            self.fingerprints.insert(name.clone(), print);
        }
        self.advance(Event::Want(want)).await;
    }

    fn wait_for_the_owner(&self) {
        let messages = self.messages.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(RETURN).await;
            let _ = messages.send(Message::Orphaned);
        });
    }
}
