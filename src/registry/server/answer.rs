//! Answers with a body: their tag, whether the caller has them already, and compression.

use std::io::Write;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::fault::Fault;
use crate::registry::store::Digest;

/// Bytes from which compressing is worth its time.
const WORTH: usize = 1024;

const JSON: &str = "application/json";

/// An answer that is being made.
pub(crate) struct Answer {
    kind: &'static str,
    body: Bytes,
    tag: Option<String>,
    extra: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// JSON, tagged by its content.
    ///
    /// # Errors
    /// The value has no JSON, which is a defect.
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Fault> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(Self::of(JSON, body))
    }

    /// JSON that is not worth a tag.
    pub(crate) fn once(value: &serde_json::Value) -> Response<Body> {
        let mut response = Response::new(Body::from(value.to_string()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }

    /// Any content, tagged by itself.
    pub(crate) fn of(kind: &'static str, body: Vec<u8>) -> Self {
        let tag = Digest::of(&body).as_str()[..32].to_owned();
        Self {
            kind,
            body: body.into(),
            tag: Some(tag),
            extra: Vec::new(),
        }
    }

    /// With another header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.extra.push((name, value));
        self
    }

    /// For this request: whole, compressed, or only that nothing changed.
    pub(crate) fn to(self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        if let Some(tag) = self
            .tag
            .as_deref()
            .and_then(|tag| HeaderValue::from_str(&format!("W/\"{tag}\"")).ok())
        {
            let known = is_known(request, &tag);
            response.headers_mut().insert(header::ETAG, tag);
            if known {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            }
        }
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::VARY,
            HeaderValue::from_static("Accept-Encoding, Authorization"),
        );
        headers.extend(self.extra);
        if response.status() == StatusCode::NOT_MODIFIED {
            return response;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        let body = match self.body.len() >= WORTH && accepts_gzip(request) {
            true => compressed(&self.body),
            false => None,
        };
        if body.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        *response.body_mut() = Body::from(body.unwrap_or(self.body));
        response
    }
}

/// Weak comparison, as RFC 9110 13.1.2 asks for.
fn is_known(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let own = tag.to_str().map(bare).unwrap_or_default();
    let given = request.get_all(header::IF_NONE_MATCH);
    given
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim() == "*" || bare(value) == own)
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let given = request.get_all(header::ACCEPT_ENCODING);
    given
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| {
            let (name, quality) = value.split_once(';').unwrap_or((value, ""));
            let refused = quality
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.parse() == Ok(0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

fn compressed(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    encoder.write_all(body).ok()?;
    Some(encoder.finish().ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_known_tag_is_answered_without_a_body() {
        let answer = || Answer::of("text/plain", b"hello".to_vec());
        let first = answer().to(&HeaderMap::new());
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for known in [
            tag.clone(),
            format!("\"x\", {tag}"),
            tag.replace("W/", ""),
            "*".to_owned(),
        ] {
            let again = answer().to(&headers(header::IF_NONE_MATCH, &known));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        let other = answer().to(&headers(header::IF_NONE_MATCH, "\"x\""));
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn only_who_asks_gets_gzip_and_only_for_what_is_long() {
        let long = || Answer::of("text/plain", vec![b'a'; 4096]);
        let encoding = |answer: Answer, accepted: &str| {
            let response = answer.to(&headers(header::ACCEPT_ENCODING, accepted));
            response.headers().get(header::CONTENT_ENCODING).cloned()
        };
        assert!(encoding(long(), "br, gzip").is_some());
        assert!(encoding(long(), "GZIP;q=0.5").is_some());
        assert!(encoding(long(), "gzip;q=0").is_none());
        assert!(encoding(long(), "identity").is_none());
        assert!(encoding(Answer::of("text/plain", vec![b'a'; 10]), "gzip").is_none());
    }
}
