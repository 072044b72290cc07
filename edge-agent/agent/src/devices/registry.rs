//! Devices as they are now, for people: filled by the device loop, read by the API. Nothing here decides anything.

use drv_host::{Cause, HealthState};
use edge_api::{ClassCount, DeviceReading};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use sync_model::{DeviceClass, DeviceId};

/// The reason that every device begins with.
static NOT_HEARD: LazyLock<Arc<str>> = LazyLock::new(|| "not heard yet".into());

/// One device. A store has thousands, most of them shelf tags: what only few of them have is boxed, and texts that many of
/// them have at the same time are shared.
#[derive(Clone, Debug)]
pub struct DeviceView {
    /// Class.
    pub class: DeviceClass,
    /// Health; `None` until its driver said something.
    pub health: Option<HealthState>,
    /// Why.
    pub reason: Arc<str>,
    /// Why, for programs.
    pub cause: Option<Cause>,
    /// What to do; empty when it works.
    pub advice: Arc<str>,
    /// Milliseconds since boot at which it stopped working.
    pub trouble_mono_ms: Maybe,
    /// Whether it answered since the start.
    pub seen: bool,
    /// Last answer, wall time.
    pub last_seen_ms: Maybe,
    /// Last reading.
    pub reading: Reading,
    /// What its screen shows (scales).
    pub screen: Option<Box<edge_core::weighing::Screen>>,
    /// Samples that came faster than they could be stored and were dropped.
    pub dropped: u32,
}

/// Last reading of a device.
#[derive(Clone, Debug)]
pub enum Reading {
    /// None yet.
    None,
    /// Of a tag.
    Tag(TagView),
    /// Of anything else.
    Other(Box<DeviceReading>),
}

impl Reading {
    /// As the programming interface has it.
    pub fn for_people(&self) -> Option<DeviceReading> {
        match self {
            Self::None => None,
            Self::Tag(tag) => Some(DeviceReading::Tag {
                sku: tag.sku,
                shown_minor: tag.shown_minor.get(),
                wanted_minor: tag.wanted_minor.get(),
                battery_mv: tag.battery_mv,
                rssi: tag.rssi,
            }),
            Self::Other(reading) => Some(DeviceReading::clone(reading)),
        }
    }
}

impl From<DeviceReading> for Reading {
    fn from(reading: DeviceReading) -> Self {
        match reading {
            DeviceReading::Tag { sku, shown_minor, wanted_minor, battery_mv, rssi } => {
                let (shown_minor, wanted_minor) = (Maybe::from(shown_minor), Maybe::from(wanted_minor));
                Self::Tag(TagView { sku, shown_minor, wanted_minor, battery_mv, rssi })
            }
            other => Self::Other(Box::new(other)),
        }
    }
}

/// A time or a price that may be missing, in eight bytes: `i64::MIN` is none of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maybe(i64);

impl Maybe {
    /// Nothing.
    pub const NONE: Self = Self(i64::MIN);

    /// The number.
    pub fn get(self) -> Option<i64> {
        (self != Self::NONE).then_some(self.0)
    }
}

impl Default for Maybe {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Option<i64>> for Maybe {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::NONE, Self)
    }
}

impl From<Option<u64>> for Maybe {
    /// Milliseconds since boot: beyond `i64::MAX` there are none.
    fn from(number: Option<u64>) -> Self {
        number.and_then(|number| i64::try_from(number).ok()).into()
    }
}

/// What is known of a tag.
#[derive(Clone, Copy, Debug, Default)]
pub struct TagView {
    /// Article.
    pub sku: u64,
    /// What it is known to show.
    pub shown_minor: Maybe,
    /// What it should show, when that differs.
    pub wanted_minor: Maybe,
    /// Battery.
    pub battery_mv: Option<u16>,
    /// Signal.
    pub rssi: Option<i16>,
}

impl DeviceView {
    /// A configured device that was not heard.
    pub fn new(class: DeviceClass) -> Self {
        Self {
            class,
            health: None,
            reason: Arc::clone(&NOT_HEARD),
            cause: None,
            advice: Arc::default(),
            trouble_mono_ms: Maybe::NONE,
            seen: false,
            last_seen_ms: Maybe::NONE,
            reading: Reading::None,
            screen: None,
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
    /// In the order of their names.
    devices: Mutex<Vec<(DeviceId, DeviceView)>>,
}

/// Where a device is, or belongs.
fn find(devices: &[(DeviceId, DeviceView)], name: &str) -> Result<usize, usize> {
    devices.binary_search_by(|(known, _)| known.as_str().cmp(name))
}

impl Registry {
    /// Sets the configured devices; those that stay keep what is known of them.
    pub fn configure(&self, devices: Vec<(DeviceId, DeviceView)>) {
        let mut next = devices;
        next.sort_by(|(a, _), (b, _)| a.cmp(b));
        next.dedup_by(|(later, _), (first, _)| later == first);
        let mut known = self.lock();
        for (id, view) in known.drain(..) {
            let stays = find(&next, id.as_str()).ok().and_then(|at| next.get_mut(at));
            if let Some((_, fresh)) = stays.filter(|(_, fresh)| fresh.class == view.class) {
                *fresh = view;
            }
        }
        *known = next;
    }

    /// Changes one device.
    pub fn update(&self, id: &DeviceId, change: impl FnOnce(&mut DeviceView)) {
        let mut devices = self.lock();
        let found = find(&devices, id.as_str()).ok().and_then(|at| devices.get_mut(at));
        if let Some((_, view)) = found {
            change(view);
        }
    }

    /// One device.
    pub fn get(&self, id: &DeviceId) -> Option<DeviceView> {
        let devices = self.lock();
        let at = find(&devices, id.as_str()).ok()?;
        devices.get(at).map(|(_, view)| view.clone())
    }

    /// The name of a configured device, sharing what is known already.
    pub fn named(&self, name: &str) -> Option<DeviceId> {
        let devices = self.lock();
        let at = find(&devices, name).ok()?;
        devices.get(at).map(|(id, _)| id.clone())
    }

    /// Looks at all devices in name order; others wait meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&[(DeviceId, DeviceView)]) -> T) -> T {
        look(&self.lock())
    }

    /// The first `most` devices in name order behind `last`, or of all.
    pub fn after(&self, last: Option<&DeviceId>, most: usize) -> Vec<(DeviceId, DeviceView)> {
        let devices = self.lock();
        let from = last.map_or(0, |last| devices.partition_point(|(id, _)| id <= last));
        devices.iter().skip(from).take(most).cloned().collect()
    }

    /// How many are configured.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many devices are lost or failed, and the names of the first `names`.
    pub fn lost(&self, names: usize) -> (usize, Vec<String>) {
        self.look(|devices| {
            let mut count = 0;
            let mut first = Vec::new();
            for (id, view) in devices {
                if matches!(view.health, Some(HealthState::Lost | HealthState::Failed)) {
                    count += 1;
                    if first.len() < names {
                        first.push(id.to_string());
                    }
                }
            }
            (count, first)
        })
    }

    /// Counts by class.
    pub fn counts(&self) -> BTreeMap<String, ClassCount> {
        let mut counts: BTreeMap<String, ClassCount> =
            DeviceClass::ALL.iter().map(|class| (class.name().to_owned(), ClassCount::default())).collect();
        for (_, view) in self.lock().iter() {
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

    fn lock(&self) -> MutexGuard<'_, Vec<(DeviceId, DeviceView)>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
