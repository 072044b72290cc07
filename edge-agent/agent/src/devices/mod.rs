//! The device loop: one task that turns device events into facts, with one state per device.
//!
//! Contract
//! * Events come through one bounded channel, results of ledger jobs through another; each device has at most one job under
//!   way, so the second one is bounded by the number of devices.
//! * At start every state is rebuilt from the ledger: latches, watches, minutes, batches, open alarms, presence. No alarm is
//!   raised twice, no batch is run twice, no load is counted twice.
//! * A device that misbehaves changes its own state only; what it floods is dropped and counted.

mod alarms;
mod cabinets;
pub mod holds;
mod minutes;
mod presence;
mod registry;
mod scales;
mod start;
mod steam_flags;
mod steamers;

pub use registry::{DeviceView, Reading, Registry, TagView};
pub(crate) use start::{connection, views};
pub use steamers::BATCHES_MAX;
pub(crate) use steamers::{Discarded, batch_key};

use crate::daemon::Daemon;
use crate::overrides::InForce;
use cabinets::{Cabinet, Watched};
use drv_host::{DeviceBody, DeviceEvent, Health, HealthState, ScaleOrder};
use edge_core::Moment;
use edge_core::batch::Batch;
use minutes::{Minutes, Written};
use presence::Presence;
use scales::{Latched, Scale};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use steamers::{Steamed, Steamer};
use sync_model::{BatchRef, DeviceId, Event, Milli, Text};
use sync_store::{Draft, LedgerError, Refusal};
use tokio::sync::{mpsc, oneshot, watch};

/// Device events that wait for the loop.
pub const EVENTS_MAX: usize = 4_096;
/// Orders of the API that wait for the loop.
pub const ORDERS_MAX: usize = 1_024;
/// Period of everything that only time drives.
const TICK: Duration = Duration::from_millis(500);

/// What others tell the device loop, after the ledger has it.
#[derive(Debug)]
pub enum Order {
    /// A batch was queued.
    Batch(Box<Batch>),
    /// A till sold from a held batch.
    Sold {
        /// The batch.
        batch: BatchRef,
        /// Left for sale, by the ledger. Absolute, so that hearing of a sale twice or late does no harm.
        left: Milli,
    },
    /// An operator zeroes or tares a scale; the order is on record already. The answer is the scale's.
    Scale {
        /// The scale.
        device: DeviceId,
        /// What to do.
        order: ScaleOrder,
        /// What became of it.
        answer: oneshot::Sender<scales::Told>,
    },
    /// An operator throws a batch away. The answer comes after the commit; a closed channel means that it was not done.
    Discard {
        /// The batch.
        batch: BatchRef,
        /// Its steamer.
        device: DeviceId,
        /// Who.
        by: Text<32>,
        /// What became of it.
        answer: oneshot::Sender<Discarded>,
    },
}

/// What the price pump hears of tags, and what people ask it.
#[derive(Debug)]
pub enum TagNews {
    /// A job ended.
    Written {
        /// Number of the job.
        job: u64,
        /// Image hash, or why not.
        result: Result<[u8; 8], String>,
    },
    /// A tag was heard.
    Seen {
        /// The tag.
        tag: DeviceId,
        /// Its battery.
        battery_mv: u16,
        /// Its signal.
        rssi: Option<i16>,
    },
    /// The adapter is there, or its driver cannot run.
    Adapter {
        /// Which of the two.
        running: bool,
    },
    /// Somebody asks.
    Ask(crate::prices::Ask),
}

/// Whose ledger job ended.
enum Key {
    Device(DeviceId),
    Presence(DeviceId, bool),
    Minutes,
}

/// How it ended.
enum Done {
    Scale(Latched),
    Cabinet(Watched),
    Steamer(Steamed),
    Presence(bool),
    Minutes(Result<Written, String>),
}

