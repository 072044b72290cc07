//! HTTP for tills and people: one router on the Unix socket (everything) and on the loopback port (tills, views, page).
//!
//! Contract
//! * A posting answers after its fact is durable; the same idempotency key answers the same id; another request under the
//!   same key is a conflict. A refused posting books nothing. A key is answered for at least 90 days, and until HQ has its
//!   fact; ticket numbers are known for ever.
//! * Refusals: 400 malformed, 404 unknown, 409 conflict, 413 too large, 422 against a rule, 503 busy (`Retry-After`),
//!   504 no answer in time (repeat with the same key), 507 no space.
//! * Orders of people (alarms, discarding a batch, zero and tare of scales, overrides, registry, rights, statements, verify, backup, reload) exist on
//!   the Unix socket only: its file permissions say who may.

mod answer;
mod batches;
mod conflicts;
mod fields;
mod overrides;
mod page;
mod people;
mod post;
mod preview;
mod probe;
mod reservations;
mod rows;
mod samples;
mod scales;
mod serve;
mod statements;
mod stock;
mod tags;
mod tickets;
mod views;
mod words;

pub(crate) use people::BACKUP_KEY;

use crate::daemon::Daemon;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post as posting};
use serve::{Gate, Listener};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Starts serving both sockets.
pub(crate) fn spawn(
    daemon: &Arc<Daemon>,
    socket: UnixListener,
    port: TcpListener,
    stop: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let config = daemon.config();
    let gate = Gate::new(config.api.concurrency, config.api.timeout_ms);
    let tills = serve::limited(till_routes().with_state(daemon.clone()), gate.clone());
    // Orders of people may take long (verify, backup): their gate is wider in time.
    let slow = Gate::new(people::ORDERS_AT_ONCE, people::ORDER_TIME_MS);
    let people = till_routes().with_state(daemon.clone());
    let people =
        serve::limited(people, gate).merge(serve::limited(people_routes().with_state(daemon.clone()), slow));
    let connections = config.api.concurrency;
    vec![
        tokio::spawn(serve::serve(Listener::Unix(socket), people, connections, stop.clone())),
        tokio::spawn(serve::serve(Listener::Tcp(port), tills, connections, stop.clone())),
    ]
}

/// What tills and the page need.
fn till_routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/v1/tickets", posting(tickets::ticket))
        .route("/v1/returns", posting(tickets::give_back))
        .route("/v1/receipts", posting(stock::receipt))
        .route("/v1/waste", posting(stock::waste))
        .route("/v1/counts", posting(stock::count))
        .route("/v1/transfers/out", posting(stock::transfer_out))
        .route("/v1/transfers/in", posting(stock::transfer_in))
        .route("/v1/prices/{sku}", get(views::price))
        .route("/v1/offers/{sku}", get(reservations::offer))
        .route("/v1/reservations", posting(reservations::reserve))
        .route("/v1/reservations/{id}/{outcome}", posting(reservations::close))
        .route("/v1/batches", posting(batches::queue).get(batches::list))
        .route("/v1/scales/{id}", get(views::scale))
        .route("/v1/status", get(views::status))
        .route("/v1/health", get(views::health))
        .route("/v1/devices", get(views::devices))
        .route("/v1/devices/{id}", get(views::device))
        .route("/v1/devices/{id}/frames", get(views::frames))
        .route("/v1/events", get(views::events))
        .route("/v1/stock", get(views::stock))
        .route("/v1/sync", get(views::sync))
        .route("/v1/alarms", get(people::alarms))
        .route("/v1/conflicts", get(conflicts::conflicts))
        .route("/v1/overrides", get(overrides::overrides))
        .route("/v1/registry", get(overrides::registry))
        .route("/v1/rights", get(overrides::rights))
        .route("/v1/statements", get(statements::list))
        .route("/v1/statements/{day}", get(statements::show))
        .route("/v1/cabinets/{id}/curve", get(views::curve))
        .route("/v1/tags", get(tags::list))
        .route("/v1/tags/plan", get(tags::plan))
        .route("/v1/tags/flash", posting(tags::flash))
        .route("/v1/tags/flash/{order}/done", posting(tags::order_done))
        .route("/v1/samples/{device}", get(samples::samples))
        .route("/v1/doctor", get(people::doctor))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
}

/// What only people may do.
fn people_routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/v1/alarms/{id}/ack", posting(people::acknowledge))
        .route("/v1/alarms/{id}/shelve", posting(people::shelve))
        .route("/v1/devices/{id}/probe", posting(probe::probe))
        .route("/v1/batches/{id}/discard", posting(batches::discard))
        .route("/v1/conflicts/{id}/settle", posting(overrides::settle))
        .route("/v1/devices/{id}/scale", posting(scales::order))
        .route("/v1/overrides", posting(overrides::write_override))
        .route("/v1/registry", posting(overrides::change_registry))
        .route("/v1/rights/return", posting(overrides::return_rights))
        .route("/v1/statements/{day}/sign", posting(statements::sign))
        .route("/v1/ledger/verify", posting(people::verify))
        .route("/v1/tags/preview", posting(preview::preview))
        .route("/v1/backup", posting(people::backup))
        .route("/v1/reload", posting(people::reload))
}

async fn nowhere(uri: axum::http::Uri) -> answer::Refused {
    answer::Refused::not_found("route", sync_model::Text::<80>::lossy(uri.path()))
}

async fn wrong_method() -> answer::Refused {
    answer::Refused::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "the route has no such method")
}
