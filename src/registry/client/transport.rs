//! How requests reach the answering code: over a connection, or by a call.

use std::io;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::api;
use super::wire::{Answer, agent, persistently};
use crate::registry::server;
use crate::registry::store::{Store, StoreError};
use crate::registry::text::plain;

/// Bytes of an answer that are taken.
const MAX_ANSWER: u64 = 64 << 20;

/// Why the registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It refuses.
    #[error("{message}")]
    Refused {
        /// The answer's status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It cannot be reached, or not any more.
    #[error("{0}")]
    Unreachable(String),
    /// What it answers is not what was asked for.
    #[error("{0}")]
    Mismatch(String),
    /// The store of this user cannot be opened.
    #[error("the store in {directory} cannot be used")]
    Store {
        /// Where it is.
        directory: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// No runtime for the call.
    #[error("the call cannot be made")]
    Io(#[from] io::Error),
}

/// The way to a registry.
pub enum Transport {
    /// To a server.
    Http(Box<Http>),
    /// To a store on this machine, in this process.
    Local(Box<Local>),
}

/// A server.
pub struct Http {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// A store that is open.
pub struct Local {
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Transport {
    /// To the server at `base`, such as `https://host:8800`.
    ///
    /// # Errors
    /// `SSL_CERT_FILE` names no certificates.
    pub fn http(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        Ok(Self::Http(Box::new(Http::new(base, token)?)))
    }

    /// To the store in `directory`, made when there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn local(directory: &Path) -> Result<Self, ClientError> {
        let store = Store::open(directory).map_err(|source| ClientError::Store {
            directory: directory.display().to_string(),
            source,
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        Ok(Self::Local(Box::new(Local {
            router: server::in_process(store),
            runtime,
        })))
    }

    /// The body of a success.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, ClientError> {
        Ok(self.answer(method, path, body)?.into_body())
    }

    /// The body of a success, and the path of the next page.
    pub(super) fn page(&self, path: &str) -> Result<(Vec<u8>, Option<String>), ClientError> {
        let answer = self.answer(Method::GET, path, None)?;
        let link = answer
            .headers()
            .get(header::LINK)
            .and_then(|link| link.to_str().ok());
        let next = link.and_then(|link| {
            let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
            (rest.contains("rel=\"next\"") && target.starts_with('/')).then(|| target.to_owned())
        });
        Ok((answer.into_body(), next))
    }

    fn answer(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, ClientError> {
        let body = body.map(|body| body.to_string().into_bytes());
        // Every request may be sent twice: publishing the same again changes nothing.
        let answer = persistently(|| match self {
            Self::Http(server) => server.once(&method, path, body.as_deref()),
            Self::Local(store) => store.once(&method, path, body.as_deref()),
        });
        answer.and_then(success)
    }
}

impl Http {
    /// The server at `base`.
    ///
    /// # Errors
    /// `SSL_CERT_FILE` names no certificates.
    pub(super) fn new(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        Ok(Self {
            agent: agent()?,
            base: base.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Its address.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What it answers to one question, whatever that is; nothing new when `tag` still stands for it.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(super) fn get(&self, path: &str, tag: Option<&str>) -> Result<Answer, ClientError> {
        self.send(&Method::GET, path, None, tag)
    }

    fn once(&self, method: &Method, path: &str, body: Option<&[u8]>) -> Result<Answer, ClientError> {
        self.send(method, path, body, None)
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        tag: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let told = |error: &dyn std::fmt::Display| {
            ClientError::Unreachable(format!(
                "the registry at {} cannot be reached: {error}",
                self.base
            ))
        };
        let request = request
            .body(body.unwrap_or_default())
            .map_err(|error| told(&error))?;
        let answer = self.agent.run(request).map_err(|error| told(&error))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec();
        Ok(Response::from_parts(parts, body.map_err(|error| told(&error))?))
    }
}

impl Local {
    fn once(&self, method: &Method, path: &str, body: Option<&[u8]>) -> Result<Answer, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Body::from(body.unwrap_or_default().to_vec()));
        let request = request.map_err(|error| ClientError::Mismatch(error.to_string()))?;
        self.runtime.block_on(async {
            let Ok(answer) = self.router.clone().oneshot(request).await;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?;
            Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
        })
    }
}

/// The answer, when it is a success.
///
/// # Errors
/// What the registry says instead.
pub(super) fn success(answer: Answer) -> Result<Answer, ClientError> {
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let message = match serde_json::from_slice::<api::Refused>(answer.body()) {
        Ok(refused) => detail(&refused.detail),
        Err(_) if answer.status().is_redirection() => {
            "it answers with a redirect, which is not followed".to_owned()
        }
        Err(_) => format!("status {status}"),
    };
    Err(ClientError::Refused { status, message })
}

/// What a registry says is a stranger's text.
fn detail(detail: &api::Detail) -> String {
    match detail {
        api::Detail::Text(text) => plain(text),
        api::Detail::List(wrong) => {
            let lines = wrong.iter().map(|wrong| {
                let field = wrong.loc.last().map_or_else(String::new, |field| {
                    format!(
                        "{}: ",
                        field
                            .as_str()
                            .map_or_else(|| field.to_string(), ToOwned::to_owned)
                    )
                });
                plain(&format!("{field}{}", wrong.msg))
            });
            lines.collect::<Vec<_>>().join("; ")
        }
    }
}
