//! What the store shares with HQ, as people read it: overrides, the device registry, rights, statements.

use super::word;
use crate::table::{Table, Tone, clean, paint};
use crate::text::{celsius, milli, money, utc};
use edge_api::{DeviceRegistry, OverrideValue, Overrides, Rights, StatementDetail, Statements};
use std::fmt::Write;

/// `edgectl override list`: one line per value.
pub(crate) fn overrides(rows: &Overrides, color: bool) -> String {
    let mut table = Table::new(&["NAME", "VALUE", "NOTE"]);
    for row in &rows.overrides {
        let several = row.values.len() > 1;
        for value in &row.values {
            let text = match value {
                OverrideValue::Cleared => "as configured".to_owned(),
                OverrideValue::Number(number) if row.name.starts_with("threshold/") => {
                    i32::try_from(*number).map_or_else(|_| number.to_string(), celsius)
                }
                OverrideValue::Number(number) => number.to_string(),
                OverrideValue::Note(note) => note.clone(),
            };
            let note = if several { "stands beside another: see conflict list" } else { "" };
            table.row([row.name.clone(), text, note.to_owned()]);
        }
    }
    table.draw(color, "No overrides: everything is as configured.")
}

/// `edgectl registry list`.
pub(crate) fn registry(rows: &DeviceRegistry, color: bool) -> String {
    let mut table = Table::new(&["DEVICE", "CLASS", "LABEL"]);
    for row in &rows.devices {
        table.row([row.device.clone(), row.class.clone(), row.label.clone()]);
    }
    table.draw(color, "No devices are listed.")
}

/// `edgectl rights list`.
pub(crate) fn rights(rows: &Rights, color: bool) -> String {
    let mut table = Table::new(&[
        ">SKU",
        ">EPOCH",
        ">HELD",
        ">GRANTED",
        ">PROMISED",
        ">TAKEN",
        ">SHORTFALL",
        ">RETURNED",
        ">FENCED",
    ]);
    for row in &rows.rights {
        table.row([
            row.sku.to_string(),
            row.epoch.to_string(),
            milli(row.held_milli),
            milli(row.granted_milli),
            milli(row.promised_milli),
            milli(row.taken_milli),
            milli(row.shortfall_milli),
            milli(row.returned_milli),
            milli(row.fenced_milli),
        ]);
    }
    table.draw(color, "No article is under shared rights here.")
}

/// `edgectl statement list`.
pub(crate) fn statements(rows: &Statements, color: bool) -> String {
    let mut text = String::new();
    match &rows.key {
        Some(key) => line!(text, "Key {}", clean(key)),
        None => line!(text, "No certificate: nothing is signed."),
    }
    let mut table = Table::new(&["DAY", "STATE", "SIGNED", "ANSWERED", ">ROOT", "DIGEST"]);
    for row in &rows.statements {
        let digest = row.digest.as_deref().unwrap_or_default();
        table.row([
            row.day.clone(),
            row.state.clone(),
            row.signed_ms.map(utc).unwrap_or_default(),
            row.answered_ms.map(utc).unwrap_or_default(),
            row.root.map(|root| root.to_string()).unwrap_or_default(),
            digest.get(..16).unwrap_or(digest).to_owned(),
        ]);
    }
    text + &table.draw(color, "No statement was signed yet.")
}

/// `edgectl statement show`.
pub(crate) fn statement(detail: &StatementDetail, color: bool) -> String {
    let brief = &detail.brief;
    let mut text = String::new();
    line!(text, "Statement of {}   {}", clean(&brief.day), word(&brief.state, color));
    if let Some(digest) = &brief.digest {
        line!(text, "Digest   {}", clean(digest));
    }
    if detail.agrees == Some(false) {
        line!(text, "{}", paint("The ledger does not give the statement that was signed.", Tone::Bad, color));
    }
    if let Some(reason) = &brief.reason {
        line!(text, "{}", paint(&format!("HQ disputes it: {}", clean(reason)), Tone::Bad, color));
        brief.rows.iter().for_each(|row| line!(text, "  {}", clean(row)));
    }
    let span = detail.first.as_deref().zip(detail.last.as_deref());
    let span = span.map(|(first, last)| format!(", {} to {}", clean(first), clean(last))).unwrap_or_default();
    line!(text, "Tickets  {} sales, {} returns, {} lines{span}", detail.sales, detail.returns, detail.lines);
    for end in &detail.ends {
        line!(text, "Log      epoch {} up to {}", end.epoch, end.upto);
    }
    text.push('\n');
    let mut table = Table::new(&["ACCOUNT", ">AMOUNT", "CURRENCY"]);
    for row in &detail.money {
        table.row([row.account.clone(), money(row.amount_minor), row.currency.clone()]);
    }
    text += &table.draw(color, "No money.");
    text.push('\n');
    let mut table = Table::new(&[">TAX %", ">GROSS", ">TAX", "CURRENCY"]);
    for row in &detail.taxes {
        let rate = format!("{}.{:02}", row.rate / 100, row.rate % 100);
        table.row([rate, money(row.gross_minor), money(row.tax_minor), row.currency.clone()]);
    }
    text += &table.draw(color, "No tax.");
    text.push('\n');
    let mut table =
        Table::new(&[">SKU", ">SOLD", ">RETURNED", ">CHARGED", ">REFUNDED", ">DISCOUNT", "CURRENCY"]);
    for row in &detail.articles {
        table.row([
            row.sku.to_string(),
            milli(row.sold_milli),
            milli(row.returned_milli),
            money(row.charged_minor),
            money(row.refunded_minor),
            money(row.discount_minor),
            row.currency.clone(),
        ]);
    }
    text + &table.draw(color, "No articles.")
}
