//! What HQ's people read: health, the fleet, one store's events and folds, the quarantine.

use super::{Answer, App, Failure, Shared, store_of, view};
use crate::fleet::{Condition, StoreView, now_unix};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use sync_model::{Direction, Epoch, Kind, Seq, Sku, StoreId};
use sync_store::{HQ_LOG, HeadRow, KindCount};

/// Events in one answer.
const EVENTS_MAX: usize = 500;
/// Quarantine entries in one answer.
const QUARANTINE_MAX: usize = 200;
/// Bytes of a quarantined message that are shown.
const RAW_SHOWN: usize = 256;

/// `GET /v1/health`: 200 while facts can be taken in, 503 while they cannot.
pub(super) async fn health(State(app): Shared) -> (StatusCode, Json<Value>) {
    let fleet = app.fleet.lock();
    let condition = |state: &Condition| json!({"ok": state.fault.is_none(), "fault": state.fault, "since_ms": state.since.0});
    let broker = json!({
        "up": fleet.broker.fault.is_none(),
        "fault": fleet.broker.fault,
        "since_ms": fleet.broker.since.0,
    });
    let status = match (&fleet.ledger.fault, &fleet.broker.fault) {
        (Some(_), _) => "failing",
        (None, Some(_)) => "degraded",
        (None, None) => "ok",
    };
    let code = if fleet.ledger.fault.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "schema": "steelyard.hq-health/1",
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "broker": broker,
        "ledger": condition(&fleet.ledger),
        "buckets": fleet.owned.as_ref().map(BTreeSet::len),
        "acks_waiting": fleet.acks_waiting,
        "jobs_outstanding": fleet.jobs_outstanding,
        "certificates": view::standing_counts(&fleet.standings),
        "ahead": fleet.stores.iter().filter(|(_, view)| view.ahead).map(|(store, _)| store.0).collect::<Vec<_>>(),
    });
    (code, Json(body))
}

/// `GET /v1/stores`: every store that HQ has heard of or written for.
pub(super) async fn stores(State(app): Shared) -> Answer {
    let (heads, counts, quarantine) =
        app.read(|reader| Ok((reader.heads()?, reader.counts()?, reader.quarantine_counts()?))).await?;
    let mut heads_of: BTreeMap<StoreId, Vec<HeadRow>> = BTreeMap::new();
    for row in heads.into_iter().filter(|row| row.log.store != HQ_LOG) {
        heads_of.entry(row.log.store).or_default().push(row);
    }
    let mut events_of: BTreeMap<StoreId, u64> = BTreeMap::new();
    for row in counts.iter().filter(|row| row.direction == Direction::Up) {
        *events_of.entry(row.store).or_default() += row.count;
    }
    let fleet = app.fleet.lock();
    let mut views: BTreeMap<StoreId, StoreView> = fleet.stores.clone();
    let standings = fleet.standings.clone();
    drop(fleet);
    for store in standings.keys() {
        views.entry(*store).or_default();
    }
    for store in heads_of.keys() {
        views.entry(*store).or_default();
    }
    let stores: Vec<Value> = views
        .iter()
        .map(|(store, view)| {
            let heads = heads_of.get(store).map_or(&[][..], Vec::as_slice);
            let mut row = store_json(*store, view, heads, events_of.get(store).copied().unwrap_or(0));
            row["certificate"] = standings.get(store).map_or(Value::Null, view::standing);
            row
        })
        .collect();
    Ok(Json(json!({
        "schema": "steelyard.hq-stores/1",
        "now_ms": now_unix().0,
        "stores": stores,
        "quarantine": {"kept": quarantine.kept, "total": quarantine.total, "evicted": quarantine.evicted},
    })))
}

/// Events that the store told of and HQ does not have; `None` before it told anything.
pub(super) fn lag_up(view: &StoreView, heads: &[HeadRow]) -> Option<u64> {
    view.told.map(|(log, told)| {
        let here = heads.iter().find(|row| row.log == log).map_or(0, |row| row.head.0);
        told.0.saturating_sub(here)
    })
}

fn store_json(store: StoreId, view: &StoreView, heads: &[HeadRow], events: u64) -> Value {
    let logs: Vec<Value> = heads
        .iter()
        .map(|row| {
            let mut log = view::log(row.log);
            log["head"] = json!(row.head.0);
            log["link_hex"] = json!(view::hex(&row.link.0));
            if row.log.direction == Direction::Down {
                log["acked"] = json!(row.acked.0);
            }
            log
        })
        .collect();
    let lag_up = lag_up(view, heads);
    let lag_down: u64 = heads
        .iter()
        .filter(|row| row.log.direction == Direction::Down)
        .map(|row| row.head.0.saturating_sub(row.acked.0))
        .sum();
    json!({
        "store": store.0,
        "present": view.present,
        "last_seen_ms": view.last_seen.map(|at| at.0),
        "software": view.software,
        "events": events,
        "lag_up": lag_up,
        "lag_down": lag_down,
        "refused": view.refused,
        "ahead": view.ahead,
        "logs": logs,
    })
}

