//! Raw samples over a span of time.

use super::answer::{Refused, ok};
use super::{fields, post};
use crate::daemon::{Daemon, NOTHING_READ};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use edge_api::{IntervalRow, SampleRow, Samples, TEMPERATURE};
use serde::Deserialize;
use std::sync::Arc;
use sync_model::UnixMillis;
use sync_store::LedgerError;
use sync_store::telemetry::{Damage, Telemetry};

/// Samples of one answer, and intervals that may be asked for.
const ROWS_MAX: u16 = 10_000;
/// Span when none is asked for.
const DAY_MS: i64 = 86_400_000;

/// Query of samples.
#[derive(Deserialize)]
pub(crate) struct SamplesQuery {
    metric: Option<u8>,
    from: Option<i64>,
    to: Option<i64>,
    every: Option<i64>,
}

/// `GET /v1/samples/{device}`.
pub(crate) async fn samples(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Query(query): Query<SamplesQuery>,
) -> Result<Response, Refused> {
    let device = fields::device("device", &id)?;
    let to = query.to.unwrap_or_else(|| daemon.clock.wall_ms());
    let from = query.from.unwrap_or_else(|| to.saturating_sub(DAY_MS));
    if from >= to {
        return Err(Refused::bad("from", "a time before `to`", format!("{from} and {to}")));
    }
    if let Some(every) = query.every
        && (every <= 0 || to.saturating_sub(from) / every > i64::from(ROWS_MAX))
    {
        let expected = format!("milliseconds that make 1 to {ROWS_MAX} intervals of the span");
        return Err(Refused::bad("every", &expected, every));
    }
    let answer = Samples {
        device: device.to_string(),
        metric: query.metric.unwrap_or(TEMPERATURE),
        from_ms: from,
        to_ms: to,
        every_ms: query.every,
        rows: Vec::new(),
        intervals: Vec::new(),
        next_ms: None,
        damaged: Vec::new(),
    };
    let reader = daemon.clone();
    let read = tokio::task::spawn_blocking(move || match &reader.telemetry {
        Some(telemetry) => fill(telemetry, &device, answer),
        None => Ok(answer),
    });
    Ok(ok(read.await.unwrap_or(Err(LedgerError::Closed)).map_err(post::refused)?))
}

fn fill(
    telemetry: &Telemetry,
    device: &sync_model::DeviceId,
    mut answer: Samples,
) -> Result<Samples, LedgerError> {
    let span = (UnixMillis(answer.from_ms), UnixMillis(answer.to_ms));
    let lines = |damaged: Vec<Damage>| {
        damaged.into_iter().map(|damage| format!("block {}: {}", damage.generation, damage.why)).collect()
    };
    if let Some(every) = answer.every_ms {
        let summary = telemetry.intervals(device, answer.metric, span, every)?;
        let row = |interval: sync_store::telemetry::Interval| IntervalRow {
            from_ms: interval.from.0,
            good: interval.good,
            bad: interval.bad,
            min: interval.values.map(|values| values.min),
            mean: interval.values.map(|values| values.mean),
            max: interval.values.map(|values| values.max),
        };
        answer.intervals = summary.intervals.into_iter().map(row).collect();
        answer.damaged = lines(summary.damaged);
    } else {
        let range = telemetry.range(device, answer.metric, span, ROWS_MAX.into())?;
        let row = |point: sync_store::telemetry::Point| SampleRow {
            at_ms: point.at.0,
            value: (point.good || point.value != NOTHING_READ).then_some(point.value),
            good: point.good,
        };
        answer.rows = range.points.into_iter().map(row).collect();
        answer.next_ms = range.next.map(|next| next.0);
        answer.damaged = lines(range.damaged);
    }
    Ok(answer)
}
