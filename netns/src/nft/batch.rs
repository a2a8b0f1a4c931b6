//! Batches and dumps over an nfnetlink socket: bytes out, answers in. Knows no rules.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    DefaultNla, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use nix::sys::socket::{MsgFlags, SockProtocol, send, setsockopt, sockopt};

use super::{Family, Operation};
use crate::netlink::{self, messages, receive};

/// More than any ruleset of ours; the default of about 200 kB would refuse some hundred services.
const SEND_BUFFER: usize = 8 << 20;

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

/// NLMSG_ERROR carries a negative errno first; 0 is an acknowledgement.
fn first_error(bytes: &[u8]) -> io::Result<()> {
    for (kind, body) in messages(bytes) {
        let code = body
            .first_chunk::<4>()
            .map_or(0, |code| i32::from_ne_bytes(*code));
        if kind == 2 && code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
    }
    Ok(())
}

/// Every object of a kind in the tables of a family, as its attributes.
pub(super) fn dump(
    socket: &OwnedFd,
    family: Family,
    kind: u8,
    attributes: Vec<DefaultNla>,
) -> io::Result<Vec<Vec<DefaultNla>>> {
    let mut bytes = Vec::new();
    append(
        &mut bytes,
        message(family, kind, attributes),
        NLM_F_REQUEST | NLM_F_DUMP,
        1,
    );
    let _ = answers(socket);
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut found = Vec::new();
    while let Some(answer) = receive(socket, MsgFlags::empty())? {
        first_error(&answer)?;
        for (kind, body) in messages(&answer) {
            if kind == 3 {
                return Ok(found);
            }
            // The first four bytes are the nfgenmsg header.
            found.push(attributes_of(body.get(4..).unwrap_or_default()));
        }
    }
    Ok(found)
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
