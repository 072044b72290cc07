//! Shelf tags as people read them.

use crate::table::{Table, Tone, clean, paint};
use crate::text::{money, utc};
use edge_api::{TagPlan, Tags};

/// What a state asks a person to do.
fn advice(state: &str) -> &'static str {
    match state {
        "adapter-lost" => "look after the Bluetooth adapter",
        "silent" => "look for the tag: battery, place",
        "spent" => "its tries are spent: look for what disturbs it",
        "battery" => "change its battery",
        _ => "",
    }
}

fn price(minor: Option<i64>) -> String {
    minor.map_or_else(|| "-".to_owned(), money)
}

fn at(ms: Option<i64>) -> String {
    ms.map(utc).unwrap_or_default()
}

/// `edgectl tag list`.
pub(crate) fn tags(tags: &Tags, color: bool) -> String {
    let mut table = Table::new(&[
        "TAG",
        ">ARTICLE",
        ">CONFIRMED",
        ">WANTED",
        "STATE",
        "SINCE",
        "UNTIL",
        ">FAILED",
        ">BATTERY",
        ">SIGNAL",
        "TO DO",
    ]);
    for row in &tags.tags {
        let confirmed = price(row.confirmed_minor) + if row.uncertain { "?" } else { "" };
        table.row([
            row.id.clone(),
            row.sku.to_string(),
            confirmed,
            price(row.wanted_minor),
            row.state.clone(),
            at(row.since_ms),
            at(row.until_ms),
            row.failed.to_string(),
            row.battery_mv.map(|mv| format!("{mv} mV")).unwrap_or_default(),
            row.rssi.map(|dbm| format!("{dbm} dBm")).unwrap_or_default(),
            advice(&row.state).to_owned(),
        ]);
    }
    table.draw(color, "No tags.")
}

/// `edgectl tag plan`.
pub(crate) fn tag_plan(plan: &TagPlan, color: bool) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "Labels   {} to show: {} wait for a slot, {} under way, {} settling, {} late",
        plan.images, plan.ready, plan.running, plan.settling, plan.late
    ));
    line(match plan.done_ms {
        Some(done) => format!("Done     expected {}", utc(done)),
        None if plan.images == 0 => "Done     every label shows its price".to_owned(),
        None => "Done     not before what blocks it is gone".to_owned(),
    });
    if let Some(oldest) = plan.oldest_ms {
        line(format!("Oldest   wanted since {}", utc(oldest)));
    }
    if plan.flashes > 0 {
        line(format!("LEDs     {} tags", plan.flashes));
    }
    let blocked = [
        ("adapter-lost", plan.blocked.adapter_lost),
        ("silent", plan.blocked.silent),
        ("pausing", plan.blocked.pausing),
        ("spent", plan.blocked.spent),
        ("battery", plan.blocked.battery),
    ];
    for (state, count) in blocked.into_iter().filter(|(_, count)| *count > 0) {
        let advice = advice(state);
        let tail = if advice.is_empty() { String::new() } else { format!(": {advice}") };
        line(paint(&format!("Blocked  {count} {state}{tail}"), Tone::Warn, color));
    }
    for rise in &plan.held {
        let tags = clean(&rise.tags.join(", "));
        line(format!(
            "Held     article {} stays at {} at the till, {} waits for {tags}",
            rise.sku,
            money(rise.till_minor),
            money(rise.next_minor)
        ));
    }
    text
}
