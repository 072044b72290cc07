//! Serving: accepts connections from both sockets, each bounded in number, size and time, and ends them cleanly.
//!
//! Contract
//! * At most `concurrency` connections per socket and as many requests at once; what is above is told `busy` or waits in
//!   the listen queue. A request line and headers must come within [`HEADER_TIME`].
//! * On stop no new connection is taken, the requests under way are finished, at most [`DRAIN_TIME`] long.

use super::answer::Refused;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// What a connection may hold of what it reads and of an answer in pieces; a request line with its headers that is longer is
/// refused (431).
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may take for its headers.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long requests under way may take after a stop.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Pause after an accept error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Either kind of listener.
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Limits of requests, shared by both sockets.
#[derive(Clone)]
pub(crate) struct Gate {
    slots: Arc<Semaphore>,
    timeout: Duration,
}

impl Gate {
    pub(crate) fn new(concurrency: usize, timeout_ms: u64) -> Self {
        Self { slots: Arc::new(Semaphore::new(concurrency)), timeout: Duration::from_millis(timeout_ms) }
    }
}

/// Puts the limits around the routes.
pub(crate) fn limited(routes: Router, gate: Gate) -> Router {
    routes
        .layer(axum::middleware::from_fn_with_state(gate, pass))
        .layer(DefaultBodyLimit::max(edge_api::REQUEST_BYTES_MAX))
}

/// One request through the gate.
async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Ok(_slot) = gate.slots.clone().try_acquire_owned() else {
        return Refused::busy("too many requests at once").into_response();
    };
    match tokio::time::timeout(gate.timeout, next.run(request)).await {
        Ok(response) => in_our_words(response),
        Err(_) => {
            let message = format!(
                "no answer within {} ms; a posting may still be booked: repeat it with the same key",
                gate.timeout.as_millis()
            );
            Refused::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message).into_response()
        }
    }
}

/// What the framework refuses (a query or path that does not parse) as an error object like every other refusal.
fn in_our_words(response: Response) -> Response {
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !response.status().is_client_error() {
        return response;
    }
    let message = "the path or the query does not have the form that this route takes";
    Refused::new(response.status(), "bad-request", message).into_response()
}

/// Serves until `stop` turns true.
pub(crate) async fn serve(
    listener: Listener,
    routes: Router,
    connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(connections));
    let mut open = JoinSet::new();
    while !*stop.borrow() {
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        tokio::select! {
            accepted = accept(&listener) => match accepted {
                Ok(stream) => {
                    let (routes, stop) = (routes.clone(), stop.clone());
                    open.spawn(async move {
                        connection(stream, routes, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = stop.changed() => {}
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
    let drained = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
        tracing::warn!(connections = open.len(), "requests were cut off at the stop");
    }
}

/// Anything a connection can run on.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept(listener: &Listener) -> std::io::Result<Box<dyn Stream>> {
    match listener {
        Listener::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        Listener::Tcp(listener) => {
            let stream = listener.accept().await?.0;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
    }
}

async fn connection(stream: Box<dyn Stream>, routes: Router, mut stop: watch::Receiver<bool>) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut served = std::pin::pin!(served);
    let mut stopping = *stop.borrow();
    loop {
        if stopping {
            served.as_mut().graceful_shutdown();
        }
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            changed = stop.changed(), if !stopping => stopping = changed.is_err() || *stop.borrow(),
        }
    }
}
