//! Answers that are no success, in the shape that clients of the older tool read: `{"detail": …}`.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::registry::store::StoreError;

/// Why a request gets no success.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    detail: Value,
    /// Seconds after which another try makes sense.
    retry_after: Option<u32>,
}

impl Fault {
    /// With one line of text.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: Value::String(detail.into()),
            retry_after: None,
        }
    }

    /// With a list of what is wrong with the body: `{type, loc, msg}`.
    pub(crate) fn invalid(problems: Vec<Value>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: Value::Array(problems),
            retry_after: None,
        }
    }

    /// The caller should come back.
    pub(crate) fn later(status: StatusCode, detail: &str, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(status, detail)
        }
    }

    /// One thing that is wrong with the parameters.
    pub(crate) fn parameter(place: &str, name: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![
            json!({"type": "value_error", "loc": [place, name], "msg": message.into()}),
        ])
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        match &self.detail {
            Value::String(text) => text.clone(),
            Value::Array(problems) => {
                let messages = problems.iter().filter_map(|problem| problem["msg"].as_str());
                messages.collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        }
    }

    /// The answer.
    pub(crate) fn response(self) -> Response<Body> {
        let body = json!({"detail": self.detail}).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            StoreError::Conflict(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            StoreError::Corrupt(digest) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("E_CORRUPT: content {digest} is damaged"),
            ),
            StoreError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
            StoreError::Busy | StoreError::Closed => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), 1)
            }
            // What exactly the disk said is for the operator, not for the caller.
            StoreError::Database(_) | StoreError::File(..) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}

impl axum::response::IntoResponse for Fault {
    fn into_response(self) -> Response<Body> {
        self.response()
    }
}
