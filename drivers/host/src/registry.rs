//! What the host knows about each device: health, the last raw frames, and where its events go.
//!
//! Contract
//! * A [`Desk`] belongs to one driver; all its methods return at once, so a slow receiver of events never holds a bus.
//! * Readings go out with `try_send` and are dropped, and counted, when the channel is full. Health and job results wait
//!   in the desk's own queue and leave first. That queue is bounded: results by the number of jobs the driver takes on,
//!   health by replacing an undelivered older health of the same device once [`PENDING_SOFT`] is exceeded.
//! * Log lines about a device are gated: one per [`LOG_INTERVAL_MS`], with the number held back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::advice::{Cause, Road};
use crate::clock::{mono_ms, wall_ms};
use crate::event::{DeviceBody, DeviceEvent};
use crate::health::{Contact, Counters, Health, HealthState, Vital, count};
use crate::pace::LogGate;
use crate::ports;

/// Raw frames kept per device.
pub(crate) const FRAMES_MAX: usize = 32;
/// Bytes kept of one raw frame.
pub(crate) const FRAME_BYTES_MAX: usize = 512;
/// Undelivered events from which on health is coalesced per device.
pub(crate) const PENDING_SOFT: usize = 64;
/// Time between two log lines about one device.
pub(crate) const LOG_INTERVAL_MS: u64 = 30_000;

/// Class of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceClass {
    /// Counter scale.
    Scale,
    /// Cold cabinet.
    Cabinet,
    /// Steamer.
    Steamer,
    /// Shelf tag.
    Tag,
}

impl DeviceClass {
    /// The lower-case name for logs and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Cabinet => "cabinet",
            Self::Steamer => "steamer",
            Self::Tag => "tag",
        }
    }
}

/// Which way a raw frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From us to the device.
    Sent,
    /// From the device to us.
    Received,
}

/// One raw frame, for technicians.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Number of the frame, counted per device from 1 since the start.
    pub number: u64,
    /// Milliseconds since boot.
    pub mono_ms: u64,
    /// Which way it went.
    pub way: Way,
    /// Its bytes, cut at 512.
    pub bytes: Vec<u8>,
}

/// A device with its class and health, as [`crate::Host::health`] lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceHealth {
    /// Configured name.
    pub device: Arc<str>,
    /// Class.
    pub class: DeviceClass,
    /// Present health.
    pub health: Health,
}

struct Slot {
    vital: Vital,
    /// Made when there is something to keep: most of thousands of tags say nothing for a long time.
    talk: Option<Box<Talk>>,
}

impl Slot {
    fn talk(&mut self) -> &mut Talk {
        self.talk.get_or_insert_with(|| {
            Box::new(Talk { frames: VecDeque::new(), framed: 0, log: LogGate::new(LOG_INTERVAL_MS) })
        })
    }
}

/// What a device and its driver said to each other, and to the log.
struct Talk {
    frames: VecDeque<RawFrame>,
    framed: u64,
    log: LogGate,
}

/// All devices of one host. Filled at start, never grows.
pub(crate) struct Registry {
    /// In the order of their names.
    slots: Vec<(Arc<str>, Mutex<Slot>)>,
    /// In the same order.
    classes: Vec<DeviceClass>,
    stop: AtomicBool,
    plugs: AtomicU64,
}

impl Registry {
    pub(crate) fn new(devices: impl Iterator<Item = (Arc<str>, DeviceClass, u64)>) -> Self {
        let now = mono_ms();
        let mut devices: Vec<_> = devices.collect();
        devices.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        devices.dedup_by(|(later, ..), (first, ..)| later == first);
        let classes = devices.iter().map(|(_, class, _)| *class).collect();
        let slot = |(id, _, lost_after_ms)| {
            let lost_after_ms = u32::try_from(lost_after_ms).unwrap_or(u32::MAX);
            (id, Mutex::new(Slot { vital: Vital::new(Road::Unknown, now, lost_after_ms), talk: None }))
        };
        let slots = devices.into_iter().map(slot).collect();
        Self { slots, classes, stop: AtomicBool::new(false), plugs: AtomicU64::new(0) }
    }

    /// Says what leads to each device; those that are not named keep an unknown road.
    pub(crate) fn placed(self, roads: impl Iterator<Item = (Arc<str>, Road)>) -> Self {
        for (device, road) in roads {
            if let Some((_, mut slot)) = self.slot(&device) {
                slot.vital.place(road);
            }
        }
        self
    }

    /// Asks every driver to end.
    pub(crate) fn ask_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn class(&self, device: &str) -> Option<DeviceClass> {
        self.place(device).and_then(|at| self.classes.get(at)).copied()
    }

