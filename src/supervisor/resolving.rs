//! `resolve`: dependencies are installed, and what they came to is told. Two services of the same ones are one build.

use super::engine::Engine;
use super::making::Site;
use super::unmade::Unmade;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Progress, ResolveRequest};
use crate::control::server::Answer;
use crate::lockfile::Resolution;
use crate::prepare::{self, Known, Layers, PrepareError};

impl Engine {
    pub(super) async fn on_resolve(&mut self, request: ResolveRequest, answer: Answer) {
        let ResolveRequest {
            desired,
            services,
            anew,
        } = request;
        let mut known = Known::new();
        let work = move |site: &Site, service: &ServiceName, on_line: &mut dyn FnMut(&str)| {
            let how = (anew.contains(service), &mut known);
            let resolved = site.resolve(service, how, on_line);
            resolved.map(|resolutions| Progress::Resolved {
                service: service.clone(),
                resolutions,
            })
        };
        self.run_errand(&desired, services, answer, work).await;
    }
}

impl Site {
    /// What the dependencies of `service` are resolved to.
    fn resolve(
        &self,
        service: &ServiceName,
        how: (bool, &mut Known),
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Vec<Resolution>, Unmade> {
        let recipe = &self.desired.recipes[service];
        let plans = self.tools.layers(service, recipe).map_err(PrepareError::from)?;
        let store = Layers::system();
        let _hold = store.hold()?;
        let resolved = prepare::resolve(
            &store,
            &plans,
            how,
            &|resolution| self.tools.locked_key(recipe, resolution),
            self.build_context(service, recipe),
            &self.builder,
            &mut |_, line| on_line(line),
        );
        Ok(resolved?)
    }
}
