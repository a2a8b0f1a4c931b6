//! Rules that lead new connections to several sandboxes in turn.

use std::net::Ipv4Addr;

use super::{Action, Match, Rule, UPLINK_INSIDE, one, rule};
use crate::request::{HostPort, Spread};

/// New connections to an address that several sandboxes share, to each of them in turn.
pub(super) fn rules(spreads: &[Spread]) -> Vec<Rule> {
    let one_port = |spread: &Spread, port: HostPort| {
        let host = spread.inhabited.then(|| Match::NotFrom(UPLINK_INSIDE.to_owned()));
        let own = [Match::Destination(one(spread.address)), Match::Port(port)];
        let matches: Vec<Match> = host.into_iter().chain(own).collect();
        in_turn(&matches, &spread.to, port.port)
    };
    let all = spreads.iter().flat_map(|spread| {
        let ports = spread.ports.iter();
        ports.flat_map(move |port| one_port(spread, *port))
    });
    all.collect()
}

/// Leads what matches to `port` of each of `to` in turn. Each rule takes its share of what the ones before have left.
pub(super) fn in_turn(matches: &[Match], to: &[Ipv4Addr], port: u16) -> Vec<Rule> {
    let share = |(index, address): (usize, &Ipv4Addr)| {
        let left = u32::try_from(to.len() - index).unwrap_or(u32::MAX);
        let turn = (left > 1).then_some(Match::EveryNth(left));
        rule(matches.iter().cloned().chain(turn), Action::Dnat(*address, port))
    };
    to.iter().enumerate().map(share).collect()
}
