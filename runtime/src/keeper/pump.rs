//! stdout and stderr of the sandboxes → their logs. While the disk is slow the pipe fills, and the writer waits: nothing
//! is lost. Only what the disk refuses is dropped, counted and told in the log.

use std::io;
use std::os::fd::AsFd;

use super::{Keeper, Source};

/// Bytes read in one turn of one stream, so that a flood starves nobody.
const TURN: usize = 256 * 1024;

/// Room that all streams use in turn.
#[derive(Debug, Default)]
pub(super) struct Room {
    input: Vec<u8>,
    lines: Vec<u8>,
}

impl Keeper {
    pub(super) fn on_output(&mut self, token: u64, id: &str, stream: usize) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            self.sources.remove(&token);
            return Ok(());
        };
        let Some((pipe, cutter)) = &mut sandbox.outputs[stream] else {
            return Ok(());
        };
        let room = &mut self.room;
        room.input.resize(TURN, 0);
        match rustix::io::read(pipe.as_fd(), &mut room.input[..]) {
            Ok(0) => {
                sandbox.log.finish(cutter);
                let pipe = sandbox.outputs[stream].take();
                if let Some((pipe, _)) = pipe {
                    self.unwatch(token, pipe.as_fd());
                }
                self.settle(id)
            }
            Ok(count) => {
                sandbox.log.append(cutter, &room.input[..count], &mut room.lines);
                Ok(())
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches both streams of a new sandbox.
    pub(super) fn watch_outputs(&mut self, id: &str) -> io::Result<()> {
        for stream in 0..2 {
            let Some(pipe) = self
                .sandboxes
                .get(id)
                .and_then(|sandbox| sandbox.outputs[stream].as_ref())
            else {
                continue;
            };
            let pipe = pipe.0.as_fd().try_clone_to_owned()?;
            self.watch(pipe.as_fd(), Source::Output(id.to_owned(), stream))?;
            // Replace the pipe by its watched clone: epoll forgets a descriptor only when the last copy closes.
            if let Some(Some(output)) = self
                .sandboxes
                .get_mut(id)
                .map(|sandbox| sandbox.outputs[stream].as_mut())
            {
                output.0 = pipe;
            }
        }
        Ok(())
    }
}