/// What every device of the loop can reach.
struct Desk {
    daemon: Arc<Daemon>,
    done: mpsc::UnboundedSender<(Key, Done)>,
    jobs: Cell<u64>,
}

impl Desk {
    /// Queues a ledger job whose result comes back to the loop.
    fn submit<T: Send + 'static>(
        &self,
        key: Key,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send + 'static,
        wrap: impl FnOnce(Result<T, LedgerError>) -> Done + Send + 'static,
    ) -> Result<(), LedgerError> {
        let done = self.done.clone();
        // A loop that has ended does not need the result.
        self.daemon.ledger.submit(job, move |result| drop(done.send((key, wrap(result)))))
    }

    /// A fresh number for a job of the drivers.
    fn job(&self) -> u64 {
        let job = self.jobs.get().wrapping_add(1);
        self.jobs.set(job);
        job
    }

    /// Keeps a raw sample, unless space is short; `suspect`: what was read instead of a value that can be believed.
    fn telemetry(&self, device: &DeviceId, wall_ms: i64, value: Option<i32>, suspect: Option<i32>) {
        self.daemon.sample(device, wall_ms, value, suspect);
    }
}

/// One configured device that is no tag.
enum Unit {
    Scale(Box<Scale>),
    Cabinet(Box<Cabinet>),
    Steamer(Box<Steamer>),
}

/// The loop's state.
struct Loop {
    desk: Desk,
    units: BTreeMap<String, Unit>,
    presence: Presence,
    minutes: Minutes,
    tags: mpsc::Sender<TagNews>,
}

/// Channels of one run of the loop.
pub(crate) struct Inputs {
    pub(crate) events: mpsc::Receiver<DeviceEvent>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) tags: mpsc::Sender<TagNews>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Runs until `stop` turns true; gives the order channel back for the next run.
pub(crate) async fn run(daemon: Arc<Daemon>, inputs: Inputs) -> mpsc::Receiver<Order> {
    let Inputs { mut events, mut orders, tags, mut stop } = inputs;
    // Unbounded in type, bounded by the ledger's queue and one group: this loop alone submits with it, and a loop that does
    // not read results submits nothing.
    let (done, mut results) = mpsc::unbounded_channel();
    // Job numbers of different runs must differ: an answer to an earlier run's job may still come.
    let desk = Desk { daemon: daemon.clone(), done, jobs: Cell::new(daemon.clock.mono_ms() << 16) };
    let rebuilt = start::rebuild(&daemon).await;
    let mut state =
        Loop { desk, units: rebuilt.units, presence: rebuilt.presence, minutes: Minutes::default(), tags };
    let mut thresholds = daemon.overrides.in_force();
    state.thresholds(&thresholds.borrow_and_update());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !*stop.borrow() {
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            Some((key, done)) = results.recv() => state.done(key, done),
            Some(order) = orders.recv() => state.order(order),
            Ok(()) = thresholds.changed() => state.thresholds(&thresholds.borrow_and_update()),
            _ = tick.tick() => state.tick(),
            Some(event) = events.recv() => state.event(event),
        }
        daemon.pulses.devices(daemon.clock.mono_ms());
    }
    state.minutes.last(&state.desk, cabinets(&state.units));
    orders
}

/// Tells the price pump what it will hear again if it is lost now: answers of tags need the room more.
fn tell(tags: &mpsc::Sender<TagNews>, news: TagNews) {
    if tags.capacity() > tags.max_capacity() / 2 && tags.try_send(news).is_err() {
        tracing::debug!("the price pump is behind; it will hear of the tag again");
    }
}

impl Loop {
    fn now(&self) -> Moment {
        let clock = &self.desk.daemon.clock;
        Moment::new(clock.mono_ms(), clock.wall_ms())
    }

    /// Thresholds that people set.
    fn thresholds(&mut self, set: &InForce) {
        for (id, unit) in &mut self.units {
            if let Unit::Cabinet(cabinet) = unit {
                let own = set.iter().find(|(device, _)| device.as_str() == id);
                cabinet.set_thresholds(own.map(|(_, own)| *own).unwrap_or_default());
            }
        }
    }

