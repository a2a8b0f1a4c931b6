//! A set that rules fill with what they see, each element with a counter, and its elements read back
//! (linux/netfilter/nf_tables.h).

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REQUEST};

use super::batch::{attributes_of, value};
use super::expression::{condition, expression, fresh, load_meta, load_payload, nested, number, string};
use super::kernel::*;
use super::{Family, Operation, Session, new_chain, new_table, raw_rule};
use crate::error::Result;
use crate::request::{HostPort, Transport};
use crate::ruleset::{Chain, Match};

const NEW_SET: u8 = 9;
const GET_ELEMENTS: u8 = 13;

/// Source, destination, protocol and destination port, four bytes each.
const KEY: u32 = 16;

/// One element.
pub(crate) struct Element {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) port: HostPort,
    pub(crate) packets: u64,
}

impl Session {
    /// Makes a table with one set and one chain, whose rules put into the set what begins a connection and fulfils
    /// `matches`; at most `size` elements.
    pub(crate) fn collect(
        &self,
        table: &str,
        set: &str,
        size: u32,
        chain: &Chain,
        matches: &[Match],
    ) -> io::Result<()> {
        let mut operations = vec![
            new_table(table, None),
            new_set(table, set, size),
            new_chain(table, chain),
        ];
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut expressions: Vec<DefaultNla> = matches.iter().flat_map(condition).collect();
            expressions.extend(condition(&Match::Protocol(transport)));
            expressions.extend(fresh());
            expressions.extend([
                load_payload(REG32_00, NETWORK_HEADER, IP_SOURCE, 4),
                load_payload(REG32_00 + 1, NETWORK_HEADER, IP_DESTINATION, 4),
                load_meta(REG32_00 + 2, META_L4PROTO),
                load_payload(REG32_00 + 3, TRANSPORT_HEADER, DESTINATION_PORT, 2),
                remember(set),
            ]);
            operations.push(raw_rule(table, chain.name, expressions));
        }
        self.commit(&operations)
    }

    /// The elements of such a set.
    ///
    /// # Errors
    /// There is no such set, or the process may not look.
    pub(crate) fn elements(&self, table: &str, set: &str) -> Result<Vec<Element>> {
        let of = vec![string(ELEM_LIST_TABLE, table), string(ELEM_LIST_SET, set)];
        let rows = self.dump(Family::Ip, GET_ELEMENTS, of, || {
            format!("list the elements of `{table}` `{set}`")
        })?;
        let lists = rows.iter().filter_map(|row| value(row, ELEM_LIST_ELEMENTS));
        let elements = lists.flat_map(|list| attributes_of(&list));
        Ok(elements.filter_map(|one| element(&one)).collect())
    }
}

fn new_set(table: &str, set: &str, size: u32) -> Operation {
    // How nft(8) shows the key: its numbers of the types, six bits each (include/datatype.h of nftables).
    let types = [7_u32, 7, 12, 13].into_iter().fold(0, |all, one| all << 6 | one);
    Operation {
        family: Family::Ip,
        kind: NEW_SET,
        flags: NLM_F_REQUEST | NLM_F_CREATE,
        attributes: vec![
            string(SET_TABLE, table),
            string(SET_NAME, set),
            number(SET_FLAGS, SET_EVAL),
            number(SET_KEY_TYPE, types),
            number(SET_KEY_LEN, KEY),
            number(SET_ID, 1),
            nested(SET_DESC, &[number(SET_DESC_SIZE, size)]),
        ],
    }
}

/// Puts what lies in the registers into the set, or counts it there.
fn remember(set: &str) -> DefaultNla {
    let counter = [string(EXPR_NAME, "counter"), nested(EXPR_DATA, &[])];
    expression(
        "dynset",
        &[
            string(DYNSET_SET_NAME, set),
            number(DYNSET_SET_ID, 1),
            number(DYNSET_OP, DYNSET_OP_ADD),
            // The first 16 bytes: the four registers of four.
            number(DYNSET_SREG_KEY, REG_1),
            nested(DYNSET_EXPR, &counter),
        ],
    )
}

fn element(one: &DefaultNla) -> Option<Element> {
    use netlink_packet_core::Nla;
    let mut bytes = vec![0; one.value_len()];
    one.emit_value(&mut bytes);
    let inner = attributes_of(&bytes);
    let key = value(&attributes_of(&value(&inner, ELEM_KEY)?), DATA_VALUE)?;
    let expression = attributes_of(&value(&inner, ELEM_EXPR).unwrap_or_default());
    let counter = attributes_of(&value(&expression, EXPR_DATA).unwrap_or_default());
    let packets = value(&counter, COUNTER_PACKETS).and_then(|packets| packets.first_chunk().copied());
    let part = |at: usize| key.get(at..)?.first_chunk::<4>().copied();
    let [protocol, ..] = part(8)?;
    let [high, low, ..] = part(12)?;
    Some(Element {
        from: part(0)?.into(),
        to: part(4)?.into(),
        port: HostPort {
            port: u16::from_be_bytes([high, low]),
            transport: if protocol == IPPROTO_UDP {
                Transport::Udp
            } else {
                Transport::Tcp
            },
        },
        packets: packets.map_or(0, u64::from_be_bytes),
    })
}
