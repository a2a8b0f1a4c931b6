//! A name forwarder: hands DNS messages on as they are, between sockets in the router's namespace and a resolver that only
//! the host can reach. The body of an unprivileged process; it understands nothing of what it carries.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions under way at once; more are dropped, and asked again by the resolver library that sent them.
const MOST: usize = 128;
/// Longest UDP message (EDNS, RFC 6891).
const LONGEST: usize = 4096;

/// Forwards for ever. Returns only when a socket fails for good.
pub fn run(udp: UdpSocket, tcp: TcpListener, upstreams: &[IpAddr]) -> io::Result<()> {
    let upstreams: Arc<[SocketAddr]> = upstreams.iter().map(|ip| SocketAddr::new(*ip, 53)).collect();
    let active = Arc::new(AtomicUsize::new(0));
    let (streams, busy) = (Arc::clone(&upstreams), Arc::clone(&active));
    std::thread::spawn(move || {
        for client in tcp.incoming().flatten() {
            let upstreams = Arc::clone(&streams);
            spawn(&busy, move || {
                let _ = relay(client, &upstreams);
            });
        }
    });
    let udp = Arc::new(udp);
    let mut buffer = [0; LONGEST];
    loop {
        let (length, client) = udp.recv_from(&mut buffer)?;
        let (question, socket, upstreams) = (
            buffer[..length].to_vec(),
            Arc::clone(&udp),
            Arc::clone(&upstreams),
        );
        spawn(&active, move || {
            if let Some(answer) = upstreams
                .iter()
                .find_map(|upstream| ask(*upstream, &question).ok())
            {
                let _ = socket.send_to(&answer, client);
            }
        });
    }
}

fn spawn(active: &Arc<AtomicUsize>, work: impl FnOnce() + Send + 'static) {
    if active.fetch_add(1, Ordering::Relaxed) >= MOST {
        active.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let count = Arc::clone(active);
    std::thread::spawn(move || {
        work();
        count.fetch_sub(1, Ordering::Relaxed);
    });
}

/// A socket of its own per question: an answer that was not asked for has nowhere to arrive.
fn ask(upstream: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if upstream.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(upstream)?;
    socket.send(question)?;
    let mut answer = vec![0; LONGEST];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn relay(client: TcpStream, upstreams: &[SocketAddr]) -> io::Result<()> {
    let found = upstreams
        .iter()
        .find_map(|upstream| TcpStream::connect_timeout(upstream, PATIENCE).ok());
    let upstream = found.ok_or(io::ErrorKind::ConnectionRefused)?;
    for stream in [&client, &upstream] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    let (from, to) = (client.try_clone()?, upstream.try_clone()?);
    let back = std::thread::spawn(move || copy(upstream, client));
    copy(from, to)?;
    back.join().unwrap_or(Ok(()))
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = [0; LONGEST];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            length => to.write_all(&buffer[..length])?,
        }
    }
}
