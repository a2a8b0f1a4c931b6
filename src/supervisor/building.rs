//! `build`: the build blocks of READMEs are run, and what they made is told.

use std::path::PathBuf;

use super::engine::Engine;
use super::making::Site;
use super::unmade::Unmade;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{BuildRequest, Progress};
use crate::control::server::Answer;
use crate::prepare::{Layers, PrepareError, artifacts};

impl Engine {
    pub(super) async fn on_build(&mut self, request: BuildRequest, answer: Answer) {
        let BuildRequest { desired, services } = request;
        let work = |site: &Site, service: &ServiceName, on_line: &mut dyn FnMut(&str)| {
            site.build(service, on_line).map(|layer| Progress::Built {
                service: service.clone(),
                layer,
            })
        };
        self.run_errand(&desired, services, answer, work).await;
    }
}

impl Site {
    /// The layer with what the build blocks of `service` made.
    fn build(&self, service: &ServiceName, on_line: &mut dyn FnMut(&str)) -> Result<PathBuf, Unmade> {
        let recipe = &self.desired.recipes[service];
        let below = self.tools.layers(service, recipe).map_err(PrepareError::from)?;
        let Some(plan) = artifacts::plan(recipe, &below) else {
            return Err(Unmade {
                cause: format!("{}: there is nothing to build", recipe.readme.display()),
                details: vec!["hint: add a `markpact:build` block".to_owned()],
                exit: 2,
            });
        };
        let store = Layers::system();
        let _hold = store.hold()?;
        let context = self.build_context(service, recipe);
        let on_line = &mut |_: &crate::prepare::LayerPlan, line: &str| on_line(line);
        Ok(artifacts::build(
            &store,
            &below,
            &plan,
            context,
            &self.builder,
            on_line,
        )?)
    }
}
