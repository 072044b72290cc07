//! What stores share: rights to stock, transfers under way, conflicts.

use super::write::{append, json_of};
use super::{Answer, App, Failure, Shared, store_of};
use crate::fleet::stamp;
use crate::vault::Order;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sync_model::{
    ConflictSettled, Epoch, Event, EventId, FactRef, HqConflictSettled, LotId, Milli, RightsIssued, Sku,
    StoreId, Text, TransferClosed, TransferLine,
};
use sync_store::{ConflictRow, TransferRow};

/// Rows in one answer.
const ROWS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConflictsQuery {
    store: Option<u32>,
    #[serde(default)]
    all: bool,
}

/// `GET /v1/conflicts?store=&all=`: merges that dropped or combined a business value, with both sides.
pub(super) async fn conflicts(
    State(app): Shared,
    query: Result<Query<ConflictsQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|rejection| Failure::bad("bad-query", rejection.body_text()))?;
    let rows = app
        .read(move |reader| {
            let stores = match query.store {
                Some(store) => vec![StoreId(store)],
                None => reader.stores()?,
            };
            let mut rows = Vec::new();
            for store in stores {
                rows.extend(reader.conflicts(store, query.all)?);
            }
            Ok(rows)
        })
        .await?;
    let total = rows.len();
    let rows: Vec<Value> = rows.iter().take(ROWS_MAX).map(conflict).collect();
    Ok(Json(json!({"schema": "steelyard.hq-conflicts/1", "total": total, "conflicts": rows})))
}

fn conflict(row: &ConflictRow) -> Value {
    let sides: Vec<Value> = row
        .sides
        .iter()
        .map(|side| json!({"by": side.by, "at_ms": side.at.0, "value": side.value, "stands": side.stands}))
        .collect();
    json!({
        "id": row.id,
        "store": row.store.0,
        "kind": row.kind,
        "subject": row.subject,
        "sides": sides,
        "settled_ms": row.settled.as_ref().map(|(at, _)| at.0),
        "settled_by": row.settled.as_ref().map(|(_, by)| by.as_str()),
    })
}

/// `GET /v1/transfers`: goods that left one store and are not all at another.
pub(super) async fn transfers(State(app): Shared) -> Answer {
    let rows = app.read(|reader| reader.transfers()).await?;
    let total = rows.len();
    let rows: Vec<Value> = rows.iter().take(ROWS_MAX).map(transfer).collect();
    Ok(Json(json!({"schema": "steelyard.hq-transfers/1", "total": total, "transfers": rows})))
}

fn transfer(row: &TransferRow) -> Value {
    json!({
        "from": row.from.0,
        "of": row.of.to_string(),
        "to": row.to.map(|to| to.0),
        "sent_ms": row.sent_at.map(|at| at.0),
        "sku": row.sku.0,
        "sent_milli": row.sent.0,
        "arrived_milli": row.arrived.0,
        "shrink_milli": row.shrink.0,
        "in_transit_milli": row.in_transit().0,
        "closed": row.closed,
    })
}

/// `GET /v1/rights`: the pool, and who holds what.
pub(super) async fn rights(State(app): Shared) -> Answer {
    let (pools, rows) = app
        .read(|reader| {
            let mut rows = Vec::new();
            for store in reader.stores()? {
                rows.extend(reader.rights(store, None)?);
            }
            Ok((reader.pools()?, rows))
        })
        .await?;
    let pools: Vec<Value> =
        pools.iter().map(|(sku, pool)| json!({"sku": sku.0, "pool_milli": pool.0})).collect();
    let total = rows.len();
    let rows: Vec<Value> = rows
        .iter()
        .take(ROWS_MAX)
        .map(|row| {
            let sums = row.sums;
            json!({
                "store": row.store.0,
                "sku": row.sku.0,
                "epoch": row.epoch.0,
                "held_milli": sums.held(),
                "issued_milli": sums.issued,
                "granted_milli": sums.granted,
                "promised_milli": sums.promised - sums.voided,
                "taken_milli": sums.taken,
                "shortfall_milli": sums.shortfall,
                "returned_milli": sums.returned,
                "fenced_milli": sums.fenced,
            })
        })
        .collect();
    Ok(Json(json!({"schema": "steelyard.hq-rights/1", "total": total, "pools": pools, "rights": rows})))
}

