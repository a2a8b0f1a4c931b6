//! What the keeper holds for the next supervisor: the caller's environment, in memory and never on disk, and what the
//! network hangs on.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use pactown_netns::Anchors;
use pactown_runtime::client::Client;
use pactown_runtime::protocol::Call;
use rustix::fs::{MemfdFlags, memfd_create};

use super::keeper::Keeper;
use crate::desired::Caller;

/// The keeper's names for them.
const ENVIRONMENT: &str = "environment";
const ANCHORS: &str = "network";

/// Gives the environment to the keeper, in place of one that it has.
pub(super) fn give(keeper: &Keeper, caller: &Caller) -> io::Result<()> {
    let mut memory = File::from(memfd_create("pactown-environment", MemfdFlags::CLOEXEC)?);
    memory.write_all(&serde_json::to_vec(&caller.env)?)?;
    keeper.hand_over(ENVIRONMENT, &[memory.as_fd()])
}

/// Takes a look at what the keeper at `socket` has; the environment of `caller` stays empty when it has none.
pub(super) fn recall(socket: &Path, caller: &mut Caller) -> io::Result<()> {
    if let Some(memory) = held(socket, ENVIRONMENT)?.into_iter().next() {
        let (mut memory, mut text) = (File::from(memory), Vec::new());
        // The place in it is shared with whoever wrote or read it before.
        memory.rewind()?;
        memory.read_to_end(&mut text)?;
        caller.env = serde_json::from_slice(&text)?;
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
