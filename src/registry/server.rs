//! Answers HTTP from a store: the REST interface of `docs/registry.md`, and pages for people.

mod access;
mod admission;
mod answer;
mod body;
mod catalogue;
mod document;
mod fault;
mod guard;
mod listen;
mod measure;
mod mirror;
mod pages;
mod publish;
mod readme;
mod reads;
mod routes;
mod token;
mod upstream;

use std::sync::Arc;

use axum::Router;
use tokio::sync::Semaphore;

pub use access::Anonymous;
pub use listen::{Listening, Tls};
pub use measure::LogLine;
pub use upstream::{Away, Listed, Upstream};

use super::store::{Store, StoreError};
use access::Guesses;
use measure::Metrics;
use mirror::Mirror;

/// KiB of request bodies that are held in memory at the same time, of all requests together.
const BODIES_KIB: usize = 32 * 1024;

/// What a server allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What may be done without a token.
    pub anonymous: Anonymous,
    /// Names, beyond addresses and localhost, by which it is called (`Host`).
    pub hosts: Vec<String>,
    /// Origins whose pages may read its answers; `*` is any.
    pub origins: Vec<String>,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Requests per second and address; none: no limit.
    pub rate: Option<u32>,
    /// Another registry, asked for what is not here.
    pub upstream: Option<Arc<dyn Upstream>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::Read,
            hosts: Vec::new(),
            origins: Vec::new(),
            max_body: 4 << 20,
            rate: None,
            upstream: None,
        }
    }
}

/// What every request finds.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    settings: Settings,
    metrics: Metrics,
    guesses: Guesses,
    bodies: Arc<Semaphore>,
    mirror: Option<Arc<Mirror>>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    pub(crate) fn new(store: Store, settings: Settings) -> Self {
        let mirror = settings.upstream.clone();
        let mirror = mirror.map(|upstream| Arc::new(Mirror::new(upstream, settings.max_body)));
        Self(Arc::new(Inner {
            mirror,
            store,
            settings,
            metrics: Metrics::new(),
            guesses: Guesses::default(),
            bodies: Arc::new(Semaphore::new(BODIES_KIB)),
        }))
    }

    /// Reads the store on a thread that may wait for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || act(&store)).await;
        asked.unwrap_or(Err(StoreError::Closed))
    }
}

/// The answering code over the caller's own store: whoever may open the store may do everything.
pub(crate) fn in_process(store: Store) -> Router {
    let settings = Settings {
        anonymous: Anonymous::Everything,
        max_body: 64 << 20,
        ..Settings::default()
    };
    routes::router(App::new(store, settings))
}
