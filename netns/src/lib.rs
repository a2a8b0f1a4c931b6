//! Network namespaces, routed veth pairs and nftables rules for sandboxes.
//!
//! Every ecosystem instance has a router namespace of its own; each sandbox hangs off it by a routed veth
//! pair with a /32 address, and one uplink veth joins the router to the host. What may talk to what is the
//! router's own nftables table, replaced as a whole from a [`Policy`]. Knows no processes: a namespace is a
//! path, made here and joined by whoever runs something in it. Blocking: the caller gives it a thread.

mod anchors;
mod contacts;
pub mod error;
pub mod failpoint;
mod foreign;
pub mod forwarder;
mod forwarding;
mod in_force;
pub mod leftovers;
mod link;
pub mod listeners;
mod namespace;
mod netlink;
mod network;
mod nft;
pub mod port;
mod removal;
pub mod request;
pub mod resolver;
pub mod ruleset;
pub mod subnet;
pub mod support;
mod watch;

pub use anchors::Anchors;
pub use contacts::{Contact, MOST as MOST_CONTACTS, contacts};
pub use error::{Error, Result};
pub use in_force::{InForce, Whose, in_force};
pub use namespace::{connect, links};
pub use network::Network;
pub use request::{
    Edge, Egress, HostPort, LoopbackForward, NetworkSpec, Node, Policy, Publication, Spread, Subnet,
    Transport,
};
pub use watch::Watch;
