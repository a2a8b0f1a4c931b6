//! Which packets pass: tables as a pure function of the instance's network and its policy, with a text form in the
//! syntax of nft(8). Nothing here talks to the kernel.

mod spread;
mod text;

use std::net::{IpAddr, Ipv4Addr};

use crate::request::{Egress, HostPort, NetworkSpec, Node, Policy, Publication, Subnet, Transport};

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
    /// `ct state established,related`.
    Established,
    /// `ct status dnat`.
    Translated,
    /// `fib daddr type local`.
    Local,
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
            chain("forward", "filter", Hook::Forward, 0, forward),
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

/// The table in the router's namespace: declared edges pass, the rest is refused at once and counted.
pub fn router(spec: &NetworkSpec, policy: &Policy) -> Table {
    let up = || Match::From(UPLINK_INSIDE.to_owned());
    let out = || Match::Towards(UPLINK_INSIDE.to_owned());
    let mut forward = vec![rule([Match::Established], Action::Accept)];
    // What still has such a destination here was led to nobody. It must not go on to the host by the default route.
    for spread in policy.spreads.iter().filter(|spread| !spread.inhabited) {
        forward.extend(refuse(&[Match::Destination(one(spread.address))]));
    }
    for edge in &policy.edges {
        let matches = [
            Match::Source(one(edge.from)),
            Match::Destination(one(edge.to)),
            Match::Port(edge.port),
        ];
        forward.push(rule(matches, Action::Accept));
    }
    for (address, port) in inbound(policy) {
        forward.push(rule(
            [up(), Match::Destination(one(address)), Match::Port(port)],
            Action::Accept,
        ));
    }
    for (source, port) in &policy.host_access {
        let host = Match::Destination(one(spec.subnet.uplink()));
        forward.push(rule(
            [out(), Match::Source(one(*source)), host, Match::Port(*port)],
            Action::Accept,
        ));
    }
    forward.extend(refuse(&[out(), Match::Destination(LINK_LOCAL)]));
    forward.extend(refuse(&[out(), Match::Destination(one(spec.subnet.uplink()))]));
    for (source, egress) in &policy.egress {
        forward.extend(egress_rules(*source, egress));
    }
    forward.extend(refuse(&[]));
    Table {
        name: OWN.to_owned(),
        owned: true,
        chains: vec![
            chain(
                "spread",
                "nat",
                Hook::Prerouting,
                -100,
                spread::rules(&policy.spreads),
            ),
            chain("forward", "filter", Hook::Forward, 0, forward),
            chain("input", "filter", Hook::Input, 0, to_itself(spec, policy)),
        ],
    }
}

/// What may come to the router itself: what a sandbox asks of its proxy; questions for the name forwarder, but of those
/// that have a proxy, which would carry out by names what the proxy refuses.
fn to_itself(spec: &NetworkSpec, policy: &Policy) -> Vec<Rule> {
    let mut input = vec![rule([Match::Established], Action::Accept)];
    for (source, port) in &policy.proxies {
        let source = || Match::Source(one(*source));
        let port = Match::Port(HostPort {
            port: *port,
            transport: Transport::Tcp,
        });
        input.push(rule([source(), port], Action::Accept));
        input.extend(refuse(&[source()]));
    }
    if policy.forwarder {
        for transport in [Transport::Udp, Transport::Tcp] {
            input.push(rule(
                [
                    Match::Source(spec.subnet),
                    Match::Port(HostPort { port: 53, transport }),
                ],
                Action::Accept,
            ));
        }
    }
    input.extend(refuse(&[]));
    input
}

/// What the host may open: published ports and probed ports, each once.
fn inbound(policy: &Policy) -> Vec<(Ipv4Addr, HostPort)> {
    let published = policy.publications.iter().flat_map(|publication| {
        let port = HostPort {
            port: publication.port,
            transport: publication.host_port.transport,
        };
        publication.to.iter().map(move |address| (*address, port))
    });
    let mut all: Vec<_> = published.chain(policy.probes.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn egress_rules(source: Ipv4Addr, egress: &Egress) -> Vec<Rule> {
    let base = [
        Match::Towards(UPLINK_INSIDE.to_owned()),
        Match::Source(one(source)),
    ];
    let only = |network: &Subnet, port: u16| {
        let transports = if port == 0 {
            vec![None]
        } else {
            vec![Some(Transport::Tcp), Some(Transport::Udp)]
        };
        let matches = |transport: Option<Transport>| {
            let port = transport.map(|transport| Match::Port(HostPort { port, transport }));
            base.iter()
                .cloned()
                .chain([Match::Destination(*network)])
                .chain(port)
                .collect::<Vec<_>>()
        };
        transports
            .into_iter()
            .map(|transport| rule(matches(transport), Action::Accept))
            .collect::<Vec<_>>()
    };
    match egress {
        Egress::None => Vec::new(),
        Egress::All => vec![rule(base, Action::Accept)],
        Egress::Only(list) => list
            .iter()
            .flat_map(|(network, port)| only(network, *port))
            .collect(),
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
