//! A wish, taken: which units there shall be, what will change, ports, rules. Nothing of a unit is made yet; what fails
//! here is refused as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::engine::Engine;
use super::making::Site;
use super::requests::refusal;
use super::step::Want;
use super::unit::{Stage, Unit};
use super::{loosened, orphans, traits};
use crate::config::ecosystem::{ServiceName, UnitName};
use crate::control::api::Progress;
use crate::control::server::Refusal;
use crate::desired::Desired;
use crate::plan::{self, Asked, Observed, Plan, Verb};
use crate::resolver;
use crate::roster::{Roster, Scale};
use crate::spec::{self, Writable};

/// The keeper's name for the name forwarder; no service can have it.
pub(super) const FORWARDER: &str = ".forwarder";

/// What somebody wants. Names are those of services, which mean all their units, or of units.
pub(super) struct Wish {
    pub(super) desired: Desired,
    /// Only these and what they need; empty = all.
    pub(super) names: Vec<String>,
    /// How many replicas are asked for by hand, of all services.
    pub(super) scale: Scale,
    /// Those that start anew whether or not they changed.
    pub(super) renew: Vec<String>,
    /// Scheduled jobs that run at once.
    pub(super) now: Vec<String>,
    pub(super) sequential: bool,
    pub(super) strict_ports: bool,
    /// What runs and is not in it is stopped; else it goes on.
    pub(super) remove_orphans: bool,
}

/// A wish that can be carried out.
pub(super) struct Accepted {
    pub(super) want: Want,
    /// Who must be ready for it to be fulfilled.
    pub(super) wanted: Vec<UnitName>,
    /// What to tell first.
    pub(super) progress: Vec<Progress>,
}

impl Engine {
    pub(super) async fn accept(&mut self, mut wish: Wish) -> Result<Accepted, Refusal> {
        if self.state.ending {
            return Err(refusal("the ecosystem is going down", 1));
        }
        if let Some(site) = &self.site {
            wish.desired.secrets.succeed(&site.desired.secrets);
        }
        let orphans = match wish.remove_orphans {
            true => Vec::new(),
            false => self.keep_orphans(&mut wish),
        };
        let mut order = order(&wish)?;
        order.retain(|name| !orphans.contains(name));
        self.keep_numbers(&mut wish.desired, &order);
        wish.scale
            .retain(|name, _| wish.desired.ecosystem.services.contains_key(name));
        let roster =
            Roster::of(&wish.desired.ecosystem, &wish.scale).map_err(|problem| refusal(&problem, 2))?;
        let wanted = wanted(&wish, &order, &roster)?;
        let (site, notice) = self.survey(wish.desired, roster).await?;
        let (renew, now) = at_once(&site, &wish.renew, &wish.now);
        let plan = self.plan(&site, &wish.scale, &wanted, (&renew, &now));
        let mut notices: Vec<String> = notice.into_iter().collect();
        notices.extend(orphans.iter().map(|name| orphans::notice(name)));
        notices.extend(self.kept_apart(&site));
        let published = self.publish(&site, &order, wish.strict_ports).await?;
        notices.extend(published);
        notices.extend(loosened::told(&site.desired, &order));
        self.allow(&site).await?;
        if let Err(refused) = self.hold(&site).await {
            // What runs goes on as it did, by the rules that it had.
            self.respread();
            return Err(refused);
        }
        if let Some(network) = self.network.as_mut() {
            network.addresses.clone_from(&site.addresses);
        }
        self.write_network();
        let want = Want {
            units: traits::all(&site.desired, &site.roster, self.no_health),
            run: wanted.clone(),
            renew: plan.with(Verb::Restart),
            now,
            sequential: wish.sequential,
        };
        notices.extend(site.tools.settings.notices.iter().cloned());
        self.site = Some(Arc::new(site));
        self.scale = wish.scale;
        self.wanted.clone_from(&wanted);
        self.hide_values();
        self.remember_values();
        self.remember();
        let mut progress = vec![Progress::Plan { lines: plan.lines() }];
        progress.extend(notices.into_iter().map(|text| Progress::Notice { text }));
        Ok(Accepted {
            want,
            wanted,
            progress,
        })
    }

    /// Services that are not asked for keep as many units as they have, whatever the file says of them by now.
    fn keep_numbers(&self, desired: &mut Desired, order: &[ServiceName]) {
        let Some(site) = &self.site else { return };
        let services = desired.ecosystem.services.iter_mut();
        for (name, service) in services.filter(|(name, _)| !order.contains(name)) {
            if let Some(present) = site.desired.ecosystem.services.get(name) {
                service.replicas = present.replicas;
            }
        }
    }

    fn plan(
        &self,
        site: &Site,
        scale: &Scale,
        wanted: &[UnitName],
        (renew, now): (&[UnitName], &[UnitName]),
    ) -> Plan {
        let asked = Asked {
            ecosystem: &site.desired.ecosystem,
            roster: &site.roster,
            scale,
            scale_before: &self.scale,
        };
        let mut plan = plan::plan(&asked, wanted, &site.prints, &self.observed());
        force(&mut plan, renew, Verb::Restart);
        force(&mut plan, now, Verb::Start);
        plan
    }

