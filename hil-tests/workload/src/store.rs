//! Cabinets, alarms and steamers.

use crate::{Task, Workload};
use sync_model::{
    AlarmKind, AlarmRaised, AlarmReturned, BatchMoved, BatchQueued, BatchState, DeviceId, Epoch, FactRef,
    Milli, MilliCelsius, Seq, Sku, TemperatureMinute, Text, UnixMillis,
};

const MINUTE_MS: i64 = 60_000;
/// States of a batch with the mean time to the next, in milliseconds.
const STEPS: [(BatchState, u64, &str); 6] = [
    (BatchState::Preheat, 20_000, "commanded"),
    (BatchState::Steaming, 180_000, "hot"),
    (BatchState::CoreCheck, 900_000, "program-end"),
    (BatchState::Hold, 60_000, "core-proven"),
    (BatchState::SoldOut, 5_400_000, "sold-out"),
    (BatchState::Discarded, 0, ""),
];

/// The name of device number `number` of a class.
pub(crate) fn device(class: &str, number: u64) -> DeviceId {
    DeviceId::new(&format!("{class}-{number}")).expect("a class and a number are a name")
}

/// Two thirds of the cabinets chill, one third freezes.
pub(crate) fn set_point(cabinet: u16) -> i32 {
    if cabinet % 3 == 2 { -19_500 } else { 3_000 }
}

/// When in the minute a cabinet's minute is closed.
pub(crate) fn phase(cabinet: u16) -> i64 {
    i64::from(cabinet) * 7_919 % 10_000
}

fn fact(epoch: Epoch, seq: u64) -> FactRef {
    FactRef { epoch, seq: Seq(seq) }
}

impl Workload {
    pub(crate) fn minute(&mut self, at: i64, cabinet: u16) {
        let jitter = self.random.between(0, 40);
        let step = i32::try_from(self.random.middling(61)).unwrap_or(0) - 60;
        let place = usize::from(cabinet);
        let mean = self.means[place] + step + (set_point(cabinet) - self.means[place]) / 32;
        self.means[place] = mean;
        let mut around = || i32::try_from(self.random.middling(40)).unwrap_or(0);
        let (below, above) = (around(), around());
        let bad = u16::from(self.random.chance(5));
        let minute = TemperatureMinute {
            device: device("cabinet", u64::from(cabinet) + 1),
            minute: UnixMillis(at - at.rem_euclid(MINUTE_MS) - MINUTE_MS),
            low: Some(MilliCelsius(mean - below)),
            mean: Some(MilliCelsius(mean)),
            high: Some(MilliCelsius(mean + above)),
            good: 6 - bad,
            bad,
        };
        self.write(at + jitter, minute);
        self.plan(at + MINUTE_MS, Task::Minute(cabinet));
    }

    pub(crate) fn alarm(&mut self, at: i64) {
        if at > crate::BEGIN_MS {
            let cabinet = u16::try_from(self.random.below(self.profile.cabinets.into())).unwrap_or(0);
            let limit = set_point(cabinet) + 2_000;
            let value = limit + i32::try_from(self.random.between(1, 800)).unwrap_or(1);
            let raised = AlarmRaised {
                device: device("cabinet", u64::from(cabinet) + 1),
                kind: AlarmKind::TooWarm,
                since: UnixMillis(at - 900_000),
                value: Some(MilliCelsius(value)),
                limit: Some(MilliCelsius(limit)),
            };
            let Seq(raised) = self.write(at, raised);
            let end = at + self.random.wait(1_200_000);
            self.plan(end, Task::AlarmEnd { raised, cabinet });
        }
        let next = at + 1 + self.random.wait(4 * 3_600_000);
        self.plan(next, Task::Alarm);
    }

    pub(crate) fn alarm_end(&mut self, at: i64, raised: u64, cabinet: u16) {
        let value = set_point(cabinet) + i32::try_from(self.random.between(0, 1_500)).unwrap_or(0);
        let worst = set_point(cabinet) + 2_800 + i32::try_from(self.random.between(0, 2_000)).unwrap_or(0);
        let alarm = fact(self.epoch, raised);
        let (value, worst) = (Some(MilliCelsius(value)), Some(MilliCelsius(worst)));
        self.write(at, AlarmReturned { alarm, value, worst });
    }

    pub(crate) fn batch(&mut self, at: i64) {
        let steamer = 1 + self.random.below(self.profile.steamers.into());
        let program = u16::try_from(self.random.below(4)).unwrap_or(0);
        let queued = BatchQueued {
            device: device("steamer", steamer),
            sku: Sku(10_000 + u64::from(program)),
            quantity: Milli(1_000 * self.random.between(12, 48)),
            program,
            set_point: MilliCelsius(100_000),
            core_min: MilliCelsius(75_000),
            steam_s: 900,
            hold_limit_s: 14_400,
        };
        let Seq(queued) = self.write(at, queued);
        self.plan(at + 200, Task::BatchMove { queued, step: 0 });
        let next = at + 1 + self.random.wait(1_800_000);
        self.plan(next, Task::Batch);
    }

    pub(crate) fn batch_move(&mut self, at: i64, queued: u64, step: u8) {
        let place = usize::from(step);
        let (to, wait, reason) = STEPS[place];
        let from = place.checked_sub(1).map_or(BatchState::Queued, |before| STEPS[before].0);
        let temperature = (to == BatchState::Hold)
            .then(|| MilliCelsius(75_000 + i32::try_from(self.random.between(0, 9_000)).unwrap_or(0)));
        let reason = Text::lossy(reason);
        let batch = fact(self.epoch, queued);
        self.write(at, BatchMoved { batch, from, to, temperature, reason });
        if to != BatchState::SoldOut {
            let next = at + 1 + self.random.wait(wait);
            self.plan(next, Task::BatchMove { queued, step: step + 1 });
        }
    }
}