/// `GET /v1/workers`: who owns which bucket, where several workers share a ledger; empty where one process has it.
pub(super) async fn workers(State(app): Shared) -> Answer {
    let leases = app.read(|reader| reader.leases()).await?;
    let mut workers: BTreeMap<&str, (Vec<i16>, bool)> = BTreeMap::new();
    for lease in &leases {
        let Some(owner) = lease.owner.as_deref() else { continue };
        let (buckets, alive) = workers.entry(owner).or_default();
        buckets.push(lease.bucket);
        *alive |= !lease.expired;
    }
    let workers: Vec<Value> = workers
        .iter()
        .map(|(name, (buckets, alive))| json!({"worker": name, "alive": alive, "buckets": buckets}))
        .collect();
    Ok(Json(json!({"schema": "steelyard.hq-workers/1", "workers": workers})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    epoch: Option<u32>,
    direction: Option<Direction>,
    from: Option<u64>,
    limit: Option<usize>,
}

/// `GET /v1/stores/{id}/events?epoch=&direction=up|down&from=&limit=`: events of one log in order; newest epoch by default.
pub(super) async fn events(
    State(app): Shared,
    Path(id): Path<String>,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let store = store_of(&id)?;
    let Query(query) = query.map_err(|rejection| Failure::bad("bad-query", rejection.body_text()))?;
    let direction = query.direction.unwrap_or(Direction::Up);
    let (from, limit) = (Seq(query.from.unwrap_or(1)), query.limit.unwrap_or(100).min(EVENTS_MAX));
    let found = app
        .read(move |reader| {
            let heads = reader.heads()?;
            let mut logs =
                heads.iter().filter(|row| row.log.store == store && row.log.direction == direction);
            let row = match query.epoch {
                Some(epoch) => logs.find(|row| row.log.epoch == Epoch(epoch)),
                None => logs.max_by_key(|row| row.log.epoch),
            };
            let Some(row) = row else { return Ok(None) };
            Ok(Some((row.log, row.head, reader.events(row.log, from, limit)?)))
        })
        .await?;
    let Some((log, head, events)) = found else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "no-log", format!("no such log of store {store}")));
    };
    let mut out = view::log(log);
    out["schema"] = json!("steelyard.hq-events/1");
    out["head"] = json!(head.0);
    out["events"] = events.iter().map(view::event).collect();
    Ok(Json(out))
}

/// Refuses a store that HQ has nothing of.
pub(super) async fn known(app: &App, store: StoreId) -> Result<(), Failure> {
    let known = app.read(move |reader| Ok(reader.heads()?.iter().any(|row| row.log.store == store))).await?;
    if known {
        Ok(())
    } else {
        Err(Failure::new(StatusCode::NOT_FOUND, "no-store", format!("HQ has nothing of store {store}")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StockQuery {
    sku: Option<u64>,
}

/// `GET /v1/stores/{id}/stock?sku=`: balances per article and lot, in thousandths of the stock unit.
pub(super) async fn stock(
    State(app): Shared,
    Path(id): Path<String>,
    query: Result<Query<StockQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let store = store_of(&id)?;
    let Query(query) = query.map_err(|rejection| Failure::bad("bad-query", rejection.body_text()))?;
    known(&app, store).await?;
    let rows = app.read(move |reader| reader.stock(store, query.sku.map(Sku))).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "sku": row.sku.0,
                "lot": row.lot.as_str(),
                "on_hand_milli": row.on_hand.0,
                "reserved_milli": row.reserved.0,
                "sold_milli": row.sold.0,
                "supplier_milli": row.supplier.0,
                "waste_milli": row.waste.0,
                "adjustment_milli": row.adjustment.0,
                "transit_milli": row.transit.0,
            })
        })
        .collect();
    Ok(Json(json!({"schema": "steelyard.hq-stock/1", "store": store.0, "stock": rows})))
}

/// `GET /v1/stores/{id}/money`: balances per trading day, currency and account, in minor units.
pub(super) async fn money(State(app): Shared, Path(id): Path<String>) -> Answer {
    let store = store_of(&id)?;
    known(&app, store).await?;
    let rows = app.read(move |reader| reader.money(store)).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "day": row.day.to_string(),
                "currency": row.currency.as_str(),
                "account": row.account.name(),
                "amount_minor": row.amount.0,
            })
        })
        .collect();
    Ok(Json(json!({"schema": "steelyard.hq-money/1", "store": store.0, "money": rows})))
}

/// `GET /v1/stores/{id}/summary`: how many events of which kind.
pub(super) async fn summary(State(app): Shared, Path(id): Path<String>) -> Answer {
    let store = store_of(&id)?;
    known(&app, store).await?;
    let counts = app.read(|reader| reader.counts()).await?;
    let up: Vec<&KindCount> =
        counts.iter().filter(|row| row.store == store && row.direction == Direction::Up).collect();
    let of = |kind: Kind| up.iter().filter(|row| row.kind == kind).map(|row| row.count).sum::<u64>();
    let kinds: BTreeMap<String, u64> = up.iter().map(|row| (row.kind.to_string(), row.count)).collect();
    Ok(Json(json!({
        "schema": "steelyard.hq-summary/1",
        "store": store.0,
        "events": up.iter().map(|row| row.count).sum::<u64>(),
        "tickets": of(Kind::SALE),
        "weighings": of(Kind::WEIGHING),
        "alarms": of(Kind::ALARM_RAISED),
        "batches": of(Kind::BATCH_QUEUED),
        "tags_confirmed": of(Kind::TAG_CONFIRMED),
        "kinds": kinds,
    })))
}

/// `GET /v1/quarantine`: what was kept aside, newest first.
pub(super) async fn quarantine(State(app): Shared) -> Answer {
    let (rows, counts) =
        app.read(|reader| Ok((reader.quarantine(QUARANTINE_MAX)?, reader.quarantine_counts()?))).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let shown = row.raw.get(..RAW_SHOWN).unwrap_or(&row.raw);
            json!({
                "id": row.id,
                "received_ms": row.received.0,
                "times": row.times,
                "source": row.source,
                "code": row.code,
                "detail": row.detail,
                "bytes": row.raw.len(),
                "raw_hex": view::hex(shown),
            })
        })
        .collect();
    Ok(Json(json!({
        "schema": "steelyard.hq-quarantine/1",
        "kept": counts.kept,
        "total": counts.total,
        "evicted": counts.evicted,
        "entries": rows,
    })))
}