    fn event(&mut self, event: DeviceEvent) {
        let registry = &self.desk.daemon.registry;
        let Some(id) = registry.named(&event.device) else {
            tracing::debug!(device = %event.device, "event of a device that is not configured");
            return;
        };
        let now = Moment::new(event.mono_ms, event.wall_ms);
        if matches!(
            event.body,
            DeviceBody::Weight(_)
                | DeviceBody::Temperature(_)
                | DeviceBody::Steamer(_)
                | DeviceBody::TagSeen { .. }
        ) {
            registry.update(&id, |view| {
                view.seen = true;
                view.last_seen_ms = Some(event.wall_ms).into();
            });
        }
        if let DeviceBody::Health(health) = &event.body {
            return self.health(&id, health);
        }
        let Some(unit) = self.units.get_mut(id.as_str()) else { return self.tag(&id, event.body) };
        match (unit, event.body) {
            (Unit::Scale(scale), DeviceBody::Weight(reading)) => {
                scale.reading(&self.desk, &reading, event.mono_ms, event.wall_ms);
            }
            (Unit::Scale(scale), DeviceBody::ScaleCommand { job, result }) => scale.told(job, result),
            (Unit::Scale(scale), DeviceBody::WeightBad { reason }) => scale.fault(&self.desk, &reason),
            (Unit::Cabinet(cabinet), DeviceBody::Temperature(reading)) => {
                cabinet.reading(&self.desk, &reading, now);
            }
            (Unit::Steamer(steamer), DeviceBody::Steamer(reading)) => {
                steamer.reading(&self.desk, &reading, now);
            }
            (Unit::Steamer(steamer), DeviceBody::SteamerCommand { job, result }) => {
                steamer.commanded(&self.desk, job, &result, now);
            }
            (_, body) => tracing::warn!(device = %event.device, ?body, "event does not fit the device"),
        }
    }

    /// What a tag said. It has no state here: the price pump plans for it.
    fn tag(&mut self, id: &DeviceId, body: DeviceBody) {
        match body {
            DeviceBody::TagSeen { battery_mv, rssi, .. } => {
                self.desk.daemon.registry.update(id, |view| {
                    if let Reading::Tag(tag) = &mut view.reading {
                        tag.battery_mv = Some(battery_mv);
                        tag.rssi = rssi;
                    }
                });
                tell(&self.tags, TagNews::Seen { tag: id.clone(), battery_mv, rssi });
            }
            DeviceBody::TagWritten { job, result } => {
                if self.tags.try_send(TagNews::Written { job, result }).is_err() {
                    tracing::warn!(job, "answer of a tag was dropped; its job is tried again");
                }
            }
            body => tracing::warn!(device = %id, ?body, "event does not fit the device"),
        }
    }

    fn health(&mut self, id: &DeviceId, health: &Health) {
        let present = match health.state {
            HealthState::Seen | HealthState::Ok | HealthState::Degraded => true,
            HealthState::Lost | HealthState::Failed => false,
        };
        self.desk.daemon.registry.update(id, |view| {
            view.health = Some(health.state);
            view.reason.clone_from(&health.reason);
            view.cause = health.cause;
            view.advice.clone_from(&health.advice);
            view.trouble_mono_ms = health.trouble_mono_ms.into();
            view.seen |= present;
        });
        self.presence.set(id, present);
        match self.units.get_mut(id.as_str()) {
            Some(Unit::Scale(scale)) if !present => scale.fault(&self.desk, &health.reason),
            Some(Unit::Cabinet(cabinet)) => cabinet.silent(!present),
            Some(Unit::Steamer(steamer)) => steamer.silent(!present),
            Some(Unit::Scale(_)) => {}
            None => tell(&self.tags, TagNews::Adapter { running: health.state != HealthState::Failed }),
        }
        self.write_presence();
    }

