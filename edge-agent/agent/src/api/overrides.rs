//! What store and HQ both write: overrides and the device registry; rights to shared stock; settling a conflict.

use super::answer::{Once, Refused, ok, parse};
use super::{fields, post};
use crate::daemon::Daemon;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use edge_api::{
    DeviceRegistry, Done, OverrideRequest, OverrideRow, OverrideValue, Overrides, RegistryRequest,
    RegistryRow, Rights, RightsReturnRequest, RightsRow, SettleRequest,
};
use serde::Deserialize;
use std::sync::Arc;
use sync_model::{
    Audit, ConflictSettled, DeviceClass, DeviceEntry, Event, RegisterValue, RightsReturned, Sku, Text,
};
use sync_store::Override;

type Body = Result<Bytes, BytesRejection>;

/// `GET /v1/overrides`.
pub(crate) async fn overrides(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let store = daemon.store;
    let rows = daemon.read(move |reader| reader.registers(store)).await.map_err(post::refused)?;
    let value = |value: RegisterValue| match value {
        RegisterValue::Cleared => OverrideValue::Cleared,
        RegisterValue::Number(number) => OverrideValue::Number(number),
        RegisterValue::Note(note) => OverrideValue::Note(note.to_string()),
    };
    let row = |row: sync_store::RegisterRow| OverrideRow {
        name: row.name,
        values: row.values.into_iter().map(value).collect(),
    };
    Ok(ok(Overrides { overrides: rows.into_iter().map(row).collect() }))
}

fn value_of(value: &OverrideValue) -> Result<RegisterValue, Refused> {
    Ok(match value {
        OverrideValue::Cleared => RegisterValue::Cleared,
        OverrideValue::Number(number) => RegisterValue::Number(*number),
        OverrideValue::Note(note) => RegisterValue::Note(fields::text("value", note)?),
    })
}

/// `POST /v1/overrides`: in force as soon as it is durable; HQ hears of it like of any fact.
pub(crate) async fn write_override(
    State(daemon): State<Arc<Daemon>>,
    body: Body,
) -> Result<Response, Refused> {
    let request: OverrideRequest = parse(body)?;
    let by: Text<32> = fields::text("by", &request.by)?;
    let value = value_of(&request.value)?;
    let (about, name) = Override::check(&request.name, &value)
        .map_err(|refusal| Refused::new(StatusCode::BAD_REQUEST, refusal.code, refusal.detail))?;
    if let Override::Threshold(device, _) = &about
        && daemon.registry.get(device).is_none_or(|view| view.class != DeviceClass::Cabinet)
    {
        return Err(Refused::not_found("cabinet", device).field("name"));
    }
    let detail = match &value {
        RegisterValue::Cleared => format!("{name} cleared"),
        RegisterValue::Number(number) => format!("{name} set to {number}"),
        RegisterValue::Note(note) => format!("{name}: {note}"),
    };
    let audit = Audit { actor: by, action: Text::lossy("override"), detail: Text::lossy(&detail) };
    let (stamp, store) = (daemon.clock.stamp(), daemon.store);
    daemon
        .commit(move |draft| {
            draft.write_register(stamp, store, name, value)?;
            draft.append(&Event::new(stamp, audit))
        })
        .await
        .map_err(post::refused)?;
    daemon.overrides.written();
    Ok(ok(Done { text: detail }))
}

/// `GET /v1/registry`.
pub(crate) async fn registry(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let store = daemon.store;
    let rows = daemon.read(move |reader| reader.registry(store)).await.map_err(post::refused)?;
    let devices = rows
        .into_iter()
        .map(|(device, entry)| RegistryRow {
            device: device.to_string(),
            class: entry.class.name().to_owned(),
            label: entry.label.to_string(),
        })
        .collect();
    Ok(ok(DeviceRegistry { devices }))
}

fn class_of(name: &str) -> Result<DeviceClass, Refused> {
    DeviceClass::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
        let found = format!("'{}'", Text::<20>::lossy(name));
        Refused::bad("class", "scale, cabinet, tag or steamer", found)
    })
}

