//! Services that run and are no longer in the file: they stay part of the ecosystem, as they were, until somebody says
//! that they shall go.

use super::engine::Engine;
use crate::config::ecosystem::ServiceName;
use crate::desired::Desired;

impl Engine {
    /// Adds to `desired` what runs and is not in it; their names.
    pub(super) fn keep_orphans(&self, desired: &mut Desired) -> Vec<ServiceName> {
        let Some(site) = &self.site else {
            return Vec::new();
        };
        let lives = |name: &&ServiceName| self.state.units.get(*name).is_some_and(|unit| !unit.is_at_rest());
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
