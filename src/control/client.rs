//! The command line's end of the control API: one HTTP/1.1 connection over the unix socket per request.
//!
//! A refusal becomes [`Error`] here, by its exit code; what to print about it is the caller's business.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::Progress;
use super::server::{ErrorBody, Refusal};
use crate::error::Error;

/// The control API of one instance. Holds no connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// The lines of a progress stream. Dropping it closes the connection, which ends an attached run.
#[derive(Debug)]
pub struct ProgressStream {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    /// The instance whose control socket is `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Whether a supervisor answers.
    pub async fn is_alive(&self) -> bool {
        self.get_json::<serde_json::Value>("/v1/health").await.is_ok()
    }

    /// `GET path`. Errors: nobody listens ([`Error::Failed`]), a refusal, an answer of another shape.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        let text = collect(answer).await?;
        serde_json::from_slice(&text).map_err(|source| internal("read the supervisor's answer", source))
    }

    /// `POST path` for its effect.
    pub async fn post<B: Serialize>(&self, path: &str, body: &B) -> Result<(), Error> {
        let answer = self.send(Method::POST, path, encode(body)?).await?;
        collect(answer).await.map(drop)
    }

    /// `POST path`, answered by a stream of [`Progress`].
    pub async fn post_stream<B: Serialize>(&self, path: &str, body: &B) -> Result<ProgressStream, Error> {
        let answer = self.send(Method::POST, path, encode(body)?).await?;
        Ok(ProgressStream {
            body: answer.into_body(),
            buffer: Vec::new(),
        })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Error> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| unreachable(&self.socket, &error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| internal("greet the supervisor", source))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "pactown")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|source| internal("form the request", source))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|source| lost(&source))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = collect(answer).await?;
        Err(match serde_json::from_slice::<ErrorBody>(&text) {
            Ok(body) => error_of(body.error),
            Err(_) => Error::Internal {
                message: format!(
                    "the supervisor answered {status}: {}",
                    String::from_utf8_lossy(&text)
                ),
                source: None,
            },
        })
    }
}

impl ProgressStream {
    /// The next line; `None` at the end. Errors: the connection was lost, a line of another shape.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let progress = serde_json::from_slice(&line);
                return progress
                    .map(Some)
                    .map_err(|source| internal("read a line of progress", source));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(&error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes, Error> {
    let body = answer.into_body().collect().await;
    body.map(|body| body.to_bytes()).map_err(|source| lost(&source))
}

fn encode<B: Serialize>(body: &B) -> Result<Bytes, Error> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|source| internal("write the request", source))
}

fn error_of(refusal: Refusal) -> Error {
    let mut message = refusal.message;
    for cause in refusal.causes {
        message.push_str(&format!(": {cause}"));
    }
    match refusal.exit_code {
        1 => Error::Failed(message),
        2 => Error::Usage {
            message,
            hint: refusal.hint,
        },
        3 => Error::Environment {
            message,
            hint: refusal.hint,
        },
        124 => Error::Timeout(message),
        _ => Error::Internal {
            message,
            source: None,
        },
    }
}

/// Nobody listens, or this user may not connect.
fn unreachable(socket: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Environment {
            message: format!("this user may not look into `{}`", socket.display()),
            hint: Some("run the command with sudo".to_owned()),
        },
        _ => Error::Lost("the ecosystem is not running".to_owned()),
    }
}

fn lost(error: &hyper::Error) -> Error {
    Error::Lost(format!("the connection to the supervisor was lost ({error})"))
}

fn internal(step: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal {
        message: format!("cannot {step}"),
        source: Some(Box::new(source)),
    }
}
