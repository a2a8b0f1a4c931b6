//! A new supervisor takes over from one that died: what runs goes on, what was under way is ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use pactown_netns::resolver::{self as names, Resolver};
use pactown_runtime::protocol::{Call, ExitRecord, Listed};

use super::builder::{self, Builder};
use super::engine::{Engine, Message};
use super::keepsake;
use super::making::{self, Site};
use super::stamp::now_usec;
use super::step::resume::{Tidings, resume};
use super::step::{Action, Event, STEADY, Want};
use super::unit::{Roll, Stage, Unit};
use super::wires::Wires;
use super::{tell, traits, wish};
use crate::config::ecosystem::UnitName;
use crate::events::Kind;
use crate::host::HostFacts;
use crate::prepare::{BuildRunner, Tools, settings};
use crate::proxy::Parents;
use crate::roster::Roster;
use crate::state::{self, InstanceRecord, NetworkRecord, ProcessRecord, ServiceRecord};

/// How long an attached run waits for its command to come back.
const RETURN: Duration = Duration::from_secs(5);
/// Until the next try of what waited for one when the last supervisor died.
const SOON: Duration = Duration::from_millis(100);

/// A unit that was found.
struct Found {
    name: UnitName,
    run: u64,
    tidings: Tidings,
    /// What the keeper knows of it.
    listed: Option<Listed>,
    /// Nothing of it lives.
    cold: bool,
}

