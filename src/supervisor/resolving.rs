//! `resolve`: dependencies are installed and told, nothing is started. Beside whatever runs: the wish stays the one it was.

use tokio::sync::mpsc;

use super::engine::Engine;
use super::making::Site;
use super::requests::refusal;
use super::unmade::Unmade;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Progress, ResolveRequest};
use crate::control::server::{Answer, Refusal};
use crate::desired::Desired;
use crate::lockfile::Resolution;
use crate::prepare::{self, Known, Layers, PrepareError};
use crate::roster::Roster;

impl Engine {
    pub(super) async fn on_resolve(&mut self, request: ResolveRequest, answer: Answer) {
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
            let exit_code = all(&site, &request, &progress);
            let _ = progress.send(Progress::Settled { exit_code });
        });
    }

    /// What builds need of the machine; rules that let them out and limits for them, unless a wish has put some into force.
    pub(super) async fn site_for(
        &mut self,
        desired: &Desired,
        services: &[ServiceName],
    ) -> Result<Site, Refusal> {
        let desired = desired.clone();
        let roster = Roster::of_file(&desired.ecosystem);
        let (site, _) = self.survey(desired, roster).await?;
        if self.site.is_none() {
            self.allow(&site).await?;
            self.hold(&site).await?;
        }
        let unknown = services
            .iter()
            .find(|name| !site.desired.recipes.contains_key(*name));
        match unknown {
            Some(name) => Err(refusal(&format!("there is no service '{name}'"), 2)),
            None => Ok(site),
        }
    }
}

/// One after another: two of the same dependencies are one build. The exit code.
fn all(site: &Site, request: &ResolveRequest, progress: &mpsc::UnboundedSender<Progress>) -> i32 {
    let (mut worst, mut known) = (0, Known::new());
    for service in &request.services {
        let how = (request.anew.contains(service), &mut known);
        let line = |line: &str| Progress::Build {
            service: service.clone(),
            line: line.to_owned(),
        };
        let told = match site.resolve(service, how, &mut |text| drop(progress.send(line(text)))) {
            Ok(resolutions) => Progress::Resolved {
                service: service.clone(),
                resolutions,
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
