//! Netlink sockets of any protocol: opened, heard, and what was heard cut into messages. Knows no message.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::NetlinkBuffer;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// A socket in the calling thread's namespace. It hears the multicast groups whose bits are set in `groups`.
pub(crate) fn open(protocol: SockProtocol, groups: u32) -> io::Result<OwnedFd> {
    let opened = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    bind(opened.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(opened)
}

/// One packet; `None` when none is there and `flags` say not to wait.
pub(crate) fn receive(socket: &OwnedFd, flags: MsgFlags) -> io::Result<Option<Vec<u8>>> {
    let mut answer = vec![0; 64 * 1024];
    match recv(socket.as_raw_fd(), &mut answer, flags) {
        Err(nix::errno::Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
        Ok(length) => {
            answer.truncate(length);
            Ok(Some(answer))
        }
    }
}

/// One message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) body: Vec<u8>,
}

/// The messages in a received buffer.
pub(crate) fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Ok(packet) = NetlinkBuffer::new_checked(&rest) {
        let length = packet.length() as usize;
        if length < 16 {
            break;
        }
        found.push(Message {
            kind: packet.message_type(),
            flags: packet.flags(),
            body: rest[16..length].to_vec(),
        });
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    found
}
