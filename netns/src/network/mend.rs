//! What other programs have taken away of a network: found by comparing the kernel with what shall be there, and put back.
//! Rules are not among it: nobody else can touch them ([`Anchors`](crate::Anchors)).

use std::fs;
use std::net::Ipv4Addr;

use super::{Network, configure_link};
use crate::error::{Collected, During, Result};
use crate::link::{EVERYTHING, Links};
use crate::request::Subnet;
use crate::ruleset::{INSIDE, UPLINK_INSIDE};
use crate::watch::Watch;
use crate::{failpoint, namespace};

impl Network {
    /// Hears it when there may be something to mend.
    pub fn watch(&self) -> Result<Watch> {
        Watch::open(&self.spec, &self.anchors.router)
    }

    /// Puts back what is missing, and says what that was, one phrase each. What cannot be put back does not hinder the
    /// rest.
    pub fn mend(&self) -> Result<Vec<String>> {
        let (mut mended, mut done) = (Vec::new(), Collected::default());
        match self.mend_uplink() {
            Ok(true) => mended.push(format!("the link `{}`", self.spec.uplink())),
            outcome => done.step(outcome.map(drop)),
        }
        for (name, link) in self.unplugged()? {
            match self.plug_again(&name, &link) {
                Ok(()) => mended.push(format!("the link of `{name}`")),
                outcome => done.step(outcome),
            }
        }
        match self.make_exceptions() {
            Ok(true) => mended.push("its exceptions in another firewall's rules".to_owned()),
            outcome => done.step(outcome.map(drop)),
        }
        done.step(failpoint::hit("mended").during(|| "mend the network".to_owned()));
        done.finish().map(|()| mended)
    }

    /// Whether there was something to do.
    fn mend_uplink(&self) -> Result<bool> {
        let subnet = self.spec.subnet;
        let outside = [Subnet::host_only(subnet.router()), subnet];
        let inside = [Subnet::host_only(subnet.uplink()), EVERYTHING];
        let whole = self.host.stands(&self.spec.uplink(), subnet.uplink(), &outside)?
            && self.router.stands(UPLINK_INSIDE, subnet.router(), &inside)?;
        if !whole {
            self.join_to_the_host()?;
            // A setting of a link goes with it.
            self.forward()?;
        }
        Ok(!whole)
    }

    /// Nodes whose link is gone or down: name and link. Whoever was killed over a node's making may have left a record that is
    /// empty, or that of a namespace that never came to be: no node hangs there.
    fn unplugged(&self) -> Result<Vec<(String, String)>> {
        let up = self.router.up_names()?;
        let entries = fs::read_dir(&self.spec.directory).into_iter().flatten().flatten();
        let node = |name: &str| Some(name.strip_prefix('.')?.strip_suffix(".link")?.to_owned());
        let plugged = entries.filter_map(|entry| {
            let name = node(entry.file_name().to_str()?)?;
            Some((name, fs::read_to_string(entry.path()).ok()?))
        });
        let is_node = |(name, link): &(String, String)| {
            !link.is_empty() && namespace::exists(&self.spec.directory.join(name))
        };
        let nodes = plugged.filter(is_node);
        Ok(nodes.filter(|(_, link)| !up.contains(link)).collect())
    }

    fn plug_again(&self, name: &str, link: &str) -> Result<()> {
        let Some(address) = address_of(link) else {
            return Ok(());
        };
        let node = namespace::open(&self.spec.directory.join(name))?;
        let router = self.spec.subnet.router();
        // What is left of it: the other end, or an end that is down.
        self.router.delete(link)?;
        namespace::within(&node, || Links::open()?.delete(INSIDE))?;
        self.router.add_veth(link, INSIDE, &node, self.mtu)?;
        namespace::within(&node, || configure_link(&Links::open()?, address, router))?;
        self.router.route(link, Subnet::host_only(address), None)
    }
}

/// The address that a node's link is named after.
fn address_of(link: &str) -> Option<Ipv4Addr> {
    let bits = u32::from_str_radix(link.strip_prefix('s')?, 16).ok()?;
    Some(Ipv4Addr::from_bits(bits))
}
