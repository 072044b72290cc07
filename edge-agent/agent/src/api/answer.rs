//! Answers and refusals as they leave: JSON with a schema name, or an error with a stable code.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edge_api::{Answer, ErrorBody, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_MAX, Named, REQUEST_BYTES_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_store::Refusal;

/// Seconds after which a refused client should come back.
const RETRY_AFTER_S: &str = "1";

/// A request that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    status: StatusCode,
    error: ErrorBody,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: ErrorBody { code: code.into(), message: message.into(), field: None } }
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.error.field = Some(field.into());
        self
    }

    pub(crate) fn bad(field: &str, expected: &str, found: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-field", format!("expected {expected}, found {found}"))
            .field(field)
    }

    pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("no {what} {name}"))
    }

    pub(crate) fn busy(what: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("{what}; try again"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = answer(status, self.error);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            "idempotency-conflict" | "duplicate-ticket" | "alarm-closed" | "reservation-closed" => {
                StatusCode::CONFLICT
            }
            "not-found" => StatusCode::NOT_FOUND,
            "storage" | "corrupt" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refusal.code, refusal.detail)
    }
}

/// An answer with its schema name.
pub(crate) fn answer<T: Named + Serialize>(status: StatusCode, body: T) -> Response {
    match serde_json::to_vec(&Answer::new(body)) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        // Our own types hold nothing that JSON cannot say; if one does, the client still gets a status.
        Err(error) => {
            tracing::error!(%error, schema = T::SCHEMA, "answer cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// `200` with a body.
pub(crate) fn ok<T: Named + Serialize>(body: T) -> Response {
    answer(StatusCode::OK, body)
}

/// Reads a JSON body.
pub(crate) fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body = body.map_err(|_| {
        let message = format!("expected a body of at most {REQUEST_BYTES_MAX} bytes, found a larger one");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "bad-json", error.to_string()))
}

/// The idempotency key of a posting, and what it is the key of.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    pub(crate) key: String,
    /// BLAKE3 of the route and the canonical JSON of the request: field order, spacing and defaults do not matter.
    pub(crate) digest: [u8; 32],
}

impl Once {
    pub(crate) fn of<T: Serialize>(headers: &HeaderMap, route: &str, request: &T) -> Result<Self, Refused> {
        let key = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::to_str);
        let key = match key {
            Some(Ok(key)) if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) => key.to_owned(),
            Some(_) => {
                return Err(Refused::bad(IDEMPOTENCY_KEY, "1 to 64 ASCII characters", "something else"));
            }
            None => {
                let message = "expected the header Idempotency-Key, found none";
                return Err(Refused::new(StatusCode::BAD_REQUEST, "no-idempotency-key", message)
                    .field(IDEMPOTENCY_KEY));
            }
        };
        let canonical = serde_json::to_vec(request)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "bad-json", error.to_string()))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(route.as_bytes()).update(&[0]).update(&canonical);
        Ok(Self { key, digest: *hasher.finalize().as_bytes() })
    }
}
