//! Conditions and verdicts → expressions of the kernel's virtual machine, and attributes (linux/netfilter/nf_tables.h). The
//! only file that knows how they are encoded. Pure.

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};

use crate::request::{Subnet, Transport};
use crate::ruleset::{Action, Match};

/// Registers of the virtual machine.
pub(super) const REG_1: u32 = 1;
const REG_2: u32 = 2;
const REG_VERDICT: u32 = 0;

pub(super) fn condition(condition: &Match) -> Vec<DefaultNla> {
    match condition {
        Match::From(name) => vec![meta(6), compare(true, &interface(name))],
        Match::NotFrom(name) => vec![meta(6), compare(false, &interface(name))],
        Match::Towards(name) => vec![meta(7), compare(true, &interface(name))],
        Match::NotTowards(name) => vec![meta(7), compare(false, &interface(name))],
        Match::Source(network) => address(12, *network),
        Match::Destination(network) => address(16, *network),
        Match::Protocol(transport) => vec![meta(16), compare(true, &[protocol(*transport)])],
        Match::Port(port) => vec![
            meta(16),
            compare(true, &[protocol(port.transport)]),
            payload(2, 2, 2),
            compare(true, &port.port.to_be_bytes()),
        ],
        // IPPROTO_ICMP; the type is the first byte of the header, ICMP_ECHO is 8 (RFC 792).
        Match::Ping => vec![
            meta(16),
            compare(true, &[1]),
            payload(2, 0, 1),
            compare(true, &[8]),
        ],
        // State and status are bit sets in host byte order: masked, then compared with zero.
        Match::Established => bits(0, 0b110),
        Match::Translated => bits(2, 1 << 5),
        Match::Local => vec![
            expression("fib", &[number(1, REG_1), number(2, 3), number(3, 2)]),
            compare(true, &2_u32.to_ne_bytes()),
        ],
        Match::EveryNth(count) => vec![
            expression("numgen", &[number(1, REG_1), number(2, *count), number(3, 0)]),
            compare(true, &0_u32.to_ne_bytes()),
        ],
    }
}

pub(super) fn verdict(action: Action) -> Vec<DefaultNla> {
    match action {
        Action::Accept => vec![immediate_verdict(1)],
        Action::Drop => vec![immediate_verdict(0)],
        Action::Reset => vec![expression("reject", &[number(1, 1), DefaultNla::new(2, vec![0])])],
        Action::Unreachable => vec![expression("reject", &[number(1, 0), DefaultNla::new(2, vec![3])])],
        Action::Masquerade => vec![expression("masq", &[])],
        Action::Dnat(address, port) => vec![
            immediate(REG_1, &address.octets()),
            immediate(REG_2, &port.to_be_bytes()),
            expression(
                "nat",
                &[number(1, 1), number(2, 2), number(3, REG_1), number(5, REG_2)],
            ),
        ],
    }
}

fn protocol(transport: Transport) -> u8 {
    if transport == Transport::Tcp { 6 } else { 17 }
}

/// Interface names compare as 16 zero-padded bytes.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn address(offset: u32, network: Subnet) -> Vec<DefaultNla> {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(network.prefix))
        .unwrap_or(0)
        .to_be_bytes();
    let mut found = vec![payload(1, offset, 4)];
    if network.prefix < 32 {
        found.push(masked(&mask));
    }
    found.push(compare(true, &network.network.octets()));
    found
}

fn bits(key: u32, set: u32) -> Vec<DefaultNla> {
    let load = expression("ct", &[number(1, REG_1), number(2, key)]);
    vec![load, masked(&set.to_ne_bytes()), compare(false, &[0; 4])]
}

pub(super) fn meta(key: u32) -> DefaultNla {
    expression("meta", &[number(1, REG_1), number(2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> DefaultNla {
    expression(
        "payload",
        &[
            number(1, REG_1),
            number(2, base),
            number(3, offset),
            number(4, length),
        ],
    )
}

fn masked(mask: &[u8; 4]) -> DefaultNla {
    let zero = data(5, &[0; 4]);
    expression(
        "bitwise",
        &[
            number(1, REG_1),
            number(2, REG_1),
            number(3, 4),
            data(4, mask),
            zero,
        ],
    )
}

pub(super) fn compare(equal: bool, bytes: &[u8]) -> DefaultNla {
    expression(
        "cmp",
        &[number(1, REG_1), number(2, u32::from(!equal)), data(3, bytes)],
    )
}

pub(super) fn immediate(register: u32, bytes: &[u8]) -> DefaultNla {
    expression("immediate", &[number(1, register), data(2, bytes)])
}

pub(super) fn immediate_verdict(code: u32) -> DefaultNla {
    let verdict = nested(2, &[number(1, code)]);
    expression("immediate", &[number(1, REG_VERDICT), nested(2, &[verdict])])
}

/// An element of a rule's list: its name and its own attributes.
pub(super) fn expression(name: &str, attributes: &[DefaultNla]) -> DefaultNla {
    nested(1, &[string(1, name), nested(2, attributes)])
}

pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

pub(super) fn string(kind: u16, text: &str) -> DefaultNla {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

fn data(kind: u16, bytes: &[u8]) -> DefaultNla {
    nested(kind, &[DefaultNla::new(1, bytes.to_vec())])
}

pub(super) fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}
