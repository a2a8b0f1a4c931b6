//! Other people's firewalls. An accept in our table cannot override a drop in another, so where Docker drops what it does
//! not know (`FORWARD`), its own chain for such exceptions, `DOCKER-USER`, lets our uplinks through. Our own forward chain
//! does the filtering.

use crate::error::Result;
use crate::nft::batch::{attributes_of, text};
use crate::nft::{DELETE_RULE, NEW_CHAIN, Session};
use crate::ruleset::{Action, Match, Rule};

const TABLE: &str = "filter";
const CHAIN: &str = "DOCKER-USER";

/// Lets the uplink through, once; whether that was needed. Without Docker there is nothing to do.
/// Only plain `iifname` and `oifname` rules: anything else makes the chain unreadable for iptables.
pub(crate) fn open(rules: &Session, uplink: &str) -> Result<bool> {
    if !rules.has_chain(TABLE, CHAIN)? || rules.mentioning(TABLE, CHAIN, uplink)?.len() == 2 {
        return Ok(false);
    }
    rules.remove_mentioning(TABLE, CHAIN, uplink)?;
    for one in [Match::From(uplink.to_owned()), Match::Towards(uplink.to_owned())] {
        rules.insert(
            TABLE,
            CHAIN,
            &Rule {
                matches: vec![one],
                counted: false,
                action: Action::Accept,
            },
        )?;
    }
    Ok(true)
}

/// Takes the rules out again. No such chain, or none of ours in it, is success.
pub(crate) fn close(rules: &Session, uplink: &str) -> Result<()> {
    if rules.has_chain(TABLE, CHAIN)? {
        rules.remove_mentioning(TABLE, CHAIN, uplink)?;
    }
    Ok(())
}

/// The kind of an nftables message; `None` for other subsystems of netlink.
pub(crate) fn rule_message(kind: u16) -> Option<u8> {
    const NF_TABLES: u8 = 10;
    let [subsystem, kind] = kind.to_be_bytes();
    (subsystem == NF_TABLES).then_some(kind)
}

/// Whether an nftables message tells that the chain was made, or a rule of it removed.
pub(crate) fn concerns(kind: u8, body: &[u8]) -> bool {
    let name = match kind {
        NEW_CHAIN => 3,
        DELETE_RULE => 2,
        _ => return false,
    };
    let row = attributes_of(body.get(4..).unwrap_or_default());
    text(&row, 1).as_deref() == Some(TABLE) && text(&row, name).as_deref() == Some(CHAIN)
}
