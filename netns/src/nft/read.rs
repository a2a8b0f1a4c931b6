//! Rules of the kernel's → the terms of [`crate::ruleset`]: the inverse of what this module's parent encodes. What is not
//! of ours shows by the name of its expression.

use std::net::Ipv4Addr;

use netlink_packet_core::DefaultNla;

use super::batch::{attributes_of, number, text, value};
use super::kernel::*;
use super::{Family, GET_RULE, GET_TABLE, Session, string};
use crate::error::Result;
use crate::request::{HostPort, Subnet, Transport};
use crate::ruleset::{Action, Match};

/// One rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRule {
    /// Its chain.
    pub(crate) chain: String,
    /// Its conditions.
    pub(crate) matches: Vec<Match>,
    /// Expressions that nobody here makes.
    pub(crate) strange: Vec<String>,
    /// What it does.
    pub(crate) action: Option<Action>,
    /// How many packets it has met, where it counts.
    pub(crate) packets: Option<u64>,
}

/// What lies in the first register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    Nothing,
    Meta(u32),
    /// Base, offset, length.
    Payload(u32, u32, u32),
    Conntrack(u32),
    LocalAddress,
    Turn(u32),
}

/// A rule on its way through the expressions.
struct Reader {
    found: FoundRule,
    loaded: Loaded,
    mask: Option<u32>,
    /// A protocol that may belong to the port that follows.
    protocol: Option<Transport>,
    /// ICMP was asked for, and not yet which message of it.
    icmp: bool,
    /// The registers that a translation takes its address and port from.
    registers: [Vec<u8>; 2],
}

impl Session {
    /// Names of the `ip` tables.
    pub(crate) fn tables(&self) -> Result<Vec<String>> {
        let rows = self.dump(Family::Ip, GET_TABLE, Vec::new(), || {
            "list the nftables tables".to_owned()
        })?;
        Ok(rows.iter().filter_map(|row| text(row, TABLE_NAME)).collect())
    }

    /// The rules of an `ip` table, chain by chain.
    pub(crate) fn rules(&self, table: &str) -> Result<Vec<FoundRule>> {
        let rows = self.dump(Family::Ip, GET_RULE, vec![string(RULE_TABLE, table)], || {
            format!("list the rules of `{table}`")
        })?;
        let ours = |row: &&Vec<DefaultNla>| text(row, RULE_TABLE).as_deref() == Some(table);
        Ok(rows.iter().filter(ours).filter_map(|row| rule(row)).collect())
    }
}

/// A row of a dump of rules.
fn rule(row: &[DefaultNla]) -> Option<FoundRule> {
    let mut reader = Reader {
        found: FoundRule {
            chain: text(row, RULE_CHAIN)?,
            matches: Vec::new(),
            strange: Vec::new(),
            action: None,
            packets: None,
        },
        loaded: Loaded::Nothing,
        mask: None,
        protocol: None,
        icmp: false,
        registers: Default::default(),
    };
    for element in attributes_of(&value(row, RULE_EXPRESSIONS).unwrap_or_default()) {
        use netlink_packet_core::Nla;
        let mut bytes = vec![0; element.value_len()];
        element.emit_value(&mut bytes);
        let expression = attributes_of(&bytes);
        let inner = attributes_of(&value(&expression, EXPR_DATA).unwrap_or_default());
        let name = text(&expression, EXPR_NAME).unwrap_or_default();
        if reader.take(&name, &inner).is_none() {
            reader.found.strange.push(name);
        }
    }
    reader.settle_protocol();
    Some(reader.found)
}

