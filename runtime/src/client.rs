//! The other side of the keeper's socket. Safe in programs with threads: it never forks.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::Failure;
use crate::error::FailureKind;
use crate::protocol::{Call, Event, Request, What};
use crate::wire;

/// A connection. Clones share it: one may send while another receives.
#[derive(Debug, Clone)]
pub struct Client {
    socket: Arc<OwnedFd>,
    sequence: Arc<AtomicU64>,
}

impl Client {
    /// Connects to `<instance>/keeper.sock`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when no keeper lives there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self {
            socket: Arc::new(socket),
            sequence: Arc::new(AtomicU64::new(1)),
        })
    }

    /// Pid of the keeper.
    pub fn keeper_pid(&self) -> io::Result<i32> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket)?;
        Ok(peer.pid.as_raw_nonzero().get())
    }

    /// Whether the keeper has ended, or closed this connection.
    ///
    /// # Errors
    /// The kernel's, of poll(2).
    pub fn is_gone(&self) -> io::Result<bool> {
        let mut socket = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        poll(&mut socket, Some(&Timespec::default()))?;
        Ok(socket[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP))
    }

    /// Ends the connection for all clones, also while one of them waits: the keeper then ends its `Exec` processes.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Sends a call; the answer will carry the number that is returned.
    pub fn send(&self, call: Call, descriptors: &[BorrowedFd]) -> io::Result<u64> {
        let seq = self.sequence.fetch_add(1, Ordering::Relaxed);
        wire::send(&self.socket, &Request { seq, call }, descriptors)?;
        Ok(seq)
    }

    /// Waits for the next event, with the descriptors that came along; `None` when the keeper is gone.
    pub fn receive(&self) -> io::Result<Option<(Event, Vec<OwnedFd>)>> {
        wire::receive(&self.socket)
    }

    /// Sends a call and waits for its answer. Only for connections on which nothing else is waited for: other events
    /// that arrive meanwhile are dropped.
    ///
    /// # Errors
    /// A `Failed` answer, or the keeper's death.
    pub fn call(&self, call: Call, descriptors: &[BorrowedFd]) -> Result<(What, Vec<OwnedFd>), Failure> {
        let gone = |cause: String| Failure::new(FailureKind::Environment, "ask the keeper", cause);
        let seq = self
            .send(call, descriptors)
            .map_err(|error| gone(error.to_string()))?;
        loop {
            match self.receive().map_err(|error| gone(error.to_string()))? {
                None => return Err(gone("it is gone".to_owned())),
                Some((event, _)) if event.seq != Some(seq) => {}
                Some((
                    Event {
                        what: What::Failed { step, causes, kind },
                        ..
                    },
                    _,
                )) => {
                    return Err(Failure { step, causes, kind });
                }
                Some((event, descriptors)) => return Ok((event.what, descriptors)),
            }
        }
    }
}
