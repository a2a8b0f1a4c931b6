//! stdout and stderr of the sandboxes → their logs. While the disk is slow the pipe fills, and the writer waits: nothing
//! is lost. Only what the disk refuses, or hangs for, is dropped, counted and told in the log.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};

use super::logs::TURN;
use super::{Keeper, Source};

/// Streams read in one turn of the loop: what else happens does not wait for more.
const STREAMS: usize = 8;

/// Room that all streams use in turn.
#[derive(Debug, Default)]
pub(super) struct Room {
    input: Vec<u8>,
    /// What found no room in the logs: of which sandbox, which stream, and where in the input.
    rest: Option<(String, usize, Range<usize>)>,
    /// Token of the outputs in the keeper's loop while they are looked at.
    watched: Option<u64>,
}

impl Keeper {
    /// Reads what has come, as long as the logs take it.
    pub(super) fn on_outputs(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); STREAMS];
        let count = match self.outputs.wait(&mut events, EpollTimeout::ZERO) {
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            other => other?,
        };
        for event in &events[..count] {
            if !self.logs.takes() || self.room.rest.is_some() {
                return self.pause_outputs();
            }
            if let Some(source) = self.sources.get(&event.data()).cloned() {
                self.handle(event.data(), &source)?;
            }
        }
        Ok(())
    }

    fn pause_outputs(&mut self) -> io::Result<()> {
        if let Some(token) = self.room.watched.take() {
            self.sources.remove(&token);
            self.epoll.delete(&self.outputs.0)?;
        }
        Ok(())
    }

    fn resume_outputs(&mut self) -> io::Result<()> {
        if self.room.watched.is_none() {
            let token = self.register(Source::Outputs);
            self.epoll
                .add(&self.outputs.0, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            self.room.watched = Some(token);
        }
        Ok(())
    }

    pub(super) fn on_output(&mut self, token: u64, id: &str, stream: usize) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            self.sources.remove(&token);
            return Ok(());
        };
        let Some((pipe, cutter)) = &mut sandbox.outputs[stream] else {
            return Ok(());
        };
        let mut hidden = sandbox.hidden.as_mut().map(|streams| &mut streams[stream]);
        let room = TURN - hidden.as_ref().map_or(0, |hidden| hidden.held());
        self.room.input.resize(TURN, 0);
        match rustix::io::read(pipe.as_fd(), &mut self.room.input[..room]) {
            Ok(0) => {
                hidden
                    .into_iter()
                    .for_each(|hidden| cutter.hold_back(&hidden.finish()));
                self.logs.finish(sandbox.log, cutter);
                self.sources.remove(&token);
                if let Some((pipe, _)) = sandbox.outputs[stream].take() {
                    let _ = self.outputs.delete(pipe.as_fd());
                }
                self.settle(id)
            }
            Ok(count) => {
                let count = hidden
                    .as_mut()
                    .map_or(count, |hidden| hidden.pass(&mut self.room.input, count));
                self.log_output(id, stream, 0..count);
                Ok(())
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn log_output(&mut self, id: &str, stream: usize, part: Range<usize>) {
        if let Some(sandbox) = self.sandboxes.get_mut(id)
            && let Some((_, cutter)) = &mut sandbox.outputs[stream]
        {
            let input = &self.room.input[part.clone()];
            let left = self.logs.append(sandbox.log, cutter, input).len();
            if left > 0 {
                self.room.rest = Some((id.to_owned(), stream, part.end - left..part.end));
            }
        }
    }

    /// Watches both streams of a new sandbox.
    pub(super) fn watch_outputs(&mut self, id: &str) -> io::Result<()> {
        for stream in 0..2 {
            let token = self.register(Source::Output(id.to_owned(), stream));
            let output = self
                .sandboxes
                .get(id)
                .and_then(|sandbox| sandbox.outputs[stream].as_ref());
            if let Some((pipe, _)) = output {
                self.outputs
                    .add(pipe.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            }
        }
        Ok(())
    }

    /// What the logs have room for, or have written, by now; and a log writer in place of one that died.
    pub(super) fn tend_logs(&mut self) -> io::Result<()> {
        if self.logs.is_due() {
            // Tried again later when it fails; the disk counts as hanging meanwhile.
            let _ = self.start_log_writer();
        }
        if self.logs.takes() {
            if let Some((id, stream, part)) = self.room.rest.take() {
                self.log_output(&id, stream, part);
            }
            if self.room.rest.is_none() {
                self.resume_outputs()?;
            }
        }
        self.tend_notes();
        for id in std::mem::take(&mut self.unwritten) {
            self.settle(&id)?;
        }
        Ok(())
    }

    pub(super) fn start_log_writer(&mut self) -> io::Result<()> {
        let token = self.register(Source::LogWriter);
        let answers = self.logs.start_writer()?;
        self.epoll
            .add(answers, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(())
    }

    pub(super) fn on_log_writer(&mut self, token: u64) {
        if !self.logs.on_answers() {
            // It is reaped soon; until then its end would be told again and again.
            self.sources.remove(&token);
            if let Some(socket) = self.logs.socket() {
                let _ = self.epoll.delete(socket);
            }
        }
    }
}
