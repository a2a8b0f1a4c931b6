//! The network in which services run under other runtimes.

use std::fs;
use std::path::Path;

use super::Guest;
use crate::support::netns::Netns;
use crate::support::observe::http_get;

/// A network for other runtimes: a namespace per service with the address that the bundles know it by, and a bridge.
pub(super) struct Net {
    hub: Netns,
    pub(super) members: Vec<Netns>,
}

impl Net {
    pub(super) fn new(directory: &Path, guests: &[Guest]) -> Self {
        let hub = Netns::new("oci");
        hub.ip("link add hub0 type bridge");
        hub.ip("link set hub0 up");
        let mut net = Self {
            hub,
            members: Vec::new(),
        };
        for (number, guest) in guests.iter().enumerate() {
            net.join(number, &address(&directory.join(guest.name), guest.name));
        }
        net
    }

    fn join(&mut self, number: usize, address: &str) {
        let member = Netns::new(&format!("oci{number}"));
        let name = member.name();
        self.hub.ip(&format!(
            "link add v{number} type veth peer name eth0 netns {name}"
        ));
        self.hub.ip(&format!("link set v{number} master hub0 up"));
        member.ip(&format!("addr add {address}/22 dev eth0"));
        member.ip("link set eth0 up");
        self.members.push(member);
    }

    /// Asks a service from its own namespace.
    pub(super) fn ask(&self, number: usize, port: u16, path: &str) -> Result<String, String> {
        self.members[number].within(|| http_get(("127.0.0.1", port), path))
    }
}

/// The address that the bundle's own `/etc/hosts` has for `name`.
fn address(bundle: &Path, name: &str) -> String {
    let hosts = fs::read_to_string(bundle.join("rootfs/etc/hosts")).expect("hosts");
    let line = hosts
        .lines()
        .find(|line| line.split(' ').any(|word| word == name) && !line.starts_with("127."));
    let line = line.unwrap_or_else(|| panic!("{name} in {hosts}"));
    line.split(' ').next().expect("an address").to_owned()
}
