//! Host ports: reserved by a socket that is bound and never listens, and, when taken, by whom.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};

use crate::request::{HostPort, Transport};

/// A port that nobody else can bind while the descriptors are open.
#[derive(Debug)]
pub struct Reservation {
    /// Bound, never listening.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a port could not be reserved.
#[derive(Debug)]
pub enum Taken {
    /// Somebody has it; who, if `/proc` tells.
    By(Option<Holder>),
    /// The kernel refused for another reason (an address that is not the host's, for example).
    Refused(io::Error),
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: i32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}[{}]", self.name, self.pid)
    }
}

/// Reserves `port` on `host`. For 127.0.0.1, `[::1]` is reserved along with it where it is free: clients of `localhost`
/// then fall back to 127.0.0.1 at once, instead of reaching somebody else.
///
/// # Errors
/// [`Taken`].
pub fn reserve(host: IpAddr, port: HostPort) -> Result<Reservation, Taken> {
    let own = bound(SocketAddr::new(host, port.port), port.transport, false);
    let own = match own {
        // Connections of a program that is gone linger for a minute (TIME_WAIT); they hold nothing.
        Err(Errno::EADDRINUSE) if only_lingering(port) => {
            bound(SocketAddr::new(host, port.port), port.transport, true)
        }
        other => other,
    };
    match own {
        Ok(own) => {
            let mut descriptors = vec![own];
            if matches!(host, IpAddr::V4(address) if address.is_loopback()) {
                let sibling = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port.port);
                descriptors.extend(bound(sibling, port.transport, false).ok());
            }
            Ok(Reservation { descriptors })
        }
        Err(Errno::EADDRINUSE) => Err(Taken::By(holder(port))),
        Err(errno) => Err(Taken::Refused(errno.into())),
    }
}

fn bound(address: SocketAddr, transport: Transport, reuse: bool) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let kind = if transport == Transport::Tcp {
        SockType::Stream
    } else {
        SockType::Datagram
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &reuse)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    match address {
        SocketAddr::V4(v4) => bind(descriptor, &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => bind(descriptor, &SockaddrIn6::from(v6))?,
    }
    Ok(socket)
}

fn rows(port: HostPort) -> Vec<Row> {
    let kind = port.transport.to_string();
    let tables = [format!("/proc/net/{kind}"), format!("/proc/net/{kind}6")];
    let all = tables
        .iter()
        .flat_map(|path| parse(&fs::read_to_string(path).unwrap_or_default()));
    all.filter(|row| row.port == port.port).collect()
}

fn only_lingering(port: HostPort) -> bool {
    let rows = rows(port);
    !rows.is_empty() && rows.iter().all(|row| row.lingering)
}

/// The process whose socket has this local port, from `/proc/net/{tcp,udp}{,6}` and the descriptors of all processes.
/// A socket that is bound and does not listen is in neither: reservations of other instances must be asked for there.
pub fn holder(port: HostPort) -> Option<Holder> {
    let inodes: Vec<u64> = rows(port)
        .into_iter()
        .filter(|row| !row.lingering)
        .map(|row| row.inode)
        .collect();
    let names: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| holds(*pid, &names))
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"))
                .unwrap_or_default()
                .trim()
                .to_owned();
            Holder { pid, name }
        })
        .next()
}

fn holds(pid: i32, names: &[String]) -> bool {
    let descriptors = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    let mut links = descriptors
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| {
        link.to_str()
            .is_some_and(|link| names.iter().any(|name| name == link))
    })
}

/// A line of `/proc/net/tcp` (proc_net(5)).
#[derive(Debug, PartialEq, Eq)]
struct Row {
    port: u16,
    lingering: bool,
    inode: u64,
}

fn parse(table: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let local = columns.next()?;
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?.parse().ok()?;
        Some(Row {
            port,
            lingering: state == "06",
            inode,
        })
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0\n   \
            1: 0100007F:1F91 0100007F:0050 06 00000000:00000000 03:00001000 00000000     0        0 0 3 0\n";
        let rows = parse(table);
        assert_eq!(
            rows[0],
            Row {
                port: 8080,
                lingering: false,
                inode: 12345
            }
        );
        assert_eq!(
            rows[1],
            Row {
                port: 8081,
                lingering: true,
                inode: 0
            }
        );
        assert!(parse("garbage\nmore garbage\n").is_empty());
    }

    #[test]
    fn a_listener_is_found_and_keeps_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = HostPort {
            port: listener.local_addr().unwrap().port(),
            transport: Transport::Tcp,
        };
        let Err(Taken::By(Some(holder))) = reserve("127.0.0.1".parse().unwrap(), port) else {
            panic!("not taken")
        };
        assert_eq!(holder.pid, std::process::id().cast_signed());
        drop(listener);
        let kept = reserve("127.0.0.1".parse().unwrap(), port).unwrap();
        assert!(std::net::TcpListener::bind(("127.0.0.1", port.port)).is_err());
        drop(kept);
        assert!(std::net::TcpListener::bind(("127.0.0.1", port.port)).is_ok());
    }
}
