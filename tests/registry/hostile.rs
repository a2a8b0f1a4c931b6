//! Hostile input: refused or neutralised, with memory bounded and other clients served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::registry::{Folder, Server};

/// What the server may hold, in KiB.
const MEMORY: u64 = 100 * 1024;

#[test]
fn bodies_that_make_no_sense_are_refused() {
    let folder = Folder::new("bodies");
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    let whole = r#"{"name":"a","version":"1.0.0","readme_content":"x"}"#;
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("empty", b"".to_vec(), 422),
        ("no JSON", b"name=a&version=1".to_vec(), 422),
        ("a list", b"[]".to_vec(), 422),
        ("deep", deep.clone().into_bytes(), 422),
        (
            "deep metadata",
            format!(r#"{{"name":"a","version":"1.0.0","readme_content":"x","metadata":{{"a":{deep}"#)
                .into_bytes(),
            422,
        ),
        ("NaN", whole.replace("\"x\"", "NaN").into_bytes(), 422),
        ("a huge number", whole.replace("\"x\"", "1e400").into_bytes(), 422),
        (
            "a lone surrogate",
            whole.replace("\"x\"", r#""\ud800""#).into_bytes(),
            422,
        ),
        (
            "invalid UTF-8",
            [&whole.as_bytes()[..whole.len() - 3], b"\xff\"}"].concat(),
            422,
        ),
        ("twice", whole.replace("{", r#"{"name":"b","#).into_bytes(), 422),
        (
            "a mark in front",
            [b"\xef\xbb\xbf", whole.as_bytes()].concat(),
            422,
        ),
        ("wrong types", whole.replace("\"x\"", "[1]").into_bytes(), 422),
        ("null", whole.replace("\"x\"", "null").into_bytes(), 422),
        (
            "tags of numbers",
            whole.replace("}", r#","tags":[1]}"#).into_bytes(),
            422,
        ),
        (
            "too many tags",
            whole
                .replace("}", &format!(r#","tags":[{}"a"]}}"#, "\"a\",".repeat(50)))
                .into_bytes(),
            422,
        ),
        ("more behind it", format!("{whole}{whole}").into_bytes(), 422),
        (
            "unknown fields",
            whole.replace("}", r#","extra":1}"#).into_bytes(),
            200,
        ),
    ];
    for (what, body, status) in cases {
        let answer = server
            .try_send("POST", "/v1/publish", &[], Some(&body))
            .expect("an answer");
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(answer.json().is_object(), "{what}");
    }
    let form = server.try_send(
        "POST",
        "/v1/publish",
        &["Content-Type: text/plain"],
        Some(whole.as_bytes()),
    );
    assert_eq!(
        form.expect("an answer").status,
        415,
        "what a page of another site may send"
    );
    let packed = server.try_send(
        "POST",
        "/v1/publish",
        &["Content-Encoding: gzip"],
        Some(whole.as_bytes()),
    );
    assert_eq!(packed.expect("an answer").status, 415);
}

#[test]
fn a_body_has_a_limit_and_many_have_a_budget() {
    let folder = Folder::new("large");
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    let announced = server.raw(b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n");
    assert_eq!(
        announced.expect("an answer").status,
        413,
        "before anything was sent"
    );
    let endless = |_| {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a limit");
        let head = b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).expect("sent");
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        let sent = (0..1024).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        let mut answer = [0; 16];
        let _ = stream.read(&mut answer);
        (sent, String::from_utf8_lossy(&answer[..12]).into_owned())
    };
    let before = server.resident_kib();
    let ends: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|number| scope.spawn(move || endless(number)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .collect()
    });
    for (sent, answer) in &ends {
        // 4 MiB are 64 chunks; the rest is what the sockets hold.
        assert!(*sent < 400, "{ends:?}");
        assert!(
            answer.is_empty() || answer.contains("413") || answer.contains("503") || answer.starts_with('\0'),
            "{answer:?}"
        );
    }
    let after = server.resident_kib();
    assert!(after < MEMORY, "{before} KiB before, {after} KiB after");
    assert_eq!(server.publish("small", "1.0.0", "x").status, 200);
}

#[test]
fn requests_that_mean_two_things_are_refused() {
    let folder = Folder::new("smuggled");
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    let answers = |raw: &[u8]| -> Vec<u16> {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .expect("a limit");
        let _ = stream.write_all(raw);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all).into_owned();
        text.split("HTTP/1.1 ")
            .skip(1)
            .filter_map(|rest| rest[..3].parse().ok())
            .collect()
    };
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    for (what, raw) in [
        (
            "two lengths",
            format!("POST /v1/publish HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n{close}xx"),
        ),
        (
            "a length that is none",
            format!("POST /v1/publish HTTP/1.1\r\nContent-Length: +1\r\n{close}x"),
        ),
        (
            "an unknown coding",
            format!("POST /v1/publish HTTP/1.1\r\nTransfer-Encoding: chunked, x\r\n{close}0\r\n\r\n"),
        ),
        (
            "a space before the colon",
            format!("GET /health HTTP/1.1\r\nX : y\r\n{close}"),
        ),
        (
            "a folded header",
            format!("GET /health HTTP/1.1\r\nX: y\r\n z\r\n{close}"),
        ),
        ("a NUL", format!("GET /health HTTP/1.1\r\nX: \0\r\n{close}")),
        ("no version", "GET /health\r\n\r\n".to_owned()),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned()),
    ] {
        assert_eq!(answers(raw.as_bytes()), [400], "{what}");
    }
    let many = format!(
        "GET /health HTTP/1.1\r\n{}{close}",
        (0..500).map(|n| format!("x{n}: y\r\n")).collect::<String>()
    );
    assert_eq!(answers(many.as_bytes()), [431]);
    let long = format!("GET /health HTTP/1.1\r\nX: {}\r\n{close}", "y".repeat(1 << 20));
    let long = answers(long.as_bytes());
    assert!(long.is_empty() || long == [431], "{long:?}");
    let both = format!(
        "POST /v1/publish HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n{close}0\r\n\r\nGET /health HTTP/1.1\r\n{close}"
    );
    assert!(answers(both.as_bytes()).len() == 1, "one request, one answer");
    let piped = format!(
        "{}GET /health HTTP/1.1\r\n{close}",
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(999)
    );
    assert_eq!(answers(piped.as_bytes()), [200; 1000]);
}

#[test]
fn pages_of_other_sites_can_do_nothing() {
    let folder = Folder::new("browser");
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    let body = json!({"name": "a", "version": "1.0.0", "readme_content": "x"});
    for host in [
        "attacker.test",
        "localhost.attacker.test",
        "127.0.0.1.attacker.test",
        "",
    ] {
        let answer = server.send("GET", "/v1/artifacts", &[&format!("Host: {host}")], None);
        assert_eq!(answer.status, 421, "{host}");
    }
    for host in ["localhost", "localhost:8800", "127.0.0.1:1", "[::1]:8800"] {
        assert_eq!(
            server
                .send("GET", "/health", &[&format!("Host: {host}")], None)
                .status,
            200,
            "{host}"
        );
    }
    let two = server.send(
        "GET",
        "/health",
        &["Host: localhost", "Host: attacker.test"],
        None,
    );
    assert!(matches!(two.status, 400 | 421));
    let foreign = server.send(
        "POST",
        "/v1/publish",
        &["Origin: https://attacker.test"],
        Some(&body),
    );
    assert_eq!(foreign.status, 403);
    assert_eq!(
        server
            .send("POST", "/v1/publish", &["Origin: null"], Some(&body))
            .status,
        403
    );
    let read = server.send("GET", "/v1/artifacts", &["Origin: https://attacker.test"], None);
    assert_eq!(
        (read.status, read.header("access-control-allow-origin")),
        (200, None)
    );
    assert_eq!(read.json(), json!([]), "nothing was published");
    let own = format!("Origin: {}", server.url());
    assert_eq!(
        server.send("POST", "/v1/publish", &[&own], Some(&body)).status,
        200
    );
    let upgrade = server.send(
        "GET",
        "/health",
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Origin: https://attacker.test",
        ],
        None,
    );
    assert_ne!(upgrade.status, 101);
}

#[test]
fn silent_and_slow_connections_keep_nobody_out() {
    let folder = Folder::new("slow");
    let server = Server::start(
        folder.path(),
        &["--anonymous", "publish", "--max-connections", "64"],
    );
    let before = server.resident_kib();
    let mut idle: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(server.address).expect("a connection"))
        .collect();
    for stream in &mut idle {
        let _ = stream.write_all(b"GET / HT");
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.get("/health").status, 200);
    }
    assert!(
        start.elapsed() < crate::support::observe::patient(Duration::from_secs(5)),
        "{:?}",
        start.elapsed()
    );
    // Those that were not closed to make room are closed because they take too long.
    let last = idle.last_mut().expect("a connection");
    last.set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a limit");
    let mut rest = Vec::new();
    let _ = last.read_to_end(&mut rest);
    assert!(
        start.elapsed() < crate::support::observe::patient(Duration::from_secs(15)),
        "{:?}",
        start.elapsed()
    );
    assert!(server.resident_kib() < before + 16 * 1024);
}