#[derive(Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RightsBody {
    /// The store's stock into the pool, or out of it.
    Issue { sku: u64, quantity_milli: i64 },
    /// From the pool to the store's newest epoch.
    Grant { sku: u64, quantity_milli: i64 },
    /// An epoch may promise no more.
    Fence { epoch: u32 },
}

type Created = Result<(StatusCode, Json<Value>), Failure>;

fn created(store: StoreId, ids: &[EventId]) -> Created {
    let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
    Ok((StatusCode::CREATED, Json(json!({"schema": "steelyard.command/1", "store": store.0, "ids": ids}))))
}

/// `POST /v1/stores/{id}/rights`: issues, grants or fences.
pub(super) async fn order_rights(
    State(app): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Created {
    let store = store_of(&id)?;
    let now = stamp();
    let ledger = app.ledger.clone();
    let ids = match json_of(&headers, body)? {
        RightsBody::Issue { sku, quantity_milli } => {
            let fact = RightsIssued { sku: Sku(sku), quantity: Milli(quantity_milli) };
            append(&app, store, vec![Event::new(now, fact)]).await?
        }
        RightsBody::Grant { sku, quantity_milli } => {
            let order = Order::Grant { stamp: now, store, sku: Sku(sku), quantity: Milli(quantity_milli) };
            app.blocking(move || ledger.order(order)).await?
        }
        RightsBody::Fence { epoch } => {
            let order = Order::Fence { stamp: now, store, epoch: Epoch(epoch) };
            app.blocking(move || ledger.order(order)).await?
        }
    };
    created(store, &ids)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseBody {
    of: String,
}

/// `POST /v1/stores/{id}/transfers/close`: what is still on its way from the store is booked as shrink.
pub(super) async fn close_transfer(
    State(app): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Created {
    let store = store_of(&id)?;
    let body: CloseBody = json_of(&headers, body)?;
    let of: FactRef =
        body.of.parse().map_err(|_| Failure::bad("bad-of", "expected the transfer's fact, epoch.seq"))?;
    let rows = app.read(move |reader| reader.transfers_from(store)).await?;
    let rows: Vec<_> = rows.into_iter().filter(|row| row.of == of).collect();
    let Some(to) = rows.iter().find_map(|row| row.to) else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "no-transfer", format!("no transfer {of} is known")));
    };
    let open = rows.iter().filter(|row| row.in_transit() != Milli::ZERO);
    let line =
        |row: &TransferRow| TransferLine { sku: row.sku, lot: LotId::default(), quantity: row.in_transit() };
    let closed = TransferClosed { of, to, lines: open.map(line).collect() };
    created(store, &append(&app, store, vec![Event::new(stamp(), closed)]).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleBody {
    by: String,
}

/// `POST /v1/stores/{id}/conflicts/{conflict}/settle`.
pub(super) async fn settle(
    State(app): Shared,
    Path((id, conflict)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Created {
    let store = store_of(&id)?;
    let body: SettleBody = json_of(&headers, body)?;
    let bad = |error: sync_model::TextError| Failure::bad("bad-text", error.to_string());
    let (conflict, by) = (Text::<32>::new(conflict).map_err(bad)?, Text::<32>::new(body.by).map_err(bad)?);
    known_conflict(&app, store, conflict.clone()).await?;
    let fact = HqConflictSettled(ConflictSettled { conflict, by });
    created(store, &append(&app, store, vec![Event::new(stamp(), fact)]).await?)
}

async fn known_conflict(app: &App, store: StoreId, conflict: Text<32>) -> Result<(), Failure> {
    let listed = app.read(move |reader| reader.conflicts(store, true)).await?;
    if listed.iter().any(|row| row.id == conflict.as_str()) {
        return Ok(());
    }
    Err(Failure::new(StatusCode::NOT_FOUND, "no-conflict", format!("store {store} has no such conflict")))
}
