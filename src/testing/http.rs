//! One request of a test and its whole answer, at most 1 MiB; redirects are not followed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// How much of a body is read, in bytes.
const MOST: usize = 1024 * 1024;

/// Who is asked, and from where.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The service's address in its network.
    pub(super) to: SocketAddr,
    /// The network namespace that the connection is made in; `None` = the host's, the way its users come.
    pub(super) from: Option<PathBuf>,
}

/// What is asked, with everything filled in.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(String, String)],
    pub(super) body: Option<&'a str>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection was refused, by the service's machine or by the network's rules.
    Refused,
    /// Anything else.
    Other(String),
}

impl Answer {
    /// The first header of that name (in lower case).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Ends the connection with the test.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks. How long an answer may take is the caller's to say; `limit` is for the connection.
pub(super) async fn ask(way: &Way, question: &Question<'_>, limit: Duration) -> Result<Answer, Lost> {
    let other = |error: &dyn std::error::Error| Lost::Other(crate::error::chain(error));
    let request = request(way, question)?;
    let stream = connect(way, limit).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| other(&error))?;
    let _connection = Connection(tokio::spawn(connection).abort_handle());
    let answer = sender.send_request(request).await.map_err(|error| {
        match error.is_incomplete_message() || error.is_canceled() {
            true => Lost::Other("the connection was closed before there was an answer".to_owned()),
            false if error.is_parse() => Lost::Other("its answer is not HTTP".to_owned()),
            false => other(&error),
        }
    })?;
    let status = answer.status().as_u16();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    let headers = answer.headers().iter().map(header).collect();
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let body = body.map_err(|error| Lost::Other(format!("its body cannot be read: {error}")))?;
    Ok(Answer {
        status,
        headers,
        body: body.to_bytes().to_vec(),
    })
}

async fn connect(way: &Way, limit: Duration) -> Result<TcpStream, Lost> {
    let connected = match way.from.clone() {
        None => TcpStream::connect(way.to).await,
        Some(namespace) => {
            let to = way.to;
            let inside = move || pactown_netns::connect(&namespace, to, limit);
            let stream = tokio::task::spawn_blocking(inside).await;
            let stream = stream
                .map_err(|error| Lost::Other(error.to_string()))?
                .map_err(|error| Lost::Other(crate::error::chain(&error)))?;
            stream.and_then(|stream| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            })
        }
    };
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Lost::Refused,
        io::ErrorKind::HostUnreachable => Lost::Other("no route to the sandbox".to_owned()),
        _ => Lost::Other(error.to_string()),
    })
}

/// The host is called `localhost`, which servers with a list of allowed hosts accept.
fn request(way: &Way, question: &Question) -> Result<Request<Full<Bytes>>, Lost> {
    let mut own = vec![
        ("host", format!("localhost:{}", way.to.port())),
        ("user-agent", "pactown-test".to_owned()),
        ("accept", "*/*".to_owned()),
        ("connection", "close".to_owned()),
    ];
    if question.body.is_some_and(|body| body.starts_with(['{', '['])) {
        own.push(("content-type", "application/json".to_owned()));
    }
    let written = |name: &str| {
        let mut names = question.headers.iter();
        names.any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let mut request = Request::builder().method(question.method).uri(question.path);
    for (name, value) in own.into_iter().filter(|(name, _)| !written(name)) {
        request = request.header(name, value);
    }
    for (name, value) in question.headers {
        request = request.header(name, value);
    }
    let body = Bytes::from(question.body.unwrap_or_default().to_owned());
    request
        .body(Full::new(body))
        .map_err(|error| Lost::Other(format!("the request cannot be written: {error}")))
}
