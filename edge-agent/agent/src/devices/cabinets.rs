//! One cabinet: samples -> limits and minute summaries -> facts, raw samples -> telemetry.
//!
//! A step that asks for a commit is made on a copy; the copy replaces the state only when its facts are durable. Samples
//! that come meanwhile wait, at most [`QUEUE_MAX`]. A refused commit leaves the old state, and the next sample asks again.
//!
//! Minute summaries hurry nobody: a closed minute waits here until the loop writes those of all cabinets together
//! ([`super::minutes`]), with the fold's state in the same transaction.

use super::{Desk, Done, Key, alarms};
use crate::config::CabinetsSection;
use drv_host::config::CabinetLimits;
use drv_host::{CabinetReading, CabinetState};
use edge_api::DeviceReading;
use edge_core::Moment;
use edge_core::excursion::{Limits, Phase, Sample, Value, Watch};
use edge_core::minute::MinuteFold;
use std::collections::VecDeque;
use sync_model::{AlarmKind, AlarmRef, DeviceId, MilliCelsius, TemperatureMinute};
use sync_store::Thresholds;

/// Samples that wait for a commit.
const QUEUE_MAX: usize = 64;
/// Closed minutes that wait for a ledger that refuses.
const MINUTES_MAX: usize = 60;

/// A configured cabinet.
pub(super) struct Cabinet {
    id: DeviceId,
    /// As configured.
    configured: Limits,
    /// In force.
    limits: Limits,
    watch: Watch,
    fold: MinuteFold,
    /// Closed and not yet durable.
    minutes: VecDeque<TemperatureMinute>,
    waiting: VecDeque<(Sample, Moment)>,
    pending: bool,
    silent: bool,
}

/// Result of a cabinet's job: the state that is durable now.
pub(super) struct Watched {
    result: Result<Box<Watch>, String>,
}

pub(super) fn watch_key(id: &DeviceId) -> String {
    format!("watch/{id}")
}

pub(super) fn fold_key(id: &DeviceId) -> String {
    format!("minute/{id}")
}

/// Limits of a cabinet: its own where it has them, the house's otherwise.
pub(super) fn limits(own: &CabinetLimits, house: &CabinetsSection) -> Limits {
    let seconds = |seconds: u32| u64::from(seconds).saturating_mul(1_000);
    let difference = own.difference_mc.unwrap_or(house.difference_mc);
    Limits {
        delay_ms: seconds(own.delay_s.unwrap_or(house.delay_s)),
        difference: MilliCelsius(i32::try_from(difference).unwrap_or(i32::MAX)),
        fault_delay_ms: seconds(house.fault_delay_s),
        lost_delay_ms: seconds(house.lost_delay_s),
        freeze_cap_ms: seconds(own.defrost_cap_s.unwrap_or(house.defrost_cap_s)),
        door_delay_ms: seconds(house.door_delay_s),
        ..Limits::between(own.low_mc.map(MilliCelsius), own.high_mc.map(MilliCelsius))
    }
}

impl Cabinet {
    pub(super) fn new(id: DeviceId, limits: Limits, watch: Option<&[u8]>, fold: Option<&[u8]>) -> Self {
        let (watch, restored) = Watch::from_bytes(limits, watch);
        if let edge_core::Restored::Damaged(damage) = restored {
            tracing::error!(cabinet = %id, %damage, "watch state is damaged: delays start over");
        }
        let (fold, restored) = MinuteFold::from_bytes(id.clone(), fold);
        if let edge_core::Restored::Damaged(damage) = restored {
            tracing::error!(cabinet = %id, %damage, "minute state is damaged: the first minute is skipped");
        }
        let (minutes, waiting) = (VecDeque::new(), VecDeque::new());
        Self { id, configured: limits, limits, watch, fold, minutes, waiting, pending: false, silent: false }
    }

    /// Thresholds that people set, or none any more. Running delays go on.
    pub(super) fn set_thresholds(&mut self, set: Thresholds) {
        let (low, high) = set.over(self.configured.low, self.configured.high);
        let limits = Limits { low, high, ..self.configured };
        if limits != self.limits {
            tracing::info!(cabinet = %self.id, ?low, ?high, "limits in force changed");
            self.limits = limits;
            self.watch.set_limits(limits);
        }
    }

    /// An alarm that the ledger holds open.
    pub(super) fn adopt(&mut self, kind: AlarmKind, alarm: AlarmRef, worst: Option<MilliCelsius>) {
        self.watch.adopt(kind, alarm, worst);
    }

    pub(super) fn reading(&mut self, desk: &Desk, reading: &CabinetReading, now: Moment) {
        self.silent = false;
        let value = match reading.value {
            Some(value) => Value::Good(MilliCelsius(value.0)),
            None => Value::Fault,
        };
        let (phase, word) = phase(reading.state);
        let sample = Sample { value, phase, door_open: reading.door_open };
        let suspect = reading.suspect.map(|value| value.0);
        desk.telemetry(&self.id, now.wall.0, reading.value.map(|value| value.0), suspect);
        let (high, low) = (self.limits.high.map(|limit| limit.0), self.limits.low.map(|limit| limit.0));
        let (fault, alarms) = (reading.fault.clone(), reading.alarms.clone());
        desk.daemon.registry.update(&self.id, |view| {
            let temperature_mc = reading.value.map(|value| value.0);
            let phase = word.into();
            view.reading =
                DeviceReading::Cabinet { temperature_mc, phase, high_mc: high, low_mc: low, fault, alarms }
                    .into();
        });
        self.queue(desk, sample, now);
    }

