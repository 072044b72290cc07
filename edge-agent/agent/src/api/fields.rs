//! From the words of a request to the vocabulary of facts. Each failure names the field, the expectation and the finding.

use super::answer::Refused;
use axum::http::StatusCode;
use sync_core::QUANTITY_MAX;
use sync_model::{DeviceId, FactRef, LotId, Milli, Minor, Text, WasteReason};

/// Most lines of one posting.
pub(crate) const LINES_MAX: usize = 200;

/// A refusal of a well-formed request by a rule.
pub(crate) fn unprocessable(code: &str, field: &str, message: impl Into<String>) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, code, message).field(field)
}

pub(crate) fn text<const N: usize>(field: &str, text: &str) -> Result<Text<N>, Refused> {
    if text.trim().is_empty() {
        return Err(Refused::bad(field, "a text", "an empty one"));
    }
    Text::new(text).map_err(|error| Refused::bad(field, "a text", error))
}

pub(crate) fn lot(field: &str, lot: Option<&str>) -> Result<LotId, Refused> {
    LotId::new(lot.unwrap_or_default()).map_err(|error| Refused::bad(field, "a lot number", error))
}

pub(crate) fn fact(field: &str, text: &str) -> Result<FactRef, Refused> {
    text.parse().map_err(|_| Refused::bad(field, "epoch.seq", format!("'{}'", Text::<40>::lossy(text))))
}

pub(crate) fn fact_option(field: &str, text: Option<&str>) -> Result<Option<FactRef>, Refused> {
    text.map(|text| fact(field, text)).transpose()
}

pub(crate) fn device(field: &str, name: &str) -> Result<DeviceId, Refused> {
    DeviceId::new(name).map_err(|error| Refused::bad(field, "a device name", error))
}

/// A number of the path.
pub(crate) fn number(field: &str, text: &str) -> Result<u64, Refused> {
    text.parse().map_err(|_| Refused::bad(field, "a number", format!("'{}'", Text::<20>::lossy(text))))
}

/// A quantity above 0 within what a posting can carry.
pub(crate) fn quantity(field: &str, milli: i64) -> Result<Milli, Refused> {
    if milli > 0 && milli <= QUANTITY_MAX.0 {
        return Ok(Milli(milli));
    }
    let message = format!("expected 1 to {}, found {milli}", QUANTITY_MAX.0);
    Err(unprocessable("bad-quantity", field, message))
}

/// A counted quantity: 0 is a finding too, and so is a book below 0.
pub(crate) fn counted(field: &str, milli: i64, least: i64) -> Result<Milli, Refused> {
    if milli >= least && milli <= QUANTITY_MAX.0 {
        return Ok(Milli(milli));
    }
    let message = format!("expected {least} to {}, found {milli}", QUANTITY_MAX.0);
    Err(unprocessable("bad-quantity", field, message))
}

/// A cost of 0 or more.
pub(crate) fn cost(field: &str, minor: i64) -> Result<Minor, Refused> {
    if (0..=sync_core::AMOUNT_MAX.0).contains(&minor) {
        return Ok(Minor(minor));
    }
    let message = format!("expected 0 to {}, found {minor}", sync_core::AMOUNT_MAX.0);
    Err(unprocessable("bad-amount", field, message))
}

pub(crate) fn lines<T>(lines: &[T]) -> Result<(), Refused> {
    match lines.len() {
        1..=LINES_MAX => Ok(()),
        found => {
            Err(unprocessable("too-many-lines", "lines", format!("expected 1 to {LINES_MAX}, found {found}")))
        }
    }
}

pub(crate) fn waste_reason(reason: &str) -> Result<WasteReason, Refused> {
    match reason {
        "expired" => Ok(WasteReason::Expired),
        "damaged" => Ok(WasteReason::Damaged),
        "time-unknown" => Ok(WasteReason::TimeUnknown),
        "process" => Ok(WasteReason::Process),
        other => Err(Refused::bad(
            "reason",
            "expired, damaged, time-unknown or process",
            format!("'{}'", Text::<20>::lossy(other)),
        )),
    }
}
