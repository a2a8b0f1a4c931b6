//! Conditions and verdicts → expressions of the kernel's virtual machine, and attributes (linux/netfilter/nf_tables.h). The
//! only file that encodes them. Pure.

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};

use super::kernel::*;
use crate::request::{Subnet, Transport};
use crate::ruleset::{Action, Match};

pub(super) fn condition(condition: &Match) -> Vec<DefaultNla> {
    match condition {
        Match::From(name) => vec![meta(META_IIFNAME), compare(true, &interface(name))],
        Match::NotFrom(name) => vec![meta(META_IIFNAME), compare(false, &interface(name))],
        Match::Towards(name) => vec![meta(META_OIFNAME), compare(true, &interface(name))],
        Match::NotTowards(name) => vec![meta(META_OIFNAME), compare(false, &interface(name))],
        Match::Source(network) => address(IP_SOURCE, *network),
        Match::Destination(network) => address(IP_DESTINATION, *network),
        Match::Protocol(transport) => vec![meta(META_L4PROTO), compare(true, &[protocol(*transport)])],
        Match::NotProtocol(transport) => vec![meta(META_L4PROTO), compare(false, &[protocol(*transport)])],
        Match::Port(port) => vec![
            meta(META_L4PROTO),
            compare(true, &[protocol(port.transport)]),
            payload(TRANSPORT_HEADER, DESTINATION_PORT, 2),
            compare(true, &port.port.to_be_bytes()),
        ],
        Match::Ping => vec![
            meta(META_L4PROTO),
            compare(true, &[IPPROTO_ICMP]),
            payload(TRANSPORT_HEADER, ICMP_TYPE, 1),
            compare(true, &[ICMP_ECHO]),
        ],
        // State and status are bit sets in host byte order: masked, then compared with zero.
        Match::Established => bits(CT_STATE, ESTABLISHED_OR_RELATED),
        Match::Translated => bits(CT_STATUS, IPS_DST_NAT),
        Match::Local => vec![
            expression(
                "fib",
                &[
                    number(FIB_DREG, REG_1),
                    number(FIB_RESULT, FIB_RESULT_ADDRTYPE),
                    number(FIB_FLAGS, FIB_F_DADDR),
                ],
            ),
            compare(true, &RTN_LOCAL.to_ne_bytes()),
        ],
        Match::Beyond(count) => vec![expression(
            "connlimit",
            &[
                number(CONNLIMIT_COUNT, *count),
                number(CONNLIMIT_FLAGS, CONNLIMIT_F_INV),
            ],
        )],
        Match::EveryNth(count) => vec![
            expression(
                "numgen",
                &[
                    number(NG_DREG, REG_1),
                    number(NG_MODULUS, *count),
                    number(NG_TYPE, NG_INCREMENTAL),
                ],
            ),
            compare(true, &0_u32.to_ne_bytes()),
        ],
    }
}

pub(super) fn verdict(action: Action) -> Vec<DefaultNla> {
    match action {
        Action::Accept => vec![immediate_verdict(NF_ACCEPT)],
        Action::Drop => vec![immediate_verdict(NF_DROP)],
        Action::Reset => vec![reject(REJECT_TCP_RST, 0)],
        Action::Unreachable => vec![reject(REJECT_ICMP_UNREACH, ICMP_PORT_UNREACH)],
        Action::Masquerade => vec![expression("masq", &[])],
        Action::Dnat(address, port) => vec![
            immediate(REG_1, &address.octets()),
            immediate(REG_2, &port.to_be_bytes()),
            expression(
                "nat",
                &[
                    number(NAT_TYPE, NAT_DNAT),
                    number(NAT_FAMILY, NFPROTO_IPV4),
                    number(NAT_REG_ADDR_MIN, REG_1),
                    number(NAT_REG_PROTO_MIN, REG_2),
                ],
            ),
        ],
    }
}

/// The code counts for ICMP only.
fn reject(kind: u32, code: u8) -> DefaultNla {
    expression(
        "reject",
        &[
            number(REJECT_TYPE, kind),
            DefaultNla::new(REJECT_ICMP_CODE, vec![code]),
        ],
    )
}

fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => IPPROTO_TCP,
        Transport::Udp => IPPROTO_UDP,
    }
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
    let mut found = vec![payload(NETWORK_HEADER, offset, 4)];
    if network.prefix < 32 {
        found.push(masked(&mask));
    }
    found.push(compare(true, &network.network.octets()));
    found
}

fn bits(key: u32, set: u32) -> Vec<DefaultNla> {
    let load = expression("ct", &[number(CT_DREG, REG_1), number(CT_KEY, key)]);
    vec![load, masked(&set.to_ne_bytes()), compare(false, &[0; 4])]
}

/// The packet begins a connection.
pub(super) fn fresh() -> Vec<DefaultNla> {
    bits(CT_STATE, NEW)
}

pub(super) fn meta(key: u32) -> DefaultNla {
    load_meta(REG_1, key)
}

pub(super) fn load_meta(register: u32, key: u32) -> DefaultNla {
    expression("meta", &[number(META_DREG, register), number(META_KEY, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> DefaultNla {
    load_payload(REG_1, base, offset, length)
}

pub(super) fn load_payload(register: u32, base: u32, offset: u32, length: u32) -> DefaultNla {
    expression(
        "payload",
        &[
            number(PAYLOAD_DREG, register),
            number(PAYLOAD_BASE, base),
            number(PAYLOAD_OFFSET, offset),
            number(PAYLOAD_LEN, length),
        ],
    )
}

fn masked(mask: &[u8; 4]) -> DefaultNla {
    let zero = data(BITWISE_XOR, &[0; 4]);
    expression(
        "bitwise",
        &[
            number(BITWISE_SREG, REG_1),
            number(BITWISE_DREG, REG_1),
            number(BITWISE_LEN, 4),
            data(BITWISE_MASK, mask),
            zero,
        ],
    )
}

pub(super) fn compare(equal: bool, bytes: &[u8]) -> DefaultNla {
    let operation = if equal { CMP_EQ } else { CMP_NEQ };
    expression(
        "cmp",
        &[
            number(CMP_SREG, REG_1),
            number(CMP_OP, operation),
            data(CMP_DATA, bytes),
        ],
    )
}

pub(super) fn immediate(register: u32, bytes: &[u8]) -> DefaultNla {
    expression(
        "immediate",
        &[number(IMMEDIATE_DREG, register), data(IMMEDIATE_DATA, bytes)],
    )
}

pub(super) fn immediate_verdict(code: u32) -> DefaultNla {
    let verdict = nested(DATA_VERDICT, &[number(VERDICT_CODE, code)]);
    expression(
        "immediate",
        &[
            number(IMMEDIATE_DREG, REG_VERDICT),
            nested(IMMEDIATE_DATA, &[verdict]),
        ],
    )
}

/// An element of a rule's list: its name and its own attributes.
pub(super) fn expression(name: &str, attributes: &[DefaultNla]) -> DefaultNla {
    nested(
        LIST_ELEM,
        &[string(EXPR_NAME, name), nested(EXPR_DATA, attributes)],
    )
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
    nested(kind, &[DefaultNla::new(DATA_VALUE, bytes.to_vec())])
}

pub(super) fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}
