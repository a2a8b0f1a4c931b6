//! `build`: the build blocks of READMEs are run and what they made is told, nothing is started. Beside whatever runs.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::engine::Engine;
use super::making::Site;
use super::unmade::Unmade;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{BuildRequest, Progress};
use crate::control::server::Answer;
use crate::prepare::{Layers, PrepareError, artifacts};

impl Engine {
    pub(super) async fn on_build(&mut self, request: BuildRequest, answer: Answer) {
        let site = match self.site_for(&request.desired, &request.services).await {
            Ok(site) => site,
            Err(refusal) => return self.refuse(answer, refusal).await,
        };
        let (progress, stream) = mpsc::unbounded_channel();
        let _ = answer.send(Ok(stream));
        for text in &site.tools.settings.notices {
            let _ = progress.send(Progress::Notice { text: text.clone() });
        }
        tokio::task::spawn_blocking(move || {
            let exit_code = all(&site, &request.services, &progress);
            let _ = progress.send(Progress::Settled { exit_code });
        });
    }
}

/// One after another; what failed does not keep the others from being built. The exit code.
fn all(site: &Site, services: &[ServiceName], progress: &mpsc::UnboundedSender<Progress>) -> i32 {
    let mut worst = 0;
    for service in services {
        let line = |line: &str| Progress::Build {
            service: service.clone(),
            line: line.to_owned(),
        };
        let told = match site.build(service, &mut |text| drop(progress.send(line(text)))) {
            Ok(layer) => Progress::Built {
                service: service.clone(),
                layer,
            },
            Err(unmade) => {
                worst = worst.max(unmade.exit);
                Progress::Failure {
                    service: service.clone(),
                    cause: unmade.cause,
                    details: unmade.details,
                    log: Vec::new(),
                }
            }
        };
        // Nobody waits for the rest.
        if progress.send(told).is_err() {
            break;
        }
    }
    worst
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
