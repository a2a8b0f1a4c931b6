//! One GET to a service, with everything it may answer bounded: 64 KiB in all, redirects not followed. The limit in
//! time is the caller's, who drops the future: the connection goes with it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use regex::Regex;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::words;
use crate::config::ecosystem::BodyMatch;

/// How much of an answer is read, headers included, in bytes.
const MOST: usize = 64 * 1024;
/// How long a body that does not matter is read, so that a server does not see a reset.
const COURTESY: Duration = Duration::from_millis(100);
/// How much of a wrong body is told, in characters.
const TOLD: usize = 60;

/// The request, and the answer that is wanted.
pub(super) struct Wanted<'a> {
    /// Path and query.
    pub(super) path: &'a str,
    /// Headers besides pactown's own; `Host` and `User-Agent` replace those.
    pub(super) headers: &'a [(String, String)],
    /// Lowest and highest good status.
    pub(super) expect: (u16, u16),
    /// What the body must be like.
    pub(super) body: Option<&'a BodyMatch>,
}

/// Why an answer is not good.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There was no answer; why.
    Lost(String),
    /// There was another one than was wanted: `answered …`.
    Wrong(String),
}

/// Ends the connection when the answer is there, or nobody waits for it any more.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks `address`.
pub(super) async fn get(address: SocketAddr, wanted: Wanted<'_>) -> Result<(), Fault> {
    let request = request(address, &wanted)?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| Fault::Lost(words(&error)))?;
    let (reader, writer) = stream.into_split();
    let limited = tokio::io::join(reader.take(MOST as u64), writer);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST)
        .handshake(TokioIo::new(limited))
        .await
        .map_err(|error| Fault::Lost(error.to_string()))?;
    let _connection = Connection(tokio::spawn(connection).abort_handle());
    let answer = sender.send_request(request).await.map_err(lost)?;
    let status = answer.status().as_u16();
    let (low, high) = wanted.expect;
    if !(low..=high).contains(&status) {
        return Err(Fault::Wrong(format!("answered {status}")));
    }
    let mut body = answer.into_body();
    match wanted.body {
        None => {
            let _ = timeout(COURTESY, read(&mut body)).await;
            Ok(())
        }
        Some(wanted) => judge(&read(&mut body).await, wanted)
            .map_err(|fault| Fault::Wrong(format!("answered {status}, {fault}"))),
    }
}

/// The host is called `localhost`, which servers with a list of allowed hosts accept.
fn request(address: SocketAddr, wanted: &Wanted) -> Result<Request<Empty<Bytes>>, Fault> {
    let host = format!("localhost:{}", address.port());
    let own = [("host", host.as_str()), ("user-agent", "pactown-health")];
    let written = |name: &str| {
        wanted
            .headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let mut request = Request::builder().uri(wanted.path).header("connection", "close");
    for (name, value) in own.into_iter().filter(|(name, _)| !written(name)) {
        request = request.header(name, value);
    }
    for (name, value) in wanted.headers {
        request = request.header(name, value);
    }
    request
        .body(Empty::new())
        .map_err(|error| Fault::Lost(error.to_string()))
}

fn lost(error: hyper::Error) -> Fault {
    Fault::Lost(if error.is_parse_too_large() {
        "the headers of its answer are too long".to_owned()
    } else if error.is_incomplete_message() {
        "the connection was closed before there was an answer".to_owned()
    } else if error.is_canceled() {
        "it closed the connection, or spoke before it was asked".to_owned()
    } else if error.is_parse() {
        "its answer is not HTTP".to_owned()
    } else {
        error.to_string()
    })
}

/// What can be had of the body: a broken or endless one counts as far as it was read.
async fn read(body: &mut Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    bytes
}

/// Whether the body is as it should be, or what is wrong with it.
fn judge(body: &[u8], wanted: &BodyMatch) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    let (good, how) = match wanted {
        BodyMatch::Contains(part) => (text.contains(part.as_str()), format!("without '{part}'")),
        BodyMatch::Regex(expression) => (
            Regex::new(expression).is_ok_and(|expression| expression.is_match(&text)),
            format!("without a match of /{expression}/"),
        ),
    };
    match good {
        true => Ok(()),
        false if text.is_empty() => Err(format!("its body is empty, {how}")),
        false => Err(format!("its body begins with '{}', {how}", told(&text))),
    }
}

/// One line of the beginning.
fn told(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let begin: String = text.chars().take(TOLD).map(shown).collect();
    begin.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_judged_and_told_shortly() {
        let contains = BodyMatch::Contains("ready".to_owned());
        let regex = BodyMatch::Regex("^re.dy$".to_owned());
        for wanted in [&contains, &regex] {
            assert_eq!(judge(b"ready", wanted), Ok(()));
        }
        assert_eq!(
            judge(b"starting\n\x1b[31m", &contains).unwrap_err(),
            "its body begins with 'starting  [31m', without 'ready'"
        );
        assert_eq!(
            judge(b"", &regex).unwrap_err(),
            "its body is empty, without a match of /^re.dy$/"
        );
        assert!(judge(&[0xff; 5000], &contains).unwrap_err().chars().count() < 120);
    }
}
