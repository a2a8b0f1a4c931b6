//! The table of operations: what is answered at which path. The router and the OpenAPI document are both made from it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Response, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::Caller;
use super::fault::Fault;
use super::{App, catalogue, guard, measure};
use crate::registry::name::ArtifactId;
use crate::registry::version::Selector;

/// What a handler gives back.
pub(crate) type Handled = Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;

/// One request, after it is known who sent it.
pub(crate) struct Call {
    pub(crate) app: App,
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    /// Behind a lock only so that handlers may lend the call.
    body: Mutex<Body>,
    captured: Vec<(String, String)>,
}

impl Call {
    /// The request's headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Its body, to be read.
    pub(crate) fn into_body(self) -> (App, Parts, Body) {
        let body = self.body.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.app, self.parts, body)
    }

    /// A part of the path.
    pub(crate) fn captured(&self, name: &str) -> &str {
        let found = self.captured.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }

    /// The artifact in the path. What cannot be a name names nothing.
    pub(crate) fn artifact(&self) -> Result<ArtifactId, Fault> {
        ArtifactId::new(self.captured("namespace"), self.captured("name"))
            .map_err(|_| Fault::new(StatusCode::NOT_FOUND, "Artifact not found"))
    }

    /// The version in the path: a number, a range, `latest`.
    pub(crate) fn selector(&self) -> Result<Selector, Fault> {
        self.captured("version")
            .parse()
            .map_err(|_| Fault::new(StatusCode::NOT_FOUND, "Version not found"))
    }

    /// A parameter behind the `?`; the last one counts.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query().unwrap_or("");
        let pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .filter(|(own, _)| own == name)
            .last()
            .map(|(_, value)| value.into_owned())
    }
}

/// All that is answered. `peer` is known of connections only.
pub(crate) fn router(app: App) -> Router {
    let mut router: Router<()> = Router::new();
    for (path, methods) in by_path(&app) {
        router = router.route(path, methods);
    }
    router
        .fallback(|| async { Fault::new(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async {
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(from_fn_with_state(app.clone(), guard::check))
        .layer(from_fn_with_state(app, measure::measure))
}

fn by_path(app: &App) -> Vec<(&'static str, MethodRouter)> {
    let mut paths: Vec<(&'static str, MethodRouter)> = Vec::new();
    for operation in catalogue::operations() {
        let filter = MethodFilter::try_from(operation.method.clone()).unwrap_or(MethodFilter::GET);
        let (app, handler) = (app.clone(), operation.handler);
        let service = move |request: Request| handle(app, handler, request);
        match paths.iter_mut().find(|(path, _)| *path == operation.path) {
            Some((_, methods)) => *methods = std::mem::take(methods).on(filter, service),
            None => paths.push((operation.path, on(filter, service))),
        }
    }
    paths
}

async fn handle(app: App, handler: fn(Call) -> Handled, request: Request) -> Response<Body> {
    match call(app, request).await {
        Ok(call) => handler(call).await.unwrap_or_else(Fault::response),
        Err(fault) => fault.response(),
    }
}

/// The caller is found before anything else, and never depends on the body.
async fn call(app: App, request: Request) -> Result<Call, Fault> {
    let (mut parts, body) = request.into_parts();
    let caller = app.caller(&parts.headers, peer(&parts.extensions))?;
    let captured = RawPathParams::from_request_parts(&mut parts, &()).await;
    let captured = captured.map_err(|_| Fault::new(StatusCode::BAD_REQUEST, "the path is not UTF-8"))?;
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(Call {
        app,
        caller,
        captured: captured.iter().map(owned).collect(),
        parts,
        body: Mutex::new(body),
    })
}

/// The address at the other end of the connection.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let info = extensions.get::<ConnectInfo<std::net::SocketAddr>>();
    info.map(|info| info.0.ip())
}

/// Whether a request of this method changes nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
