//! Reading a request's body: no more than allowed, no slower than bearable, and all bodies together within a budget.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::fault::Fault;

/// KiB that are taken from the budget at once.
const STEP_KIB: usize = 64;

/// How long the first byte may take; each KiB that has come adds a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body, and its share of the budget.
pub(crate) struct Read {
    pub(crate) bytes: Vec<u8>,
    _share: Vec<OwnedSemaphorePermit>,
}

/// The whole body.
///
/// # Errors
/// It is too long, too slow, compressed, or too many are being read.
pub(crate) async fn read(app: &App, headers: &HeaderMap, mut body: Body) -> Result<Read, Fault> {
    let limit = app.settings.max_body;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large(limit));
    }
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value != "identity")
    {
        let message = "bodies are taken uncompressed only";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let start = Instant::now();
    let mut read = Read {
        bytes: Vec::new(),
        _share: Vec::new(),
    };
    loop {
        let deadline = start + PATIENCE + Duration::from_secs(read.bytes.len() as u64 / 1024);
        let slow = |_| Fault::new(StatusCode::REQUEST_TIMEOUT, "the body comes too slowly");
        let frame = match timeout_at(deadline, body.frame()).await.map_err(slow)? {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Err(Fault::new(StatusCode::BAD_REQUEST, "the body ends too early")),
            None => return Ok(read),
        };
        let Ok(data) = frame.into_data() else { continue };
        if read.bytes.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        read.bytes.extend_from_slice(&data);
        while read.bytes.len() > read._share.len() * STEP_KIB * 1024 {
            let share = app.bodies.clone().try_acquire_many_owned(STEP_KIB as u32);
            read._share.push(share.map_err(|_| {
                let message = "too many bodies at the same time";
                Fault::later(StatusCode::SERVICE_UNAVAILABLE, message, 1)
            })?);
        }
    }
}

fn too_large(limit: usize) -> Fault {
    let message = format!("a body may have {limit} bytes");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// Refuses what is not declared as JSON: a page of another site can send forms and plain text, and no JSON.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be application/json";
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// A JSON value of this shape.
pub(crate) async fn json<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Fault> {
    must_be_json(headers)?;
    let read = read(app, headers, body).await?;
    serde_json::from_slice(&read.bytes).map_err(|error| invalid(&error))
}

/// A JSON object whose keys are each there once.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    serde_json::from_slice::<Object>(bytes)
        .map(|object| object.0)
        .map_err(|error| invalid(&error))
}

fn invalid(error: &serde_json::Error) -> Fault {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "value_error",
        _ => "json_invalid",
    };
    Fault::invalid(vec![
        json!({"type": kind, "loc": ["body", error.column()], "msg": error.to_string()}),
    ])
}

struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Object;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object, A::Error> {
                let mut map = Map::new();
                while let Some((key, value)) = entries.next_entry::<String, Value>()? {
                    if map.contains_key(&key) {
                        return Err(serde::de::Error::custom("a key is there twice"));
                    }
                    map.insert(key, value);
                }
                Ok(Object(map))
            }
        }
        from.deserialize_map(Once)
    }
}
