//! What people order: alarms, verify, backup, reload, doctor.

use super::answer::{Refused, ok, parse};
use super::{fields, post, words};
use crate::daemon::Daemon;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use edge_api::{AckRequest, Alarm, Alarms, Backup, BackupRequest, Done, ShelveRequest, Verify};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use sync_model::{AlarmAcknowledged, AlarmShelved, Audit, Event, Fact, FactRef, Stamp, Text, UnixMillis};
use sync_store::AlarmRow;

/// Orders at once.
pub(crate) const ORDERS_AT_ONCE: usize = 4;
/// Longest order (a backup of a large ledger).
pub(crate) const ORDER_TIME_MS: u64 = 600_000;
/// Alarms of one answer.
const ALARMS_MAX: usize = 500;
/// Key of the moment of the last backup, wall milliseconds as text.
pub(crate) const BACKUP_KEY: &str = "backup/last";

/// Query of the alarm list.
#[derive(Deserialize)]
pub(crate) struct AlarmsQuery {
    all: Option<String>,
}

/// `GET /v1/alarms?all=`.
pub(crate) async fn alarms(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<AlarmsQuery>,
) -> Result<Response, Refused> {
    let all = query.all.is_some_and(|all| all != "0" && all != "false");
    let store = daemon.store;
    let mut rows = daemon
        .read(move |reader| if all { reader.alarms(store, ALARMS_MAX) } else { reader.open_alarms(store) })
        .await
        .map_err(post::refused)?;
    rows.truncate(ALARMS_MAX);
    let now = UnixMillis(daemon.clock.wall_ms());
    Ok(ok(Alarms { alarms: rows.into_iter().map(|row| alarm(row, now)).collect() }))
}

fn alarm(row: AlarmRow, now: UnixMillis) -> Alarm {
    let shelved = row.shelved.filter(|(until, _)| *until > now && row.returned.is_none());
    let state = match (&row.returned, &shelved, &row.acknowledged) {
        (Some(_), _, _) => "returned",
        (None, Some(_), _) => "shelved",
        (None, None, Some(_)) => "acknowledged",
        (None, None, None) => "unacknowledged",
    };
    Alarm {
        id: row.alarm.to_string(),
        device: row.device.to_string(),
        kind: words::alarm_kind(row.kind).into(),
        state: state.into(),
        since_ms: row.since.0,
        value_mc: row.value.map(|value| value.0),
        limit_mc: row.limit.map(|limit| limit.0),
        worst_mc: row.worst.map(|worst| worst.0),
        until_ms: shelved.as_ref().map(|(until, _)| until.0),
        by: shelved.or(row.acknowledged).map(|(_, by)| by.to_string()),
    }
}

/// Appends a fact about an open alarm.
async fn act(
    daemon: &Daemon,
    alarm: FactRef,
    done: String,
    fact: impl FnOnce(Stamp) -> Fact + Send + 'static,
) -> Result<Response, Refused> {
    let stamp = daemon.clock.stamp();
    let found = daemon
        .commit(move |draft| {
            let Some(row) = draft.alarm(alarm)? else { return Ok(None) };
            if row.open() {
                draft.append(&Event::new(stamp, fact(stamp)))?;
            }
            Ok(Some(row.open()))
        })
        .await
        .map_err(post::refused)?;
    match found {
        None => Err(Refused::not_found("alarm", alarm)),
        Some(false) => {
            let message = format!("alarm {alarm} has returned and was acknowledged");
            Err(Refused::new(StatusCode::CONFLICT, "alarm-closed", message))
        }
        Some(true) => Ok(ok(Done { text: done })),
    }
}

/// `POST /v1/alarms/{id}/ack`.
pub(crate) async fn acknowledge(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let alarm = fields::fact("id", &id)?;
    let request: AckRequest = parse(body)?;
    let by = fields::text("by", &request.by)?;
    let done = format!("alarm {alarm} acknowledged");
    act(&daemon, alarm, done, move |_| AlarmAcknowledged { alarm, by }.into()).await
}

/// `POST /v1/alarms/{id}/shelve`.
pub(crate) async fn shelve(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let alarm = fields::fact("id", &id)?;
    let request: ShelveRequest = parse(body)?;
    let by = fields::text("by", &request.by)?;
    if !(1..=1_440).contains(&request.minutes) {
        return Err(Refused::bad("minutes", "1 to 1440", request.minutes));
    }
    let millis = i64::from(request.minutes) * 60_000;
    let done = format!("alarm {alarm} put aside for {} minutes", request.minutes);
    act(&daemon, alarm, done, move |stamp| AlarmShelved { alarm, until: stamp.at.plus(millis), by }.into())
        .await
}

/// `POST /v1/ledger/verify`.
pub(crate) async fn verify(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let started = daemon.clock.mono_ms();
    let ledger = daemon.ledger.clone();
    let report = tokio::task::spawn_blocking(move || ledger.verify())
        .await
        .unwrap_or(Err(sync_store::LedgerError::Closed))
        .map_err(post::refused)?;
    Ok(ok(Verify {
        ok: report.ok(),
        events: report.events,
        logs: u32::try_from(report.logs).unwrap_or(u32::MAX),
        problems: report
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.name, problem.detail))
            .collect(),
        took_ms: daemon.clock.mono_ms().saturating_sub(started),
    }))
}

/// `POST /v1/backup`.
pub(crate) async fn backup(
    State(daemon): State<Arc<Daemon>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: BackupRequest = parse(body)?;
    let path = PathBuf::from(&request.path);
    if !path.is_absolute() {
        return Err(Refused::bad(
            "path",
            "an absolute path",
            format!("'{}'", Text::<80>::lossy(&request.path)),
        ));
    }
    if !path.parent().is_some_and(std::path::Path::is_dir) {
        let found = format!("'{}'", Text::<80>::lossy(&request.path));
        return Err(Refused::bad("path", "a new file in an existing folder", found));
    }
    if path.exists() {
        let message = format!("{} exists; a backup never overwrites", path.display());
        return Err(Refused::new(StatusCode::CONFLICT, "backup-exists", message).field("path"));
    }
    let (ledger, to) = (daemon.ledger.clone(), path.clone());
    tokio::task::spawn_blocking(move || ledger.backup(&to))
        .await
        .unwrap_or(Err(sync_store::LedgerError::Closed))
        .map_err(post::refused)?;
    let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
    let stamp = daemon.clock.stamp();
    let audit = Audit {
        actor: Text::lossy("socket"),
        action: Text::lossy("backup"),
        detail: Text::lossy(&path.display().to_string()),
    };
    daemon
        .commit(move |draft| {
            draft.append(&Event::new(stamp, audit))?;
            draft.put_state(BACKUP_KEY, Some(stamp.at.0.to_string().as_bytes()))
        })
        .await
        .map_err(post::refused)?;
    Ok(ok(Backup { path: path.display().to_string(), bytes }))
}

/// `POST /v1/reload`.
pub(crate) async fn reload(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    match daemon.reload().await {
        Ok(text) => Ok(ok(Done { text })),
        Err(errors) => {
            tracing::error!(%errors, "reload refused, the old configuration stays");
            Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-config", errors))
        }
    }
}

/// `GET /v1/doctor`.
pub(crate) async fn doctor(State(daemon): State<Arc<Daemon>>) -> Response {
    ok(crate::doctor::examine(&daemon).await)
}
