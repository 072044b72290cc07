//! Steam batches: queueing and the list.

use super::answer::{Once, Refused, ok, parse};
use super::{fields, post, words};
use crate::daemon::Daemon;
use crate::devices::{BATCHES_MAX, Order, batch_key, holds};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use edge_api::{BatchRequest, BatchRow, Batches, DiscardRequest, Done};
use edge_core::Moment;
use edge_core::batch::{Batch, Rules};
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_model::{BatchQueued, DeviceClass, Event, MilliCelsius, Sku};
use tokio::sync::oneshot;

/// Batches in the list.
const LIST_MAX: usize = 100;
/// Longest steaming and hold times that are not a slip of the finger.
const SECONDS_MAX: u32 = 24 * 3_600;

/// `POST /v1/batches`.
pub(crate) async fn queue(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: BatchRequest = parse(body)?;
    let once = Once::of(&headers, "batches", &request)?;
    let order = ordered(&daemon, &request)?;
    // A client that gives up must not keep the device loop from hearing of a batch that the ledger has: the work goes on
    // in a task of its own.
    let work = tokio::spawn(async move {
        let rules = Rules { hot_hold: MilliCelsius(daemon.config().steam.hot_hold_mc) };
        let mono_ms = daemon.clock.mono_ms();
        let store = daemon.store;
        let device = order.device.clone();
        let open = daemon
            .read(move |reader| reader.open_batches(store))
            .await
            .map_err(post::refused)?
            .iter()
            .filter(|row| row.queued.device == device)
            .count();
        let (queued, made) = oneshot::channel();
        let response = post::once(&daemon, once, move |draft, stamp| {
            if open >= BATCHES_MAX {
                let message = format!("{device} has {open} open batches, at most {BATCHES_MAX} are queued");
                return Err(fields::unprocessable("too-many-batches", "device", message).into());
            }
            if draft.article(order.sku)?.is_none() {
                let message = format!("article {} is not in the price book", order.sku);
                return Err(fields::unprocessable("unknown-sku", "sku", message).into());
            }
            let id = draft.append(&Event::new(stamp, order.clone()))?;
            let batch = Batch::new(id.into(), order, rules, Moment::new(mono_ms, stamp.at.0));
            draft.put_state(&batch_key(batch.id()), Some(&batch.to_bytes()))?;
            drop(queued.send(batch));
            Ok(id)
        })
        .await?;
        let mut made = made;
        if let Ok(batch) = made.try_recv()
            && daemon.orders().send(Order::Batch(Box::new(batch))).await.is_err()
        {
            tracing::warn!("device loop is stopping; the batch is taken up at the next start");
        }
        Ok(response)
    });
    work.await.unwrap_or_else(|error| Err(Refused::busy(&format!("the posting was cut off: {error}"))))
}

fn ordered(daemon: &Daemon, request: &BatchRequest) -> Result<BatchQueued, Refused> {
    let device = fields::device("device", &request.device)?;
    if daemon.registry.get(&device).is_none_or(|view| view.class != DeviceClass::Steamer) {
        return Err(Refused::not_found("steamer", &device).field("device"));
    }
    let seconds = |field: &str, value: u32| match value {
        1..=SECONDS_MAX => Ok(value),
        _ => {
            let message = format!("expected 1 to {SECONDS_MAX}, found {value}");
            Err(fields::unprocessable("bad-time", field, message))
        }
    };
    let celsius = |field: &str, value: i32| match value {
        20_000..=130_000 => Ok(MilliCelsius(value)),
        _ => {
            let message = format!("expected 20000 to 130000, found {value}");
            Err(fields::unprocessable("bad-temperature", field, message))
        }
    };
    Ok(BatchQueued {
        sku: Sku(request.sku),
        quantity: fields::quantity("quantity_milli", request.quantity_milli)?,
        program: request.program,
        set_point: celsius("set_point_mc", request.set_point_mc)?,
        core_min: celsius("core_min_mc", request.core_min_mc)?,
        steam_s: seconds("steam_s", request.steam_s)?,
        hold_limit_s: seconds("hold_limit_s", request.hold_limit_s)?,
        device,
    })
}

/// `POST /v1/batches/{id}/discard`: the device loop does it, between two readings; the answer comes after the commit.
pub(crate) async fn discard(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let batch = fields::fact("id", &id)?;
    let request: DiscardRequest = parse(body)?;
    let by = fields::text("by", &request.by)?;
    let row = daemon.commit(move |draft| draft.batch(batch)).await.map_err(post::refused)?;
    let row = row.ok_or_else(|| Refused::not_found("batch", batch))?;
    let closed = |message: String| Refused::new(StatusCode::CONFLICT, "batch-closed", message);
    if !row.open() {
        return Err(closed(format!("batch {batch} is over")));
    }
    let (answer, discarded) = oneshot::channel();
    let order = Order::Discard { batch, device: row.queued.device, by, answer };
    if daemon.orders().send(order).await.is_err() {
        return Err(Refused::busy("the daemon is stopping"));
    }
    match discarded.await {
        Ok(Ok(())) => Ok(ok(Done { text: format!("batch {batch} discarded") })),
        Ok(Err(reason)) => Err(closed(reason)),
        Err(_) => Err(Refused::busy("the batch was not discarded")),
    }
}

/// `GET /v1/batches`.
pub(crate) async fn list(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let store = daemon.store;
    let (rows, names, states) = daemon
        .read(move |reader| {
            let rows = reader.batches(store, LIST_MAX)?;
            let mut names = BTreeMap::new();
            let mut states = BTreeMap::new();
            for row in &rows {
                let sku = row.queued.sku;
                if let Some(article) = reader.article(store, sku)? {
                    names.insert(sku, article.name.to_string());
                }
                states.insert(holds::key(sku), reader.state(&holds::key(sku))?);
                states.insert(batch_key(row.batch), reader.state(&batch_key(row.batch))?);
            }
            Ok((rows, names, states))
        })
        .await
        .map_err(post::refused)?;
    let rules = Rules { hot_hold: MilliCelsius(daemon.config().steam.hot_hold_mc) };
    let state = |key: &str| states.get(key).and_then(|bytes| bytes.as_deref());
    let batches = rows
        .into_iter()
        .map(|row| {
            let saved = state(&batch_key(row.batch)).and_then(|bytes| Batch::from_bytes(rules, bytes).ok());
            let held = holds::decode(state(&holds::key(row.queued.sku)));
            let left = held.iter().find(|entry| entry.batch == row.batch).map(|entry| entry.left.0);
            let remaining = match (row.open(), left) {
                (false, _) => 0,
                (true, Some(left)) => left,
                (true, None) => row.queued.quantity.0.saturating_sub(row.taken.0).max(0),
            };
            BatchRow {
                id: row.batch.to_string(),
                device: row.queued.device.to_string(),
                sku: row.queued.sku.0,
                name: names.get(&row.queued.sku).cloned(),
                state: words::batch_state(row.state).into(),
                quantity_milli: row.queued.quantity.0,
                remaining_milli: remaining,
                expires_ms: saved.and_then(|batch| batch.expires_at()).map(|at| at.0),
                queued_ms: row.queued_at.0,
            }
        })
        .collect();
    Ok(ok(Batches { batches }))
}
