//! HQ's HTTP server: loopback only, JSON, bounded bodies, bounded concurrent reads; errors are `steelyard.error/1`.
//!
//! No login yet, hence loopback only. A page of a browser on the same machine must not be able to write here: requests carry
//! a loopback `Host`, and a body needs `Content-Type: application/json`, which makes browsers ask first (and be refused).

mod metrics;
mod overrides;
mod read;
mod shared;
mod snapshot;
mod statements;
mod view;
mod write;

use crate::evidence::{self, Keys, Office};
use crate::fleet::SharedFleet;
use crate::vault::{Vault, VaultReader};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use sync_model::StoreId;
use sync_store::LedgerError;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, watch};

/// Largest request body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Requests at the ledger at the same time; each read has a connection of its own.
const TURNS_MAX: usize = 8;
/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

const PAGE: &str = include_str!("../../web/index.html");

/// What every handler shares.
pub(crate) struct App {
    ledger: Vault,
    fleet: SharedFleet,
    turns: Arc<Semaphore>,
    /// Writers of articles take turns: versions are read, then assigned.
    articles: Mutex<()>,
    /// One verification at a time: it reads the whole file.
    verify: Mutex<()>,
    /// One statement at a time: it reads a store's whole log.
    statements: Mutex<()>,
    office: Arc<Office>,
    /// Snapshots that were made lately; one is made at a time.
    snapshots: Mutex<snapshot::Made>,
}

/// Serves until told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    ledger: Vault,
    fleet: SharedFleet,
    identity: Option<PathBuf>,
    mut stop: watch::Receiver<bool>,
) {
    let keys = identity.as_deref().map(Keys::open).transpose().unwrap_or_else(|error| {
        tracing::error!(%error, "HQ's key cannot be used: statements are not answered");
        None
    });
    let office = Arc::new(Office::new(ledger.clone(), keys));
    let answering = tokio::spawn(evidence::run(Arc::clone(&office), stop.clone()));
    let app = Arc::new(App {
        ledger,
        fleet,
        turns: Arc::new(Semaphore::new(TURNS_MAX)),
        articles: Mutex::new(()),
        verify: Mutex::new(()),
        statements: Mutex::new(()),
        office,
        snapshots: Mutex::new(snapshot::Made::default()),
    });
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    if let Err(error) = axum::serve(listener, router(app)).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "HTTP server ended");
    }
    if let Err(error) = answering.await {
        tracing::error!(%error, "the office of statements ended by a fault");
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(|| async { page() }))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/health", get(read::health))
        .route("/v1/workers", get(read::workers))
        .route("/v1/stores", get(read::stores))
        .route("/v1/stores/{id}/events", get(read::events))
        .route("/v1/stores/{id}/stock", get(read::stock))
        .route("/v1/stores/{id}/money", get(read::money))
        .route("/v1/stores/{id}/summary", get(read::summary))
        .route("/v1/stores/{id}/snapshot", get(snapshot::snapshot))
        .route("/v1/quarantine", get(read::quarantine))
        .route("/v1/conflicts", get(shared::conflicts))
        .route("/v1/transfers", get(shared::transfers))
        .route("/v1/rights", get(shared::rights))
        .route("/v1/stores/{id}/rights", post(shared::order_rights))
        .route("/v1/stores/{id}/transfers/close", post(shared::close_transfer))
        .route("/v1/stores/{id}/conflicts/{conflict}/settle", post(shared::settle))
        .route("/v1/stores/{id}/articles", post(write::articles))
        .route("/v1/stores/{id}/commands", post(write::commands))
        .route("/v1/stores/{id}/overrides", get(overrides::overrides).post(overrides::write_override))
        .route("/v1/stores/{id}/registry", get(overrides::registry).post(overrides::change_registry))
        .route("/v1/stores/{id}/statements", get(statements::list))
        .route("/v1/stores/{id}/statements/{day}", get(statements::show))
        .route("/v1/days/{day}", get(statements::day))
        .route("/v1/days/{day}/root", post(statements::make_root))
        .route("/v1/roots", get(statements::roots))
        .route("/v1/roots/{number}", get(statements::root))
        .route("/v1/keys", get(statements::keys))
        .route("/v1/seals", get(statements::seals))
        .route("/v1/verify", post(write::verify))
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "not-found", "no such path") })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "another method is needed here",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(check_host))
        .with_state(app)
}

fn page() -> Response {
    let policy =
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE)).into_response()
}

/// Only requests that were addressed to a loopback name: a foreign name that resolves here is a rebinding trick.
async fn check_host(request: Request, next: Next) -> Response {
    if host_is_loopback(request.headers()) {
        next.run(request).await
    } else {
        Failure::new(StatusCode::FORBIDDEN, "foreign-host", "only loopback names are served").into_response()
    }
}

fn host_is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: String,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"schema": "steelyard.error/1", "code": self.code, "message": self.message});
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let message = error.to_string();
        match error {
            LedgerError::Refused(refusal) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code, refusal.detail)
            }
            LedgerError::Full { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, "ledger-full", message),
            LedgerError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
            LedgerError::Elsewhere { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "elsewhere", message),
            LedgerError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "closed", message),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", message),
        }
    }
}

/// What a handler answers.
type Answer = Result<axum::Json<Value>, Failure>;

impl App {
    /// Runs a read with a connection of its own.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&VaultReader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Failure> {
        let ledger = self.ledger.clone();
        self.blocking(move || ledger.reader().and_then(|reader| read(&reader))).await
    }

    /// Runs ledger work on a thread for blocking work, when it is its turn.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Failure> {
        let busy =
            || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests at the same time");
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        match done.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", error.to_string())),
        }
    }
}

/// The shared state as handlers take it.
type Shared = State<Arc<App>>;

fn store_of(text: &str) -> Result<StoreId, Failure> {
    match text.parse::<u32>() {
        Ok(number) if number > 0 && text == number.to_string() => Ok(StoreId(number)),
        _ => Err(Failure::bad("bad-store", format!("expected a store number from 1, found '{text}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_served() {
        let check = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            host_is_loopback(&headers)
        };
        for host in
            ["127.0.0.1", "127.0.0.1:8480", "localhost", "localhost:1", "[::1]:8480", "[::1]", "127.1.2.3:1"]
        {
            assert!(check(host), "{host}");
        }
        for host in [
            "example.com",
            "example.com:8480",
            "10.0.0.1:8480",
            "localhost.example.com",
            "127.0.0.1.evil:80",
            "",
        ] {
            assert!(!check(host), "{host}");
        }
        assert!(host_is_loopback(&HeaderMap::new()));
    }

    #[test]
    fn store_numbers_are_plain() {
        assert_eq!(store_of("7").unwrap(), StoreId(7));
        for text in ["", "0", "-1", "+7", "07", "7.0", "4294967296", "x"] {
            assert!(store_of(text).is_err(), "{text}");
        }
    }
}
