//! Rebuilding the device loop from configuration and ledger.

use super::cabinets::{self, Cabinet};
use super::presence::Presence;
use super::scales::{self, Scale};
use super::steam_flags::{self, Flags};
use super::steamers::{Steamer, batch_key};
use super::{DeviceView, Reading, TagView, Unit, holds};
use crate::config::Config;
use crate::daemon::Daemon;
use drv_host::config::{CabinetConfig, ScaleConfig};
use edge_core::Moment;
use edge_core::batch::{Batch, Input, Rules};
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_model::{BatchState, DeviceClass, DeviceId, Milli, MilliCelsius, StoreId};
use sync_store::{AlarmRow, BatchRow, DeviceRow, LedgerError, Reader};

/// The loop's state after a start.
pub(super) struct Rebuilt {
    pub(super) units: BTreeMap<String, Unit>,
    pub(super) presence: Presence,
}

/// What the ledger knows of devices.
struct Known {
    states: BTreeMap<String, Vec<u8>>,
    alarms: Vec<AlarmRow>,
    batches: Vec<BatchRow>,
    devices: Vec<DeviceRow>,
}

/// Reads the ledger until it answers: a device loop that started without it would repeat alarms and batches.
pub(super) async fn rebuild(daemon: &Arc<Daemon>) -> Rebuilt {
    let config = daemon.config();
    let keys = state_keys(&config);
    loop {
        let keys = keys.clone();
        let store = daemon.store;
        // A barrier: jobs of an earlier run of the loop are durable, or refused, before their states are read.
        let settled = daemon.commit(|_| Ok(())).await;
        let read = match settled {
            Ok(()) => daemon.read(move |reader| known(reader, store, &keys)).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(known) => return build(daemon, &config, &known),
            Err(error) => {
                tracing::error!(%error, "devices wait: the ledger cannot be read");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

fn known(reader: &Reader, store: StoreId, keys: &[String]) -> Result<Known, LedgerError> {
    let mut states = BTreeMap::new();
    let batches = reader.open_batches(store)?;
    let batch_keys = batches.iter().flat_map(|row| [batch_key(row.batch), holds::key(row.queued.sku)]);
    for key in keys.iter().cloned().chain(batch_keys) {
        if let Some(bytes) = reader.state(&key)? {
            states.insert(key, bytes);
        }
    }
    Ok(Known { states, alarms: reader.open_alarms(store)?, batches, devices: reader.devices(store)? })
}

fn ids<'c>(names: impl Iterator<Item = &'c str>) -> Vec<DeviceId> {
    // The configuration was checked: every name is a device name.
    names.filter_map(|name| DeviceId::new(name).ok()).collect()
}

fn state_keys(config: &Config) -> Vec<String> {
    let host = &config.host;
    let scales = ids(host.scale.iter().map(|scale| scale.id.as_str()));
    let cabinets = ids(host.cabinet.iter().map(|cabinet| cabinet.id.as_str()));
    let steamers = ids(host.steamer.iter().map(|steamer| steamer.id.as_str()));
    scales
        .iter()
        .map(scales::state_key)
        .chain(cabinets.iter().flat_map(|id| [cabinets::watch_key(id), cabinets::fold_key(id)]))
        .chain(steamers.iter().flat_map(|id| steam_flags::KINDS.map(|kind| steam_flags::key(id, kind))))
        .collect()
}

fn build(daemon: &Daemon, config: &Config, known: &Known) -> Rebuilt {
    let mut units = BTreeMap::new();
    let mut presence = Presence::with_room(daemon.registry.count());
    let present: BTreeMap<&DeviceId, bool> =
        known.devices.iter().map(|row| (&row.device, row.present)).collect();
    let mut add = |id: DeviceId, class: DeviceClass, unit: Option<Unit>| {
        presence.add(id.clone(), class, present.get(&id).copied());
        units.extend(unit.map(|unit| (String::from(id), unit)));
    };
    let named = |name: &str| daemon.registry.named(name);
    let host = &config.host;
    let state = |key: &str| known.states.get(key).map(Vec::as_slice);
    for config in &host.scale {
        let Some(id) = named(&config.id) else { continue };
        let scale = Scale::new(id.clone(), config.interval_g, state(&scales::state_key(&id)));
        add(id, DeviceClass::Scale, Some(Unit::Scale(Box::new(scale))));
    }
    for entry in &host.cabinet {
        let Some(id) = named(&entry.id) else { continue };
        let limits = cabinets::limits(&entry.limits(), &config.cabinets);
        let (watch, fold) = (state(&cabinets::watch_key(&id)), state(&cabinets::fold_key(&id)));
        let mut cabinet = Cabinet::new(id.clone(), limits, watch, fold);
        for alarm in active(known, &id) {
            cabinet.adopt(alarm.kind, alarm.alarm, alarm.worst.or(alarm.value));
        }
        add(id, DeviceClass::Cabinet, Some(Unit::Cabinet(Box::new(cabinet))));
    }
    for entry in &host.steamer {
        let Some(id) = named(&entry.id) else { continue };
        let delay_ms = u64::from(config.steam.flag_delay_s).saturating_mul(1_000);
        let flags = Flags::new(delay_ms, |kind| known.states.get(&steam_flags::key(&id, kind)).cloned());
        let mut steamer = Steamer::new(id.clone(), flags);
        for alarm in active(known, &id) {
            steamer.adopt(alarm.kind, alarm.alarm);
        }
        for row in known.batches.iter().filter(|row| row.queued.device == id) {
            steamer.add(batch(daemon, config, known, row));
        }
        add(id, DeviceClass::Steamer, Some(Unit::Steamer(Box::new(steamer))));
    }
    for entry in &host.tag {
        let Some(id) = named(&entry.id) else { continue };
        add(id, DeviceClass::Tag, None);
    }
    Rebuilt { units, presence }
}

/// Alarms of a device whose condition has not ended.
fn active<'k>(known: &'k Known, id: &'k DeviceId) -> impl Iterator<Item = &'k AlarmRow> {
    known.alarms.iter().filter(move |alarm| alarm.device == *id && alarm.returned.is_none())
}

/// A batch from its saved state, or from the ledger's facts when that is damaged.
fn batch(daemon: &Daemon, config: &Config, known: &Known, row: &BatchRow) -> Batch {
    let rules = Rules { hot_hold: MilliCelsius(config.steam.hot_hold_mc) };
    let now = Moment::new(daemon.clock.mono_ms(), daemon.clock.wall_ms());
    let held = holds::decode(known.states.get(&holds::key(row.queued.sku)).map(Vec::as_slice));
    let left = held.iter().find(|entry| entry.batch == row.batch).map(|entry| entry.left);
    let untouched = Milli(row.queued.quantity.0.saturating_sub(row.taken.0).max(0));
    let recovered = || {
        let remaining = left.unwrap_or(untouched);
        tracing::error!(batch = %row.batch, "batch state is missing or damaged: rebuilt from facts, times unknown");
        Batch::recovered(row.batch, row.queued.clone(), row.state, remaining, rules, now)
    };
    let saved = known.states.get(&batch_key(row.batch)).map(|bytes| Batch::from_bytes(rules, bytes));
    let mut batch = match saved {
        Some(Ok(batch)) if batch.id() == row.batch && batch.state() == row.state => batch,
        _ => recovered(),
    };
    // Sales since the state was saved. The step's facts are the tills' business; only the quantity is taken over.
    if batch.state() == BatchState::Hold
        && let Some(sold) =
            left.and_then(|left| batch.remaining().checked_sub(left)).filter(|sold| sold.0 > 0)
    {
        let mut sold_batch = batch.clone();
        sold_batch.step(Input::Sold(sold), now);
        if !sold_batch.is_closed() {
            batch = sold_batch;
        }
    }
    batch
}

/// How a cabinet is connected, in words.
fn cabinet_connection(cabinet: &CabinetConfig) -> String {
    if let (Some(bus), Some(unit)) = (&cabinet.bus, cabinet.unit) {
        return format!("modbus {bus} unit {unit}");
    }
    if let Some(sensor) = &cabinet.w1 {
        return format!("1-wire {sensor}");
    }
    if let Some(chip) = &cabinet.i2c {
        return format!("i2c {} {} at {:#04x}", chip.bus, chip.chip.name(), chip.address);
    }
    cabinet.ble.as_ref().map_or_else(String::new, |ble| format!("ble {} {}", ble.address, ble.format.name()))
}

/// How a configured device is connected, for a technician.
pub(crate) fn connection(config: &Config, id: &DeviceId) -> String {
    let (host, id) = (&config.host, id.as_str());
    let scale = || host.scale.iter().find(|entry| entry.id == id).map(scale_connection);
    let cabinet = || host.cabinet.iter().find(|entry| entry.id == id).map(cabinet_connection);
    let steamer = || {
        let found = host.steamer.iter().find(|entry| entry.id == id)?;
        Some(format!("modbus {} unit {}", found.bus, found.unit))
    };
    let tag = || {
        let found = host.tag.iter().find(|entry| *entry.id == *id)?;
        Some(format!("ble {} model {}", found.address, found.model))
    };
    scale().or_else(cabinet).or_else(steamer).or_else(tag).unwrap_or_default()
}

fn scale_connection(scale: &ScaleConfig) -> String {
    format!("{} {} {} baud", scale.protocol.kind().name(), scale.port, scale.line().baud)
}

/// How every configured device looks before it is heard.
pub(crate) fn views(config: &Config) -> Vec<(DeviceId, DeviceView)> {
    let host = &config.host;
    let scales = host.scale.iter().map(|entry| (&entry.id, DeviceClass::Scale));
    let cabinets = host.cabinet.iter().map(|entry| (&entry.id, DeviceClass::Cabinet));
    let steamers = host.steamer.iter().map(|entry| (&entry.id, DeviceClass::Steamer));
    let few = scales.chain(cabinets).chain(steamers);
    // The configuration was checked: every name is a device name.
    let few = few.filter_map(|(name, class)| Some((DeviceId::new(name).ok()?, DeviceView::new(class))));
    let tags = host.tag.iter().filter_map(|entry| {
        let reading = Reading::Tag(TagView { sku: entry.sku, ..TagView::default() });
        Some((DeviceId::share(&entry.id).ok()?, DeviceView { reading, ..DeviceView::new(DeviceClass::Tag) }))
    });
    let count = host.scale.len() + host.cabinet.len() + host.steamer.len() + host.tag.len();
    let mut views = Vec::with_capacity(count);
    views.extend(few.chain(tags));
    views
}
