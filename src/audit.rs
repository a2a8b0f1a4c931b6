//! What each phase of a service reaches outside: what its builds have asked for, and what its sandboxes are connected to.
//! Reads the store of layers and `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::config::ecosystem::{Egress, ServiceName, UnitName};
use crate::desired::Desired;
use crate::events::{self, Reached};
use crate::prepare::{self, Layers, Tools};
use crate::proxy::Contact;
use crate::roster::Seat;
use crate::state;

/// States of sockets as the kernel's tables have them (include/net/tcp_states.h).
const LISTEN: &str = "0A";
const TIME_WAIT: &str = "06";

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// Its name.
    pub service: ServiceName,
    /// What the builds of its layers asked for, whenever they were made.
    pub build: Vec<Built>,
    /// What its sandboxes may and do reach.
    pub run: Run,
}

/// The build of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Built {
    /// `python`, `node`, `setup`.
    pub layer: &'static str,
    /// What it asked for; `None`: it was not built yet, or by a version that did not record it.
    pub contacts: Option<Vec<Contact>>,
}

/// The run phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// As the file says, or `--hermetic`.
    pub egress: Egress,
    /// Connections to the outside that are open now.
    pub open: Vec<Connection>,
    /// What was reached since it came up, or, after the end, in its last life; `None`: not recorded.
    pub reached: Option<Vec<Reached>>,
}

/// Connections of one sandbox to one address and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Connection {
    /// The sandbox.
    pub unit: UnitName,
    /// The other end.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How many there are.
    pub count: usize,
}

/// Every service of a wish.
pub fn of(desired: &Desired) -> Vec<Audit> {
    let (tools, layers) = (Tools::find(desired), Layers::system());
    let present = state::read::<state::InstanceRecord>(&desired.instance.record())
        .ok()
        .flatten();
    let network = state::read::<state::NetworkRecord>(&desired.instance.network_record())
        .ok()
        .flatten();
    let records = state::services(&desired.instance);
    let reached = match &network {
        Some(network) => counted(network),
        None => told(&desired.instance),
    };
    let services = desired.ecosystem.services.values();
    let one = |service: &crate::config::ecosystem::Service| {
        let recipe = desired.recipes.get(&service.name);
        let plans = recipe.and_then(|recipe| tools.layers(&service.name, recipe).ok());
        let built = plans
            .unwrap_or_default()
            .into_iter()
            .filter(|plan| plan.kind() != "files");
        // What runs was made from an earlier wish.
        let running = present
            .as_ref()
            .and_then(|record| record.desired.ecosystem.services.get(&service.name));
        let inside = |address: &IpAddr| match (address, &network) {
            (IpAddr::V4(address), Some(network)) => network.spec.subnet.contains(*address),
            _ => false,
        };
        let mut open = Vec::new();
        let is_of = |unit: &str| {
            Seat::named(&desired.ecosystem, unit).is_some_and(|seat| seat.service == service.name)
        };
        let units = records.iter().filter(|record| is_of(&record.name));
        for (unit, process) in units.filter_map(|record| Some((&record.name, record.process?))) {
            open.extend(connections(unit, process.pid, &inside));
        }
        Audit {
            service: service.name.clone(),
            build: built
                .map(|plan| Built {
                    layer: plan.kind(),
                    contacts: layers.record(&prepare::hosts::record(&plan.key)),
                })
                .collect(),
            run: Run {
                egress: running.unwrap_or(service).egress.clone(),
                open,
                reached: reached.as_ref().map(|all| {
                    let own = all.iter().filter(|one| is_of(&one.unit));
                    own.cloned().collect()
                }),
            },
        }
    };
    services.map(one).collect()
}

/// Most contacts that an event holds.
const TOLD: usize = 500;

