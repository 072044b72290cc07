//! What tills and the page look at. Every view reads committed rows or the registry; none waits for a device.

use super::answer::{Refused, ok};
use super::{fields, post, rows, words};
use crate::daemon::Daemon;
use crate::devices;
use crate::troubles::{self, Now};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use edge_api::{
    AlarmCount, Curve, CurvePoint, Device, DeviceDetail, EventRow, Events, Frame, Frames, Health,
    LedgerBrief, Price, Scale, Status, Stock, StockRow, Sync, SyncBrief, SyncLog, TEMPERATURE,
};
use edge_core::weighing::Screen;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use sync_model::{Direction, FactRef, LogId, Seq, Sku, UnixMillis};
use sync_store::StoredEvent;

/// Events of one answer.
const EVENTS_MAX: usize = 500;
/// Points of one curve.
const POINTS_MAX: usize = 2_000;
/// Longest curve.
const MINUTES_MAX: u32 = 14 * 24 * 60;

/// `GET /v1/prices/{sku}`.
pub(crate) async fn price(
    State(daemon): State<Arc<Daemon>>,
    Path(sku): Path<String>,
) -> Result<Response, Refused> {
    let sku = Sku(fields::number("sku", &sku)?);
    let store = daemon.store;
    let (article, price) = daemon
        .read(move |reader| Ok((reader.article(store, sku)?, reader.price(store, sku)?)))
        .await
        .map_err(post::refused)?;
    let (Some(article), Some(row)) = (article, price) else {
        return Err(Refused::not_found("price of", sku));
    };
    Ok(ok(Price {
        sku: sku.0,
        name: article.name.to_string(),
        unit: words::unit(article.unit).into(),
        price_minor: row.price.0,
        version: row.version,
        tax_rate: article.tax_rate,
        currency: daemon.config().store.currency.to_string(),
        active: article.active,
        pending_minor: (article.version > row.version).then_some(article.price.0),
    }))
}

/// `GET /v1/scales/{id}`.
pub(crate) async fn scale(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let id = fields::device("id", &id)?;
    let view = daemon
        .registry
        .get(&id)
        .filter(|view| view.class == sync_model::DeviceClass::Scale)
        .ok_or_else(|| Refused::not_found("scale", &id))?;
    let fault = || Screen::Fault { reason: view.reason.to_string() };
    let screen = view.screen.map_or_else(fault, |screen| *screen);
    let state = screen.word().to_owned();
    let (net_g, event, reason) = match screen {
        Screen::Ready => (None, None, None),
        Screen::Measuring { net } => (net.map(|net| net.0), None, None),
        Screen::Accepted { net, event } => (Some(net.0), event.map(|event| event.to_string()), None),
        Screen::Fault { reason } => (None, None, Some(reason)),
    };
    Ok(ok(Scale { device: id.to_string(), state, net_g, event, reason }))
}

/// Settlement in brief.
fn sync_brief(daemon: &Daemon) -> SyncBrief {
    let state = daemon.settle.get();
    SyncBrief {
        configured: daemon.config().hq.is_some(),
        connected: state.connected,
        lag: daemon.settle.lag(),
        last_ack_ms: state.last_ack_ms,
    }
}