impl Reader {
    /// One expression; `None`: it is not understood.
    fn take(&mut self, name: &str, inner: &[DefaultNla]) -> Option<()> {
        match name {
            "meta" => self.load(Loaded::Meta(number(inner, META_KEY)?)),
            "payload" => self.load(Loaded::Payload(
                number(inner, PAYLOAD_BASE)?,
                number(inner, PAYLOAD_OFFSET)?,
                number(inner, PAYLOAD_LEN)?,
            )),
            "ct" => self.load(Loaded::Conntrack(number(inner, CT_KEY)?)),
            "fib" => self.load(Loaded::LocalAddress),
            "numgen" => self.load(Loaded::Turn(number(inner, NG_MODULUS)?)),
            "bitwise" => {
                let mask = data(inner, BITWISE_MASK)?;
                self.mask = Some(u32::from_be_bytes(mask.first_chunk().copied()?));
            }
            "cmp" => {
                let one = self.compared(number(inner, CMP_OP)? == CMP_EQ, &data(inner, CMP_DATA)?)?;
                self.found.matches.extend(one);
            }
            "connlimit" => {
                self.settle_protocol();
                let over = number(inner, CONNLIMIT_FLAGS)? == CONNLIMIT_F_INV;
                let count = number(inner, CONNLIMIT_COUNT)?;
                self.found.matches.push(over.then_some(Match::Beyond(count))?);
            }
            "counter" => {
                let packets = value(inner, COUNTER_PACKETS)?;
                self.found.packets = Some(u64::from_be_bytes(packets.first_chunk().copied()?));
            }
            _ => self.conclude(name, inner)?,
        }
        Some(())
    }

    fn load(&mut self, what: Loaded) {
        self.loaded = what;
        self.mask = None;
    }

    /// What a comparison of what is loaded means; nothing yet of a protocol.
    fn compared(&mut self, equal: bool, bytes: &[u8]) -> Option<Option<Match>> {
        if !matches!(self.loaded, Loaded::Payload(TRANSPORT_HEADER, ..)) {
            self.settle_protocol();
        }
        let name = || {
            let text = String::from_utf8_lossy(bytes);
            text.trim_end_matches('\0').to_owned()
        };
        let whole = || bytes.first_chunk().map(|bytes| Ipv4Addr::from(*bytes));
        let prefix = self.mask.map_or(32, |mask| mask.leading_ones() as u8);
        let network = |address| Subnet {
            network: address,
            prefix,
        };
        Some(Some(match (self.loaded, equal) {
            (Loaded::Meta(META_IIFNAME), true) => Match::From(name()),
            (Loaded::Meta(META_IIFNAME), false) => Match::NotFrom(name()),
            (Loaded::Meta(META_OIFNAME), true) => Match::Towards(name()),
            (Loaded::Meta(META_OIFNAME), false) => Match::NotTowards(name()),
            (Loaded::Meta(META_L4PROTO), true) if bytes.first() == Some(&IPPROTO_ICMP) => {
                self.icmp = true;
                return Some(None);
            }
            (Loaded::Payload(TRANSPORT_HEADER, ICMP_TYPE, 1), true)
                if bytes.first() == Some(&ICMP_ECHO) && self.icmp =>
            {
                self.icmp = false;
                Match::Ping
            }
            (Loaded::Meta(META_L4PROTO), true) => {
                self.protocol = Some(transport(*bytes.first()?)?);
                return Some(None);
            }
            (Loaded::Payload(NETWORK_HEADER, IP_SOURCE, 4), true) => Match::Source(network(whole()?)),
            (Loaded::Payload(NETWORK_HEADER, IP_DESTINATION, 4), true) => {
                Match::Destination(network(whole()?))
            }
            (Loaded::Meta(META_L4PROTO), false) => Match::NotProtocol(transport(*bytes.first()?)?),
            (Loaded::Payload(TRANSPORT_HEADER, DESTINATION_PORT, 2), true) => Match::Port(HostPort {
                transport: self.protocol.take()?,
                port: u16::from_be_bytes(bytes.first_chunk().copied()?),
            }),
            (Loaded::Conntrack(CT_STATE), false) => Match::Established,
            (Loaded::Conntrack(CT_STATUS), false) => Match::Translated,
            (Loaded::LocalAddress, true) => Match::Local,
            (Loaded::Turn(count), true) => Match::EveryNth(count),
            _ => return None,
        }))
    }

