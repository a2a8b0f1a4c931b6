//! What this host has for the services of one wish: toolchains and settings for builds, and what follows from them for
//! one service. The one place for everybody who plans.

use super::{BuildSettings, Extras, LayerPlan, extras, plan, settings};
use crate::config::ecosystem::Service;
use crate::desired::Desired;
use crate::markpact::Recipe;
use crate::toolchain::{self, Missing, Toolchains};

/// Toolchains and settings.
#[derive(Debug)]
pub struct Tools {
    /// Toolchains of the host.
    pub toolchains: Toolchains,
    /// Settings for builds.
    pub settings: BuildSettings,
}

impl Tools {
    /// Looks for what the caller of `desired` has. Reads directories and files.
    pub fn find(desired: &Desired) -> Self {
        let file = &desired.ecosystem.file;
        let directory = file.parent().unwrap_or(std::path::Path::new("/"));
        Self {
            toolchains: toolchain::discover(&desired.caller, directory),
            settings: settings::collect(&desired.caller),
        }
    }

    /// The layers of a service.
    ///
    /// # Errors
    /// A toolchain that it needs is missing.
    pub fn layers(&self, recipe: &Recipe) -> Result<Vec<LayerPlan>, Missing> {
        plan(recipe, &self.toolchains, &self.settings)
    }

    /// What these layers and the service's own `toolchains` add to its environment.
    pub fn extras(&self, layers: &[LayerPlan], service: &Service) -> Extras {
        extras(layers, &self.toolchains).with_named(&service.toolchains)
    }
}
