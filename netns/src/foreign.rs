//! Other people's firewalls. An accept in our table cannot override a drop in another, so where one drops what it does not
//! know of the packets that pass through the host, it is told of our uplinks. Our own forward chain does the filtering.
//!
//! Docker has a chain for such exceptions, which lets both ways through. Elsewhere only what comes from the sandboxes is
//! let through, to leave: whether others may open a connection to a port that is published beyond loopback stays that
//! firewall's decision, and answers are let through by each that keeps states.

use crate::error::{Collected, During, Error, Result};
use crate::nft::batch::{attributes_of, text};
use crate::nft::{DELETE_RULE, Family, FoundChain, NEW_CHAIN, Place, Session};
use crate::ruleset::{Action, Match, Rule};

/// Docker's chain for exceptions, and the one that calls it.
const DOCKER: [&str; 3] = ["filter", "DOCKER-USER", "FORWARD"];
/// A chain with the policy `accept` that ends in a `reject`: firewalld's.
const FIREWALLD: [&str; 2] = ["firewalld", "filter_FORWARD"];

/// A chain, and what has to be let through in it.
struct Exception {
    place: Place,
    rules: Vec<Match>,
}

/// Lets the uplink through, once; whether that was needed. Only plain `iifname` and `oifname` rules: anything else makes the
/// chain unreadable for iptables. A table that belongs to another process cannot be changed: it is passed by, and so is what
/// goes while one looks.
pub(crate) fn open(rules: &Session, uplink: &str) -> Result<bool> {
    let mut needed = false;
    for exception in exceptions(rules.chains()?, uplink) {
        needed |= changed(except(rules, exception, uplink))?.unwrap_or(false);
    }
    Ok(needed)
}

/// Whether that was needed.
fn except(rules: &Session, exception: Exception, uplink: &str) -> Result<bool> {
    let place = &exception.place;
    if rules.mentioning(place, uplink)?.len() == exception.rules.len() {
        return Ok(false);
    }
    rules.remove_mentioning(place, uplink)?;
    for one in exception.rules {
        let rule = Rule {
            matches: vec![one],
            counted: false,
            action: Action::Accept,
        };
        rules
            .insert(place, &rule)
            .during(|| format!("insert a rule into `{place}`"))?;
    }
    Ok(true)
}

/// What became of a change of another's chain; `None` when it cannot be made: the table belongs to another process (EPERM),
/// or somebody has removed the chain, or the rule, since it was read (ENOENT).
fn changed<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(Error::Io { source, .. })
            if matches!(source.raw_os_error(), Some(libc::EPERM | libc::ENOENT)) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Takes the rules out again, of every chain that lets it. No such chain, or none of ours in it, is success.
pub(crate) fn close(rules: &Session, uplink: &str) -> Result<()> {
    // Its policy may have changed since.
    let ours = |found: &FoundChain| found.forwards || is_docker(&found.place) || is_firewalld(&found.place);
    let mut done = Collected::default();
    for found in rules.chains()?.into_iter().filter(ours) {
        if !is_of_an_instance(&found.place.table) {
            done.step(changed(rules.remove_mentioning(&found.place, uplink)).map(drop));
        }
    }
    done.finish()
}

fn exceptions(chains: Vec<FoundChain>, uplink: &str) -> Vec<Exception> {
    let (from, towards) = (Match::From(uplink.to_owned()), Match::Towards(uplink.to_owned()));
    let docker = chains.iter().any(|found| is_docker(&found.place));
    let of = |found: FoundChain| {
        let calls_docker = docker && is(&found.place, Family::Ip, &[DOCKER[0], DOCKER[2]]);
        let drops = found.forwards && (found.drops || is_firewalld(&found.place));
        let rules = match () {
            () if is_of_an_instance(&found.place.table) => return None,
            () if is_docker(&found.place) => vec![from.clone(), towards.clone()],
            () if drops && !calls_docker => vec![from.clone()],
            () => return None,
        };
        let place = found.place;
        Some(Exception { place, rules })
    };
    chains.into_iter().filter_map(of).collect()
}

fn is(place: &Place, family: Family, [table, chain]: &[&str; 2]) -> bool {
    place.family == family && place.table == *table && place.chain == *chain
}

fn is_docker(place: &Place) -> bool {
    is(place, Family::Ip, &[DOCKER[0], DOCKER[1]])
}

fn is_firewalld(place: &Place) -> bool {
    is(place, Family::Inet, &FIREWALLD)
}

fn is_of_an_instance(table: &str) -> bool {
    table.starts_with("pactown")
}

/// The kind of an nftables message; `None` for other subsystems of netlink.
pub(crate) fn rule_message(kind: u16) -> Option<u8> {
    const NF_TABLES: u8 = 10;
    let [subsystem, kind] = kind.to_be_bytes();
    (subsystem == NF_TABLES).then_some(kind)
}

/// Whether an nftables message tells that another's chain was made or changed, or a rule of one removed.
pub(crate) fn concerns(kind: u8, body: &[u8]) -> bool {
    if kind != NEW_CHAIN && kind != DELETE_RULE {
        return false;
    }
    let row = attributes_of(body.get(4..).unwrap_or_default());
    text(&row, 1).is_some_and(|table| !is_of_an_instance(&table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: Family, table: &str, chain: &str, forwards: bool, drops: bool) -> FoundChain {
        let place = Place {
            family,
            table: table.to_owned(),
            chain: chain.to_owned(),
        };
        FoundChain {
            place,
            forwards,
            drops,
        }
    }

    fn told(chains: Vec<FoundChain>) -> Vec<(String, usize)> {
        let told = exceptions(chains, "pt0000002a").into_iter();
        told.map(|one| (one.place.to_string(), one.rules.len())).collect()
    }

    #[test]
    fn what_cannot_be_changed_is_passed_by_and_anything_else_is_told() {
        let refused = |errno| {
            let refused: Result<()> = Err(std::io::Error::from_raw_os_error(errno)).during(String::new);
            changed(refused)
        };
        assert!(matches!(refused(libc::EPERM), Ok(None)) && matches!(refused(libc::ENOENT), Ok(None)));
        assert!(refused(libc::ENOBUFS).is_err());
        assert!(matches!(changed(Ok(1)), Ok(Some(1))));
    }

    #[test]
    fn only_who_would_drop_is_told_and_docker_by_its_own_chain() {
        let ip = Family::Ip;
        let ufw = chain(ip, "filter", "FORWARD", true, true);
        assert_eq!(told(vec![ufw.clone()]), [("ip filter FORWARD".to_owned(), 1)]);
        let docker = chain(ip, "filter", "DOCKER-USER", false, false);
        assert_eq!(told(vec![ufw, docker]), [("ip filter DOCKER-USER".to_owned(), 2)]);
        let others = vec![
            chain(ip, "filter", "FORWARD", true, false),
            chain(ip, "mine", "input", false, true),
            chain(ip, "pactown_0000002a", "forward", true, true),
        ];
        assert_eq!(told(others), []);
        let firewalld = chain(Family::Inet, "firewalld", "filter_FORWARD", true, false);
        let expected = ("inet firewalld filter_FORWARD".to_owned(), 1);
        assert_eq!(told(vec![firewalld]), [expected]);
    }
}
