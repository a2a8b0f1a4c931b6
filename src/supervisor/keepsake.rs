//! The caller's environment, for the next supervisor: in memory that the keeper holds, never on disk.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;

use pactown_runtime::client::Client;
use pactown_runtime::protocol::Call;
use rustix::fs::{MemfdFlags, memfd_create};

use super::keeper::Keeper;
use crate::desired::Caller;

/// The keeper's name for it.
const KEY: &str = "environment";

/// Gives the environment to the keeper, in place of one that it has.
pub(super) fn give(keeper: &Keeper, caller: &Caller) -> io::Result<()> {
    let mut memory = File::from(memfd_create("pactown-environment", MemfdFlags::CLOEXEC)?);
    memory.write_all(&serde_json::to_vec(&caller.env)?)?;
    keeper.hand_over(KEY, memory.as_fd())
}

/// Takes a look at what the keeper at `socket` has; the environment of `caller` stays empty when it has none.
pub(super) fn recall(socket: &Path, caller: &mut Caller) -> io::Result<()> {
    let key = KEY.to_owned();
    let answer = Client::connect(socket)?.call(Call::Held { key }, &[]);
    let (_, held) = answer.map_err(io::Error::other)?;
    if let Some(memory) = held.into_iter().next() {
        let (mut memory, mut text) = (File::from(memory), Vec::new());
        // The place in it is shared with whoever wrote or read it before.
        memory.rewind()?;
        memory.read_to_end(&mut text)?;
        caller.env = serde_json::from_slice(&text)?;
    }
    Ok(())
}
