//! Over which replicas connections are spread, in the kernel: rules follow the state, and who is about to end gets none
//! any more before it is told to.

use std::time::Duration;

use pactown_netns::{Policy, listeners};

use super::engine::{Engine, Message};
use super::making::Site;
use super::requests::refusal;
use super::step::Event;
use super::wires::Wires;
use crate::config::ecosystem::{ServiceName, UnitName};
use crate::control::api::Progress;
use crate::control::server::Refusal;
use crate::error::chain;
use crate::events::Kind;
use crate::network::{self, Addresses, Moment, Units};

/// Between two looks at what waits to be accepted. The kernel tells nobody when a queue becomes empty.
const LOOK: Duration = Duration::from_millis(5);
/// So many looks in a row must see nothing: a connection may be on its way while the rules change.
const CALM: u32 = 4;

impl Engine {
    /// Puts the wish's rules into force.
    pub(super) async fn allow(&mut self, site: &Site) -> Result<(), Refusal> {
        let Some(policy) = self.policy(site, &site.addresses) else {
            return Ok(());
        };
        match site.wires.apply(policy).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(refusal(&chain(&error), 3)),
            Err(_) => Err(refusal("the network thread has ended", 125)),
        }
    }

    /// Puts the rules into force that follow from where the units stand now.
    pub(super) fn respread(&mut self) {
        let Some(site) = self.site.clone() else { return };
        let Some(policy) = self
            .network
            .as_ref()
            .and_then(|network| self.policy(&site, &network.addresses))
        else {
            return;
        };
        let applied = site.wires.apply(policy);
        let messages = self.messages.clone();
        tokio::task::spawn_local(async move {
            if let Ok(Err(error)) = applied.await {
                let _ = messages.send(Message::Unspread(chain(&error)));
            }
        });
    }

    fn policy(&self, site: &Site, addresses: &Addresses) -> Option<Policy> {
        let network = self.network.as_ref()?;
        let ready = self.state.services().into_iter();
        let moment = Moment {
            ecosystem: &site.desired.ecosystem,
            addresses,
            published: &network.published,
            subnet: network.spec.subnet,
            forwarder: site.nameservers.contains(&site.wires.router().into()),
            units: &self.units_with(site),
            ready: &ready.map(|(service, spread)| (service, spread.ready)).collect(),
        };
        Some(network::policy(&moment))
    }

    /// The units of each service: those of the wish, and those that are there still.
    fn units_with(&self, site: &Site) -> Units {
        let mut units = Units::new();
        let wished = site.roster.units().map(|(unit, seat)| (&seat.service, unit));
        let there = self.state.units.iter();
        let there = there.map(|(unit, known)| (&known.traits.service, unit));
        for (service, unit) in wished.chain(there) {
            let own: &mut Vec<UnitName> = units.entry(service.clone()).or_default();
            if !own.contains(unit) {
                own.push(unit.clone());
            }
        }
        units
    }

    /// Answers when no more connections are led to the unit and it has accepted all that were.
    pub(super) fn withdraw(&self, name: UnitName, run: u64, grace: Duration) {
        let pid = self.running.get(&name).map(|process| process.pid);
        let (wires, messages) = (self.wires.clone(), self.messages.clone());
        tokio::task::spawn_local(async move {
            if let (Some(pid), Some(wires)) = (pid, wires) {
                let _ = tokio::time::timeout(grace, accepted(&wires, pid)).await;
            }
            let _ = messages.send(Message::Event(Event::Withdrawn(name, run)));
        });
    }

    /// Rules could not be put into force.
    pub(super) fn unspread(&mut self, cause: &str) {
        self.remark(&format!("connections are not spread as they should be: {cause}"));
    }

    /// A change stopped before all replicas had it.
    pub(super) fn halted(&mut self, service: &ServiceName, by: &str, spared: &[UnitName]) {
        self.remark(&format!(
            "{service}: {by} failed, so {} as before",
            match spared {
                [one] => format!("{one} goes on"),
                all => format!("{} go on", all.join(", ")),
            }
        ));
    }

    /// Something that everybody who listens should read, now or later.
    pub(super) fn remark(&mut self, text: &str) {
        self.chronicle.note(Kind::Notice, Some(text));
        let text = text.to_owned();
        self.audience.tell(&Progress::Notice { text });
    }
}

/// Until the rules that were asked for are in force and nothing waits to be accepted in the network of process `pid`.
async fn accepted(wires: &Wires, pid: i32) {
    let _ = wires.reach().await;
    let mut calm = 0;
    while calm < CALM {
        let waits = tokio::task::spawn_blocking(move || listeners::waiting(pid)).await;
        match waits {
            Ok(0) => calm += 1,
            Ok(_) => calm = 0,
            Err(_) => return,
        }
        tokio::time::sleep(LOOK).await;
    }
}