    /// A protocol without a port stands for itself; nobody here asks for all of ICMP.
    fn settle_protocol(&mut self) {
        if std::mem::take(&mut self.icmp) {
            self.found.strange.push("icmp".to_owned());
        }
        self.found
            .matches
            .extend(self.protocol.take().map(Match::Protocol));
    }

    /// An expression that says what happens.
    fn conclude(&mut self, name: &str, inner: &[DefaultNla]) -> Option<()> {
        self.settle_protocol();
        let action = match name {
            "immediate" => match number(inner, IMMEDIATE_DREG)? {
                REG_VERDICT => match verdict(inner)? {
                    NF_DROP => Action::Drop,
                    NF_ACCEPT => Action::Accept,
                    _ => return None,
                },
                register @ (REG_1 | REG_2) => {
                    self.registers[(register - REG_1) as usize] = data(inner, IMMEDIATE_DATA)?;
                    return Some(());
                }
                _ => return None,
            },
            "reject" => match number(inner, REJECT_TYPE)? {
                REJECT_TCP_RST => Action::Reset,
                _ => Action::Unreachable,
            },
            "masq" => Action::Masquerade,
            "nat" => Action::Dnat(
                Ipv4Addr::from(self.registers[0].first_chunk::<4>().copied()?),
                u16::from_be_bytes(self.registers[1].first_chunk().copied()?),
            ),
            _ => return None,
        };
        self.found.action = Some(action);
        Some(())
    }
}

fn transport(number: u8) -> Option<Transport> {
    match number {
        IPPROTO_TCP => Some(Transport::Tcp),
        IPPROTO_UDP => Some(Transport::Udp),
        _ => None,
    }
}

/// The bytes of a nested value.
fn data(row: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    value(&attributes_of(&value(row, kind)?), DATA_VALUE)
}

fn verdict(row: &[DefaultNla]) -> Option<u32> {
    let inner = attributes_of(&value(row, IMMEDIATE_DATA)?);
    number(&attributes_of(&value(&inner, DATA_VERDICT)?), VERDICT_CODE)
}

#[cfg(test)]
mod tests {
    use super::super::{nested, new_rule};
    use super::*;
    use crate::ruleset::Rule;

    #[test]
    fn every_term_is_read_as_it_was_written() {
        let net = |text: &str, prefix| Subnet {
            network: text.parse().unwrap(),
            prefix,
        };
        let port = |transport| HostPort {
            port: 8080,
            transport,
        };
        let matches = [
            Match::From("up0".into()),
            Match::NotFrom("pt1".into()),
            Match::Towards("up0".into()),
            Match::NotTowards("a".into()),
            Match::Source(net("10.1.2.3", 32)),
            Match::Destination(net("169.254.0.0", 16)),
            Match::Port(port(Transport::Tcp)),
            Match::Protocol(Transport::Udp),
            Match::Ping,
            Match::Established,
            Match::Port(port(Transport::Udp)),
            Match::Translated,
            Match::Local,
            Match::NotProtocol(Transport::Tcp),
            Match::Beyond(4096),
            Match::EveryNth(3),
            Match::Protocol(Transport::Tcp),
        ];
        let actions = [
            Action::Accept,
            Action::Drop,
            Action::Reset,
            Action::Unreachable,
            Action::Dnat("10.9.8.7".parse().unwrap(), 81),
            Action::Masquerade,
        ];
        for action in actions {
            let written = Rule {
                matches: matches.to_vec(),
                counted: false,
                action,
            };
            let read = rule(&new_rule("t", "c", &written).attributes).unwrap();
            assert_eq!(read.chain, "c");
            assert_eq!((read.matches, read.action), (matches.to_vec(), Some(action)));
            assert_eq!(read.strange, Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let strange = super::super::expression("quota", &[]);
        let row = [DefaultNla::new(2, b"c\0".to_vec()), nested(4, &[strange])];
        assert_eq!(rule(&row).unwrap().strange, ["quota"]);
    }
}
