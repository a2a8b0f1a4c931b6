//! Rules in the syntax of nft(8), for people and for snapshots.

use std::fmt;

use super::{Action, Match, Rule, Table};
use crate::request::Transport;

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "table ip {} {{", self.name)?;
        if self.owned {
            writeln!(out, "\tflags owner,persist")?;
        }
        for chain in &self.chains {
            let hook = format!("{:?}", chain.hook).to_lowercase();
            writeln!(out, "\tchain {} {{", chain.name)?;
            writeln!(
                out,
                "\t\ttype {} hook {hook} priority {}; policy accept;",
                chain.kind, chain.priority
            )?;
            chain
                .rules
                .iter()
                .try_for_each(|rule| writeln!(out, "\t\t{rule}"))?;
            writeln!(out, "\t}}")?;
        }
        writeln!(out, "}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.matches {
            write!(out, "{one} ")?;
        }
        if self.counted {
            write!(out, "counter ")?;
        }
        write!(out, "{}", self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => write!(out, "accept"),
            Self::Drop => write!(out, "drop"),
            Self::Reset => write!(out, "reject with tcp reset"),
            Self::Unreachable => write!(out, "reject"),
            Self::Dnat(address, port) => write!(out, "dnat to {address}:{port}"),
            Self::Masquerade => write!(out, "masquerade"),
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(name) => write!(out, "iifname \"{name}\""),
            Self::NotFrom(name) => write!(out, "iifname != \"{name}\""),
            Self::Towards(name) => write!(out, "oifname \"{name}\""),
            Self::NotTowards(name) => write!(out, "oifname != \"{name}\""),
            Self::Source(network) => write!(out, "ip saddr {network}"),
            Self::Destination(network) => write!(out, "ip daddr {network}"),
            Self::Port(port) => write!(out, "{} dport {}", port.transport, port.port),
            Self::Protocol(transport) => write!(out, "meta l4proto {transport}"),
            Self::NotProtocol(transport) => write!(out, "meta l4proto != {transport}"),
            Self::Ping => write!(out, "icmp type echo-request"),
            Self::Established => write!(out, "ct state established,related"),
            Self::Translated => write!(out, "ct status dnat"),
            Self::Local => write!(out, "fib daddr type local"),
            Self::Beyond(count) => write!(out, "ct count over {count}"),
            Self::EveryNth(count) => write!(out, "numgen inc mod {count} 0"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", if *self == Self::Tcp { "tcp" } else { "udp" })
    }
}
