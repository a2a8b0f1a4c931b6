//! What a sandbox has reached outside, as the kernel has counted it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::ecosystem::UnitName;

/// Connections of one sandbox to one address and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reached {
    /// The sandbox.
    pub unit: UnitName,
    /// The address outside.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
    /// Connections that were begun or tried; an attempt that is repeated because nobody answers counts again.
    pub count: u64,
}
