//! The proxy over real sockets: what passes, what is refused, and what is told of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::*;

/// A proxy in a thread, and the file of its talk.
struct Proxy {
    address: SocketAddr,
    path: std::path::PathBuf,
}

impl Proxy {
    fn start(name: &str, allowed: Option<&[&str]>) -> Self {
        let path = std::env::temp_dir().join(format!("pactown-proxy-{name}-{}", std::process::id()));
        let rules = Rules {
            allowed: allowed.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()),
            parents: Parents::default(),
        };
        let talk = open(&path, &rules).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || run(socket, talk));
        Self { address, path }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn a_host_that_is_not_allowed_is_refused_and_told() {
    let proxy = Proxy::start("refuses", Some(&["good.example:443"]));
    let connect = "CONNECT Bad.example.:443 HTTP/1.1\r\nHost: bad.example\r\nConnection: close\r\n\r\n";
    let answer = proxy.ask(connect);
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("bad.example:443 is no package host"),
        "{answer}"
    );
    proxy.ask(connect);
    let other = proxy.ask("CONNECT good.example:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 403"), "another port: {other}");
    let plain =
        proxy.ask("GET http://bad.example/x HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n");
    assert!(
        plain.starts_with("HTTP/1.1 403"),
        "the address counts, not the header: {plain}"
    );
    for no_proxy in [
        "GET / HTTP/1.1\r\nHost: good.example:443\r\nConnection: close\r\n\r\n",
        "GET ftp://good.example:443/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let answer = proxy.ask(no_proxy);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let told: Vec<_> = contacts(&proxy.path)
        .into_iter()
        .map(|contact| (contact.host, contact.port, contact.count, contact.denied))
        .collect();
    assert_eq!(
        told,
        [
            ("bad.example".to_owned(), 80, 0, 1),
            ("bad.example".to_owned(), 443, 0, 2),
            ("good.example".to_owned(), 80, 0, 1)
        ]
    );
}

#[test]
fn the_hosts_own_loopback_and_the_link_are_out_of_reach_by_whatever_name() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let proxy = Proxy::start("loopback", None);
    for name in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
    ] {
        let answer = proxy.ask(&format!(
            "CONNECT {name}:{port} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        assert!(
            answer.starts_with("HTTP/1.1 502") && answer.contains("cannot be reached"),
            "{name}: {answer}"
        );
    }
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err(), "nobody came");
}