/// `POST /v1/registry`.
pub(crate) async fn change_registry(
    State(daemon): State<Arc<Daemon>>,
    body: Body,
) -> Result<Response, Refused> {
    let request: RegistryRequest = parse(body)?;
    let (device, entry, text) = match &request {
        RegistryRequest::Set { device, class, label } => {
            let device = fields::device("device", device)?;
            let entry = DeviceEntry { class: class_of(class)?, label: fields::text("label", label)? };
            let text = format!("{device} is listed as {class}, {label}");
            (device, Some(entry), text)
        }
        RegistryRequest::Remove { device } => {
            let device = fields::device("device", device)?;
            let text = format!("{device} is not listed any more");
            (device, None, text)
        }
    };
    let (stamp, store, listed) = (daemon.clock.stamp(), daemon.store, device.clone());
    let known = daemon.read(move |reader| reader.registry(store)).await.map_err(post::refused)?;
    if entry.is_none() && !known.iter().any(|(name, _)| *name == listed) {
        return Err(Refused::not_found("device of the registry", listed).field("device"));
    }
    daemon
        .commit(move |draft| draft.change_registry(stamp, store, device, entry))
        .await
        .map_err(post::refused)?;
    Ok(ok(Done { text }))
}

/// Query of the rights.
#[derive(Deserialize)]
pub(crate) struct RightsQuery {
    sku: Option<String>,
}

/// `GET /v1/rights?sku=`.
pub(crate) async fn rights(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<RightsQuery>,
) -> Result<Response, Refused> {
    let sku = query.sku.map(|sku| fields::number("sku", &sku)).transpose()?.map(Sku);
    let store = daemon.store;
    let mut rows = daemon.read(move |reader| reader.rights(store, sku)).await.map_err(post::refused)?;
    // Article 0 only carries the marks of fences.
    rows.retain(|row| row.sku != Sku(0));
    rows.sort_by_key(|row| (row.sku, std::cmp::Reverse(row.epoch)));
    let rights = rows
        .into_iter()
        .map(|row| RightsRow {
            sku: row.sku.0,
            epoch: row.epoch.0,
            held_milli: row.sums.held(),
            granted_milli: row.sums.granted,
            promised_milli: row.sums.promised - row.sums.voided,
            taken_milli: row.sums.taken,
            shortfall_milli: row.sums.shortfall,
            returned_milli: row.sums.returned,
            fenced_milli: row.sums.fenced,
        })
        .collect();
    Ok(ok(Rights { rights }))
}

/// `POST /v1/rights/return`: what the store will not need goes back to HQ's pool.
pub(crate) async fn return_rights(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: RightsReturnRequest = parse(body)?;
    let once = Once::of(&headers, "rights/return", &request)?;
    let quantity = fields::quantity("quantity_milli", request.quantity_milli)?;
    let fact = RightsReturned { sku: Sku(request.sku), quantity };
    post::once(&daemon, once, move |draft, stamp| Ok(draft.append(&Event::new(stamp, fact))?)).await
}

/// `POST /v1/conflicts/{id}/settle`: somebody looked at it and is content with what stands.
pub(crate) async fn settle(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Refused> {
    let request: SettleRequest = parse(body)?;
    let (conflict, by) = (fields::text::<32>("id", &id)?, fields::text("by", &request.by)?);
    let store = daemon.store;
    let rows = daemon.read(move |reader| reader.conflicts(store, true)).await.map_err(post::refused)?;
    let Some(row) = rows.iter().find(|row| row.id == conflict.as_str()) else {
        return Err(Refused::not_found("conflict", conflict));
    };
    if let Some((_, who)) = &row.settled {
        let message = format!("conflict {conflict} was settled by {who} before");
        return Err(Refused::new(StatusCode::CONFLICT, "conflict-settled", message));
    }
    let text = format!("conflict {conflict} settled");
    daemon.append(ConflictSettled { conflict, by }).await.map_err(post::refused)?;
    Ok(ok(Done { text }))
}