    /// The driver says that the cabinet is silent, or is heard again.
    pub(super) fn silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Time without a sample.
    pub(super) fn tick(&mut self, desk: &Desk, now: Moment) {
        if self.silent {
            self.queue(desk, Sample::plain(Value::NoAnswer), now);
        }
    }

    fn queue(&mut self, desk: &Desk, sample: Sample, now: Moment) {
        if self.waiting.len() >= QUEUE_MAX {
            self.waiting.pop_front();
            desk.daemon.registry.update(&self.id, |view| view.dropped = view.dropped.saturating_add(1));
        }
        self.waiting.push_back((sample, now));
        self.work(desk);
    }

    /// Steps through what waits, up to the first step that must be committed.
    fn work(&mut self, desk: &Desk) {
        while !self.pending {
            let Some((sample, now)) = self.waiting.pop_front() else { return };
            let mut watch = self.watch.clone();
            let outcome = watch.step(&sample, now);
            let good = match sample.value {
                Value::Good(value) => Some(value),
                Value::Fault | Value::NoAnswer => None,
            };
            if let Some(minute) = self.fold.step(good, now.wall) {
                self.close(minute);
            }
            if !outcome.save {
                self.watch = watch;
                continue;
            }
            let stamp = desk.daemon.clock.stamp_at(now.wall.0);
            if alarms::raises(&outcome.decisions) {
                desk.daemon.urgent.notify_one();
            }
            let id = self.id.clone();
            let submitted = desk.submit(
                Key::Device(self.id.clone()),
                move |draft| {
                    for decision in &outcome.decisions {
                        if let Some((kind, alarm)) = alarms::append(draft, &id, decision, stamp)? {
                            watch.bind(kind, alarm);
                        }
                    }
                    draft.put_state(&watch_key(&id), Some(&watch.to_bytes()))?;
                    Ok(Box::new(watch))
                },
                |result| Done::Cabinet(Watched { result: result.map_err(|error| error.to_string()) }),
            );
            match submitted {
                Ok(()) => self.pending = true,
                Err(error) => tracing::debug!(cabinet = %self.id, %error, "sample waits for the ledger"),
            }
        }
    }

    fn close(&mut self, minute: TemperatureMinute) {
        if self.minutes.len() >= MINUTES_MAX {
            // Not the oldest: a job under way may hold those.
            tracing::error!(cabinet = %self.id, "the ledger refuses for {MINUTES_MAX} minutes: a summary is given up");
            return;
        }
        self.minutes.push_back(minute);
    }

    /// Its name.
    pub(super) fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Whether a closed minute waits.
    pub(super) fn has_minutes(&self) -> bool {
        !self.minutes.is_empty()
    }

    /// The closed minutes and the state of the fold that gave them, to be written in one transaction.
    pub(super) fn minutes(&self) -> (Vec<TemperatureMinute>, Vec<u8>) {
        (self.minutes.iter().cloned().collect(), self.fold.to_bytes())
    }

    /// The first so many closed minutes are durable.
    pub(super) fn stored(&mut self, count: usize) {
        self.minutes.drain(..count.min(self.minutes.len()));
    }

    pub(super) fn done(&mut self, desk: &Desk, watched: Watched) {
        self.pending = false;
        match watched.result {
            Ok(watch) => {
                self.watch = *watch;
                // They may have changed while the step was on its way.
                self.watch.set_limits(self.limits);
            }
            Err(reason) => {
                tracing::warn!(cabinet = %self.id, %reason, "temperature facts were not stored; asked again");
            }
        }
        self.work(desk);
    }
}

/// What a controller's state means for the limits, and its word.
fn phase(state: CabinetState) -> (Phase, &'static str) {
    match state {
        CabinetState::Normal | CabinetState::Unknown(_) => (Phase::Normal, "normal"),
        CabinetState::Defrost => (Phase::Defrost, "defrost"),
        CabinetState::Drip => (Phase::Drip, "drip"),
        CabinetState::FanDelay => (Phase::FanDelay, "fan-delay"),
        // After a defrost the air is still warm: held and pulling down freeze the high delay alike.
        CabinetState::Hold => (Phase::Hold, "hold"),
        CabinetState::PullDown => (Phase::Hold, "pull-down"),
        CabinetState::DoorOpen => (Phase::Door, "door"),
        // Nothing excuses warmth here: goods warm up whoever switched the cabinet off.
        CabinetState::Off => (Phase::Normal, "off"),
        CabinetState::Emergency => (Phase::Normal, "emergency"),
        CabinetState::Manual => (Phase::Normal, "manual"),
    }
}
