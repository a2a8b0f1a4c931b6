//! Other people's firewalls. An accept in our table cannot override a drop in another, so where Docker drops what it does
//! not know (`FORWARD`), its own chain for such exceptions, `DOCKER-USER`, lets our uplinks through. Our own forward chain
//! does the filtering.

use crate::error::Result;
use crate::nft;
use crate::ruleset::{Action, Match, Rule};

const TABLE: &str = "filter";
const CHAIN: &str = "DOCKER-USER";

/// Lets the uplink through, once. Without Docker there is nothing to do.
/// Only plain `iifname` and `oifname` rules: anything else makes the chain unreadable for iptables.
pub(crate) fn open(uplink: &str) -> Result<()> {
    if !nft::has_chain(TABLE, CHAIN)? {
        return Ok(());
    }
    nft::remove_mentioning(TABLE, CHAIN, uplink)?;
    for one in [Match::From(uplink.to_owned()), Match::Towards(uplink.to_owned())] {
        nft::insert(
            TABLE,
            CHAIN,
            &Rule {
                matches: vec![one],
                counted: false,
                action: Action::Accept,
            },
        )?;
    }
    Ok(())
}

/// Takes the rules out again. No such chain, or none of ours in it, is success.
pub(crate) fn close(uplink: &str) -> Result<()> {
    if nft::has_chain(TABLE, CHAIN)? {
        nft::remove_mentioning(TABLE, CHAIN, uplink)?;
    }
    Ok(())
}
