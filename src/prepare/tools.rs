//! What this host has for the services of one wish: toolchains and settings for builds, and what follows from them for
//! one service. The one place for everybody who plans.

use super::{BuildSettings, Extras, LayerPlan, extras, plan, settings};
use crate::config::ecosystem::Service;
use crate::desired::Desired;
use crate::lockfile::{Lockfile, Resolution};
use crate::markpact::Recipe;
use crate::toolchain::{self, Missing, Toolchains};

/// Toolchains and settings.
#[derive(Debug)]
pub struct Tools {
    /// Toolchains of the host.
    pub toolchains: Toolchains,
    /// Settings for builds.
    pub settings: BuildSettings,
    /// What dependencies are locked to.
    pub lock: Option<Lockfile>,
}

impl Tools {
    /// Looks for what the caller of `desired` has. Reads directories and files.
    pub fn find(desired: &Desired) -> Self {
        let file = &desired.ecosystem.file;
        let directory = file.parent().unwrap_or(std::path::Path::new("/"));
        Self {
            toolchains: toolchain::discover(&desired.caller, directory),
            settings: settings::collect(&desired.caller),
            lock: desired.supply.lock.clone(),
        }
    }

    /// The layers of a service.
    ///
    /// # Errors
    /// A toolchain that it needs is missing.
    pub fn layers(&self, service: &str, recipe: &Recipe) -> Result<Vec<LayerPlan>, Missing> {
        let locked = self
            .lock
            .as_ref()
            .map_or(&[][..], |lock| lock.resolutions(service));
        plan(recipe, &self.toolchains, &self.settings, locked)
    }

    /// The key of a layer of `recipe` once its dependencies are locked to `resolution`.
    pub fn locked_key(&self, recipe: &Recipe, resolution: &Resolution) -> Option<String> {
        let locked = std::slice::from_ref(resolution);
        let plans = plan(recipe, &self.toolchains, &self.settings, locked).ok()?;
        let of_it =
            |plan: &LayerPlan| plan.language() == Some(resolution.language) && plan.locked().is_some();
        plans.into_iter().find(of_it).map(|plan| plan.key)
    }

    /// What these layers and the service's own `toolchains` add to its environment.
    pub fn extras(&self, layers: &[LayerPlan], service: &Service) -> Extras {
        extras(layers, &self.toolchains).with_named(&service.toolchains)
    }
}
