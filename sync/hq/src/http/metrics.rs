//! `GET /metrics`: Prometheus text. Fleet sums, not one series per store: a fleet of thousands would be a flood.

use super::{Failure, Shared, read};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sync_model::Direction;
use sync_store::HQ_LOG;

/// Counters and gauges.
pub(super) async fn metrics(State(app): Shared) -> Result<Response, Failure> {
    let (mut heads, quarantine) =
        app.read(|reader| Ok((reader.heads()?, reader.quarantine_counts()?))).await?;
    heads.retain(|row| row.log.store != HQ_LOG);
    let tally = app.office.tally();
    let sum = |direction: Direction| -> u64 {
        heads.iter().filter(|row| row.log.direction == direction).map(|row| row.head.0).sum()
    };
    let down = heads.iter().filter(|row| row.log.direction == Direction::Down);
    let lag_down: u64 = down.map(|row| row.head.0.saturating_sub(row.acked.0)).sum();
    let fleet = app.fleet.lock();
    let lag_up: u64 = fleet.stores.values().filter_map(|view| read::lag_up(view, &heads)).sum();
    let present = fleet.stores.values().filter(|view| view.present == Some(true)).count();
    let counters = fleet.counters;
    let pipe = fleet.pipe;
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let rows: [(&str, &str, &str, u64); 33] = [
        ("broker_up", "gauge", "Broker connection", u64::from(fleet.broker.fault.is_none())),
        ("ledger_ok", "gauge", "Ledger takes commits", u64::from(fleet.ledger.fault.is_none())),
        ("stores", "gauge", "Stores heard of", count(fleet.stores.len())),
        ("stores_present", "gauge", "Stores connected to the broker", count(present)),
        ("events_up", "gauge", "Events of stores in the ledger", sum(Direction::Up)),
        ("events_down", "gauge", "Events of HQ in the ledger", sum(Direction::Down)),
        ("lag_up_events", "gauge", "Events stores told of that are not here", lag_up),
        ("lag_down_events", "gauge", "Events of HQ that stores have not acknowledged", lag_down),
        ("quarantine_kept", "gauge", "Messages kept aside", quarantine.kept),
        ("quarantine_total", "counter", "Messages put aside", quarantine.total),
        ("quarantine_evicted_total", "counter", "Messages evicted from the quarantine", quarantine.evicted),
        ("acks_waiting", "gauge", "Acks not yet published", count(fleet.acks_waiting)),
        ("jobs_outstanding", "gauge", "Ledger jobs under way", count(fleet.jobs_outstanding)),
        ("blocks_applied_total", "counter", "Blocks applied", counters.applied),
        ("blocks_duplicate_total", "counter", "Blocks known already", counters.duplicate),
        ("blocks_gap_total", "counter", "Blocks after a gap", counters.gap),
        (
            "blocks_equivocation_total",
            "counter",
            "Blocks with other bytes for stored names",
            counters.equivocation,
        ),
        ("blocks_chain_break_total", "counter", "Blocks of another history", counters.chain_break),
        ("blocks_refused_total", "counter", "Blocks the ledger refused", counters.refused),
        ("messages_bad_total", "counter", "Messages not acceptable", counters.bad),
        ("events_received_total", "counter", "Events applied", counters.events),
        ("hellos_total", "counter", "Greetings", counters.hellos),
        ("acks_published_total", "counter", "Acks published", counters.acks),
        ("naks_published_total", "counter", "Refusals published", counters.naks),
        ("verdicts_total", "counter", "Verdicts ordered", counters.verdicts),
        (
            "ledger_failures_total",
            "counter",
            "Ledger jobs failed or turned away",
            counters.failed + counters.busy,
        ),
        ("down_blocks_total", "counter", "Blocks sent to stores", counters.down_blocks),
        ("mqtt_connects_total", "counter", "Broker connections that came up", pipe.connects),
        (
            "statements_open",
            "gauge",
            "Statements that HQ still has to answer or to put into a root",
            tally.open,
        ),
        ("statements_countersigned_total", "counter", "Statements countersigned", tally.countersigned),
        ("statements_disputed_total", "counter", "Statements disputed", tally.disputed),
        ("day_roots_total", "counter", "Day roots made", tally.roots),
        ("day_root_newest", "gauge", "Number of the newest day root", tally.newest_root),
    ];
    drop(fleet);
    let text = exposition(&rows);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The text format of Prometheus: name, kind, help, value.
fn exposition(rows: &[(&str, &str, &str, u64)]) -> String {
    let lines = rows.iter().map(|(name, kind, help, value)| {
        let name = format!("steelyard_hq_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
    });
    lines.collect()
}