/// What the kernel has counted of an instance that is there: the most frequent first of each sandbox, as many as an event
/// holds. `None`: it does not count.
pub(crate) fn counted(network: &state::NetworkRecord) -> Option<Vec<Reached>> {
    let contacts = pactown_netns::contacts(&network.spec).ok()?;
    let named = |address| network.addresses.iter().find(|(_, own)| **own == address);
    let reached = |one: pactown_netns::Contact| {
        Some(Reached {
            unit: named(one.from)?.0.clone(),
            address: one.to.into(),
            port: one.port.port,
            transport: one.port.transport.to_string(),
            count: one.count,
        })
    };
    let mut found: Vec<Reached> = contacts.into_iter().filter_map(reached).collect();
    found.sort_by(|one, other| (&one.unit, other.count).cmp(&(&other.unit, one.count)));
    found.truncate(TOLD);
    Some(found)
}

/// What an instance that has ended has reached in its last life, as its last event tells.
fn told(instance: &crate::instance::Instance) -> Option<Vec<Reached>> {
    let all = events::read(instance);
    let life = events::of_this_life(&all);
    life.iter().rev().find_map(|event| event.reached.clone())
}

/// What the sandbox of process `pid` is connected to outside.
fn connections(unit: &UnitName, pid: i32, inside: &dyn Fn(&IpAddr) -> bool) -> Vec<Connection> {
    let mut found: BTreeMap<(IpAddr, u16), usize> = BTreeMap::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for (address, port) in reached(&text) {
            if !(address.is_unspecified() || address.is_loopback() || inside(&address)) {
                *found.entry((address, port)).or_default() += 1;
            }
        }
    }
    let connection = |((address, port), count)| Connection {
        unit: unit.clone(),
        address,
        port,
        count,
    };
    found.into_iter().map(connection).collect()
}

/// The other ends of what was connected from inside, in the text of `/proc/<pid>/net/tcp` and its like. A connection to a
/// port that something inside listens on came from a client, and one that waits for its end is none any more.
fn reached(table: &str) -> Vec<(IpAddr, u16)> {
    let rows = || table.lines().skip(1);
    let listening: BTreeSet<u16> = rows()
        .filter_map(local)
        .filter_map(|(port, state)| (state == LISTEN).then_some(port))
        .collect();
    let goes_out =
        |row: &&str| local(row).is_none_or(|(port, state)| state != TIME_WAIT && !listening.contains(&port));
    rows().filter(goes_out).filter_map(remote).collect()
}

/// Port of this end, and state: second and fourth column.
fn local(row: &str) -> Option<(u16, &str)> {
    let mut columns = row.split_whitespace().skip(1);
    let (_, port) = columns.next()?.split_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, columns.nth(1)?))
}

/// The other end in a row of `/proc/<pid>/net/tcp`: third column, in the byte order of this machine (proc_pid_net(5)).
fn remote(row: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = row.split_whitespace().nth(2)?.split_once(':')?;
    let words: Vec<u32> = address
        .as_bytes()
        .chunks(8)
        .map(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)).to_canonical(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_connection_is_read_from_its_row() {
        let row = "   1: 0100007F:0CEA 08080808:01BB 01 00000000:00000000 00:00000000 00000000  1000 0 1";
        assert_eq!(remote(row), Some(("8.8.8.8".parse().unwrap(), 443)));
        let mapped = "1: 0 0000000000000000FFFF000008080808:0050 01";
        assert_eq!(remote(mapped), Some(("8.8.8.8".parse().unwrap(), 80)));
        assert_eq!(remote("nothing"), None);
    }

    #[test]
    fn who_came_in_and_what_is_over_is_no_reach() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1
   1: 0200400A:1F90 08080808:C350 01 00000000:00000000 00:00000000 00000000  1000        0 2
   2: 0200400A:1F90 08080808:C351 08 00000000:00000000 00:00000000 00000000  1000        0 3
   3: 0200400A:0CEA 08080808:01BB 06 00000000:00000000 03:00000000 00000000     0        0 0
   4: 0200400A:0CEB 09090909:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 4
   5: 0200400A:0CEC 09090909:0050 02 00000000:00000000 00:00000000 00000000  1000        0 5
";
        let nine = IpAddr::from([9, 9, 9, 9]);
        assert_eq!(reached(table), [(nine, 443), (nine, 80)]);
        assert_eq!(reached(""), []);
    }
}