    /// What exists, as a plan sees it.
    fn observed(&self) -> IndexMap<UnitName, Observed> {
        let in_place = |unit: &Unit| match &unit.stage {
            _ if unit.traits.schedule.is_some() => unit.is_armed(),
            Stage::Rest(end) => *end == super::unit::End::Completed,
            // It will be made from what is wished now.
            Stage::Closing { .. } | Stage::Queued => false,
            _ => true,
        };
        let one = |(name, unit): (&UnitName, &Unit)| {
            let observed = Observed {
                fingerprint: self.fingerprints.get(name).cloned().unwrap_or_default(),
                in_place: in_place(unit),
            };
            (name.clone(), observed)
        };
        self.state.units.iter().map(one).collect()
    }

    /// Where what a service wrote stays, when its units get directories of other names, or a disk instead of one.
    fn kept_apart(&self, site: &Site) -> Vec<String> {
        let Some(present) = &self.site else {
            return Vec::new();
        };
        let apart = |name: &ServiceName| {
            let (old, new) = (
                present.roster.of_service(name).next()?,
                site.roster.of_service(name).next()?,
            );
            let renamed = (old == name) != (new == name);
            let (old, new) = (Kept::of(present, old)?, Kept::of(site, new)?);
            let moved = renamed || old.image.is_some() != new.image.is_some();
            (moved && old.holds_something()).then(|| {
                format!(
                    "{name}: what it has written stays in `{}`; it goes on with `{}`",
                    old.shown().display(),
                    new.shown().display()
                )
            })
        };
        site.desired.ecosystem.services.keys().filter_map(apart).collect()
    }
}

/// Where a unit keeps what it writes.
struct Kept {
    /// Its limited disk.
    image: Option<PathBuf>,
    /// Its directories otherwise.
    directories: Writable,
}

impl Kept {
    fn of(site: &Site, unit: &UnitName) -> Option<Self> {
        let member = site.member(unit)?;
        Some(Self {
            image: spec::disk(&site.desired, member).map(|disk| disk.image),
            directories: spec::place(&site.root, member).writable(),
        })
    }

    fn shown(&self) -> &Path {
        self.image.as_deref().unwrap_or(&self.directories.upper)
    }

    /// An image is made with the first start. A directory too, but it may be empty.
    fn holds_something(&self) -> bool {
        let is_filled =
            |directory: &Path| std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
        match &self.image {
            Some(image) => image.exists(),
            None => is_filled(&self.directories.upper) || is_filled(&self.directories.home),
        }
    }
}

/// The services that are asked for, in start order.
fn order(wish: &Wish) -> Result<Vec<ServiceName>, Refusal> {
    resolver::needed(&wish.desired.ecosystem, &wish.names)
        .map_err(|problems| refusal(&problems.to_string(), 2))
}

/// The units that are asked for, in start order: of a service of which single units are named, only those.
fn wanted(wish: &Wish, order: &[ServiceName], roster: &Roster) -> Result<Vec<UnitName>, Refusal> {
    let services = &wish.desired.ecosystem.services;
    let is_there = |name: &&String| services.contains_key(*name) || roster.has(name);
    if let Some(strange) = wish.names.iter().find(|name| !is_there(name)) {
        return Err(super::requests::unknown(strange, services, roster));
    }
    let units = order.iter().flat_map(|service| {
        let named = |unit: &&UnitName| wish.names.contains(unit) && !wish.names.contains(service);
        let only: Vec<_> = roster.of_service(service).filter(named).collect();
        match only.is_empty() {
            true => roster.of_service(service).collect(),
            false => only,
        }
    });
    Ok(units.cloned().collect())
}

/// Runs blocking work off the loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| refusal(&format!("pactown's own fault: {error}"), 125))
}

/// The units that start anew, and the scheduled jobs that run at once: of those, only what is named starts anew.
fn at_once(site: &Site, renew: &[String], now: &[String]) -> (Vec<UnitName>, Vec<UnitName>) {
    let scheduled = |name: &UnitName| {
        let member = site.member(name);
        member.is_some_and(|member| member.service.schedule.is_some())
    };
    let (mut renew, mut now) = (site.roster.meant(renew), site.roster.meant(now));
    now.retain(scheduled);
    renew.retain(|name| !scheduled(name) || now.contains(name));
    (renew, now)
}

/// Has done what is asked for to what is named and would be kept, or wait for its time.
fn force(plan: &mut Plan, units: &[UnitName], verb: Verb) {
    for operation in &mut plan.0 {
        let rests = matches!(operation.verb, Verb::Keep | Verb::Schedule);
        if rests && units.contains(&operation.unit) {
            operation.verb = verb;
            operation.causes = vec!["asked for".to_owned()];
        }
    }
}
