//! Services that run and are no longer in the file: they stay part of the ecosystem, as they were, until somebody says
//! that they shall go.

use super::engine::Engine;
use super::unit::Unit;
use super::wish::Wish;
use crate::config::ecosystem::ServiceName;

impl Engine {
    /// Adds to the wish the services that run and are not in it, with as many units as they have; their names.
    pub(super) fn keep_orphans(&self, wish: &mut Wish) -> Vec<ServiceName> {
        let Some(site) = &self.site else {
            return Vec::new();
        };
        let desired = &mut wish.desired;
        let units = self.state.units.values();
        let lives = |name: &&ServiceName| {
            let own = |unit: &Unit| unit.traits.service == **name && !unit.is_at_rest();
            units.clone().any(own)
        };
        let orphans: Vec<_> = site
            .desired
            .ecosystem
            .services
            .keys()
            .filter(|name| !desired.ecosystem.services.contains_key(*name))
            .filter(lives)
            .cloned()
            .collect();
        for name in &orphans {
            let service = site.desired.ecosystem.services.get(name).cloned();
            desired
                .ecosystem
                .services
                .extend(service.map(|service| (name.clone(), service)));
            let count = self.scale.get(name).copied();
            wish.scale.extend(count.map(|count| (name.clone(), count)));
            let recipe = site.desired.recipes.get(name).cloned();
            desired
                .recipes
                .extend(recipe.map(|recipe| (name.clone(), recipe)));
        }
        let known: Vec<_> = desired.ecosystem.services.keys().cloned().collect();
        for name in &orphans {
            if let Some(service) = desired.ecosystem.services.get_mut(name) {
                // What it needed may be gone with it; it runs without.
                service
                    .depends_on
                    .retain(|need| known.contains(&need.name) || need.endpoint.is_some());
            }
        }
        orphans
    }
}

/// What is said about one.
pub(super) fn notice(name: &str) -> String {
    format!("{name} is no longer in the file and goes on running; 'pactown up --remove-orphans' stops it")
}
