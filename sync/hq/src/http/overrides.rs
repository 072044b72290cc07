//! What store and HQ both write: registers (thresholds, notes) and the device registry of a store.

use super::read::known;
use super::write::json_of;
use super::{Answer, Failure, Shared, store_of};
use crate::fleet::stamp;
use crate::vault::Order;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sync_model::{DeviceClass, DeviceEntry, DeviceId, EventId, RegisterValue, Text};
use sync_store::Override;

/// `GET /v1/stores/{id}/overrides`: registers with every value that stands.
pub(super) async fn overrides(State(app): Shared, Path(id): Path<String>) -> Answer {
    let store = store_of(&id)?;
    known(&app, store).await?;
    let rows = app.read(move |reader| reader.registers(store)).await?;
    let rows: Vec<Value> = rows.iter().map(|row| json!({"name": row.name, "values": row.values})).collect();
    Ok(Json(json!({"schema": "steelyard.hq-overrides/1", "store": store.0, "overrides": rows})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverrideBody {
    name: String,
    value: RegisterValue,
}

type Created = Result<(StatusCode, Json<Value>), Failure>;

fn created(store: sync_model::StoreId, ids: &[EventId]) -> Created {
    let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
    Ok((StatusCode::CREATED, Json(json!({"schema": "steelyard.command/1", "store": store.0, "ids": ids}))))
}

/// `POST /v1/stores/{id}/overrides`: writes one register.
pub(super) async fn write_override(
    State(app): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Created {
    let store = store_of(&id)?;
    let OverrideBody { name, value } = json_of(&headers, body)?;
    let (_, name) =
        Override::check(&name, &value).map_err(|refusal| Failure::bad(refusal.code, refusal.detail))?;
    let vault = app.ledger.clone();
    let order = Order::WriteRegister { stamp: stamp(), store, name, value };
    created(store, &app.blocking(move || vault.order(order)).await?)
}

/// `GET /v1/stores/{id}/registry`: devices of the registry.
pub(super) async fn registry(State(app): Shared, Path(id): Path<String>) -> Answer {
    let store = store_of(&id)?;
    known(&app, store).await?;
    let rows = app.read(move |reader| reader.registry(store)).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|(device, entry)| {
            json!({"device": device.as_str(), "class": entry.class.name(), "label": entry.label.as_str()})
        })
        .collect();
    Ok(Json(json!({"schema": "steelyard.hq-registry/1", "store": store.0, "devices": rows})))
}

#[derive(Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RegistryBody {
    /// Adds a device, or describes it anew.
    Set { device: String, class: String, label: String },
    /// Removes a device.
    Remove { device: String },
}

/// A device class by its name.
fn class_of(name: &str) -> Result<DeviceClass, Failure> {
    let all = [DeviceClass::Scale, DeviceClass::Cabinet, DeviceClass::Tag, DeviceClass::Steamer];
    let names: Vec<&str> = all.iter().map(|class| class.name()).collect();
    all.into_iter().find(|class| class.name() == name).ok_or_else(|| {
        let found: String = name.chars().take(20).collect();
        Failure::bad("bad-class", format!("class: expected {}, found '{found}'", names.join(", ")))
    })
}

/// `POST /v1/stores/{id}/registry`: adds, describes or removes a device.
pub(super) async fn change_registry(
    State(app): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Created {
    let store = store_of(&id)?;
    let device_of = |name: String| {
        DeviceId::new(&name).map_err(|error| Failure::bad("bad-device", format!("device: {error}")))
    };
    let (device, entry) = match json_of(&headers, body)? {
        RegistryBody::Set { device, class, label } => {
            let label =
                Text::new(label).map_err(|error| Failure::bad("bad-label", format!("label: {error}")))?;
            (device_of(device)?, Some(DeviceEntry { class: class_of(&class)?, label }))
        }
        RegistryBody::Remove { device } => {
            let device = device_of(device)?;
            let listed = device.clone();
            let rows = app.read(move |reader| reader.registry(store)).await?;
            if !rows.iter().any(|(name, _)| *name == listed) {
                let message = format!("store {store}'s registry has no device {device}");
                return Err(Failure::new(StatusCode::NOT_FOUND, "no-device", message));
            }
            (device, None)
        }
    };
    let vault = app.ledger.clone();
    let order = Order::ChangeRegistry { stamp: stamp(), store, device, entry };
    created(store, &app.blocking(move || vault.order(order)).await?)
}