/// Its sandbox runs, or is being created.
fn is_made(stage: &Stage) -> bool {
    matches!(stage, Stage::Running { .. } | Stage::Starting)
}

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
        if let Err(error) = keepsake::recall(self.keeper.socket(), &mut record.desired) {
            tell(&format!(
                "the caller's environment and the secrets are lost: {error}"
            ));
        }
        let wires = Wires::start(network.spec.clone());
        self.attached = record.attached;
        self.site = Some(Arc::new(self.site_of(&record, &network, &wires)?));
        self.hide_values();
        self.wires = Some(wires);
        self.network = Some(network);
        let anchors = keepsake::recall_anchors(self.keeper.socket()).unwrap_or_default();
        if let Err(refusal) = self.plug_in(anchors).await {
            tell(&refusal.message);
        }
        let living = self.keeper.list().await.map_err(|failure| failure.to_string())?;
        self.chronicle.note(Kind::Adopted, None);
        self.take_over(&record, &living).await;
        // Rules, too: the last supervisor may have died between those of the router and those of the host, and whoever
        // became unready since gets nothing more.
        self.respread();
        if record.ending {
            self.end_in_order().await;
        } else if record.attached {
            self.wait_for_the_owner();
        }
        Ok(())
    }

    fn site_of(
        &self,
        record: &InstanceRecord,
        network: &NetworkRecord,
        wires: &Wires,
    ) -> Result<Site, String> {
        let desired = record.desired.clone();
        let nameservers: Vec<IpAddr> = match names::detect() {
            Resolver::Direct(servers) => servers,
            Resolver::Forwarded(_) => vec![wires.router().into()],
            Resolver::None => Vec::new(),
        };
        let root =
            making::root(&desired).map_or_else(|_| crate::spec::sandbox_root(&desired), |(root, _)| root);
        let site = Site {
            tools: Tools::find(&desired),
            host: HostFacts::read(),
            roster: Roster::of(&desired.ecosystem, &record.scale)?,
            prints: IndexMap::new(),
            addresses: network.addresses.clone(),
            builder: Builder::new(
                self.instance.clone(),
                wires.clone(),
                Parents::of(&settings::proxies(&desired.caller)),
            ),
            nameservers,
            root,
            wires: wires.clone(),
            keeper: self.keeper.clone(),
            desired,
        };
        let prints = traits::fingerprints(&site);
        Ok(Site { prints, ..site })
    }

    /// Every unit stands where it stood; what of it has happened meanwhile is gone through now. What else lives of a
    /// build or an unknown service is ended and removed.
    async fn take_over(&mut self, record: &InstanceRecord, living: &[Listed]) {
        self.no_health = record.no_health;
        self.wanted.clone_from(&record.wanted);
        self.scale.clone_from(&record.scale);
        let records = state::services(&self.instance);
        self.seat(&records);
        let known =
            |listed: &Listed| self.state.units.contains_key(&listed.id) || listed.id == wish::FORWARDER;
        let strays: Vec<_> = living.iter().filter(|listed| !known(listed)).cloned().collect();
        for stray in &strays {
            self.end_stray(stray).await;
        }
        // All of them stand before anything is decided of one: its turn may depend on the others.
        let found: Vec<Found> = records
            .into_iter()
            .filter_map(|record| {
                let listed = living.iter().find(|listed| listed.id == record.name).cloned();
                self.resume(record, listed)
            })
            .collect();
        for one in found {
            self.catch_up(one).await;
        }
        self.go_on_probing();
        self.go_on_with_the_wish().await;
    }

    /// The units of the wish, and those of its services that are on record still: they were to go, or to be replaced.
    fn seat(&mut self, records: &[ServiceRecord]) {
        let Some(site) = self.site.clone() else { return };
        let (desired, roster) = (&site.desired, &site.roster);
        for (name, traits) in traits::all(desired, roster, self.no_health) {
            self.state.units.insert(name, Unit::new(traits));
        }
        for record in records.iter().filter(|record| !roster.has(&record.name)) {
            if let Some(member) = site.member(&record.name) {
                let traits = traits::of(desired, roster, member, self.no_health);
                self.state.units.insert(record.name.clone(), Unit::new(traits));
            }
        }
    }

    /// Puts a unit where it stood; what is to be done about it comes later.
    fn resume(&mut self, record: ServiceRecord, listed: Option<Listed>) -> Option<Found> {
        let name = record.name.clone();
        let unit = self.state.units.get_mut(&name)?;
        let standing = serde_json::from_value(record.standing.clone()).ok()?;
        let pid = listed.as_ref().and_then(|listed| listed.pid);
        let ended = listed.as_ref().is_some_and(|listed| listed.exit.is_some());
        let tidings = resume(unit, standing, pid.is_some(), ended);
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
            self.go_on_looking(&name);
            self.hear(&name, run);
        }
        self.written.insert(name.clone(), record);
        Some(Found {
            name,
            run,
            tidings,
            listed,
            cold,
        })
    }

    async fn catch_up(&mut self, found: Found) {
        let Found { name, run, .. } = found;
        let pid = found.listed.as_ref().and_then(|listed| listed.pid);
        match (found.tidings, pid, found.listed) {
            (Tidings::Created, Some(pid), _) => self.created(name, run, pid).await,
            (Tidings::Died, _, listed) => self.died(name, listed.and_then(|listed| listed.exit)).await,
            (Tidings::Stray, _, Some(listed)) => self.end_stray(&listed).await,
            (Tidings::Waits, ..) => {
                self.act(Action::Retry(name.clone(), run, SOON)).await;
                self.act(Action::Discard(name)).await;
            }
            _ if found.cold => self.act(Action::Discard(name)).await,
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
        if let (Some(build), Some(site)) = (builder::of_proxy(&listed.id), self.site.clone()) {
            let build = build.to_owned();
            // Waited for: its port is the next build's.
            let _ = wish::blocking(move || site.builder.close(&build)).await;
            return;
        }
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
        let differs = |name: &&UnitName| self.fingerprints.get(*name) != site.prints.get(*name);
        let begun = |name: &&UnitName| {
            let unit = self.state.units.get(*name);
            unit.is_some_and(|unit| unit.roll != Roll::Spared && is_made(&unit.stage))
        };
        let wanted = self.wanted.iter();
        let want = Want {
            units: traits::all(&site.desired, &site.roster, self.no_health),
            run: wanted
                .clone()
                .filter(|name| !self.written.contains_key(*name))
                .cloned()
                .collect(),
            renew: wanted.filter(begun).filter(differs).cloned().collect(),
            now: Vec::new(),
            sequential: false,
        };
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
