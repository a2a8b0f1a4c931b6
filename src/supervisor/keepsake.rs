//! What the keeper holds for the next supervisor: the caller's environment and the secrets, in memory that is never
//! swapped, and what the network hangs on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use pactown_netns::Anchors;
use pactown_runtime::client::Client;
use pactown_runtime::protocol::Call;
use pactown_runtime::secrets;

use super::keeper::Keeper;
use crate::desired::Desired;

/// The keeper's names for them.
const VALUES: &str = "values";
const ANCHORS: &str = "network";

/// Gives the values of a wish to the keeper, in place of those that it has.
pub(super) fn give(keeper: &Keeper, desired: &Desired) -> io::Result<()> {
    let values = serde_json::to_vec(&(&desired.caller.env, &desired.secrets))?;
    let memory = secrets::unswappable(&values)?;
    keeper.hand_over(VALUES, &[memory.as_fd()])
}

/// Completes a wish that was written down with what the keeper at `socket` has; without that it stays as it is.
///
/// # Errors
/// The keeper does not answer, or has something else.
pub(crate) fn recall(socket: &Path, desired: &mut Desired) -> io::Result<()> {
    if let Some(memory) = held(socket, VALUES)?.into_iter().next() {
        let values = secrets::content(memory.as_fd())?;
        (desired.caller.env, desired.secrets) = serde_json::from_slice(&values)?;
    }
    Ok(())
}

/// Gives the keeper what the network hangs on.
pub(super) fn give_anchors(keeper: &Keeper, anchors: &[OwnedFd]) -> io::Result<()> {
    let anchors: Vec<_> = anchors.iter().map(AsFd::as_fd).collect();
    keeper.hand_over(ANCHORS, &anchors)
}

/// What the network hangs on; `None` when the keeper has nothing of the kind.
pub(super) fn recall_anchors(socket: &Path) -> io::Result<Option<Anchors>> {
    Ok(Anchors::of(held(socket, ANCHORS)?))
}

/// The network goes: what it hangs on is let go of.
pub(super) fn release_anchors(keeper: &Keeper) {
    keeper.tell(Call::Release {
        key: ANCHORS.to_owned(),
    });
}

fn held(socket: &Path, key: &str) -> io::Result<Vec<OwnedFd>> {
    let key = key.to_owned();
    let answer = Client::connect(socket)?.call(Call::Held { key }, &[]);
    answer.map(|(_, held)| held).map_err(io::Error::other)
}
