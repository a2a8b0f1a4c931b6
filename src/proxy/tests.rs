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
        Self::below(name, allowed, Parents::default())
    }

    /// One that asks other proxies.
    fn below(name: &str, allowed: Option<&[&str]>, parents: Parents) -> Self {
        let path = std::env::temp_dir().join(format!("pactown-proxy-{name}-{}", std::process::id()));
        let rules = Rules {
            allowed: allowed.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()),
            parents,
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

/// The listener of another proxy, and who has to ask it: everybody.
fn parent() -> (TcpListener, Parents) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let env = [("http_proxy", &address), ("https_proxy", &address)];
    let env = env.map(|(name, address)| (name.to_owned(), address.clone()));
    (listener, Parents::of(&env.into_iter().collect()))
}

/// The head of a request.
fn head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    let mut byte = [0];
    while !head.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
        head.push(char::from(byte[0]));
    }
    head
}

const TUNNEL: &str = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn another_proxy_is_asked_for_the_host_of_the_address_whatever_the_header_says() {
    let (listener, parents) = parent();
    let proxy = Proxy::below("host", Some(&["good.example:80"]), parents);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            .unwrap();
        asked
    });
    let answer =
        proxy.ask("GET http://good.example/x HTTP/1.1\r\nHost: bad.example\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let asked = server.join().unwrap().to_lowercase();
    assert!(
        asked.starts_with("get http://good.example/x ") && asked.contains("host: good.example\r\n"),
        "{asked}"
    );
    assert!(!asked.contains("bad.example"), "{asked}");
}

#[test]
fn another_proxy_that_never_answers_is_not_waited_for_for_ever() {
    let (listener, parents) = parent();
    let proxy = Proxy::below("silent", None, parents);
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    stream.write_all(TUNNEL.as_bytes()).unwrap();
    let _silent = listener.accept().unwrap();
    let answer = head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[test]
fn a_tunnel_has_its_place_until_it_ends() {
    let (listener, parents) = parent();
    let proxy = Proxy::below("places", None, parents);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                head(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                // Until the other end is closed.
                let _ = stream.read(&mut [0]);
            });
        }
    });
    let open = || {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.write_all(TUNNEL.as_bytes()).unwrap();
        stream
    };
    let mut tunnels: Vec<_> = (0..serve::AT_ONCE)
        .map(|_| {
            let mut stream = open();
            let answer = head(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            stream
        })
        .collect();
    let mut late = open();
    late.set_read_timeout(Some(std::time::Duration::from_millis(500)))
        .unwrap();
    assert_eq!(head(&mut late), "", "there is no place for it yet");
    tunnels.pop();
    late.set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let answer = head(&mut late);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
