//! Facts as JSON for people and tests. The canonical bytes are the record; this is a rendering of it.

use crate::identity::Standing;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sync_model::{Direction, Fact, LogId, StoreId};
use sync_store::StoredEvent;

macro_rules! bodies {
    ($fact:expr, $($variant:ident),* $(,)?) => {
        match $fact {
            $(Fact::$variant(body) => serde_json::to_value(body).unwrap_or(Value::Null),)*
            Fact::Unknown { body, .. } => json!({"body_hex": hex(body)}),
        }
    };
}

/// The body of a fact.
fn body(fact: &Fact) -> Value {
    bodies!(
        fact,
        EpochOpened,
        Weighing,
        Sale,
        Return,
        Receipt,
        Waste,
        Count,
        TransferOut,
        TransferIn,
        TemperatureMinute,
        AlarmRaised,
        AlarmAcknowledged,
        AlarmReturned,
        AlarmShelved,
        BatchQueued,
        BatchMoved,
        PriceChanged,
        TagConfirmed,
        DeviceSeen,
        DeviceLost,
        Audit,
        ReservationOpened,
        ReservationClosed,
        ClockJumped,
        PromiseOpened,
        PromiseClosed,
        RightsTaken,
        RightsReturned,
        RegisterWritten,
        RegistryChanged,
        ConflictSettled,
        Checkpointed,
        ArticlesSet,
        Verdict,
        Command,
        RightsIssued,
        RightsGranted,
        EpochFenced,
        TransferClosed,
        HqRegisterWritten,
        HqRegistryChanged,
        HqConflictSettled,
        StatementSigned,
        StatementPart,
        StatementAnswered,
        DayRooted,
    )
}

/// How a store stands with the registry of certificates.
pub(super) fn standing(standing: &Standing) -> Value {
    let (until_s, reason) = match standing {
        Standing::Valid { until_s, .. } => (Some(*until_s), None),
        Standing::Expired { since_s } => (Some(*since_s), None),
        Standing::Revoked(revocation) => (Some(revocation.at_s), Some(revocation.reason.as_str())),
        Standing::Unknown => (None, None),
    };
    json!({"state": standing.word(), "until": until_s.map(sync_mqtt::day), "reason": reason})
}

/// Stores by their standing.
pub(super) fn standing_counts(standings: &BTreeMap<StoreId, Standing>) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for standing in standings.values() {
        *counts.entry(standing.word()).or_default() += 1;
    }
    json!(counts)
}

/// One stored event.
pub(super) fn event(stored: &StoredEvent) -> Value {
    let mut out = json!({
        "id": stored.id.to_string(),
        "epoch": stored.id.log.epoch.0,
        "seq": stored.id.seq.0,
        "received_ms": stored.received.map(|at| at.0),
    });
    let rest = match &stored.event {
        Ok(event) => json!({
            "kind": event.fact.kind().to_string(),
            "at_ms": event.stamp.at.0,
            "clock": event.stamp.clock,
            "fact": body(&event.fact),
        }),
        Err(error) => {
            json!({"kind": Value::Null, "error": error.to_string(), "record_hex": hex(&stored.record)})
        }
    };
    if let (Value::Object(out), Value::Object(rest)) = (&mut out, rest) {
        out.extend(rest);
    }
    out
}

/// A log's name in parts.
pub(super) fn log(log: LogId) -> Value {
    json!({"log": log.to_string(), "direction": direction(log.direction), "epoch": log.epoch.0})
}

/// Stable word of a direction.
pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('?'));
        out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('?'));
        out
    })
}
