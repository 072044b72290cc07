//! Answers as people read them.

use crate::table::{Table, Tone, clean, paint};
use crate::text::{ago, bytes, celsius, duration, milli, money, utc};
use edge_api::{
    Alarms, Batches, Conflicts, Device, DeviceDetail, DeviceReading, Doctor, Events, Frame, Status, Stock,
    Sync, Trouble, Verify,
};
use std::fmt::Write;

/// A word in its color.
fn word(text: &str, color: bool) -> String {
    paint(&clean(text), Tone::of(text), color)
}

/// A count that is bad unless it is zero.
fn bad_count(count: u32, tone: Tone, color: bool) -> String {
    paint(&count.to_string(), if count == 0 { Tone::Plain } else { tone }, color)
}

/// Appends a line. Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($part:tt)*) => {
        writeln!($text, $($part)*).expect("writing to a string cannot fail")
    };
}

mod probe;
mod samples;
mod shared;
mod tags;

pub(crate) use probe::probe;
pub(crate) use samples::{samples, samples_csv};
pub(crate) use shared::*;
pub(crate) use tags::*;

/// `edgectl status`.
pub(crate) fn status(status: &Status, color: bool) -> String {
    let mut text = String::new();
    line!(
        text,
        "Store {}   {}   edge-agent {}, up {}",
        status.store,
        word(&status.state, color),
        clean(&status.software),
        duration(status.uptime_s)
    );
    for reason in &status.reasons {
        line!(text, "  {}", paint(&clean(reason), Tone::Warn, color));
    }
    line!(text, "Clock    {}   {}", utc(status.now_ms), word(&status.clock, color));
    line!(
        text,
        "Alarms   {} active, {} unacknowledged, {} shelved",
        bad_count(status.alarms.open, Tone::Warn, color),
        bad_count(status.alarms.unacknowledged, Tone::Bad, color),
        status.alarms.shelved
    );
    let sync = &status.sync;
    let link = if sync.connected { "connected" } else { "not connected" };
    match sync.configured {
        false => line!(text, "Sync     no HQ configured, {} events wait", sync.lag),
        true => {
            let last = sync.last_ack_ms.map_or_else(
                || "never acknowledged".to_owned(),
                |ms| format!("acknowledged {}", ago(ms, status.now_ms)),
            );
            line!(text, "Sync     {}, {} events behind, {last}", word(link, color), sync.lag);
        }
    }
    let ledger = &status.ledger;
    let free = ledger.free_bytes.map(|free| format!(", {} free", bytes(free))).unwrap_or_default();
    line!(
        text,
        "Ledger   {}   log {} at {}, {}{free}",
        word(&ledger.state, color),
        clean(&ledger.log),
        ledger.head,
        bytes(ledger.bytes)
    );
    if let Some(evidence) = &ledger.salvaged {
        line!(
            text,
            "  {}",
            paint(&format!("salvaged at start; evidence in {}", clean(evidence)), Tone::Bad, color)
        );
    }
    text.push_str(&hands(&status.troubles, status.more_troubles, status.now_ms, color));
    text.push('\n');
    let mut table = Table::new(&["DEVICES", ">CONFIGURED", ">SEEN", ">OK", ">DEGRADED", ">LOST"]);
    for (class, count) in &status.devices {
        let numbers =
            [count.configured, count.seen, count.ok, count.degraded, count.lost].map(|n| n.to_string());
        let [configured, seen, ok, degraded, lost] = numbers;
        table.row([class.clone(), configured, seen, ok, degraded, lost]);
    }
    text + &table.draw(color, "No devices configured.")
}

