//! The ports of a wish: reserved before anything is made, given back when the wish is refused.

use indexmap::IndexMap;

use super::engine::Engine;
use super::making::Site;
use super::ports::{self, Choice};
use super::requests::refusal;
use super::wish::blocking;
use crate::config::ecosystem::ServiceName;
use crate::control::api::Published;
use crate::control::server::Refusal;
use crate::network::{self, Wanted};

impl Engine {
    /// Reserves the ports of the services `wanted` that are not reserved yet; answers what moved.
    pub(super) async fn publish(
        &mut self,
        site: &Site,
        wanted: &[ServiceName],
        strict: bool,
    ) -> Result<Vec<String>, Refusal> {
        let services = &site.desired.ecosystem.services;
        let all: IndexMap<&ServiceName, Vec<Wanted>> = services
            .iter()
            .map(|(name, service)| (name, network::wanted(&site.desired, service)))
            .collect();
        let preferred: Vec<_> = all.values().flatten().map(|one| one.host_port).collect();
        let mut notices = Vec::new();
        let mut taken: Vec<ServiceName> = Vec::new();
        for name in wanted {
            let (Some(wishes), Some(network)) = (all.get(name), self.network.as_ref()) else {
                continue;
            };
            if network
                .published
                .get(name)
                .is_some_and(|have| satisfies(have, wishes, strict))
            {
                continue;
            }
            let (keeper, service, wishes) = (self.keeper.clone(), name.clone(), wishes.clone());
            let (instance, preferred) = (self.instance.clone(), preferred.clone());
            let published = network.published.clone();
            // The old ones go first: a service may want one of them again.
            ports::release(&keeper, name).await;
            let reserved = blocking(move || {
                let choice = Choice {
                    instance: &instance.name,
                    modest: instance.label.is_some(),
                    strict,
                    preferred: &preferred,
                    published: &published,
                };
                ports::reserve(&keeper, &service, &wishes, &choice)
            })
            .await?;
            let reserved = match reserved {
                Ok(reserved) => reserved,
                Err(cause) => {
                    self.unpublish(&taken).await;
                    return Err(refusal(&cause, 1));
                }
            };
            taken.push(name.clone());
            notices.extend(reserved.notices);
            if let Some(network) = self.network.as_mut() {
                network.published.insert(name.clone(), reserved.published);
            }
        }
        self.write_network();
        Ok(notices)
    }

    async fn unpublish(&mut self, names: &[ServiceName]) {
        for name in names {
            ports::release(&self.keeper, name).await;
            if let Some(network) = self.network.as_mut() {
                network.published.shift_remove(name);
            }
        }
    }
}

/// Whether ports that are reserved are what is wished: each inner port led to, demands met to the letter.
fn satisfies(have: &[Published], wishes: &[Wanted], strict: bool) -> bool {
    let met = |wish: &Wanted| {
        have.iter().any(|one| {
            let same = one.host == wish.host
                && one.port == wish.port
                && one.transport == wish.host_port.transport.to_string();
            same && (one.host_port == wish.host_port.port || !(wish.demand || strict))
        })
    };
    have.len() == wishes.len() && wishes.iter().all(met)
}
