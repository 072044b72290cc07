//! Devices as they are now, for people: filled by the device loop, read by the API. Nothing here decides anything.

use drv_host::{Cause, Counters, HealthState};
use edge_api::{ClassCount, DeviceReading};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use sync_model::{DeviceClass, DeviceId};

/// One device.
#[derive(Clone, Debug)]
pub struct DeviceView {
    /// Class.
    pub class: DeviceClass,
    /// How it is connected, for a technician.
    pub connection: String,
    /// Health; `None` until its driver said something.
    pub health: Option<HealthState>,
    /// Why.
    pub reason: String,
    /// Why, for programs.
    pub cause: Option<Cause>,
    /// What to do; empty when it works.
    pub advice: String,
    /// Milliseconds since boot at which it stopped working.
    pub trouble_mono_ms: Option<u64>,
    /// Whether it answered since the start.
    pub seen: bool,
    /// Last answer, wall time.
    pub last_seen_ms: Option<i64>,
    /// Last reading.
    pub reading: Option<DeviceReading>,
    /// What its screen shows (scales).
    pub screen: Option<edge_core::weighing::Screen>,
    /// Counters of its driver.
    pub counters: Counters,
    /// Samples that came faster than they could be stored and were dropped.
    pub dropped: u64,
}

impl DeviceView {
    /// A configured device that was not heard.
    pub fn new(class: DeviceClass, connection: String) -> Self {
        Self {
            class,
            connection,
            health: None,
            reason: "not heard yet".into(),
            cause: None,
            advice: String::new(),
            trouble_mono_ms: None,
            seen: false,
            last_seen_ms: None,
            reading: None,
            screen: None,
            counters: Counters::default(),
            dropped: 0,
        }
    }

    /// The state's word in the programming interface.
    pub fn word(&self) -> &'static str {
        match self.health {
            None => "unseen",
            Some(HealthState::Seen | HealthState::Ok) => "ok",
            Some(HealthState::Degraded) => "degraded",
            Some(HealthState::Lost) => "lost",
            Some(HealthState::Failed) => "failed",
        }
    }
}

/// Every configured device.
#[derive(Debug, Default)]
pub struct Registry {
    devices: Mutex<BTreeMap<DeviceId, DeviceView>>,
}

impl Registry {
    /// Sets the configured devices; those that stay keep what is known of them.
    pub fn configure(&self, devices: BTreeMap<DeviceId, DeviceView>) {
        let mut known = self.lock();
        let mut next = devices;
        for (id, view) in &mut next {
            if let Some(before) = known.remove(id).filter(|before| before.class == view.class) {
                let connection = std::mem::take(&mut view.connection);
                *view = DeviceView { connection, ..before };
            }
        }
        *known = next;
    }

    /// Changes one device.
    pub fn update(&self, id: &DeviceId, change: impl FnOnce(&mut DeviceView)) {
        if let Some(view) = self.lock().get_mut(id) {
            change(view);
        }
    }

    /// One device.
    pub fn get(&self, id: &DeviceId) -> Option<DeviceView> {
        self.lock().get(id).cloned()
    }

    /// All devices in name order.
    pub fn all(&self) -> Vec<(DeviceId, DeviceView)> {
        self.lock().iter().map(|(id, view)| (id.clone(), view.clone())).collect()
    }

    /// Names of devices that are lost or failed.
    pub fn lost(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, view)| matches!(view.health, Some(HealthState::Lost | HealthState::Failed)))
            .map(|(id, _)| id.to_string())
            .collect()
    }

    /// Counts by class.
    pub fn counts(&self) -> BTreeMap<String, ClassCount> {
        let mut counts: BTreeMap<String, ClassCount> =
            DeviceClass::ALL.iter().map(|class| (class.name().to_owned(), ClassCount::default())).collect();
        for view in self.lock().values() {
            let count = counts.entry(view.class.name().to_owned()).or_default();
            count.configured += 1;
            count.seen += u32::from(view.seen);
            match view.health {
                Some(HealthState::Seen | HealthState::Ok) => count.ok += 1,
                Some(HealthState::Degraded) => count.degraded += 1,
                Some(HealthState::Lost | HealthState::Failed) => count.lost += 1,
                None => {}
            }
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, DeviceView>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
