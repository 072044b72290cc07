//! Presence of devices as facts: `DeviceSeen` and `DeviceLost`, each only when it changes what the ledger says, and at most
//! one per device and [`PERIOD_MS`], so that a loose plug cannot fill the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use sync_model::{DeviceClass, DeviceId, DeviceLost, DeviceSeen, Fact, Text};

/// Facts of presence on their way to the ledger at the same time. An adapter that is missing makes thousands of tags lost at
/// once; they must not fill the queue that tills wait in.
const PENDING_MAX: usize = 16;
/// Least time between two presence facts of one device.
pub(super) const PERIOD_MS: u64 = 5_000;

#[derive(Clone, Debug)]
struct Entry {
    class: DeviceClass,
    /// What the ledger says.
    durable: Option<bool>,
    /// What the driver says.
    current: Option<bool>,
    pending: bool,
}

/// Presence of every configured device.
#[derive(Clone, Debug, Default)]
pub(super) struct Presence {
    /// In the order of their names.
    devices: Vec<(DeviceId, Entry)>,
    /// No fact of these before: [`PERIOD_MS`] after the last one. Few of thousands at a time.
    rests_until_ms: BTreeMap<DeviceId, u64>,
    /// How many entries are pending.
    pending: usize,
}

impl Presence {
    /// Nothing yet, with room for so many devices.
    pub(super) fn with_room(count: usize) -> Self {
        Self { devices: Vec::with_capacity(count), ..Self::default() }
    }

    /// A device, with what the ledger says of it.
    pub(super) fn add(&mut self, device: DeviceId, class: DeviceClass, durable: Option<bool>) {
        let entry = Entry { class, durable, current: None, pending: false };
        match self.find(&device) {
            Ok(place) => self.devices[place].1 = entry,
            Err(place) => self.devices.insert(place, (device, entry)),
        }
    }

    fn find(&self, device: &DeviceId) -> Result<usize, usize> {
        self.devices.binary_search_by(|(known, _)| known.cmp(device))
    }

    fn entry(&mut self, device: &DeviceId) -> Option<&mut Entry> {
        let place = self.find(device).ok()?;
        self.devices.get_mut(place).map(|(_, entry)| entry)
    }

    /// The driver's word.
    pub(super) fn set(&mut self, device: &DeviceId, present: bool) {
        if let Some(entry) = self.entry(device) {
            entry.current = Some(present);
        }
    }

    /// Facts that are due, as many as may be on their way, with the reason that stands now. Each must be answered with
    /// [`Presence::written`].
    pub(super) fn due(
        &mut self,
        now_ms: u64,
        reason: impl Fn(&DeviceId) -> Arc<str>,
    ) -> Vec<(DeviceId, bool, Fact)> {
        let mut due = Vec::new();
        self.rests_until_ms.retain(|_, until_ms| now_ms < *until_ms);
        for (device, entry) in &mut self.devices {
            if self.pending >= PENDING_MAX {
                break;
            }
            let Some(present) = entry.current else { continue };
            if entry.pending || entry.durable == Some(present) || self.rests_until_ms.contains_key(device) {
                continue;
            }
            entry.pending = true;
            self.pending += 1;
            let (device, class) = (device.clone(), entry.class);
            let reason = reason(&device);
            let fact = if present {
                Fact::from(DeviceSeen { device: device.clone(), class, identity: Text::lossy(&reason) })
            } else {
                Fact::from(DeviceLost { device: device.clone(), class, reason: Text::lossy(&reason) })
            };
            due.push((device, present, fact));
        }
        due
    }

    /// The fact is durable, or was not written and will be due again.
    pub(super) fn written(&mut self, device: &DeviceId, present: bool, ok: bool, now_ms: u64) {
        let mut ended = false;
        if let Some(entry) = self.entry(device) {
            ended = std::mem::take(&mut entry.pending);
            if ok {
                entry.durable = Some(present);
            }
            self.rests_until_ms.insert(device.clone(), now_ms.saturating_add(PERIOD_MS));
        }
        self.pending -= usize::from(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(_: &DeviceId) -> Arc<str> {
        "as its driver says".into()
    }

    #[test]
    fn thousands_that_are_lost_at_once_are_written_a_few_at_a_time() {
        let mut presence = Presence::default();
        for number in 0..100 {
            let device = DeviceId::new(&format!("tag-{number}")).unwrap();
            presence.add(device.clone(), DeviceClass::Tag, None);
            presence.set(&device, false);
        }
        let mut told = Vec::new();
        for round in 0..100 {
            let due = presence.due(round, why);
            assert!(due.len() <= PENDING_MAX && presence.due(round, why).is_empty());
            due.iter().for_each(|(device, present, _)| presence.written(device, *present, true, round));
            told.extend(due.into_iter().map(|(device, ..)| device));
        }
        told.sort();
        told.dedup();
        assert_eq!(told.len(), 100);
    }

    #[test]
    fn only_changes_become_facts_and_flapping_is_bounded() {
        let device = DeviceId::new("scale-1").unwrap();
        let mut presence = Presence::default();
        presence.add(device.clone(), DeviceClass::Scale, Some(true));
        presence.set(&device, true);
        assert!(presence.due(0, why).is_empty());
        presence.set(&device, false);
        assert_eq!(presence.due(1, why).len(), 1);
        assert!(presence.due(2, why).is_empty(), "pending");
        presence.written(&device, false, true, 3);
        presence.set(&device, true);
        assert!(presence.due(4, why).is_empty(), "too soon");
        presence.set(&device, false);
        assert!(presence.due(3 + PERIOD_MS, why).is_empty(), "back to what the ledger says");
        presence.set(&device, true);
        let (_, present, fact) = presence.due(4 + PERIOD_MS, why).remove(0);
        assert!(
            present
                && matches!(fact, Fact::DeviceSeen(seen) if seen.identity.as_str() == "as its driver says")
        );
        presence.written(&device, true, false, 5 + PERIOD_MS);
        assert_eq!(presence.due(5 + 2 * PERIOD_MS, why).len(), 1, "a failed write is due again");
    }
}
