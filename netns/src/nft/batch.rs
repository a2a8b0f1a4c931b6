//! Batches and dumps over an nfnetlink socket: bytes out, answers in. Knows no rules.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    DefaultNla, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use nix::sys::socket::{MsgFlags, SockProtocol, send, setsockopt, sockopt};

use super::{Family, Operation};
use crate::netlink::{self, Message, messages, receive};

/// More than any ruleset of ours; the default of about 200 kB would refuse some hundred services.
const SEND_BUFFER: usize = 8 << 20;

/// Types of messages that every netlink protocol has (linux/netlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// How often a dump is begun: who changes tables without a pause is no reason to wait for ever.
const DUMPS: u32 = 20;

/// A socket in the calling thread's namespace.
pub(super) fn open() -> io::Result<OwnedFd> {
    let socket = netlink::open(SockProtocol::NetlinkNetFilter, 0)?;
    setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER)?;
    let _ = setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER);
    Ok(socket)
}

/// Sends a batch. The kernel works it off inside the call, so errors are there to be read right after it: any one
/// means that nothing of the batch was done.
pub(super) fn commit(socket: &OwnedFd, operations: &[Operation]) -> io::Result<()> {
    let mut bytes = Vec::new();
    let control = |message| NetfilterMessage::new(header(NetfilterProtoFamily::Unspec, 10), message);
    append(&mut bytes, control(ControlMessage::BatchBegin), NLM_F_REQUEST, 0);
    for (number, operation) in operations.iter().enumerate() {
        let message = message(operation.family, operation.kind, operation.attributes.clone());
        append(
            &mut bytes,
            message,
            operation.flags,
            u32::try_from(number).unwrap_or(u32::MAX) + 1,
        );
    }
    append(&mut bytes, control(ControlMessage::BatchEnd), NLM_F_REQUEST, 0);
    // Of a process that died between its batch and the answers.
    let _ = answers(socket);
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    answers(socket)
}

/// Every answer that is there; the first error.
fn answers(socket: &OwnedFd) -> io::Result<()> {
    let mut outcome = Ok(());
    while let Some(answer) = receive(socket, MsgFlags::MSG_DONTWAIT)? {
        outcome = outcome.and(first_error(&answer));
    }
    outcome
}

fn header(family: NetfilterProtoFamily, resource: u16) -> NetfilterHeader {
    NetfilterHeader::new(family, 0, resource)
}

fn message(family: Family, kind: u8, attributes: Vec<DefaultNla>) -> NetfilterMessage {
    let inner = NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::NfTables,
        message_type: kind,
        attributes,
    };
    let family = match family {
        Family::Ip => NetfilterProtoFamily::IPv4,
        Family::Inet => NetfilterProtoFamily::Inet,
    };
    NetfilterMessage::new(header(family, 0), inner)
}

fn append(bytes: &mut Vec<u8>, message: NetfilterMessage, flags: u16, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let start = bytes.len();
    bytes.resize(start + packet.buffer_len().next_multiple_of(4), 0);
    packet.serialize(&mut bytes[start..start + packet.buffer_len()]);
}

/// The first error that any of the messages tells.
fn first_error(bytes: &[u8]) -> io::Result<()> {
    messages(bytes).iter().try_for_each(error_of)
}

/// The message of an error, and that of the end of a dump, carry a negative errno first; 0 is an acknowledgement, and a
/// dump of which nothing is missing.
fn error_of(message: &Message) -> io::Result<()> {
    let code = message
        .body
        .first_chunk::<4>()
        .map_or(0, |code| i32::from_ne_bytes(*code));
    match message.kind {
        NLMSG_ERROR | NLMSG_DONE if code != 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(()),
    }
}