    fn write_presence(&mut self) {
        let now = self.desk.daemon.clock.mono_ms();
        let daemon = &self.desk.daemon;
        let reason = |id: &DeviceId| daemon.registry.get(id).map_or_else(|| "".into(), |view| view.reason);
        for (device, present, fact) in self.presence.due(now, reason) {
            let event = Event::new(self.desk.daemon.clock.stamp(), fact);
            let submitted = self.desk.submit(
                Key::Presence(device.clone(), present),
                move |draft| draft.append(&event),
                |result| Done::Presence(result.is_ok()),
            );
            if submitted.is_err() {
                self.presence.written(&device, present, false, now);
            }
        }
    }

    fn done(&mut self, key: Key, done: Done) {
        let now = self.now();
        match (key, done) {
            (Key::Presence(device, present), Done::Presence(ok)) => {
                self.presence.written(&device, present, ok, now.mono_ms);
            }
            (Key::Device(device), done) => match (self.units.get_mut(device.as_str()), done) {
                (Some(Unit::Scale(scale)), Done::Scale(latched)) => scale.done(&self.desk, latched),
                (Some(Unit::Cabinet(cabinet)), Done::Cabinet(watched)) => cabinet.done(&self.desk, watched),
                (Some(Unit::Steamer(steamer)), Done::Steamer(steamed)) => {
                    steamer.done(&self.desk, steamed, now);
                }
                _ => tracing::warn!(%device, "result of a device of another class"),
            },
            (Key::Minutes, Done::Minutes(result)) => {
                self.minutes.done(&result);
                for (device, count) in result.unwrap_or_default() {
                    if let Some(Unit::Cabinet(cabinet)) = self.units.get_mut(device.as_str()) {
                        cabinet.stored(count);
                    }
                }
            }
            (Key::Minutes, _) => tracing::warn!("result of another kind"),
            (Key::Presence(device, _), _) => tracing::warn!(%device, "result of another kind"),
        }
    }

    fn order(&mut self, order: Order) {
        let now = self.now();
        match order {
            Order::Batch(batch) => match self.units.get_mut(batch.device().as_str()) {
                Some(Unit::Steamer(steamer)) => steamer.add(*batch),
                _ => tracing::warn!(device = %batch.device(), "batch of a steamer that is not configured"),
            },
            Order::Discard { batch, device, by, answer } => match self.units.get_mut(device.as_str()) {
                Some(Unit::Steamer(steamer)) => steamer.discard(&self.desk, (batch, by), answer, now),
                _ => drop(answer.send(Err(format!("{device} is not configured")))),
            },
            Order::Scale { device, order, answer } => match self.units.get_mut(device.as_str()) {
                Some(Unit::Scale(scale)) => scale.order(&self.desk, order, answer),
                _ => drop(answer.send(Err(format!("{device} is not configured")))),
            },
            Order::Sold { batch, left } => {
                for unit in self.units.values_mut() {
                    if let Unit::Steamer(steamer) = unit {
                        steamer.sold(&self.desk, batch, left, now);
                    }
                }
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        for unit in self.units.values_mut() {
            match unit {
                Unit::Cabinet(cabinet) => cabinet.tick(&self.desk, now),
                Unit::Steamer(steamer) => steamer.tick(&self.desk, now),
                Unit::Scale(_) => {}
            }
        }
        self.minutes.tick(&self.desk, cabinets(&self.units), now.mono_ms);
        self.write_presence();
    }
}

fn cabinets(units: &BTreeMap<String, Unit>) -> impl Iterator<Item = (&DeviceId, &Cabinet)> {
    units.values().filter_map(|unit| match unit {
        Unit::Cabinet(cabinet) => Some((cabinet.id(), &**cabinet)),
        Unit::Scale(_) | Unit::Steamer(_) => None,
    })
}