/// `GET /v1/status`.
pub(crate) async fn status(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let store = daemon.store;
    let now = UnixMillis(daemon.clock.wall_ms());
    let (alarms, head, bytes) = daemon
        .read(move |reader| {
            let head = reader.tail(1)?.into_iter().next_back().map(|event| event.id);
            Ok((reader.open_alarms(store)?, head, reader.file_bytes()?))
        })
        .await
        .map_err(post::refused)?;
    let count = |wanted: &dyn Fn(&sync_store::AlarmRow) -> bool| {
        u32::try_from(alarms.iter().filter(|alarm| wanted(alarm)).count()).unwrap_or(u32::MAX)
    };
    let shelved =
        |alarm: &sync_store::AlarmRow| alarm.shelved.as_ref().is_some_and(|(until, _)| *until > now);
    let reasons = daemon.reasons();
    let config = daemon.config();
    let moment = daemon.moment();
    let settle = daemon.settle.get();
    let (troubles, more_troubles) =
        daemon.registry.look(|devices| troubles::list(devices, &settle, config.hq.as_ref(), moment));
    let full = daemon.space.pressure() == crate::space::Pressure::Full;
    Ok(ok(Status {
        store: store.0,
        state: if reasons.is_empty() { "ok" } else { "degraded" }.into(),
        reasons,
        troubles,
        more_troubles,
        software: crate::daemon::software().to_string(),
        uptime_s: daemon.clock.mono_ms().saturating_sub(daemon.started_ms) / 1_000,
        now_ms: now.0,
        clock: words::clock(daemon.clock.quality()).into(),
        currency: config.store.currency.to_string(),
        devices: daemon.registry.counts(),
        alarms: AlarmCount {
            open: count(&|_| true),
            unacknowledged: count(&|alarm| alarm.acknowledged.is_none() && !shelved(alarm)),
            shelved: count(&shelved),
        },
        sync: sync_brief(&daemon),
        ledger: LedgerBrief {
            log: daemon.ledger.log().map(|log| log.to_string()).unwrap_or_default(),
            head: head.map_or(0, |id| id.seq.0),
            bytes,
            free_bytes: Some(daemon.space.free_bytes()),
            state: if full { "full" } else { "ok" }.into(),
            salvaged: daemon.opened.salvaged.as_ref().map(|salvage| salvage.evidence.display().to_string()),
        },
    }))
}

/// `GET /v1/health`: always 200 while the daemon answers; the body says how it is.
pub(crate) async fn health(State(daemon): State<Arc<Daemon>>) -> Response {
    let state = if daemon.reasons().is_empty() { "ok" } else { "degraded" };
    ok(Health { state: state.into() })
}

pub(super) fn device_row(id: &sync_model::DeviceId, view: &devices::DeviceView, now: Now) -> Device {
    Device {
        id: id.to_string(),
        class: view.class.name().into(),
        state: view.word().into(),
        reason: if view.word() == "ok" { String::new() } else { view.reason.to_string() },
        cause: view.cause.map(|cause| cause.name().into()).unwrap_or_default(),
        advice: view.advice.to_string(),
        since_ms: view.trouble_mono_ms.get().map(|mono| now.wall(mono.unsigned_abs())),
        last_seen_ms: view.last_seen_ms.get(),
        reading: view.reading.for_people(),
    }
}

/// `GET /v1/devices`.
pub(crate) async fn devices(State(daemon): State<Arc<Daemon>>) -> Response {
    rows::devices(&daemon)
}

/// `GET /v1/devices/{id}`.
pub(crate) async fn device(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let id = fields::device("id", &id)?;
    let view = daemon.registry.get(&id).ok_or_else(|| Refused::not_found("device", &id))?;
    let counted = daemon.host(|host| host.counters(id.as_str())).flatten().unwrap_or_default();
    let counters = BTreeMap::from([
        ("good".to_owned(), counted.good),
        ("malformed".to_owned(), counted.malformed),
        ("refused".to_owned(), counted.refused),
        ("timeouts".to_owned(), counted.timeouts),
        ("reopened".to_owned(), counted.reopened),
        ("restarts".to_owned(), counted.restarts),
        ("dropped".to_owned(), counted.dropped.saturating_add(view.dropped)),
    ])
    .into_iter()
    .map(|(name, count)| (name, u64::from(count)))
    .collect();
    let frames = daemon.host(|host| host.frames(id.as_str())).unwrap_or_default();
    let frames = frames.iter().map(|frame| format!("{} {}", arrow(frame), hex(frame))).collect();
    let device = device_row(&id, &view, daemon.moment());
    Ok(ok(DeviceDetail { device, connection: devices::connection(&daemon.config(), &id), counters, frames }))
}

fn arrow(frame: &drv_host::RawFrame) -> &'static str {
    match frame.way {
        drv_host::Way::Sent => ">",
        drv_host::Way::Received => "<",
    }
}