/// What needs a hand: which device, since when, why, and what to do.
fn hands(troubles: &[Trouble], more: u32, now_ms: i64, color: bool) -> String {
    let mut text = String::new();
    for trouble in troubles {
        let named = u32::try_from(trouble.devices.len()).unwrap_or(u32::MAX);
        let others = match trouble.count.saturating_sub(named) {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let since = trouble.since_ms.map_or_else(
            || "since the start".to_owned(),
            |ms| format!("since {} ({})", utc(ms), ago(ms, now_ms)),
        );
        line!(
            text,
            "{} {}{others}: {} {since}",
            paint("!", Tone::Bad, color),
            clean(&trouble.devices.join(", ")),
            word(&trouble.state, color)
        );
        line!(text, "    why   {}: {}", clean(&trouble.cause), clean(&trouble.reason));
        line!(text, "    do    {}", clean(&trouble.advice));
    }
    if more > 0 {
        line!(text, "! {more} more: edgectl device list --bad");
    }
    text
}

/// A reading in a few words.
fn reading(reading: &DeviceReading) -> String {
    let temperature = |mc: &Option<i32>| mc.map_or_else(|| "-".to_owned(), celsius);
    match reading {
        DeviceReading::Scale { state, net_g } => match net_g {
            Some(net) => format!("{state}, {net} g"),
            None => state.clone(),
        },
        DeviceReading::Cabinet { temperature_mc, phase, fault, alarms, .. } => {
            let mut text = fault.clone().unwrap_or_else(|| temperature(temperature_mc));
            if phase != "normal" {
                text = format!("{text}, {phase}");
            }
            if alarms.is_empty() { text } else { format!("{text}; it says: {}", alarms.join(", ")) }
        }
        DeviceReading::Tag { sku, shown_minor, wanted_minor, .. } => {
            let shown = shown_minor.map_or_else(|| "nothing yet".to_owned(), money);
            let wanted =
                wanted_minor.map(|wanted| format!(", to show {}", money(wanted))).unwrap_or_default();
            format!("{sku}: {shown}{wanted}")
        }
        DeviceReading::Steamer { mode, chamber_mc, core_mc, batch, .. } => {
            let batch = batch.as_ref().map(|batch| format!(", batch {batch}")).unwrap_or_default();
            format!("{mode}, chamber {}, core {}{batch}", temperature(chamber_mc), temperature(core_mc))
        }
    }
}

/// `edgectl device list`.
pub(crate) fn devices<'a>(devices: impl Iterator<Item = &'a Device>, color: bool) -> String {
    let mut table = Table::new(&[
        "ID",
        "CLASS",
        "STATE",
        "READING",
        "LAST SEEN",
        "TROUBLE SINCE",
        "REASON",
        "WHAT TO DO",
    ]);
    for device in devices {
        let read = device.reading.as_ref().map(reading).unwrap_or_default();
        let seen = device.last_seen_ms.map_or_else(|| "never".to_owned(), utc);
        table.row([
            device.id.clone(),
            device.class.clone(),
            device.state.clone(),
            read,
            seen,
            device.since_ms.filter(|_| device.state != "ok").map(utc).unwrap_or_default(),
            device.reason.clone(),
            device.advice.clone(),
        ]);
    }
    table.draw(color, "No such devices.")
}

/// Devices that are not ok, for `watch`.
pub(crate) fn troubles<'a>(devices: impl Iterator<Item = &'a Device>, color: bool) -> String {
    let mut table = Table::new(&["DEVICE", "STATE", "REASON", "WHAT TO DO"]);
    devices.for_each(|device| {
        table.row([device.id.clone(), device.state.clone(), device.reason.clone(), device.advice.clone()]);
    });
    table.draw(color, "Every device is ok.")
}

/// `edgectl device show`.
pub(crate) fn device(detail: &DeviceDetail, color: bool) -> String {
    let device = &detail.device;
    let mut text = String::new();
    line!(text, "{}   {}   {}", clean(&device.id), clean(&device.class), word(&device.state, color));
    if !device.reason.is_empty() {
        line!(text, "Reason      {}", clean(&device.reason));
    }
    if !device.cause.is_empty() {
        line!(text, "Cause       {}", clean(&device.cause));
        line!(text, "Since       {}", device.since_ms.map_or_else(|| "the start".to_owned(), utc));
        line!(text, "What to do  {}", clean(&device.advice));
    }
    line!(text, "Connection  {}", clean(&detail.connection));
    line!(text, "Last seen   {}", device.last_seen_ms.map_or_else(|| "never".to_owned(), utc));
    if let Some(read) = &device.reading {
        line!(text, "Reading     {}", clean(&reading(read)));
    }
    for (name, count) in &detail.counters {
        line!(text, "  {:<24} {count:>12}", clean(name));
    }
    if !detail.frames.is_empty() {
        line!(text, "Last frames, newest last:");
    }
    for frame in &detail.frames {
        line!(text, "  {}", clean(frame));
    }
    text
}

/// One line of `edgectl device trace`.
pub(crate) fn frame(frame: &Frame, begun_ms: u64, color: bool) -> String {
    let at = frame.mono_ms.saturating_sub(begun_ms);
    let tone = if frame.way == ">" { Tone::Faint } else { Tone::Plain };
    let text = format!("{} {}   {}", clean(&frame.way), clean(&frame.hex), clean(&frame.text));
    format!("{:>6}.{:03} {}\n", at / 1000, at % 1000, paint(&text, tone, color))
}

/// `edgectl event tail`.
pub(crate) fn events(events: &Events) -> String {
    let mut text = String::new();
    for event in &events.events {
        let mark = if event.clock == "synced" { ' ' } else { '~' };
        line!(
            text,
            "{}{mark} {:>14}  {:<18}  {}",
            utc(event.at_ms),
            clean(&event.id),
            clean(&event.kind),
            clean(&event.text)
        );
    }
    text
}

/// `edgectl stock`.
pub(crate) fn stock(stock: &Stock, color: bool) -> String {
    let mut table = Table::new(&[">SKU", "NAME", "LOT", ">ON HAND", ">RESERVED", "UNIT"]);
    for row in &stock.rows {
        let name = row.name.clone().unwrap_or_default();
        let unit = row.unit.clone().unwrap_or_default();
        table.row([
            row.sku.to_string(),
            name,
            row.lot.clone(),
            milli(row.on_hand_milli),
            milli(row.reserved_milli),
            unit,
        ]);
    }
    table.draw(color, "No stock.")
}

