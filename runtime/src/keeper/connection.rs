//! Connections to the keeper: root's only, non-blocking, each with its own `exec` processes.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::SocketFlags;

use super::{Keeper, Source};
use crate::protocol::{Event, Request, What};
use crate::wire;

pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) subscribed: bool,
}

impl Connection {
    /// Sends, and never waits. Who cannot be told, also because they do not read, is cut off: they would wait for ever
    /// for what is lost, and learn of its loss by the end of the connection.
    fn send(&self, event: &Event, descriptors: &[BorrowedFd]) {
        if let Err(error) = wire::send(&self.socket, event, descriptors) {
            let _ = writeln!(
                io::stderr(),
                "keeper: a connection is cut off: cannot send: {error}"
            );
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        }
    }
}

impl Keeper {
    pub(super) fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else {
            return Ok(());
        };
        let peer = rustix::net::sockopt::socket_peercred(&socket)?;
        if peer.uid != rustix::process::Uid::ROOT {
            return Ok(());
        }
        let number = self.next_source;
        self.watch(socket.as_fd(), Source::Connection(number))?;
        self.connections.insert(
            number,
            Connection {
                socket,
                subscribed: false,
            },
        );
        Ok(())
    }

    /// One request; a connection that closed or speaks nonsense is dropped.
    pub(super) fn on_request(&mut self, token: u64, number: u64) -> io::Result<()> {
        let Some(connection) = self.connections.get(&number) else {
            return Ok(());
        };
        match wire::receive::<Request>(&connection.socket) {
            Ok(Some((request, descriptors))) => self.call(number, request, descriptors),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.disconnect(token, number),
        }
        Ok(())
    }

    fn disconnect(&mut self, token: u64, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            self.unwatch(token, connection.socket.as_fd());
        }
        self.execs
            .values()
            .filter(|exec| exec.connection == number)
            .for_each(super::Exec::kill);
    }

    /// Answers a request.
    pub(super) fn answer(&self, to: (u64, u64), what: What, descriptors: &[BorrowedFd]) {
        if let Some(connection) = self.connections.get(&to.0) {
            let seq = Some(to.1);
            connection.send(&Event { seq, what }, descriptors);
        }
    }

    /// Tells every subscriber.
    pub(super) fn broadcast(&self, what: &What) {
        for connection in self
            .connections
            .values()
            .filter(|connection| connection.subscribed)
        {
            let event = Event {
                seq: None,
                what: what.clone(),
            };
            connection.send(&event, &[]);
        }
    }
}
