//! Which packets pass: tables as a pure function of the instance's network and its policy, with a text form in the
//! syntax of nft(8). Nothing here talks to the kernel.

mod router;
mod spread;
mod text;

use std::net::{IpAddr, Ipv4Addr};

use crate::request::{HostPort, NetworkSpec, Node, Policy, Publication, Subnet, Transport};

pub use router::router;

/// A table of the family `ip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// It belongs to whoever made it: nobody else can change or remove it, and it outlives a flush of everything.
    pub owned: bool,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Where it hooks in.
    pub hook: Hook,
    /// Priority: -300 raw, -100 dstnat, 0 filter, 100 srcnat.
    pub priority: i32,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Netfilter hooks, with the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// To this namespace.
    Input = 1,
    /// Through this namespace.
    Forward = 2,
    /// From this namespace.
    Output = 3,
    /// After routing.
    Postrouting = 4,
}

/// Conditions, all of which must hold, and what then happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The conditions.
    pub matches: Vec<Match>,
    /// Whether hits are counted.
    pub counted: bool,
    /// The verdict.
    pub action: Action,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// `iifname NAME`.
    From(String),
    /// `iifname != NAME`.
    NotFrom(String),
    /// `oifname NAME`.
    Towards(String),
    /// `oifname != NAME`.
    NotTowards(String),
    /// `ip saddr NETWORK`.
    Source(Subnet),
    /// `ip daddr NETWORK`.
    Destination(Subnet),
    /// `tcp dport PORT`.
    Port(HostPort),
    /// `meta l4proto PROTOCOL`.
    Protocol(Transport),
    /// `meta l4proto != PROTOCOL`.
    NotProtocol(Transport),
    /// `icmp type echo-request`.
    Ping,
    /// `ct state established,related`.
    Established,
    /// `ct status dnat`.
    Translated,
    /// `fib daddr type local`.
    Local,
    /// `ct count over N`: so many flows have met this rule before and are still open. Only what is new may come here, and each
    /// rule counts for itself (linux/netfilter/nf_conntrack_count.h).
    Beyond(u32),
    /// `numgen inc mod N 0`: every Nth time that it is asked, beginning with the first.
    EveryNth(u32),
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on with the next hook.
    Accept,
    /// Silently away.
    Drop,
    /// TCP reset.
    Reset,
    /// ICMP port unreachable.
    Unreachable,
    /// New destination.
    Dnat(Ipv4Addr, u16),
    /// New source: the outgoing link's address.
    Masquerade,
}

const LOOPBACK: Subnet = Subnet {
    network: Ipv4Addr::new(127, 0, 0, 0),
    prefix: 8,
};
/// Link-local addresses, the cloud's metadata service among them.
const LINK_LOCAL: Subnet = Subnet {
    network: Ipv4Addr::new(169, 254, 0, 0),
    prefix: 16,
};
/// Name of the sandbox's link, inside.
pub(crate) const INSIDE: &str = "eth0";
/// Name of the router's end of the uplink.
pub(crate) const UPLINK_INSIDE: &str = "up0";
/// Name of the tables in the router's and the sandboxes' own namespaces.
pub(crate) const OWN: &str = "pactown";
/// Name of the chains for packets that pass through.
pub(crate) const PASSAGE: &str = "forward";

fn rule(matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
    Rule {
        matches: matches.into_iter().collect(),
        counted: false,
        action,
    }
}

fn one(address: Ipv4Addr) -> Subnet {
    Subnet::host_only(address)
}

fn chain(name: &'static str, kind: &'static str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name,
        kind,
        hook,
        priority,
        rules,
    }
}

/// Refuses what came so far: TCP by reset, the rest by ICMP; both counted.
fn refuse(matches: &[Match]) -> [Rule; 2] {
    let mut tcp = matches.to_vec();
    tcp.push(Match::Protocol(Transport::Tcp));
    [
        Rule {
            matches: tcp,
            counted: true,
            action: Action::Reset,
        },
        Rule {
            matches: matches.to_vec(),
            counted: true,
            action: Action::Unreachable,
        },
    ]
}

