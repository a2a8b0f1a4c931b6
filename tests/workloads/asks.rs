//! What is asked of servers, over the network and in their own protocols: a hundred requests each.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::support::observe::http_get;

/// Asks the server at an address for this edition.
pub(super) type Ask = fn(&str, &str) -> Result<(), String>;

/// Requests of one ask.
const REQUESTS: usize = 100;
const LIMIT: Duration = Duration::from_secs(10);

/// `GET /` has the edition in it.
pub(super) fn http(address: &str, edition: &str) -> Result<(), String> {
    (0..REQUESTS).try_for_each(|_| contains(&http_get(address, "/")?, edition))
}

/// The same for a server to which each request is a lot of work.
pub(super) fn a_few(address: &str, edition: &str) -> Result<(), String> {
    (0..REQUESTS / 5).try_for_each(|_| contains(&http_get(address, "/")?, edition))
}

/// What Vite made of a module in TypeScript.
pub(super) fn module(address: &str, edition: &str) -> Result<(), String> {
    for _ in 0..REQUESTS {
        let body = http_get(address, "/edition.ts")?;
        contains(&body, edition)?;
        if body.contains(": string =") {
            return Err(format!("not compiled: {body}"));
        }
    }
    contains(&http_get(address, "/")?, "/@vite/client")
}

/// Answers come from more than one process.
pub(super) fn workers(address: &str, edition: &str) -> Result<(), String> {
    let mut pids = BTreeSet::new();
    let (mut asked, mut open) = (0, Vec::new());
    while asked < REQUESTS {
        // Connections that say nothing keep their worker busy: the next is another one's.
        open.push(TcpStream::connect(address).map_err(|error| error.to_string())?);
        for _ in 0..REQUESTS / 4 {
            let body = http_get(address, "/")?;
            contains(&body, edition)?;
            pids.insert(body.rsplit(' ').next().unwrap_or("").trim().to_owned());
            asked += 1;
        }
        open.truncate(1);
    }
    if pids.len() < 2 {
        Err(format!("all of {pids:?}"))
    } else {
        Ok(())
    }
}

/// Five events.
pub(super) fn events(address: &str, edition: &str) -> Result<(), String> {
    let wanted = format!("data: {edition}\n");
    for _ in 0..REQUESTS / 5 {
        let body = http_get(address, "/")?;
        if body.matches(&wanted).count() != 5 {
            return Err(body);
        }
    }
    Ok(())
}

/// Masked text frames, each answered by an unmasked one (RFC 6455).
pub(super) fn websocket(address: &str, edition: &str) -> Result<(), String> {
    let mut stream = connect(address)?;
    let shake = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    say(&mut stream, shake.as_bytes())?;
    let head = until(&mut stream, "\r\n\r\n")?;
    // The key's answer of RFC 6455, 1.3.
    contains(&head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")?;
    for number in 0..REQUESTS {
        let text = format!("kite {number}");
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("short"), 1, 2, 3, 4];
        frame.extend(
            text.bytes()
                .zip([1, 2, 3, 4].into_iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        say(&mut stream, &frame)?;
        let mut head = [0; 2];
        stream.read_exact(&mut head).map_err(|error| error.to_string())?;
        let mut body = vec![0; usize::from(head[1])];
        stream.read_exact(&mut body).map_err(|error| error.to_string())?;
        contains(&String::from_utf8_lossy(&body), &format!("{edition} of {text}"))?;
    }
    Ok(())
}

/// Counts up under the edition's name.
pub(super) fn redis(address: &str, edition: &str) -> Result<(), String> {
    let mut stream = BufReader::new(connect(address)?);
    command(&mut stream, &["DEL", &format!("of {edition}")])?;
    for number in 1..=REQUESTS {
        let answer = command(&mut stream, &["INCR", &format!("of {edition}")])?;
        contains(&answer, &format!(":{number}"))?;
    }
    // A background save forks.
    contains(&command(&mut stream, &["BGREWRITEAOF"])?, "+Background")
}

/// The value of a key.
pub(super) fn redis_get(address: &str, key: &str) -> Result<String, String> {
    let mut stream = BufReader::new(connect(address)?);
    command(&mut stream, &["GET", key])?;
    line(&mut stream)
}

fn command(stream: &mut BufReader<TcpStream>, words: &[&str]) -> Result<String, String> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    say(stream.get_mut(), text.as_bytes())?;
    line(stream)
}

/// Sets and gets.
pub(super) fn memcached(address: &str, edition: &str) -> Result<(), String> {
    let mut stream = BufReader::new(connect(address)?);
    for number in 0..REQUESTS {
        let value = format!("{edition} {number}");
        say(
            stream.get_mut(),
            format!("set kite 0 0 {}\r\n{value}\r\nget kite\r\n", value.len()).as_bytes(),
        )?;
        for wanted in ["STORED", &format!("VALUE kite 0 {}", value.len()), &value, "END"] {
            contains(&line(&mut stream)?, wanted)?;
        }
    }
    Ok(())
}

/// A table, a transaction, an index, and a query over it; the edition is the cluster's name.
pub(super) fn postgres(address: &str, edition: &str) -> Result<(), String> {
    contains(&psql(address, "SHOW cluster_name")?, edition)?;
    let script = format!(
        "SET client_min_messages = error; CREATE TABLE IF NOT EXISTS rows (edition text, number int); BEGIN; \
         DELETE FROM rows WHERE edition = '{edition}'; \
         INSERT INTO rows SELECT '{edition}', n FROM generate_series(1, {REQUESTS}) n; COMMIT; \
         CREATE INDEX IF NOT EXISTS by_number ON rows (number); VACUUM ANALYZE rows"
    );
    psql(address, &script)?;
    let sum = psql(
        address,
        &format!("SELECT sum(number) FROM rows WHERE edition = '{edition}'"),
    )?;
    contains(&sum, "5050")
}

/// What `psql` prints for these statements, without heads.
pub(super) fn psql(address: &str, script: &str) -> Result<String, String> {
    let (host, port) = address.split_once(':').ok_or("no port")?;
    let mut command = Command::new("psql");
    command.args([
        "-qAt",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        host,
        "-p",
        port,
        "-U",
        "app",
        "-d",
        "postgres",
    ]);
    // VACUUM wants a transaction of its own.
    for statement in script.split("; ") {
        command.args(["-c", statement]);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(LIMIT))
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

fn say(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).map_err(|error| error.to_string())
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut text = String::new();
    stream.read_line(&mut text).map_err(|error| error.to_string())?;
    Ok(text.trim_end().to_owned())
}

fn until(stream: &mut TcpStream, end: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(end) {
        stream.read_exact(&mut byte).map_err(|error| error.to_string())?;
        text.push(char::from(byte[0]));
    }
    Ok(text)
}

fn contains(text: &str, wanted: &str) -> Result<(), String> {
    // One of the programs shouts.
    match text.to_lowercase().contains(&wanted.to_lowercase()) {
        true => Ok(()),
        false => Err(format!("{wanted:?} is not in {text:?}")),
    }
}