    /// Something was plugged in.
    pub(crate) fn plug(&self) {
        self.plugs.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn health(&self) -> Vec<DeviceHealth> {
        let entry = |((id, slot), class): (&(Arc<str>, Mutex<Slot>), &DeviceClass)| DeviceHealth {
            device: id.clone(),
            class: *class,
            health: lock(slot).vital.health(id),
        };
        self.slots.iter().zip(&self.classes).map(entry).collect()
    }

    pub(crate) fn frames(&self, device: &str) -> Option<Vec<RawFrame>> {
        self.slot(device).map(|(_, slot)| {
            slot.talk.as_ref().map_or_else(Vec::new, |talk| talk.frames.iter().cloned().collect())
        })
    }

    pub(crate) fn counters(&self, device: &str) -> Option<Counters> {
        self.slot(device).map(|(_, mut slot)| *slot.vital.counters())
    }

    /// What leads to a device.
    pub(crate) fn road(&self, device: &str) -> Option<Road> {
        self.slot(device).map(|(_, slot)| slot.vital.road().clone())
    }

    /// A device's name and slot.
    fn slot(&self, device: &str) -> Option<(&Arc<str>, MutexGuard<'_, Slot>)> {
        self.slots.get(self.place(device)?).map(|(id, slot)| (id, lock(slot)))
    }

    fn place(&self, device: &str) -> Option<usize> {
        self.slots.binary_search_by(|(id, _)| (**id).cmp(device)).ok()
    }
}

/// A panicking driver may poison a slot; its counters are still the best there is.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One driver's way to report.
pub(crate) struct Desk {
    registry: Arc<Registry>,
    events: Sender<DeviceEvent>,
    pending: VecDeque<DeviceEvent>,
    closed: bool,
    plugs: u64,
}

impl Desk {
    pub(crate) fn new(registry: Arc<Registry>, events: Sender<DeviceEvent>) -> Self {
        let plugs = registry.plugs.load(Ordering::Acquire);
        Self { registry, events, pending: VecDeque::new(), closed: false, plugs }
    }

    /// Something was plugged in since this was asked last: what was missing may be there.
    pub(crate) fn plugged(&mut self) -> bool {
        let before = std::mem::replace(&mut self.plugs, self.registry.plugs.load(Ordering::Acquire));
        before != self.plugs
    }

    /// The driver must end: asked to, or nobody listens any more.
    pub(crate) fn stopping(&self) -> bool {
        self.closed || self.registry.stopping()
    }

    /// Events that wait for the receiver.
    pub(crate) fn backlog(&self) -> usize {
        self.pending.len()
    }

    /// Delivers what waits, as far as the receiver takes it.
    pub(crate) fn flush(&mut self) {
        while let Some(event) = self.pending.pop_front() {
            match self.events.try_send(event) {
                // An adapter that is lost is an event of every tag: what they took to wait is given back.
                Ok(()) if self.pending.is_empty() => self.pending.shrink_to(PENDING_SOFT),
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.pending.push_front(event);
                    return;
                }
                Err(TrySendError::Closed(_)) => {
                    self.closed = true;
                    self.pending.clear();
                    return;
                }
            }
        }
    }

    /// Reports one event.
    pub(crate) fn report(&mut self, device: &Arc<str>, body: DeviceBody) {
        let event = DeviceEvent { device: device.clone(), wall_ms: wall_ms(), mono_ms: mono_ms(), body };
        if event.body.must_arrive() {
            self.enqueue(event);
            self.flush();
            return;
        }
        self.flush();
        let full =
            !self.pending.is_empty() || matches!(self.events.try_send(event), Err(TrySendError::Full(_)));
        if full {
            self.count(device, |counters| &mut counters.dropped);
        }
    }

    fn enqueue(&mut self, event: DeviceEvent) {
        if self.pending.len() >= PENDING_SOFT && matches!(event.body, DeviceBody::Health(_)) {
            let stale = |e: &DeviceEvent| e.device == event.device && matches!(e.body, DeviceBody::Health(_));
            self.pending.retain(|e| !stale(e));
        }
        self.pending.push_back(event);
    }

    /// Takes in a contact with a device and reports what changed.
    pub(crate) fn contact(&mut self, device: &Arc<str>, contact: &Contact) {
        let now = mono_ms();
        let Some((_, mut slot)) = self.registry.slot(device) else { return };
        let changes = slot.vital.contact(device, now, contact);
        if let Contact::Malformed(reason) | Contact::Refused(reason) | Contact::SensorFault(reason) = contact
            && let Some(held_back) = slot.talk().log.open(now)
        {
            tracing::warn!(device = &**device, held_back, "bad answer: {reason}");
        }
        drop(slot);
        self.changed(device, changes);
    }

    /// Lets time pass for a device: silence becomes `Lost`.
    pub(crate) fn tick(&mut self, device: &Arc<str>) {
        let change = self.registry.slot(device).and_then(|(id, mut slot)| slot.vital.tick(id, mono_ms()));
        self.changed(device, change);
    }

