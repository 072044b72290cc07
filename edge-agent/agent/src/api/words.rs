//! Words and one-line texts of the programming interface.

use sync_model::{AlarmKind, BatchState, ClockQuality, Event, Fact, StockUnit};

pub(crate) fn clock(quality: ClockQuality) -> &'static str {
    match quality {
        ClockQuality::Synced => "synced",
        ClockQuality::Unsynced => "unsynced",
        ClockQuality::Suspect => "suspect",
    }
}

pub(crate) fn unit(unit: StockUnit) -> &'static str {
    match unit {
        StockUnit::Piece => "piece",
        StockUnit::Kilogram => "kilogram",
        StockUnit::Litre => "litre",
    }
}

pub(crate) fn alarm_kind(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::TooWarm => "too-warm",
        AlarmKind::TooCold => "too-cold",
        AlarmKind::SensorFault => "sensor-fault",
        AlarmKind::Lost => "lost",
        AlarmKind::DefrostTooLong => "defrost-too-long",
        AlarmKind::LowWater => "low-water",
        AlarmKind::OverTemperature => "over-temperature",
        AlarmKind::DoorOpen => "door-open",
    }
}

pub(crate) fn batch_state(state: BatchState) -> &'static str {
    match state {
        BatchState::Queued => "queued",
        BatchState::Preheat => "preheat",
        BatchState::Steaming => "steaming",
        BatchState::CoreCheck => "core-check",
        BatchState::Hold => "hold",
        BatchState::SoldOut => "sold-out",
        BatchState::Expired => "expired",
        BatchState::Discarded => "discarded",
    }
}

/// One line for a reader.
pub(crate) fn event(event: &Event) -> String {
    match &event.fact {
        Fact::EpochOpened(fact) => format!("log opened: {:?}, {}", fact.reason, fact.software),
        Fact::Weighing(fact) => format!("{}: {} net", fact.scale, fact.net),
        Fact::Sale(fact) => {
            let total: i64 = fact.lines.iter().map(|line| line.amount.0).fold(0, i64::saturating_add);
            let total = sync_model::Minor(total);
            format!(
                "till {} ticket {}: {} lines, {total} {}",
                fact.till,
                fact.number,
                fact.lines.len(),
                fact.currency
            )
        }
        Fact::Return(fact) => {
            format!("till {} return {}: {} lines", fact.till, fact.number, fact.lines.len())
        }
        Fact::Receipt(fact) => format!("received {}: {} lines", fact.reference, fact.lines.len()),
        Fact::Waste(fact) => {
            format!("article {}: {} written off, {:?}", fact.sku, fact.quantity, fact.reason)
        }
        Fact::Count(fact) => {
            format!("article {} in {}: counted {}, book {}", fact.sku, fact.section, fact.counted, fact.book)
        }
        Fact::TransferOut(fact) => format!("to store {}: {} lines", fact.to, fact.lines.len()),
        Fact::TransferIn(fact) => format!("from store {}: {} lines", fact.from, fact.lines.len()),
        other => device_event(other),
    }
}

fn device_event(fact: &Fact) -> String {
    match fact {
        Fact::TemperatureMinute(fact) => match fact.mean {
            Some(mean) => format!("{}: {mean} ({} good, {} bad)", fact.device, fact.good, fact.bad),
            None => format!("{}: no good sample, {} bad", fact.device, fact.bad),
        },
        Fact::AlarmRaised(fact) => match fact.value {
            Some(value) => format!("{}: {} at {value}", fact.device, alarm_kind(fact.kind)),
            None => format!("{}: {}", fact.device, alarm_kind(fact.kind)),
        },
        Fact::AlarmAcknowledged(fact) => format!("alarm {} seen by {}", fact.alarm, fact.by),
        Fact::AlarmReturned(fact) => format!("alarm {} over", fact.alarm),
        Fact::AlarmShelved(fact) => format!("alarm {} put aside by {}", fact.alarm, fact.by),
        Fact::BatchQueued(fact) => format!("{}: article {}, {}", fact.device, fact.sku, fact.quantity),
        Fact::BatchMoved(fact) => {
            let (from, to) = (batch_state(fact.from), batch_state(fact.to));
            format!("batch {}: {from} -> {to}, {}", fact.batch, fact.reason)
        }
        Fact::PriceChanged(fact) => match fact.from {
            Some(from) => format!("article {}: {from} -> {} (version {})", fact.sku, fact.to, fact.version),
            None => format!("article {}: {} (version {})", fact.sku, fact.to, fact.version),
        },
        Fact::TagConfirmed(fact) => format!("{} shows {} for article {}", fact.tag, fact.price, fact.sku),
        Fact::DeviceSeen(fact) => format!("{} seen: {}", fact.device, fact.identity),
        Fact::DeviceLost(fact) => format!("{} lost: {}", fact.device, fact.reason),
        Fact::Audit(fact) => format!("{}: {} {}", fact.actor, fact.action, fact.detail),
        Fact::ReservationOpened(fact) => {
            format!("article {}: {} for {} {}", fact.sku, fact.quantity, fact.channel, fact.reference)
        }
        Fact::ReservationClosed(fact) => format!("reservation {}: {:?}", fact.reservation, fact.outcome),
        Fact::ClockJumped(fact) => format!("wall clock moved by {} ms", fact.by_ms),
        other => other.kind().to_string(),
    }
}
