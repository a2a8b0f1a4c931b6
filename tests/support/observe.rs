//! Small readers of the kernel and the network, for asserting what a sandbox really is.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// `limit`, longer on a machine that is emulated: `PACTOWN_TEST_PATIENCE` times.
pub(crate) fn patient(limit: Duration) -> Duration {
    let factor = std::env::var("PACTOWN_TEST_PATIENCE").ok();
    limit * factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// `readlink /proc/<pid>/ns/<kind>`.
pub(crate) fn namespace(pid: i32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    link.unwrap_or_else(|error| panic!("/proc/{pid}/ns/{kind}: {error}"))
        .display()
        .to_string()
}

/// A field of `/proc/<pid>/status`, the text after the colon.
pub(crate) fn status_field(pid: i32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with(&format!("{key}:")))
        .expect("field");
    line[key.len() + 1..].trim().to_owned()
}

/// Host pids of the direct children of `pid`.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The body of `GET http://host:port/path`, or the error.
pub(crate) fn http_get(address: impl ToSocketAddrs, path: &str) -> Result<String, String> {
    let address = address
        .to_socket_addrs()
        .map_err(|e| e.to_string())?
        .next()
        .ok_or("no address")?;
    let mut stream =
        TcpStream::connect_timeout(&address, patient(Duration::from_secs(3))).map_err(|e| e.to_string())?;
    stream
        .set_read_timeout(Some(patient(Duration::from_secs(10))))
        .map_err(|e| e.to_string())?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|e| e.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    match head.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(body.to_owned()),
        _ => Err(format!("{head}\n{body}")),
    }
}

/// Waits until `condition` holds; panics with `what` after `limit`.
#[track_caller]
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let limit = patient(limit);
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Pids of the processes called `comm` (`pactown:super`, `pactown:keeper`) that belong to the instances whose names
/// begin so. Inits have the keeper's command line, and a name of their own.
pub(crate) fn processes(comm: &str, instance: &str) -> Vec<i32> {
    let of = |pid: &i32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).into_owned();
        read("comm") == format!("{comm}\n").as_bytes()
            && arguments.contains(&format!("/run/pactown/{instance}"))
    };
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(of).collect()
}