/// `edgectl sync status`.
pub(crate) fn sync(sync: &Sync, color: bool) -> String {
    let mut text = String::new();
    let link = if sync.brief.connected { "connected" } else { "not connected" };
    match &sync.broker {
        None => line!(text, "No HQ configured."),
        Some(broker) => {
            let since = sync.since_ms.map(|ms| format!(" since {}", utc(ms))).unwrap_or_default();
            line!(text, "Broker {}: {}{since}", clean(broker), word(link, color));
        }
    }
    if let Some(error) = sync.last_error.as_ref().filter(|_| !sync.brief.connected) {
        line!(text, "Last error: {}", clean(error));
    }
    line!(text, "Behind: {} events.   Quarantined messages: {}", sync.brief.lag, sync.quarantined);
    let mut table = Table::new(&["LOG", ">HEAD", ">SENT", ">ACKNOWLEDGED", ">OPEN"]);
    for log in &sync.logs {
        let open = log.head.saturating_sub(log.acked);
        table.row([
            log.log.clone(),
            log.head.to_string(),
            log.sent.to_string(),
            log.acked.to_string(),
            open.to_string(),
        ]);
    }
    text + &table.draw(color, "No logs yet.")
}

/// `edgectl alarm list`.
pub(crate) fn alarms(alarms: &Alarms, color: bool) -> String {
    let mut table =
        Table::new(&["ALARM", "STATE", "DEVICE", "KIND", ">VALUE", ">LIMIT", ">WORST", "SINCE", "BY"]);
    let value = |mc: Option<i32>| mc.map(celsius).unwrap_or_default();
    for alarm in &alarms.alarms {
        table.row([
            alarm.id.clone(),
            alarm.state.clone(),
            alarm.device.clone(),
            alarm.kind.clone(),
            value(alarm.value_mc),
            value(alarm.limit_mc),
            value(alarm.worst_mc),
            utc(alarm.since_ms),
            alarm.by.clone().unwrap_or_default(),
        ]);
    }
    table.draw(color, "No alarms.")
}

/// `edgectl conflict list`: one line per side.
pub(crate) fn conflicts(conflicts: &Conflicts, color: bool) -> String {
    let mut table = Table::new(&["CONFLICT", "KIND", "SUBJECT", "BY", "AT", "VALUE", "STANDS", "SETTLED"]);
    for conflict in &conflicts.conflicts {
        for (at, side) in conflict.sides.iter().enumerate() {
            let first = |text: &str| if at == 0 { text.to_owned() } else { String::new() };
            table.row([
                first(&conflict.id),
                first(&conflict.kind),
                first(&conflict.subject),
                side.by.clone(),
                if side.at_ms > 0 { utc(side.at_ms) } else { String::new() },
                side.value.clone(),
                if side.stands { "yes" } else { "no" }.to_owned(),
                first(conflict.settled_by.as_deref().unwrap_or_default()),
            ]);
        }
    }
    table.draw(color, "No conflicts.")
}

/// `edgectl batch list`.
pub(crate) fn batches(batches: &Batches, color: bool) -> String {
    let mut table = Table::new(&[
        "BATCH",
        "STATE",
        "STEAMER",
        "ARTICLE",
        "NAME",
        ">MADE",
        ">LEFT",
        "QUEUED",
        "OFF SALE AT",
    ]);
    for batch in &batches.batches {
        table.row([
            batch.id.clone(),
            batch.state.clone(),
            batch.device.clone(),
            batch.sku.to_string(),
            batch.name.clone().unwrap_or_default(),
            milli(batch.quantity_milli),
            milli(batch.remaining_milli),
            utc(batch.queued_ms),
            batch.expires_ms.map(utc).unwrap_or_default(),
        ]);
    }
    table.draw(color, "No batches.")
}

/// `edgectl ledger verify`.
pub(crate) fn verify(verify: &Verify) -> String {
    let mut text = String::new();
    let verdict = if verify.ok { "holds" } else { "DOES NOT HOLD" };
    line!(
        text,
        "The ledger {verdict}: {} events in {} logs, {} ms.",
        verify.events,
        verify.logs,
        verify.took_ms
    );
    for problem in &verify.problems {
        line!(text, "  {}", clean(problem));
    }
    text
}

/// `edgectl doctor`.
pub(crate) fn doctor(doctor: &Doctor, color: bool) -> String {
    let mut text = String::new();
    for (at, check) in doctor.checks.iter().enumerate() {
        let state = paint(&format!("{:<4}", clean(&check.state)), Tone::of(&check.state), color);
        line!(text, "{:>2}. {state}  {:<20} {}", at + 1, clean(&check.name), clean(&check.found));
        if !check.advice.is_empty() {
            line!(text, "                               -> {}", clean(&check.advice));
        }
    }
    text
}
