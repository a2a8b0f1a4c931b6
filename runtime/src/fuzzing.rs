//! The door through which a fuzzer sends packets to [`crate::wire`]; exists with the feature `fuzzing` only.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};

use crate::protocol::{MAX_PACKET, Request};
use crate::wire;

thread_local! {
    static PAIR: (OwnedFd, OwnedFd) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .expect("a socket pair");
}

/// One packet, received as the keeper does. What it takes for a request is sent on and received once more.
///
/// # Panics
/// When the second request is not the first.
pub fn packet(bytes: &[u8]) {
    // An empty packet is the end of the connection.
    if bytes.is_empty() || bytes.len() > MAX_PACKET {
        return;
    }
    PAIR.with(|(near, far)| {
        rustix::net::send(near, bytes, SendFlags::NOSIGNAL).expect("room for one packet");
        let Ok(Some((request, descriptors))) = wire::receive::<Request>(far) else {
            return;
        };
        assert!(descriptors.is_empty());
        // What is sent on may be longer than it came: numbers and escapes have more than one spelling.
        if wire::send(near, &request, &[]).is_err() {
            return;
        }
        let again = wire::receive::<Request>(far)
            .expect("a request")
            .expect("not the end");
        assert_eq!(format!("{request:?}"), format!("{:?}", again.0));
    });
}