    /// The port, bus or adapter of these devices works again.
    pub(crate) fn reachable<'a>(&mut self, devices: impl Iterator<Item = &'a Arc<str>>) {
        for device in devices {
            let change =
                self.registry.slot(device).and_then(|(id, mut slot)| slot.vital.reachable(id, mono_ms()));
            self.changed(device, change);
        }
    }

    /// The port, bus or adapter of these devices cannot be used. For a serial port or device node the present state of the
    /// machine says whether it is unplugged or something else is wrong.
    pub(crate) fn unreachable<'a>(&mut self, devices: impl Iterator<Item = &'a Arc<str>>, reason: &str) {
        let reason: Arc<str> = reason.into();
        // Devices of one driver mostly share one port, which is looked at once.
        let mut looked: Option<(String, Option<Cause>)> = None;
        for device in devices {
            let port =
                self.registry.slot(device).and_then(|(_, slot)| slot.vital.road().port().map(str::to_owned));
            let cause = port.and_then(|port| match &looked {
                Some((before, cause)) if *before == port => *cause,
                _ => {
                    let cause = ports::fault(&port);
                    looked = Some((port, cause));
                    cause
                }
            });
            let reason = reason.clone();
            self.contact(
                device,
                &cause.map_or_else(
                    || Contact::Unreachable(reason.clone()),
                    |cause| Contact::Down(cause, reason.clone()),
                ),
            );
        }
    }

    /// Nothing of these devices works any more, for a reason that is known.
    pub(crate) fn down<'a>(
        &mut self,
        devices: impl Iterator<Item = &'a Arc<str>>,
        cause: Cause,
        reason: &str,
    ) {
        let reason: Arc<str> = reason.into();
        for device in devices {
            self.contact(device, &Contact::Down(cause, reason.clone()));
        }
    }

    /// Counts one more of what no contact carries.
    pub(crate) fn count(&self, device: &str, which: impl FnOnce(&mut Counters) -> &mut u32) {
        if let Some((_, mut slot)) = self.registry.slot(device) {
            count(which(slot.vital.counters()));
        }
    }

    /// Keeps a raw frame for technicians.
    pub(crate) fn frame(&self, device: &str, way: Way, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some((_, mut slot)) = self.registry.slot(device) {
            let talk = slot.talk();
            if talk.frames.len() == FRAMES_MAX {
                talk.frames.pop_front();
            }
            let bytes = bytes.get(..FRAME_BYTES_MAX).unwrap_or(bytes).to_vec();
            talk.framed = talk.framed.saturating_add(1);
            let number = talk.framed;
            talk.frames.push_back(RawFrame { number, mono_ms: mono_ms(), way, bytes });
        }
    }

    fn changed(&mut self, device: &Arc<str>, changes: impl IntoIterator<Item = Health>) {
        for health in changes {
            // Changes are bounded by the state machine's hysteresis, so their lines need no gate.
            let (state, reason) = (health.state.name(), &health.reason);
            if health.state <= HealthState::Ok {
                tracing::info!(device = &**device, state, "{reason}");
            } else {
                tracing::warn!(device = &**device, state, "{reason}");
            }
            self.report(device, DeviceBody::Health(health));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn desk(capacity: usize) -> (Desk, mpsc::Receiver<DeviceEvent>, Arc<str>) {
        let id: Arc<str> = Arc::from("s1");
        let registry = Arc::new(Registry::new([(id.clone(), DeviceClass::Scale, 1_000)].into_iter()));
        let (tx, rx) = mpsc::channel(capacity);
        (Desk::new(registry, tx), rx, id)
    }

    #[test]
    fn readings_are_dropped_and_counted_but_results_wait() {
        let (mut desk, mut rx, id) = desk(1);
        for n in 0..5 {
            desk.report(&id, DeviceBody::WeightBad { reason: n.to_string() });
        }
        desk.report(&id, DeviceBody::SteamerCommand { job: 7, result: Ok(()) });
        desk.report(&id, DeviceBody::WeightBad { reason: "behind a result".to_owned() });
        assert_eq!(desk.backlog(), 1);
        assert_eq!(desk.registry.health()[0].health.counters.dropped, 5);
        assert!(matches!(rx.try_recv().unwrap().body, DeviceBody::WeightBad { .. }));
        desk.flush();
        assert!(matches!(rx.try_recv().unwrap().body, DeviceBody::SteamerCommand { job: 7, .. }));
    }

    #[test]
    fn undelivered_health_is_coalesced() {
        let (mut desk, _rx, id) = desk(1);
        for n in 0..1_000u32 {
            let gone = Contact::Unreachable(n.to_string().into());
            desk.contact(&id, &gone);
            desk.reachable([&id].into_iter());
        }
        assert!(desk.backlog() <= PENDING_SOFT + 1, "{}", desk.backlog());
    }

    #[test]
    fn frames_are_bounded() {
        let (desk, _rx, id) = desk(1);
        for _ in 0..100 {
            desk.frame(&id, Way::Received, &[0; 4096]);
        }
        let frames = desk.registry.frames("s1").unwrap();
        assert_eq!(frames.len(), FRAMES_MAX);
        assert!(frames.iter().all(|f| f.bytes.len() == FRAME_BYTES_MAX));
        let numbers: Vec<u64> = frames.iter().map(|f| f.number).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers.last() == Some(&100));
    }

    #[test]
    fn a_closed_channel_stops_the_driver() {
        let (mut desk, rx, id) = desk(1);
        drop(rx);
        desk.report(&id, DeviceBody::SteamerCommand { job: 1, result: Ok(()) });
        assert!(desk.stopping());
    }
}
