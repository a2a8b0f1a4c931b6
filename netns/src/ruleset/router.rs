//! The table in the router's namespace: who may talk to whom inside, and to the outside.

use std::net::Ipv4Addr;

use super::{
    Action, Hook, LINK_LOCAL, Match, OWN, PASSAGE, Rule, Table, UPLINK_INSIDE, chain, one, refuse, rule,
    spread,
};
use crate::request::{Edge, Egress, HostPort, NetworkSpec, Policy, Subnet, Transport};

/// The table in the router's namespace: declared edges pass, the rest is refused at once and counted.
pub fn router(spec: &NetworkSpec, policy: &Policy) -> Table {
    let up = || Match::From(UPLINK_INSIDE.to_owned());
    let out = || Match::Towards(UPLINK_INSIDE.to_owned());
    let mut forward = vec![rule([Match::Established], Action::Accept)];
    // What is left is new.
    for (source, most) in &policy.flows {
        forward.extend(bounded(*source, *most));
    }
    for (source, port) in &policy.host_access {
        let host = Match::Destination(one(spec.subnet.uplink()));
        forward.push(rule(
            [out(), Match::Source(one(*source)), host, Match::Port(*port)],
            Action::Accept,
        ));
    }
    // The host, and addresses that no sandbox has at the moment: the default route would take them to the host, which
    // would drop them without a word, and who asks a stopped service would wait for nothing.
    forward.extend(refuse(&[out(), Match::Destination(spec.subnet)]));
    // What still has such a destination here was led to nobody.
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
    forward.extend(pings(&policy.edges));
    for (address, port) in inbound(policy) {
        forward.push(rule(
            [up(), Match::Destination(one(address)), Match::Port(port)],
            Action::Accept,
        ));
    }
    forward.extend(refuse(&[out(), Match::Destination(LINK_LOCAL)]));
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
            chain(PASSAGE, "filter", Hook::Forward, 0, forward),
            chain("input", "filter", Hook::Input, 0, to_itself(spec, policy)),
        ],
    }
}

/// Connections and other flows beyond `most`, each counted for itself: TCP is refused by a reset, since the kernel sends few
/// ICMP messages a second (`icmp_ratelimit`). What is refused further down leaves the count by itself: it is in no table.
fn bounded(source: Ipv4Addr, most: u32) -> [Rule; 2] {
    let beyond = |kind, action| Rule {
        matches: vec![Match::Source(one(source)), kind, Match::Beyond(most)],
        counted: true,
        action,
    };
    [
        beyond(Match::Protocol(Transport::Tcp), Action::Reset),
        beyond(Match::NotProtocol(Transport::Tcp), Action::Unreachable),
    ]
}

/// Whoever may open a connection to a sandbox may ask whether it is there.
fn pings(edges: &[Edge]) -> Vec<Rule> {
    let mut pairs: Vec<_> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let pass = |(from, to)| {
        let matches = [Match::Source(one(from)), Match::Destination(one(to)), Match::Ping];
        rule(matches, Action::Accept)
    };
    pairs.into_iter().map(pass).collect()
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
