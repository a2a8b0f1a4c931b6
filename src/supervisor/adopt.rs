//! A new supervisor takes over from one that died: what runs goes on, what was under way is ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pactown_netns::resolver::{self as names, Resolver};
use pactown_runtime::protocol::{Call, Listed};

use super::builder::Builder;
use super::engine::{Engine, Message};
use super::making::{self, Site};
use super::step::Event;
use super::unit::{Stage, Unit};
use super::wires::Wires;
use super::{tell, wish};
use crate::events::Kind;
use crate::host::HostFacts;
use crate::prepare::settings;
use crate::state::{self, InstanceRecord, NetworkRecord};
use crate::toolchain;

/// How long an attached run waits for its command to come back.
const RETURN: Duration = Duration::from_secs(5);

impl Engine {
    /// Takes over what the records and the keeper know. A fresh instance has neither.
    pub(super) async fn adopt(&mut self) -> Result<(), String> {
        let read = |error: state::StateError| crate::error::chain(&error);
        let record: Option<InstanceRecord> = state::read(&self.instance.record()).map_err(read)?;
        let network: Option<NetworkRecord> = state::read(&self.instance.network_record()).map_err(read)?;
        let Some(network) = network else {
            return Ok(());
        };
        let Some(record) = record else {
            // The last one died over the first wish: nothing of it is known, and who wished it has seen it fail.
            self.wires = Some(Wires::start(network.spec));
            self.end_in_order().await;
            return Ok(());
        };
        let wires = Wires::start(network.spec.clone());
        let adopted = wires.clone();
        match wish::blocking(move || adopted.create()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tell(&crate::error::chain(&error)),
            Err(refusal) => tell(&refusal.message),
        }
        self.attached = record.attached;
        self.site = Some(Arc::new(self.site_of(&record, &network, &wires)));
        self.wires = Some(wires);
        self.network = Some(network);
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

    fn site_of(&self, record: &InstanceRecord, network: &NetworkRecord, wires: &Wires) -> Site {
        let desired = record.desired.clone();
        let directory = desired
            .ecosystem
            .file
            .parent()
            .unwrap_or(std::path::Path::new("/"));
        let nameservers: Vec<IpAddr> = match names::detect() {
            Resolver::Direct(servers) => servers,
            Resolver::Forwarded(_) => vec![wires.router().into()],
            Resolver::None => Vec::new(),
        };
        let root =
            making::root(&desired).map_or_else(|_| crate::spec::sandbox_root(&desired), |(root, _)| root);
        Site {
            toolchains: toolchain::discover(&desired.caller, directory),
            settings: settings::collect(&desired.caller),
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

    /// Services whose sandbox lives, and is the one of the record, run on; everything else of a service or a build is
    /// ended and removed.
    async fn take_over(&mut self, record: &InstanceRecord, living: &[Listed]) {
        for (name, traits) in wish::traits(&record.desired, self.no_health) {
            self.state.units.insert(name, Unit::new(traits));
        }
        let records = state::services(&self.instance);
        for listed in living.iter().filter(|listed| listed.id != wish::FORWARDER) {
            let known = records.iter().find(|record| record.name == listed.id);
            let same = known.filter(|record| listed.pid == Some((record.pid, record.start_time)));
            match (same, self.state.units.get_mut(&listed.id)) {
                (Some(record), Some(unit)) => {
                    unit.run = record.run;
                    unit.stage = Stage::Running { ready: record.ready };
                    self.fingerprints
                        .insert(record.name.clone(), record.fingerprint.clone());
                    self.running.insert(record.name.clone(), record.clone());
                }
                _ => self.end_stray(listed).await,
            }
        }
        self.probe_again();
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

    /// Probes that the last supervisor was waiting for.
    fn probe_again(&mut self) {
        let waiting: Vec<_> = self
            .state
            .units
            .iter()
            .filter(|(_, unit)| unit.traits.checked && unit.stage == Stage::Running { ready: false })
            .map(|(name, unit)| (name.clone(), unit.run, unit.traits.timeout))
            .collect();
        for (name, run, timeout) in waiting {
            self.probe(name, run, timeout);
        }
        let messages = self.messages.clone();
        let _ = messages.send(Message::Event(Event::Stop(Vec::new())));
    }

    fn wait_for_the_owner(&self) {
        let messages = self.messages.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(RETURN).await;
            let _ = messages.send(Message::Orphaned);
        });
    }
}
