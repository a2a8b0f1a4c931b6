//! The network rules that hold for a service, read back from nftables.

use std::io;

use pactown_netns::Whose;
use serde::Serialize;

use crate::config::ecosystem::UnitName;
use crate::instance::Instance;
use crate::roster::Seat;
use crate::state::{self, NetworkRecord};

/// One rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkRule {
    /// The namespace it is in: `sandbox`, `router` or `host`.
    pub place: String,
    /// Its chain.
    pub chain: String,
    /// In the syntax of nft(8).
    pub rule: String,
    /// Packets that it has met, where it counts.
    pub packets: Option<u64>,
    /// It lets the service out of the instance.
    #[serde(skip)]
    pub opens: bool,
}

/// The rules that name the service or nobody. What is written down about the instance says where to look, no more.
///
/// # Errors
/// Nothing is written down, or a namespace cannot be entered.
pub fn rules(instance: &Instance, unit: &UnitName, seat: &Seat) -> io::Result<Vec<NetworkRule>> {
    let record: Option<NetworkRecord> = state::read(&instance.network_record()).map_err(io::Error::other)?;
    let record = record.ok_or(io::ErrorKind::NotFound)?;
    let names = [unit, &seat.service];
    let own: Vec<_> = names
        .iter()
        .filter_map(|name| record.addresses.get(*name).copied())
        .collect();
    let found = pactown_netns::in_force(&record.spec, &instance.netns_dir().join(unit), &own);
    let found = found.map_err(|error| io::Error::other(crate::error::chain(&error)))?;
    Ok(found
        .into_iter()
        .map(|rule| NetworkRule {
            place: rule.whose.to_string(),
            chain: rule.chain,
            rule: rule.text,
            packets: rule.packets,
            opens: rule.opens && rule.whose == Whose::Router,
        })
        .collect())
}
