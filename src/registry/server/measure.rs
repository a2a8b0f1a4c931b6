//! Counting requests, and telling of each one.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Response;
use axum::middleware::Next;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::App;
use super::guard::Rates;
use super::routes::peer;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    path: String,
    status: u16,
}

/// What is counted. Paths are those of the table: a stranger cannot make new ones.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    pub(crate) connections: Gauge,
    pub(crate) turned_away: Counter,
    pub(crate) rates: Rates,
    log: OnceLock<Box<dyn Fn(LogLine) + Send + Sync>>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("pactown_registry");
        let requests = Family::default();
        let seconds = Histogram::new([
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
        ]);
        let (connections, turned_away) = (Gauge::default(), Counter::default());
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register("request_seconds", "Time until the answer began", seconds.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register(
            "connections_closed_for_others",
            "Connections closed to make room",
            turned_away.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            connections,
            turned_away,
            rates: Rates::default(),
            log: OnceLock::new(),
        }
    }

    /// Tells of each request from now on.
    pub(crate) fn tell(&self, log: impl Fn(LogLine) + Send + Sync + 'static) {
        // Told once per server.
        let _ = self.log.set(Box::new(log));
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// One request, for the access log.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// When it came, in RFC 3339.
    pub ts: String,
    /// Who sent it.
    pub peer: Option<IpAddr>,
    /// Its method.
    pub method: String,
    /// Its path, as it was sent.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: Option<u64>,
    /// Microseconds until the answer began.
    pub us: u128,
}

/// Times the request around everything else.
pub(super) async fn measure(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let start = Instant::now();
    let labels = Labels {
        method: method(request.method()),
        path: request
            .extensions()
            .get::<MatchedPath>()
            .map_or_else(String::new, |path| path.as_str().to_owned()),
        status: 0,
    };
    let line = app.metrics.log.get().map(|_| LogLine {
        ts: jiff::Timestamp::now().to_string(),
        peer: peer(request.extensions()),
        method: request.method().to_string(),
        // Not the query, in which some put their tokens.
        path: request.uri().path().chars().take(512).collect(),
        status: 0,
        bytes: None,
        us: 0,
    });
    let response = next.run(request).await;
    if let (Some(mut line), Some(log)) = (line, app.metrics.log.get()) {
        line.status = response.status().as_u16();
        line.bytes = response.body().size_hint().exact();
        line.us = start.elapsed().as_micros();
        log(line);
    }
    app.counted(labels, start.elapsed(), response)
}

impl App {
    fn counted(&self, labels: Labels, time: Duration, response: Response<Body>) -> Response<Body> {
        let status = response.status().as_u16();
        self.metrics
            .requests
            .get_or_create(&Labels { status, ..labels })
            .inc();
        self.metrics.seconds.observe(time.as_secs_f64());
        response
    }
}

fn method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
