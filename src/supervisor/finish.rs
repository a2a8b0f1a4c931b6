//! The end of an instance: what it made is removed, then those who waited are told.

use super::engine::Engine;
use super::{keepsake, tell, wish};
use crate::error::chain;
use crate::events::{Reached, Used};
use crate::prepare::{disk, upper};
use crate::{audit, remains, spec};

impl Engine {
    /// Everything is at rest: removes network, ids, groups and files.
    pub(super) async fn finish(&mut self) {
        for (_, discard) in self.discards.drain() {
            let _ = discard.await;
        }
        // A network that could not be taken over is removed all the same, which only the owner of its rules can.
        let reached = self.reached().await;
        let anchors = keepsake::recall_anchors(self.keeper.socket()).unwrap_or_default();
        keepsake::release_anchors(&self.keeper);
        if let Some(wires) = self.wires.take()
            && let Ok(Err(error)) = wish::blocking(move || wires.delete(anchors)).await
        {
            tell(&chain(&error));
        }
        let used = self.used_by_all();
        self.chronicle.closed(used.as_ref().map(Used::of), reached);
        let instance = self.instance.clone();
        let removed = wish::blocking(move || remains::remove(&instance)).await;
        self.remove_named_volumes();
        let exit_code = match removed {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                tell(&chain(&error));
                3
            }
            Err(_) => 125,
        };
        self.chronicle.settle().await;
        self.audience.dismiss(exit_code);
        self.finished = true;
    }

    /// What the kernel has counted of the way out, before it is gone with the network.
    async fn reached(&self) -> Option<Vec<Reached>> {
        let network = self.network.clone()?;
        let counted = wish::blocking(move || audit::counted(&network)).await;
        counted.ok().flatten()
    }

    fn remove_named_volumes(&self) {
        let Some(site) = self.site.as_ref().filter(|_| self.remove_volumes) else {
            return;
        };
        if let Err(error) = disk::remove_images(&spec::images(&site.desired)) {
            tell(&chain(&error));
        }
        let services = site.desired.ecosystem.services.values();
        for volume in services.flat_map(|service| &service.volumes) {
            if let Err(error) = upper::remove_volume(&site.root, &volume.name) {
                tell(&chain(&error));
            }
        }
    }
}
