//! What is asked of builds beside whatever runs: one service after another, told as it goes. Nothing is started, and the wish stays
//! the one it was.

use tokio::sync::mpsc;

use super::engine::Engine;
use super::making::Site;
use super::requests::refusal;
use super::unmade::Unmade;
use crate::config::ecosystem::ServiceName;
use crate::control::api::Progress;
use crate::control::server::{Answer, Refusal};
use crate::desired::Desired;
use crate::roster::Roster;

impl Engine {
    /// Does `work` for each of these services on a thread of its own; `work` gets the service and where lines of installers go,
    /// and answers what is told of it.
    pub(super) async fn run_errand<W>(
        &mut self,
        desired: &Desired,
        services: Vec<ServiceName>,
        answer: Answer,
        mut work: W,
    ) where
        W: FnMut(&Site, &ServiceName, &mut dyn FnMut(&str)) -> Result<Progress, Unmade> + Send + 'static,
    {
        let site = match self.site_for(desired, &services).await {
            Ok(site) => site,
            Err(refusal) => return self.refuse(answer, refusal).await,
        };
        let (progress, stream) = mpsc::unbounded_channel();
        let _ = answer.send(Ok(stream));
        for text in &site.tools.settings.notices {
            let _ = progress.send(Progress::Notice { text: text.clone() });
        }
        tokio::task::spawn_blocking(move || {
            let exit_code = one_after_another(&services, &progress, |service, on_line| {
                work(&site, service, on_line)
            });
            let _ = progress.send(Progress::Settled { exit_code });
        });
    }

    /// What builds need of the machine; rules that let them out and limits for them, unless a wish has put some into force.
    async fn site_for(&mut self, desired: &Desired, services: &[ServiceName]) -> Result<Site, Refusal> {
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

/// What failed does not keep the others from being done. The exit code.
fn one_after_another(
    services: &[ServiceName],
    progress: &mpsc::UnboundedSender<Progress>,
    mut work: impl FnMut(&ServiceName, &mut dyn FnMut(&str)) -> Result<Progress, Unmade>,
) -> i32 {
    let mut worst = 0;
    for service in services {
        let line = |line: &str| Progress::Build {
            service: service.clone(),
            line: line.to_owned(),
        };
        let told = work(service, &mut |text| drop(progress.send(line(text)))).unwrap_or_else(|unmade| {
            worst = worst.max(unmade.exit);
            Progress::Failure {
                service: service.clone(),
                cause: unmade.cause,
                details: unmade.details,
                log: Vec::new(),
            }
        });
        // Nobody waits for the rest.
        if progress.send(told).is_err() {
            break;
        }
    }
    worst
}
