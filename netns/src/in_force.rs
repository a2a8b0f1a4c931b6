//! The rules that hold for one sandbox, as the kernel has them: read back, not remembered.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::anchors::ROUTER;
use crate::error::{During, Result};
use crate::namespace;
use crate::nft::Session;
use crate::nft::read::FoundRule;
use crate::request::{NetworkSpec, Subnet};
use crate::ruleset::{Action, Match, OWN};

/// Whose namespace a rule is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// The sandbox's own.
    Sandbox,
    /// The instance's router.
    Router,
    /// The host.
    Host,
}

impl fmt::Display for Whose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", format!("{self:?}").to_lowercase())
    }
}

/// A rule of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Where it is.
    pub whose: Whose,
    /// Its chain.
    pub chain: String,
    /// The rule in the syntax of nft(8); expressions that nobody here makes are in brackets.
    pub text: String,
    /// Packets that it has met, where it counts.
    pub packets: Option<u64>,
    /// It lets packets of this sandbox out of the instance.
    pub opens: bool,
}

/// The rules for the sandbox in the namespace at `node`, which has these addresses: those that name one of them, and
/// those that name nobody. In the order in which the kernel goes through them. The calling thread must be in the host's
/// namespace.
///
/// # Errors
/// A namespace or a table is gone, or the process may not look (CAP_NET_ADMIN).
pub fn in_force(spec: &NetworkSpec, node: &Path, own: &[Ipv4Addr]) -> Result<Vec<InForce>> {
    let router = namespace::open(&spec.directory.join(ROUTER))?;
    let sandbox = namespace::open(node)?;
    let rules = |table: &str| {
        let session = Session::open()?;
        // Of a table that is not there the kernel lists no rules, which looks as if everything passed.
        if !session.tables()?.iter().any(|one| one == table) {
            let gone = io::Error::new(io::ErrorKind::NotFound, "there is no such table");
            return Err(gone).during(|| format!("list the rules of `{table}`"));
        }
        session.rules(table)
    };
    let places = [
        (Whose::Sandbox, namespace::within(&sandbox, || rules(OWN))?),
        (Whose::Router, namespace::within(&router, || rules(OWN))?),
        (Whose::Host, rules(&spec.table())?),
    ];
    let shared = [spec.subnet.uplink(), spec.subnet.router()];
    let all = places
        .into_iter()
        .flat_map(|(whose, rules)| rules.into_iter().map(move |rule| (whose, rule)));
    let concerned = |(whose, rule): &(Whose, FoundRule)| {
        let named = named(rule, spec.subnet, &shared);
        *whose == Whose::Sandbox || named.is_empty() || own.iter().any(|one| named.contains(one))
    };
    Ok(all
        .filter(concerned)
        .map(|(whose, rule)| shown(whose, &rule, own))
        .collect())
}

/// The sandboxes that a rule names.
fn named(rule: &FoundRule, subnet: Subnet, shared: &[Ipv4Addr]) -> BTreeSet<Ipv4Addr> {
    let of_match = rule.matches.iter().filter_map(|one| match one {
        Match::Source(network) | Match::Destination(network) if network.prefix == 32 => Some(network.network),
        _ => None,
    });
    let of_action = match rule.action {
        Some(Action::Dnat(address, _)) => Some(address),
        _ => None,
    };
    let all = of_match.chain(of_action);
    all.filter(|address| subnet.contains(*address) && !shared.contains(address))
        .collect()
}

fn shown(whose: Whose, rule: &FoundRule, own: &[Ipv4Addr]) -> InForce {
    let matches = rule.matches.iter().map(ToString::to_string);
    let strange = rule.strange.iter().map(|name| format!("[{name}]"));
    let action = rule.action.map(|action| action.to_string());
    let words: Vec<String> = matches.chain(strange).chain(action).collect();
    let from_it = |one: &Match| matches!(one, Match::Source(network) if network.prefix == 32 && own.contains(&network.network));
    let leaves = |one: &Match| matches!(one, Match::Towards(_));
    InForce {
        opens: whose == Whose::Router
            && rule.action == Some(Action::Accept)
            && rule.matches.iter().any(from_it)
            && rule.matches.iter().any(leaves),
        whose,
        chain: rule.chain.clone(),
        text: words.join(" "),
        packets: rule.packets,
    }
}