/// Every object of a kind in the tables of a family, as its attributes. Begins again when somebody changes tables
/// meanwhile: what was read may then lack one that was there all the time.
pub(super) fn dump(
    socket: &OwnedFd,
    family: Family,
    kind: u8,
    attributes: Vec<DefaultNla>,
) -> io::Result<Vec<Vec<DefaultNla>>> {
    for _ in 0..DUMPS {
        if let Some(found) = dump_once(socket, family, kind, attributes.clone())? {
            return Ok(found);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::Interrupted,
        "the tables are changed again and again while they are read",
    ))
}

/// `None` when it is not of one moment.
fn dump_once(
    socket: &OwnedFd,
    family: Family,
    kind: u8,
    attributes: Vec<DefaultNla>,
) -> io::Result<Option<Vec<Vec<DefaultNla>>>> {
    let mut bytes = Vec::new();
    append(
        &mut bytes,
        message(family, kind, attributes),
        NLM_F_REQUEST | NLM_F_DUMP,
        1,
    );
    let _ = answers(socket);
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut rows = Rows::default();
    while let Some(answer) = receive(socket, MsgFlags::empty())? {
        if rows.take(&answer)? {
            break;
        }
    }
    Ok((!rows.torn).then_some(rows.found))
}

/// What a dump has given so far.
#[derive(Debug, Default)]
struct Rows {
    found: Vec<Vec<DefaultNla>>,
    /// Tables were changed meanwhile.
    torn: bool,
}

impl Rows {
    /// Takes one packet; whether it was the last.
    fn take(&mut self, packet: &[u8]) -> io::Result<bool> {
        for message in messages(packet) {
            self.torn |= message.flags & NLM_F_DUMP_INTR != 0;
            match error_of(&message) {
                // Nothing is missing but a repetition.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => self.torn = true,
                outcome => outcome?,
            }
            if message.kind == NLMSG_DONE {
                return Ok(true);
            }
            // The first four bytes are the nfgenmsg header.
            self.found
                .push(attributes_of(message.body.get(4..).unwrap_or_default()));
        }
        Ok(false)
    }
}

pub(crate) fn attributes_of(bytes: &[u8]) -> Vec<DefaultNla> {
    use netlink_packet_core::{NlasIterator, Parseable};
    NlasIterator::new(bytes)
        .filter_map(|nla| DefaultNla::parse(&nla.ok()?).ok())
        .collect()
}

pub(crate) fn value(row: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    use netlink_packet_core::Nla;
    let found = row.iter().find(|nla| nla.kind() & 0x3fff == kind)?;
    let mut bytes = vec![0; found.value_len()];
    found.emit_value(&mut bytes);
    Some(bytes)
}

pub(crate) fn text(row: &[DefaultNla], kind: u16) -> Option<String> {
    let bytes = value(row, kind)?;
    Some(String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(&bytes)).into_owned())
}

/// A number as the kernel's attributes have it.
pub(crate) fn number(row: &[DefaultNla], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(value(row, kind)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as it is received.
    fn raw(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = 16 + u32::try_from(body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes
    }

    fn end(flags: u16, errno: i32) -> Vec<u8> {
        raw(NLMSG_DONE, flags, &(-errno).to_ne_bytes())
    }

    #[test]
    fn a_dump_is_whole_only_when_nobody_has_changed_what_it_reads() {
        let row = raw(0x0a00, 0, &[0; 4]);
        for (packet, torn) in [
            ([row.clone(), end(0, 0)], false),
            ([raw(0x0a00, NLM_F_DUMP_INTR, &[0; 4]), end(0, 0)], true),
            ([row.clone(), end(NLM_F_DUMP_INTR, 0)], true),
            ([row.clone(), end(0, libc::EINTR)], true),
        ] {
            let mut rows = Rows::default();
            assert!(rows.take(&packet.concat()).unwrap());
            assert_eq!((rows.found.len(), rows.torn), (1, torn));
        }
    }

    #[test]
    fn an_error_at_the_end_of_a_dump_is_told() {
        let mut rows = Rows::default();
        assert!(!rows.take(&raw(0x0a00, 0, &[0; 4])).unwrap());
        let error = rows.take(&end(0, libc::ENOBUFS)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
    }
}
