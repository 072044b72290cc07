//! HTTP/1.1 client over the daemon's Unix socket: one connection per request, everything under one deadline.
//!
//! Failure cases: no socket or nobody behind it is [`ClientError::NotRunning`]; a socket that may not be opened is
//! [`ClientError::Permission`]; no answer in time is [`ClientError::Timeout`]; an answer beyond [`ANSWER_BYTES_MAX`] or
//! of another shape is [`ClientError::Answer`]; an HTTP status of 400 and above is [`ClientError::Refused`].

use crate::IDEMPOTENCY_KEY;
use crate::schema::{Answer, ErrorBody, Named};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Largest answer that the client reads.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Speaks to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

/// A successful answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, below 400.
    pub status: u16,
    /// JSON text.
    pub text: String,
}

impl Reply {
    /// Reads the answer and insists on its schema.
    pub fn parse<T: Named + DeserializeOwned>(&self) -> Result<T, ClientError> {
        Answer::parse(&self.text).map(|answer| answer.body).map_err(ClientError::Answer)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No daemon behind the socket.
    #[error("no daemon answers at {}: is edge-agent running?", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("{} may not be opened by this user", socket.display())]
    Permission {
        /// The socket.
        socket: PathBuf,
    },
    /// No complete answer in time.
    #[error("no answer within {} ms", timeout.as_millis())]
    Timeout {
        /// The deadline that passed.
        timeout: Duration,
    },
    /// The daemon refused, with its reason.
    #[error("{}: {}", error.code, error.message)]
    Refused {
        /// HTTP status.
        status: u16,
        /// Code, message, field.
        error: ErrorBody,
    },
    /// The answer is not what the route answers.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// The connection broke.
    #[error("connection to the daemon broke: {0}")]
    Broken(String),
}

impl Client {
    /// A client of the daemon at `socket`; every request ends after `timeout`.
    pub fn new(socket: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self { socket: socket.into(), timeout }
    }

    /// The socket it speaks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path` (with its query).
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.send(Request::get(path), Bytes::new()).await
    }

    /// `GET path`, read as `T`.
    pub async fn fetch<T: Named + DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.get(path).await?.parse()
    }

    /// `POST path` with a JSON body and, for postings that must not be booked twice, an idempotency key.
    pub async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        self.send(request, Bytes::from(body)).await
    }

    /// One request under the deadline.
    async fn send(&self, request: hyper::http::request::Builder, body: Bytes) -> Result<Reply, ClientError> {
        let request = request
            .header("host", "edge")
            .header("connection", "close")
            .body(Full::new(body))
            .map_err(|error| ClientError::Answer(format!("the request cannot be formed: {error}")))?;
        let (status, text) = tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout { timeout: self.timeout })??;
        if status < 400 {
            return Ok(Reply { status, text });
        }
        let error =
            Answer::<ErrorBody>::parse(&text).map(|answer| answer.body).unwrap_or_else(|_| ErrorBody {
                code: format!("http-{status}"),
                message: "the daemon gave no reason".to_owned(),
                field: None,
            });
        Err(ClientError::Refused { status, error })
    }

    /// Connects, sends, reads.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(u16, String), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.connect_error(&error))?;
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| ClientError::Broken(error.to_string()))?.to_bytes();
            let text = String::from_utf8(body.to_vec())
                .map_err(|_| ClientError::Answer("it is not UTF-8 text".to_owned()))?;
            Ok((status, text))
        };
        // The connection must be driven while the exchange waits for it; it ends with the exchange.
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        let mut driven = false;
        std::future::poll_fn(|context| {
            if !driven && connection.as_mut().poll(context).is_ready() {
                driven = true;
            }
            exchange.as_mut().poll(context)
        })
        .await
    }

    /// What a failed connect means.
    fn connect_error(&self, error: &std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { socket },
            ErrorKind::PermissionDenied => ClientError::Permission { socket },
            _ => ClientError::Broken(error.to_string()),
        }
    }
}