/// Packets that arrive over a link for 127.0.0.0/8: dropped before any translation of ours could make sense of them.
fn martians(link: &str) -> Chain {
    let drop = rule(
        [Match::From(link.to_owned()), Match::Destination(LOOPBACK)],
        Action::Drop,
    );
    chain("martians", "filter", Hook::Prerouting, -300, vec![drop])
}

/// The table in the host's own namespace: publish, masquerade, guard the host, guard the way in.
pub fn host(spec: &NetworkSpec, policy: &Policy) -> Table {
    let uplink = spec.uplink();
    let up = || Match::From(uplink.clone());
    let down = || Match::Towards(uplink.clone());
    let mut arriving = Vec::new();
    let mut leaving = Vec::new();
    for publication in &policy.publications {
        let Some(host) = destination(publication) else {
            continue;
        };
        let port = Match::Port(publication.host_port);
        if !matches!(publication.host, IpAddr::V4(address) if address.is_loopback()) {
            let matches = [Match::NotFrom(uplink.clone()), host.clone(), port.clone()];
            arriving.extend(spread::in_turn(&matches, &publication.to, publication.port));
        }
        leaving.extend(spread::in_turn(&[host, port], &publication.to, publication.port));
    }
    let masquerade = vec![
        // Clients of 127.0.0.1 keep that source until here, and no sandbox could answer it.
        rule([down(), Match::Source(LOOPBACK)], Action::Masquerade),
        rule(
            [Match::Source(spec.subnet), Match::NotTowards(uplink.clone())],
            Action::Masquerade,
        ),
    ];
    let mut input = vec![rule([up(), Match::Established], Action::Accept)];
    for (source, port) in &policy.host_access {
        input.push(rule(
            [up(), Match::Source(one(*source)), Match::Port(*port)],
            Action::Accept,
        ));
    }
    input.extend(refuse(&[up()]));
    let mut forward = vec![
        rule([down(), Match::Established], Action::Accept),
        rule([down(), Match::Translated], Action::Accept),
    ];
    forward.extend(refuse(&[down()]));
    forward.extend(refuse(&[up(), Match::Destination(LINK_LOCAL)]));
    Table {
        name: spec.table(),
        owned: true,
        chains: vec![
            martians(&uplink),
            chain("publish", "nat", Hook::Prerouting, -100, arriving),
            chain("publish-local", "nat", Hook::Output, -100, leaving),
            chain("masquerade", "nat", Hook::Postrouting, 100, masquerade),
            chain("input", "filter", Hook::Input, 0, input),
            chain(PASSAGE, "filter", Hook::Forward, 0, forward),
        ],
    }
}

fn destination(publication: &Publication) -> Option<Match> {
    match publication.host {
        IpAddr::V4(address) if address.is_unspecified() => Some(Match::Local),
        IpAddr::V4(address) => Some(Match::Destination(one(address))),
        IpAddr::V6(_) => None,
    }
}

/// The table in a sandbox's namespace: localhost compatibility in both directions.
pub fn sandbox(node: &Node) -> Table {
    let local = || Match::Destination(one(Ipv4Addr::LOCALHOST));
    let inbound = node.inbound.iter().map(|port| {
        rule(
            [Match::From(INSIDE.to_owned()), Match::Port(*port)],
            Action::Dnat(Ipv4Addr::LOCALHOST, port.port),
        )
    });
    let loopback = node.loopback.iter().map(|forward| {
        rule(
            [local(), Match::Port(forward.port)],
            Action::Dnat(forward.to, forward.to_port),
        )
    });
    let masquerade = rule(
        [Match::Towards(INSIDE.to_owned()), Match::Source(LOOPBACK)],
        Action::Masquerade,
    );
    Table {
        name: OWN.to_owned(),
        owned: false,
        chains: vec![
            martians(INSIDE),
            chain("inbound", "nat", Hook::Prerouting, -100, inbound.collect()),
            chain("loopback", "nat", Hook::Output, -100, loopback.collect()),
            chain("masquerade", "nat", Hook::Postrouting, 100, vec![masquerade]),
        ],
    }
}

impl NetworkSpec {
    /// Name of the uplink's end on the host.
    pub fn uplink(&self) -> String {
        format!("pt{}", self.tag)
    }

    /// Name of the host's table.
    pub fn table(&self) -> String {
        format!("pactown_{}", self.tag)
    }
}
