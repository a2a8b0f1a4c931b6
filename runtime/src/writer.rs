//! The log writer: a child of the keeper that writes all logs, so that a disk that hangs makes nobody else wait.
//!
//! It takes one order after the other, each of lines that lie in memory shared with the keeper, and answers each. The lines
//! are the keeper's until they are answered: when this process is killed, its successor gets the same orders again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::confine::confine;
use crate::failpoint;
use crate::log::{Lines, Log, Standing};
use crate::protocol::LogFile;
use crate::secrets;
use crate::sys::{self, Cloned, SharedMemory};
use crate::wire;

/// Longest order or answer, in bytes: most of it is a path.
pub(crate) const LONGEST_ORDER: usize = 16 * 1024;

/// What is to be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Number of the log.
    pub(crate) log: u64,
    /// Until this writer has answered for this log: where it is, and how far another writer had come.
    pub(crate) open: Option<(LogFile, Option<Standing>)>,
    /// Whole log lines, in the shared memory.
    pub(crate) lines: Range<usize>,
    /// How many bytes of the service's they stand for; 0 for the keeper's own.
    pub(crate) service_bytes: u64,
    /// Bytes that were dropped before them, and why.
    pub(crate) missing: Option<(u64, String)>,
    /// Nothing comes any more.
    pub(crate) close: bool,
}

impl Order {
    /// Of no lines.
    pub(crate) fn empty(log: u64) -> Self {
        Self {
            log,
            open: None,
            lines: 0..0,
            service_bytes: 0,
            missing: None,
            close: false,
        }
    }
}

/// What the writer says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The order is done: written, or counted as dropped.
    Done(Standing),
    /// The log cannot be opened.
    Refused(String),
    /// In the midst of an order: the log goes on in a new file.
    Moved(Standing),
}

/// Starts a log writer: its pid and the way to it, which does not block.
/// It can write below `places` alone.
pub(crate) fn start(memory: &SharedMemory, places: &[PathBuf]) -> io::Result<(i32, OwnedFd)> {
    let (ours, its) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    match sys::clone3(0, None)? {
        Cloned::Child => {
            let _ = rustix::thread::set_name(c"pactown:logs");
            secrets::stay_in_memory_too();
            // Above all the end of the life pipe: it says that the keeper lives.
            sys::close_all_except(3, &[its.as_raw_fd()]);
            // Whoever started the keeper waits for the end of its output.
            if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
                let _ = rustix::stdio::dup2_stdin(&null);
                let _ = rustix::stdio::dup2_stdout(&null);
            }
            let places: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
            let outcome = confine(&places, &[])
                .map_err(io::Error::other)
                .and_then(|()| serve(&its, memory));
            let code = i32::from(outcome.is_err());
            sys::exit_now(code);
        }
        Cloned::Parent(pid, _) => Ok((pid, ours)),
    }
}

/// Until the keeper has closed its end, and everything it gave is written.
fn serve(socket: &OwnedFd, memory: &SharedMemory) -> io::Result<()> {
    failpoint::hit("log-writer-started")?;
    let mut logs = BTreeMap::new();
    while let Some((order, _)) = wire::receive_small::<Order>(socket, LONGEST_ORDER)? {
        let answer = carry_out(&mut logs, order, memory, &mut |standing| {
            // A keeper that is gone needs to know nothing.
            let _ = wire::send(socket, &Answer::Moved(standing.clone()), &[]);
        });
        failpoint::hit("log-written")?;
        let _ = wire::send(socket, &answer, &[]);
    }
    Ok(())
}

fn carry_out(
    logs: &mut BTreeMap<u64, Log>,
    order: Order,
    memory: &SharedMemory,
    moved: &mut dyn FnMut(&Standing),
) -> Answer {
    let log = match (logs.entry(order.log), order.open) {
        (Entry::Occupied(known), _) => known.into_mut(),
        (Entry::Vacant(free), Some((place, earlier))) => match Log::open(place, earlier) {
            Ok(log) => free.insert(log),
            Err(error) => return Answer::Refused(error.to_string()),
        },
        (Entry::Vacant(_), None) => return Answer::Refused("it was not opened".to_owned()),
    };
    if !order.lines.is_empty() || order.missing.is_some() {
        let lines = Lines {
            text: memory.part(order.lines),
            service_bytes: order.service_bytes,
            missing: order.missing,
        };
        log.take(&lines, moved);
    }
    let standing = log.standing().clone();
    if order.close {
        logs.remove(&order.log);
    }
    Answer::Done(standing)
}
