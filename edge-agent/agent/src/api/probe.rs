//! `POST /v1/devices/{id}/probe`: the bus owner reads a device at each address offset that its manual may mean.

use super::answer::{Refused, ok};
use crate::daemon::Daemon;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use drv_host::{Found, HostBusy, Inquiry};
use drv_protocol::modbus::Table;
use drv_protocol::profile::{Asked, OFFSETS, Profile, Reading};
use edge_api::{DeviceProbe, ProbedOffset, ProbedRead, ProbedReading};
use std::sync::Arc;

/// Probes one device; nothing is written to it.
pub(crate) async fn probe(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let asked = daemon.host(|host| host.inquire(&id)).ok_or_else(|| Refused::busy("no driver runs"))?;
    let answer = asked.map_err(|error| match error {
        HostBusy::Unknown { .. } => Refused::not_found("device on a Modbus bus", &id),
        other => Refused::busy(&other.to_string()),
    })?;
    let inquiry = answer.await.map_err(|_| {
        let message = "its bus broke or another probe took its place; see the device's state and try again";
        Refused::new(StatusCode::BAD_GATEWAY, "device-bus", message)
    })?;
    Ok(ok(body(id, &inquiry)))
}

fn body(device: String, inquiry: &Inquiry) -> DeviceProbe {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let offsets = OFFSETS.iter().zip(&inquiry.tally).map(|(offset, tally)| ProbedOffset {
        offset: *offset,
        fits: count(tally.fits),
        against: count(tally.against),
    });
    DeviceProbe {
        device,
        profile: inquiry.profile.name.clone(),
        unit: inquiry.unit,
        offset: inquiry.profile.address_offset,
        offsets: offsets.collect(),
        settled: inquiry.settled,
        cut_short: inquiry.cut_short,
        reads: inquiry.found.iter().map(|found| read(&inquiry.profile, found)).collect(),
    }
}

fn read(profile: &Profile, found: &Found) -> ProbedRead {
    let candidate = &found.candidate;
    let (asked, sign) = match candidate.asked {
        Asked::Value(role) => (name(&role), None),
        Asked::Sign(index) => {
            let sign = profile.matches.get(index);
            let word = found.answer.as_ref().ok().and_then(|words| words.first());
            let fits = sign.is_some_and(|sign| word.is_some_and(|word| sign.fits(*word)));
            (sign.map(|sign| sign.text.clone()).unwrap_or_default(), Some(fits))
        }
    };
    let meanings =
        found.answer.as_ref().map_or_else(|_| Vec::new(), |words| profile.readings(candidate, words));
    ProbedRead {
        offset: candidate.offset,
        asked,
        table: table(candidate.poll.table).into(),
        address: candidate.poll.address,
        words: found.answer.clone().unwrap_or_default(),
        error: found.answer.as_ref().err().cloned(),
        sign,
        readings: meanings.iter().map(meaning).collect(),
    }
}

fn meaning(reading: &Reading) -> ProbedReading {
    ProbedReading {
        raw: reading.raw,
        milli: reading.milli,
        scale: reading.scale.map(|scale| format!("{}/{}", scale.num, scale.den)),
        own: reading.own,
        verdict: reading.plausible.name().into(),
    }
}

/// The name as profiles write it.
fn name(role: &drv_protocol::profile::Role) -> String {
    serde_json::to_value(role)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{role:?}"))
}

const fn table(table: Table) -> &'static str {
    match table {
        Table::Coil => "coil",
        Table::Discrete => "discrete",
        Table::Holding => "holding",
        Table::Input => "input",
    }
}
