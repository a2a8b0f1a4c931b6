//! Who may do what: tokens, what is allowed without one, and a limit on guessing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};

use super::App;
use super::fault::Fault;
use crate::registry::name::ArtifactId;
use crate::registry::store::Token;

/// Wrong tokens that an address may try in a minute.
const GUESSES: u32 = 20;

const MINUTE: Duration = Duration::from_secs(60);

/// Addresses whose guesses are remembered.
const REMEMBERED: usize = 10_000;

/// What may be done without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Anonymous {
    /// Nothing
    None,
    /// Reading
    Read,
    /// Reading and publishing
    Publish,
    /// Everything: for the owner of a store, in its own process.
    #[value(skip)]
    Everything,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    anonymous: Anonymous,
    pub(crate) token: Option<Token>,
}

impl App {
    /// Who sent a request with these headers. Decided before its body is looked at.
    ///
    /// # Errors
    /// There is a token, and it does not work; or the address guesses too often.
    pub(crate) fn caller(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Caller, Fault> {
        let anonymous = self.settings.anonymous;
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return Ok(Caller {
                anonymous,
                token: None,
            });
        };
        let secret = given.to_str().ok().and_then(|value| {
            let (scheme, secret) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        });
        let found = match secret {
            Some(secret) => self.store.token(secret)?,
            None => None,
        };
        match found.filter(|token| token.is_valid(now())) {
            Some(token) => Ok(Caller {
                anonymous,
                token: Some(token),
            }),
            // Only now: who holds a right token is not kept out by a neighbour that guesses.
            None if peer.is_some_and(|peer| self.guesses.is_over(peer)) => {
                let message = "too many wrong tokens from this address";
                Err(Fault::later(StatusCode::TOO_MANY_REQUESTS, message, 60))
            }
            None => {
                if let Some(peer) = peer {
                    self.guesses.count(peer);
                }
                Err(Fault::new(
                    StatusCode::UNAUTHORIZED,
                    "the token is unknown, expired or revoked",
                ))
            }
        }
    }
}

impl Caller {
    /// Whether it may read this namespace.
    pub(crate) fn reads(&self, namespace: &str) -> bool {
        self.anonymous >= Anonymous::Read || self.scopes().any(|scope| scope.reads(namespace))
    }

    /// The namespaces of `all` that it may read, or `None` for all there are.
    pub(crate) fn readable(
        &self,
        all: impl FnOnce() -> Result<Vec<String>, Fault>,
    ) -> Result<Option<Vec<String>>, Fault> {
        if self.anonymous >= Anonymous::Read {
            return Ok(None);
        }
        if self.token.is_none() {
            return Err(self.refusal("reading needs a token"));
        }
        Ok(Some(all()?.into_iter().filter(|name| self.reads(name)).collect()))
    }

    /// Refuses when it may not read this namespace.
    pub(crate) fn must_read(&self, namespace: &str) -> Result<(), Fault> {
        self.need(self.reads(namespace), "reading this namespace")
    }

    /// Refuses when it may not publish this artifact.
    pub(crate) fn must_publish(&self, artifact: &ArtifactId) -> Result<(), Fault> {
        let may =
            self.anonymous >= Anonymous::Publish || self.scopes().any(|scope| scope.publishes(artifact));
        self.need(may, &format!("publishing {artifact}"))
    }

    /// Refuses when it can publish nothing at all: said before a body is read.
    pub(crate) fn must_be_publisher(&self) -> Result<(), Fault> {
        let may = self.anonymous >= Anonymous::Publish
            || self
                .scopes()
                .any(|scope| !matches!(scope, crate::registry::store::Scope::Read(_)));
        self.need(may, "publishing")
    }

    /// Refuses when it is no administrator.
    pub(crate) fn must_administer(&self) -> Result<(), Fault> {
        let may = self.anonymous >= Anonymous::Everything
            || self
                .scopes()
                .any(|scope| *scope == crate::registry::store::Scope::Admin);
        self.need(may, "this")
    }

    fn scopes(&self) -> impl Iterator<Item = &crate::registry::store::Scope> {
        self.token.iter().flat_map(|token| &token.scopes)
    }

    fn need(&self, may: bool, what: &str) -> Result<(), Fault> {
        if may {
            Ok(())
        } else {
            Err(self.refusal(&format!("{what} needs a token that allows it")))
        }
    }

    fn refusal(&self, message: &str) -> Fault {
        let status = match self.token {
            Some(_) => StatusCode::FORBIDDEN,
            None => StatusCode::UNAUTHORIZED,
        };
        Fault::new(status, message)
    }
}

/// Wrong tokens, by address.
#[derive(Default)]
pub(crate) struct Guesses(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Guesses {
    fn is_over(&self, peer: IpAddr) -> bool {
        let guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guesses
            .get(&peer)
            .is_some_and(|(since, count)| since.elapsed() < MINUTE && *count >= GUESSES)
    }

    fn count(&self, peer: IpAddr) {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= REMEMBERED {
            guesses.retain(|_, (since, _)| since.elapsed() < MINUTE);
        }
        if guesses.len() >= REMEMBERED {
            guesses.clear();
        }
        let entry = guesses.entry(peer).or_insert_with(|| (Instant::now(), 0));
        if entry.0.elapsed() >= MINUTE {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