fn hex(frame: &drv_host::RawFrame) -> String {
    let bytes: Vec<String> = frame.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(" ")
}

/// Query of the frames.
#[derive(Deserialize)]
pub(crate) struct FramesQuery {
    after: Option<u64>,
}

/// `GET /v1/devices/{id}/frames?after=`: what is kept of the line's frames after a number; without one only where to go on
/// from. Answers at once: who follows asks again.
pub(crate) async fn frames(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Query(query): Query<FramesQuery>,
) -> Result<Response, Refused> {
    let id = fields::device("id", &id)?;
    if daemon.registry.named(id.as_str()).is_none() {
        return Err(Refused::not_found("device", &id));
    }
    let seen = daemon.host(|host| {
        let frames = host.frames(id.as_str());
        let last = frames.last().map_or(0, |frame| frame.number);
        // A number from before a restart of the drivers names nothing any more: everything is new.
        let after = query.after.map_or(last, |after| if after > last { 0 } else { after });
        let first = frames.first().map_or(last, |frame| frame.number.saturating_sub(1));
        let list = frames.iter().filter(|frame| frame.number > after);
        let list = list.map(|frame| Frame {
            number: frame.number,
            mono_ms: frame.mono_ms,
            way: arrow(frame).into(),
            hex: hex(frame),
            text: host.explain(id.as_str(), frame),
        });
        (list.collect(), last, first.saturating_sub(after), host.wire(id.as_str()).to_owned())
    });
    let (frames, next, missed, wire) = seen.unwrap_or_default();
    let software = crate::daemon::software().to_string();
    Ok(ok(Frames {
        device: id.to_string(),
        connection: devices::connection(&daemon.config(), &id),
        wire,
        software,
        frames,
        next,
        missed,
    }))
}

