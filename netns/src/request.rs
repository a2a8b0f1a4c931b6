//! What is asked of this crate: plain data, made by pure code elsewhere, printable, comparable.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One instance's network: the names and numbers that do not change while it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The instance's name, for comments and messages.
    pub instance: String,
    /// Eight lower-case hexadecimal digits, unique per instance on this machine: goes into the names of the
    /// host's table (`pactown_<tag>`) and link (`pt<tag>`).
    pub tag: String,
    /// Directory for the bind-mounted namespace files (`router`, and one per node); created, mode 0700.
    pub directory: PathBuf,
    /// The instance's addresses. The first host address is the uplink's host end, the second the router's.
    pub subnet: Subnet,
}

/// An IPv4 network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subnet {
    /// The network address (host bits zero).
    pub network: Ipv4Addr,
    /// Prefix length, 16 to 29.
    pub prefix: u8,
}

/// One sandbox as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, a DNS label; the namespace file is `<directory>/<name>`.
    pub name: String,
    /// Its address, from the instance's subnet; also names the router's end of the veth pair.
    pub address: Ipv4Addr,
    /// Ports that the service declares: inbound connections to them are redirected to 127.0.0.1 inside, so that
    /// a server bound to loopback is reachable.
    pub inbound: Vec<HostPort>,
    /// `127.0.0.1:port` inside → a dependency's address and port (localhost compatibility).
    pub loopback: Vec<LoopbackForward>,
    /// Host ids that may send ICMP echo through datagram sockets (`net.ipv4.ping_group_range`), first and last.
    pub ping_groups: (u32, u32),
}

/// A port with its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// The port, never 0.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Inside a sandbox, connections to `127.0.0.1:port` go to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopbackForward {
    /// The local port.
    pub port: HostPort,
    /// The dependency's address.
    pub to: Ipv4Addr,
    /// The dependency's port.
    pub to_port: u16,
}

/// Everything that may pass: replaces the previous policy of the instance as a whole, atomically per namespace.
/// What is not named here is refused at once (TCP reset, ICMP unreachable otherwise) and counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Connections between sandboxes.
    pub edges: Vec<Edge>,
    /// Host addresses that lead into a sandbox.
    pub publications: Vec<Publication>,
    /// Ports of each sandbox that the host itself may open by its address (health probes).
    pub probes: Vec<(Ipv4Addr, HostPort)>,
    /// Who may reach the outside.
    pub egress: Vec<(Ipv4Addr, Egress)>,
    /// How many connections a sandbox may have open to others at the same time, and how many flows of other protocols: the
    /// kernel's table of them is one for all.
    #[serde(default)]
    pub flows: Vec<(Ipv4Addr, u32)>,
    /// Ports of the host that a sandbox may open, at the uplink's host address.
    pub host_access: Vec<(Ipv4Addr, HostPort)>,
    /// Addresses of services that are spread over several sandboxes.
    pub spreads: Vec<Spread>,
    /// Address and port (UDP and TCP 53) of a name forwarder in the router namespace that everyone may ask.
    pub forwarder: bool,
    /// Sandboxes that may open this TCP port of the router, where a proxy listens for them, and nothing else of it.
    #[serde(default)]
    pub proxies: Vec<(Ipv4Addr, u16)>,
}

/// `from` may open connections to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Source sandbox.
    pub from: Ipv4Addr,
    /// Destination sandbox.
    pub to: Ipv4Addr,
    /// Destination port.
    pub port: HostPort,
}

/// Connections to `address` go to each of `to` in turn. Nobody in `to`: they are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The one address of them all.
    pub address: Ipv4Addr,
    /// The ports that are spread; others are refused.
    pub ports: Vec<HostPort>,
    /// The sandboxes that take connections now.
    pub to: Vec<Ipv4Addr>,
    /// A sandbox has `address` itself: what the host asks there is meant for it, and so is all while nobody is in `to`.
    pub inhabited: bool,
}

/// `host:host_port` on the host leads to `port` of each of `to` in turn. Nobody in `to`: no rule leads anywhere, and
/// the port is refused by the host like any that nobody listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The host's address: 127.0.0.1 by default; 0.0.0.0 for every IPv4 address of the host.
    pub host: IpAddr,
    /// The host's port and protocol.
    pub host_port: HostPort,
    /// The sandboxes that take connections now.
    pub to: Vec<Ipv4Addr>,
    /// The port inside.
    pub port: u16,
}

/// What a sandbox may reach outside of the instance. The host's own services and link-local addresses are
/// never part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// These networks and ports; port 0 means every port.
    Only(Vec<(Subnet, u16)>),
}
