//! What sandboxes have reached outside: remembered by the kernel, in a set of a table of its own in the router's namespace,
//! as long as that is there. A change of the policy, which replaces the table of the rules, leaves it alone.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use crate::anchors::ROUTER;
use crate::error::Result;
use crate::namespace;
use crate::nft::Session;
use crate::request::{HostPort, NetworkSpec};
use crate::ruleset::{Chain, Hook, Match, UPLINK_INSIDE};

/// Names of the table and its chain, and of the set.
const TABLE: &str = "contacts";
const SET: &str = "seen";
/// Most contacts that are remembered; later ones are not.
pub const MOST: u32 = 8192;

/// Connections of one address to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contact {
    /// The sandbox's address.
    pub from: Ipv4Addr,
    /// The address outside, the host's own end of the uplink among them.
    pub to: Ipv4Addr,
    /// The port there.
    pub port: HostPort,
    /// Packets that began a connection, or tried to: an attempt that is repeated because nobody answers counts again.
    pub count: u64,
}

/// Has the kernel remember, unless it does. On a kernel that cannot, nothing is remembered and nothing else changes.
pub(crate) fn begin(router: impl AsFd + Sync) {
    let _ = namespace::within(router, || {
        let session = Session::open()?;
        if !session.tables()?.iter().any(|table| table == TABLE) {
            let chain = Chain {
                name: TABLE,
                kind: "filter",
                hook: Hook::Forward,
                // Behind the rules: what they refuse does not come here.
                priority: 10,
                rules: Vec::new(),
            };
            let _ = session.collect(
                TABLE,
                SET,
                MOST,
                &chain,
                &[Match::Towards(UPLINK_INSIDE.to_owned())],
            );
        }
        Ok(())
    });
}

/// What has been reached since the network was made. The calling thread must be in the host's namespace.
///
/// # Errors
/// The namespace is gone, the kernel does not remember, or the process may not look (CAP_NET_ADMIN).
pub fn contacts(spec: &NetworkSpec) -> Result<Vec<Contact>> {
    let router = namespace::open(&spec.directory.join(ROUTER))?;
    let elements = namespace::within(&router, || Session::open()?.elements(TABLE, SET))?;
    let mut found: Vec<Contact> = elements
        .into_iter()
        .map(|one| Contact {
            from: one.from,
            to: one.to,
            port: one.port,
            count: one.packets,
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}
