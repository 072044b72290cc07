//! Yes/no alarms of a steamer: low water, over-temperature, sensor fault, silence.

use super::alarms;
use edge_core::Moment;
use edge_core::batch::Reading;
use edge_core::excursion::{Decision, FlagWatch};
use sync_model::{AlarmKind, AlarmRef, DeviceId};

/// The conditions, in the order of their watches.
pub(super) const KINDS: [AlarmKind; 4] =
    [AlarmKind::LowWater, AlarmKind::OverTemperature, AlarmKind::SensorFault, AlarmKind::Lost];

/// Watches of one steamer, with what their last step decided.
#[derive(Clone)]
pub(super) struct Flags {
    watches: Vec<(AlarmKind, FlagWatch, Vec<Decision>, bool)>,
    /// Whether the last step must be saved.
    pub(super) save: bool,
}

/// Key of a watch's state.
pub(super) fn key(device: &DeviceId, kind: AlarmKind) -> String {
    let word = match kind {
        AlarmKind::LowWater => "low-water",
        AlarmKind::OverTemperature => "over-temperature",
        AlarmKind::SensorFault => "sensor-fault",
        _ => "lost",
    };
    format!("flag/{device}/{word}")
}

impl Flags {
    /// Watches as they were saved.
    pub(super) fn new(delay_ms: u64, state: impl Fn(AlarmKind) -> Option<Vec<u8>>) -> Self {
        let watches = KINDS
            .iter()
            .map(|kind| {
                // Silence has already lasted when the driver reports it.
                let delay_ms = if *kind == AlarmKind::Lost { 0 } else { delay_ms };
                let bytes = state(*kind);
                let (watch, _) = FlagWatch::from_bytes(*kind, delay_ms, bytes.as_deref());
                (*kind, watch, Vec::new(), false)
            })
            .collect();
        Self { watches, save: false }
    }

    pub(super) fn adopt(&mut self, kind: AlarmKind, alarm: AlarmRef) {
        for (of, watch, ..) in &mut self.watches {
            if *of == kind {
                watch.adopt(alarm);
            }
        }
    }

    pub(super) fn bind(&mut self, kind: AlarmKind, alarm: AlarmRef) {
        for (of, watch, ..) in &mut self.watches {
            if *of == kind {
                watch.bind(alarm);
            }
        }
    }

    /// One reading.
    pub(super) fn step(&mut self, reading: &Reading, now: Moment) {
        self.each(now, |kind| match kind {
            AlarmKind::LowWater => Some(reading.low_water),
            AlarmKind::OverTemperature => Some(reading.over_temperature),
            AlarmKind::SensorFault => Some(reading.sensor_fault),
            _ => Some(false),
        });
    }

    /// Time without a reading.
    pub(super) fn silent(&mut self, silent: bool, now: Moment) {
        self.each(now, |kind| (kind == AlarmKind::Lost && silent).then_some(true));
    }

    /// No look: nothing decided.
    pub(super) fn clear(&mut self) {
        self.save = false;
    }

    fn each(&mut self, now: Moment, holds: impl Fn(AlarmKind) -> Option<bool>) {
        self.save = false;
        for (kind, watch, decisions, save) in &mut self.watches {
            let outcome = watch.step(holds(*kind), now);
            self.save |= outcome.save;
            *save = outcome.save;
            *decisions = outcome.decisions;
        }
    }

    /// Whether an alarm begins that is not written yet.
    pub(super) fn raises(&self) -> bool {
        self.watches.iter().any(|(_, _, decisions, _)| alarms::raises(decisions))
    }

    /// What the last step decided, by watch that must be saved.
    pub(super) fn take_decisions(&mut self) -> Vec<(AlarmKind, Vec<Decision>)> {
        self.save = false;
        self.watches
            .iter_mut()
            .filter(|(_, _, _, save)| *save)
            .map(|(kind, _, decisions, save)| {
                *save = false;
                (*kind, std::mem::take(decisions))
            })
            .collect()
    }

    /// State bytes of a watch.
    pub(super) fn bytes(&self, kind: AlarmKind) -> Option<Vec<u8>> {
        self.watches.iter().find(|(of, ..)| *of == kind).map(|(_, watch, ..)| watch.to_bytes())
    }
}
