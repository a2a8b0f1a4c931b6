//! Before a request is looked at: is this server meant, may a page of another site ask, and does its sender ask too often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;

use super::App;
use super::fault::Fault;
use super::routes::{is_safe, peer};

/// Addresses whose rate is remembered.
const REMEMBERED: usize = 10_000;

/// Refuses, answers preflights, or goes on and says what a browser may do with the answer.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let allowed = origin.clone().filter(|origin| app.is_allowed(origin));
    let refusal = app.refuse(
        &parts.headers,
        &parts.method,
        peer(&parts.extensions),
        allowed.is_some(),
    );
    let mut response = match refusal {
        Some(fault) => fault.response(),
        None if parts.method == Method::OPTIONS && allowed.is_some() => preflight(),
        None => next.run(Request::from_parts(parts, body)).await,
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

impl App {
    fn refuse(
        &self,
        headers: &HeaderMap,
        method: &Method,
        peer: Option<IpAddr>,
        allowed: bool,
    ) -> Option<Fault> {
        if !self.is_meant(headers) {
            let message = "this server is not known by that name";
            return Some(Fault::new(StatusCode::MISDIRECTED_REQUEST, message));
        }
        let foreign = headers.contains_key(header::ORIGIN) && !is_own_origin(headers);
        if foreign && !allowed && !is_safe(method) {
            let message = "pages of other sites may not change anything here";
            return Some(Fault::new(StatusCode::FORBIDDEN, message));
        }
        if let (Some(rate), Some(peer)) = (self.settings.rate, peer)
            && !self.metrics.rates.take(peer, rate)
        {
            return Some(Fault::later(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests",
                1,
            ));
        }
        None
    }

    /// A page cannot make a browser say an address or `localhost` for a name that its owner points here; any other
    /// name must be one of ours.
    fn is_meant(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Some(name) = host.to_str().ok().map(without_port) else {
            return false;
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let known = |own: &String| own.eq_ignore_ascii_case(name);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.settings.hosts.iter().any(known)
    }

    fn is_allowed(&self, origin: &HeaderValue) -> bool {
        let allowed = |own: &String| own == "*" || own.as_bytes() == origin.as_bytes();
        self.settings.origins.iter().any(allowed)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// The origin is the server itself: its own pages.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, host)| text(header::HOST) == Some(host))
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        let name: HeaderName = name;
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Requests by address: each second brings as many as the rate, and no more are saved up.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<IpAddr, (Instant, f64)>>);

impl Rates {
    /// Whether the address may have one more.
    fn take(&self, peer: IpAddr, rate: u32) -> bool {
        let full = f64::from(rate);
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= REMEMBERED {
            // Those that are full again need not be remembered.
            rates.retain(|_, (since, _)| since.elapsed().as_secs_f64() < 1.0);
        }
        let (since, left) = rates.entry(peer).or_insert_with(|| (Instant::now(), full));
        *left = (*left + since.elapsed().as_secs_f64() * full).min(full);
        *since = Instant::now();
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_rate() {
        let rates = Rates::default();
        let peer = IpAddr::from([127, 0, 0, 1]);
        let passed = (0..100).filter(|_| rates.take(peer, 10)).count();
        assert!((10..=12).contains(&passed), "{passed}");
        assert!(
            rates.take(IpAddr::from([127, 0, 0, 2]), 10),
            "others are not held up"
        );
    }

    #[test]
    fn ports_are_no_part_of_a_name() {
        for (host, name) in [
            ("a:80", "a"),
            ("a", "a"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