/// Query of the event list.
#[derive(Deserialize)]
pub(crate) struct EventsQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/events?after=&limit=`.
pub(crate) async fn events(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Refused> {
    let limit = query.limit.unwrap_or(100).clamp(1, EVENTS_MAX);
    let after = query.after.as_deref().map(|after| fields::fact("after", after)).transpose()?;
    let store = daemon.store;
    let stored = daemon
        .read(move |reader| {
            let Some(FactRef { epoch, seq }) = after else { return reader.tail(limit) };
            let mut found = Vec::new();
            // A later epoch continues where the named one ends.
            for head in reader.heads()? {
                let own = head.log.store == store && head.log.direction == Direction::Up;
                if own && head.log.epoch >= epoch && found.len() < limit {
                    let from = if head.log.epoch == epoch { seq.next() } else { Seq(1) };
                    let log = LogId { store, direction: Direction::Up, epoch: head.log.epoch };
                    found.extend(reader.events(log, from, limit - found.len())?);
                }
            }
            Ok(found)
        })
        .await
        .map_err(post::refused)?;
    let next = stored.last().map(|event| FactRef::from(event.id)).or(after).map(|at| at.to_string());
    let events = stored.iter().map(event_row).collect();
    Ok(ok(Events { events, next }))
}

fn event_row(stored: &StoredEvent) -> EventRow {
    let id = FactRef::from(stored.id).to_string();
    match &stored.event {
        Ok(event) => EventRow {
            id,
            kind: event.fact.kind().to_string(),
            at_ms: event.stamp.at.0,
            clock: words::clock(event.stamp.clock).into(),
            text: words::event(event),
        },
        Err(error) => EventRow {
            id,
            kind: "undecodable".into(),
            at_ms: stored.received.unwrap_or_default().0,
            clock: "suspect".into(),
            text: error.to_string(),
        },
    }
}

/// Query of the stock list.
#[derive(Deserialize)]
pub(crate) struct StockQuery {
    sku: Option<u64>,
}

/// `GET /v1/stock?sku=`.
pub(crate) async fn stock(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<StockQuery>,
) -> Result<Response, Refused> {
    let store = daemon.store;
    let sku = query.sku.map(Sku);
    let (rows, articles, fresh) = daemon
        .read(move |reader| {
            let rows = reader.stock(store, sku)?;
            let articles: BTreeMap<Sku, sync_model::Article> = match sku {
                Some(sku) => reader.article(store, sku)?.map(|article| (sku, article)).into_iter().collect(),
                None => reader.articles(store)?.into_iter().map(|article| (article.sku, article)).collect(),
            };
            let made = reader.batches(store, EVENTS_MAX)?;
            let fresh: BTreeSet<Sku> = made.into_iter().map(|row| row.queued.sku).collect();
            Ok((rows, articles, fresh))
        })
        .await
        .map_err(post::refused)?;
    let mut reserved: BTreeMap<Sku, i64> = BTreeMap::new();
    for row in &rows {
        let sum = reserved.entry(row.sku).or_default();
        *sum = sum.saturating_add(row.reserved.0);
    }
    let rows = rows
        .into_iter()
        .map(|row| StockRow {
            sku: row.sku.0,
            name: articles.get(&row.sku).map(|article| article.name.to_string()),
            unit: articles.get(&row.sku).map(|article| words::unit(article.unit).to_owned()),
            lot: row.lot.as_str().to_owned(),
            on_hand_milli: row.on_hand.0,
            reserved_milli: reserved.remove(&row.sku).unwrap_or(0),
            fresh: fresh.contains(&row.sku),
        })
        .collect();
    Ok(ok(Stock { rows }))
}

/// `GET /v1/sync`.
pub(crate) async fn sync(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let (heads, quarantined) = daemon
        .read(|reader| Ok((reader.heads()?, reader.quarantine_counts()?.total)))
        .await
        .map_err(post::refused)?;
    let state = daemon.settle.get();
    let logs = heads
        .iter()
        .map(|row| {
            let live = state.logs.iter().find(|log| log.log == row.log);
            // HQ's log is written there: what is here is what we acknowledged.
            let down = row.log.direction == Direction::Down;
            let acked = if down { row.head } else { live.map_or(row.acked, |log| log.acked) };
            SyncLog {
                log: row.log.to_string(),
                head: row.head.0,
                acked: acked.0,
                sent: live.map_or(acked, |log| log.sent).0,
            }
        })
        .collect();
    let config = daemon.config();
    Ok(ok(Sync {
        brief: sync_brief(&daemon),
        broker: config.hq.as_ref().map(|hq| format!("{}:{}", hq.host, hq.port)),
        since_ms: state.since_ms,
        last_error: state.last_error,
        logs,
        quarantined,
    }))
}

/// Query of a curve.
#[derive(Deserialize)]
pub(crate) struct CurveQuery {
    minutes: Option<u32>,
}

/// `GET /v1/cabinets/{id}/curve?minutes=`.
pub(crate) async fn curve(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Query(query): Query<CurveQuery>,
) -> Result<Response, Refused> {
    let id = fields::device("id", &id)?;
    let view = daemon.registry.get(&id).ok_or_else(|| Refused::not_found("cabinet", &id))?;
    let minutes = query.minutes.unwrap_or(120).clamp(1, MINUTES_MAX);
    let since = UnixMillis(daemon.clock.wall_ms()).plus(-i64::from(minutes).saturating_mul(60_000));
    let (reader, device) = (daemon.clone(), id.clone());
    let samples = tokio::task::spawn_blocking(move || match &reader.telemetry {
        Some(telemetry) => telemetry.samples(&device, TEMPERATURE, since, POINTS_MAX),
        None => Ok(Vec::new()),
    })
    .await
    .unwrap_or(Err(sync_store::LedgerError::Closed))
    .map_err(post::refused)?;
    let points = samples
        .into_iter()
        .map(|sample| CurvePoint {
            at_ms: sample.at.0,
            temperature_mc: i32::try_from(sample.value).ok().filter(|_| sample.good),
        })
        .collect();
    let (high_mc, low_mc) = match view.reading.for_people() {
        Some(edge_api::DeviceReading::Cabinet { high_mc, low_mc, .. }) => (high_mc, low_mc),
        _ => (None, None),
    };
    Ok(ok(Curve { device: id.to_string(), high_mc, low_mc, points }))
}
