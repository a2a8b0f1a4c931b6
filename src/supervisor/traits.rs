//! What each sandbox of a wish is made from, and what order and time need to know of it.

use indexmap::IndexMap;
use serde_json::Value;

use super::making::Site;
use super::unit::{Need, Traits};
use crate::config::ecosystem::{Dependency, UnitName};
use crate::desired::Desired;
use crate::roster::{Member, Roster};
use crate::{plan, resolver};

/// What each unit would be made from. A toolchain that is missing shows when it is prepared.
pub(super) fn fingerprints(site: &Site) -> IndexMap<UnitName, Value> {
    let one = |name: &UnitName| {
        let member = site.member(name)?;
        let layers = site
            .recipe(member)
            .and_then(|recipe| site.tools.layers(&member.service.name, recipe).ok());
        let layers = layers.unwrap_or_default();
        let extras = site.tools.extras(&layers, member.service);
        let variables = resolver::variables(&site.desired, member, &extras);
        let print = plan::fingerprint(&site.desired, member.service, &variables, &layers);
        Some((name.clone(), print))
    };
    site.roster.units().filter_map(|(name, _)| one(name)).collect()
}

/// The traits of all units of a wish.
pub(super) fn all(desired: &Desired, roster: &Roster, no_health: bool) -> Vec<(UnitName, Traits)> {
    let one = |name: &UnitName| {
        let member = Member::named(&desired.ecosystem, name)?;
        Some((name.clone(), of(desired, roster, member, no_health)))
    };
    roster.units().filter_map(|(name, _)| one(name)).collect()
}

/// The traits of one unit, also of one that is not wished any more.
pub(super) fn of(desired: &Desired, roster: &Roster, member: Member, no_health: bool) -> Traits {
    let service = member.service;
    let job = resolver::is_job(desired, &service.name);
    let needs = service
        .depends_on
        .iter()
        .flat_map(|dependency| needs(desired, roster, dependency));
    Traits {
        service: service.name.clone(),
        replica: member.replica,
        needs: needs.collect(),
        job,
        schedule: service.schedule.clone(),
        checked: service.health.is_some() && !no_health && !job,
        timeout: service.timeout,
        restart: resolver::restart_policy(desired, &service.name),
        on_unhealthy: service.on_unhealthy,
        signal: service.stop_signal,
        grace: service.stop_grace,
    }
}

/// Every unit of the service that is needed; of something outside, or of a service without any, none.
fn needs(desired: &Desired, roster: &Roster, dependency: &Dependency) -> Vec<Need> {
    let recipe = desired.recipes.get(&dependency.name);
    let condition = resolver::condition(dependency, &desired.ecosystem, recipe);
    let need = |unit: &UnitName| Need {
        name: unit.clone(),
        condition,
        required: dependency.required,
        restart: dependency.restart,
    };
    roster.of_service(&dependency.name).map(need).collect()
}
