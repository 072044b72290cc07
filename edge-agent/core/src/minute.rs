//! One summary per probe and wall minute; never two for the same minute.
//!
//! States: `Empty`, or `Filling { minute }` with the samples of one wall minute.
//!
//! Transitions: a sample (or [`MinuteFold::tick`]) of a later minute closes the filling one and returns it. A sample of an
//! earlier minute (the wall clock went back) closes it too: it is as complete as it will get. Bad samples are counted and
//! never averaged.
//!
//! Never twice: the fold keeps the intervals of minutes that it emitted, at most [`INTERVALS_MAX`]; beyond that the two
//! nearest ones are joined. A sample of an emitted minute is counted in [`MinuteFold::dropped`] and not folded; the raw
//! samples stay in the telemetry. So after a small step back the summaries pause until the clock passes the old place, and
//! after a large correction (years) they go on at once.
//!
//! Durability: commit the emitted summary and `to_bytes` in one transaction. A kill loses the samples of the filling minute
//! since the last save, never a minute that was emitted.
//!
//! Failure case: damaged bytes forget the emitted intervals; the fold then begins with the minute *after* the first one it
//! sees, because that one may have been emitted.

use crate::saved::{Damage, Restored, open, seal};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use sync_model::{DeviceId, MilliCelsius, TemperatureMinute, UnixMillis};

const VERSION: u8 = 1;
const MINUTE_MS: i64 = 60_000;
/// Most intervals of emitted minutes that are remembered apart.
pub const INTERVALS_MAX: usize = 32;

/// Samples of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Filling {
    minute: i64,
    low: Option<i32>,
    high: Option<i32>,
    sum: i64,
    good: u16,
    bad: u16,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct FoldState {
    filling: Option<Filling>,
    /// Emitted minutes as inclusive intervals of minute numbers, ascending, apart from each other.
    emitted: Vec<(i64, i64)>,
    dropped: u64,
    /// The first minute seen may have been emitted before the damage.
    skip_first: bool,
}

/// Folds the samples of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteFold {
    device: DeviceId,
    state: FoldState,
}

impl MinuteFold {
    /// A probe that was never folded.
    pub fn new(device: DeviceId) -> Self {
        Self { device, state: FoldState::default() }
    }

    /// The fold as it was saved; `None` when nothing was.
    pub fn from_bytes(device: DeviceId, bytes: Option<&[u8]>) -> (Self, Restored) {
        let mut fold = Self::new(device);
        let restored = match bytes.map(|bytes| open(VERSION, bytes).and_then(FoldState::checked)) {
            None => Restored::Fresh,
            Some(Ok(state)) => {
                fold.state = state;
                Restored::Intact
            }
            Some(Err(damage)) => {
                fold.state.skip_first = true;
                Restored::Damaged(damage)
            }
        };
        (fold, restored)
    }

    /// Bytes to store with an emitted summary.
    pub fn to_bytes(&self) -> Vec<u8> {
        seal(VERSION, &self.state)
    }

    /// Samples that fell into minutes already emitted.
    pub fn dropped(&self) -> u64 {
        self.state.dropped
    }

    /// One sample: `None` is a bad one. Returns the minute that it closed.
    pub fn step(&mut self, sample: Option<MilliCelsius>, wall: UnixMillis) -> Option<TemperatureMinute> {
        let closed = self.tick(wall);
        let minute = wall.0.div_euclid(MINUTE_MS);
        if core::mem::take(&mut self.state.skip_first) {
            self.state.note_emitted(minute);
        }
        if self.state.was_emitted(minute) {
            self.state.dropped = self.state.dropped.saturating_add(1);
            return closed;
        }
        let empty = Filling { minute, low: None, high: None, sum: 0, good: 0, bad: 0 };
        self.state.filling.get_or_insert(empty).add(sample);
        closed
    }

    /// The clock without a sample: closes a minute that is over.
    pub fn tick(&mut self, wall: UnixMillis) -> Option<TemperatureMinute> {
        let minute = wall.0.div_euclid(MINUTE_MS);
        let filling = self.state.filling.take_if(|filling| filling.minute != minute)?;
        self.state.note_emitted(filling.minute);
        Some(filling.summary(self.device.clone()))
    }
}

impl Filling {
    fn add(&mut self, sample: Option<MilliCelsius>) {
        match sample {
            // A full counter would falsify the mean: further samples of the minute change only low and high.
            Some(MilliCelsius(value)) => {
                self.low = Some(self.low.map_or(value, |low| low.min(value)));
                self.high = Some(self.high.map_or(value, |high| high.max(value)));
                if self.good < u16::MAX {
                    self.good += 1;
                    self.sum += i64::from(value);
                }
            }
            None => self.bad = self.bad.saturating_add(1),
        }
    }

    fn summary(self, device: DeviceId) -> TemperatureMinute {
        let count = i64::from(self.good);
        let mean = (count > 0).then(|| {
            let half = if self.sum < 0 { -(count / 2) } else { count / 2 };
            let mean = (self.sum + half) / count;
            MilliCelsius(i32::try_from(mean).expect("a mean lies between its samples, which are i32"))
        });
        TemperatureMinute {
            device,
            minute: UnixMillis(self.minute.saturating_mul(MINUTE_MS)),
            low: self.low.map(MilliCelsius),
            mean,
            high: self.high.map(MilliCelsius),
            good: self.good,
            bad: self.bad,
        }
    }
}

impl FoldState {
    /// Refuses bytes that no fold wrote, so that the intervals can be trusted to be sorted.
    fn checked(self) -> Result<Self, Damage> {
        let sorted = self.emitted.windows(2).all(|pair| matches!(pair, [a, b] if a.1 < b.0));
        let sound = self.emitted.len() <= INTERVALS_MAX && self.emitted.iter().all(|span| span.0 <= span.1);
        if sorted && sound { Ok(self) } else { Err(Damage::Body) }
    }

    fn was_emitted(&self, minute: i64) -> bool {
        self.emitted.iter().any(|span| (span.0..=span.1).contains(&minute))
    }

    fn note_emitted(&mut self, minute: i64) {
        if self.was_emitted(minute) {
            return;
        }
        let at = self.emitted.partition_point(|span| span.1 < minute);
        self.emitted.insert(at, (minute, minute));
        self.emitted.dedup_by(|later, earlier| {
            let touch = earlier.1.checked_add(1) == Some(later.0);
            if touch {
                earlier.1 = later.1;
            }
            touch
        });
        if self.emitted.len() > INTERVALS_MAX {
            self.join_nearest();
        }
    }

    /// Joins the two intervals with the smallest gap: minutes between them count as emitted from now on.
    fn join_nearest(&mut self) {
        let gaps = self.emitted.windows(2).map(|pair| pair[1].0.abs_diff(pair[0].1));
        if let Some((at, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) {
            self.emitted[at].1 = self.emitted[at + 1].1;
            self.emitted.remove(at + 1);
        }
    }
}
