//! Temperature excursions and device faults as alarms: raised once, returned once.
//!
//! A [`Watch`] follows one cabinet, a [`FlagWatch`] one yes/no condition of any device (low water, over-temperature).
//!
//! Each condition is a timer with the states `Idle`, `Pending` (the condition holds, the delay runs) and `Raised`.
//! | From | When | To | Decision |
//! |---|---|---|---|
//! | Idle | the condition holds | Pending | |
//! | Pending | it does not hold | Idle | |
//! | Pending | it held for the delay | Raised | Raise |
//! | Raised | it ended (limits: by the difference) | Idle | Return, with the worst value |
//!
//! | Condition | Holds | Ends | Delay |
//! |---|---|---|---|
//! | TooWarm | value > high | value <= high - difference | `delay_ms`, frozen as below |
//! | TooCold | value < low | value >= low + difference | `delay_ms` |
//! | SensorFault | [`Value::Fault`] | a good value | `fault_delay_ms` |
//! | Lost | [`Value::NoAnswer`] | any answer | `lost_delay_ms` |
//! | DefrostTooLong | freezing for `freeze_cap_ms` | phase no longer freezes | none |
//! | DoorOpen | door open | door closed | `door_delay_ms` |
//!
//! Freeze: while the controller defrosts, drips, holds, waits with its fan or has its door open, the TooWarm delay does not
//! run (the record does). All freezing together is limited to `freeze_cap_ms`; then the delay runs again and
//! DefrostTooLong is raised, unless the door is the reason: DoorOpen speaks for it. The allowance is renewed only by a
//! good value within the limit in a phase that does not freeze, so a controller that keeps defrosting cannot freeze for
//! ever.
//!
//! Time
//! * Within a run only the monotonic clock counts; jumps of the wall clock change nothing.
//! * Time without a usable value counts for a limit when the values before and after are both beyond it.
//! * A restart: the gap is the wall time since the saved moment; it counts when the condition held before and after. A gap
//!   that cannot be known (the wall clock is behind the saved moment) counts as the whole delay, and as the whole freeze.
//! * `since` of a raised alarm is now minus how long the condition held, so it is right by the clock that stamps the fact.
//!
//! Failure cases: damaged bytes give idle timers; [`Watch::adopt`] then takes over the alarms that the ledger holds open,
//! so that none is raised twice. A limit taken out of the configuration returns its alarm at the next value.

use crate::Moment;
use crate::saved::{Restored, reopen, seal};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use sync_model::{AlarmKind, AlarmRef, MilliCelsius, UnixMillis};

const VERSION: u8 = 1;
/// A running state is saved at least this often, so that a gap is known to this much.
pub const SAVE_EVERY_MS: u64 = 60_000;

/// Limits of one cabinet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Warmest allowed.
    pub high: Option<MilliCelsius>,
    /// Coldest allowed.
    pub low: Option<MilliCelsius>,
    /// How long a limit must be broken.
    pub delay_ms: u64,
    /// How far inside the limit a value must be to end an alarm; 0 or more.
    pub difference: MilliCelsius,
    /// How long a sensor must be at fault.
    pub fault_delay_ms: u64,
    /// How long the device must be silent, beyond what its driver waits.
    pub lost_delay_ms: u64,
    /// Longest freeze of the high delay.
    pub freeze_cap_ms: u64,
    /// How long the door may be open.
    pub door_delay_ms: u64,
}

impl Limits {
    /// Delays for a cabinet with these limits: 15 min, 1 degree difference, faults after 30 s, silence at once (the driver
    /// already waited), 60 min of defrost, 5 min of open door.
    pub fn between(low: Option<MilliCelsius>, high: Option<MilliCelsius>) -> Self {
        Self {
            high,
            low,
            delay_ms: 15 * 60_000,
            difference: MilliCelsius(1000),
            fault_delay_ms: 30_000,
            lost_delay_ms: 0,
            freeze_cap_ms: 60 * 60_000,
            door_delay_ms: 5 * 60_000,
        }
    }
}

/// What the controller does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Cooling or resting.
    #[default]
    Normal,
    /// Defrosting.
    Defrost,
    /// Dripping off.
    Drip,
    /// Held after a defrost.
    Hold,
    /// Cooling with the fan still off.
    FanDelay,
    /// Forced still because the door is open.
    Door,
}

impl Phase {
    /// Whether the high delay stands still.
    fn freezes(self) -> bool {
        !matches!(self, Self::Normal)
    }
}

/// What the sensor said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A temperature.
    Good(MilliCelsius),
    /// The sensor is broken or reads a known fault value.
    Fault,
    /// The device did not answer.
    NoAnswer,
}

/// One sample of one cabinet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The temperature, if any.
    pub value: Value,
    /// What the controller does.
    pub phase: Phase,
    /// The door, when there is a switch.
    pub door_open: Option<bool>,
}

impl Sample {
    /// A sample of a plain probe.
    pub fn plain(value: Value) -> Self {
        Self { value, phase: Phase::Normal, door_open: None }
    }
}

/// An alarm begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Append an `AlarmRaised`, then [`Watch::bind`] its name.
    Raise {
        /// What.
        kind: AlarmKind,
        /// When the condition began.
        since: UnixMillis,
        /// Value that broke the limit.
        value: Option<MilliCelsius>,
        /// The limit.
        limit: Option<MilliCelsius>,
    },
    /// Append an `AlarmReturned`.
    Return {
        /// What.
        kind: AlarmKind,
        /// Which, when it was bound or adopted; otherwise the open alarm of this device and kind.
        alarm: Option<AlarmRef>,
        /// Value that ended it.
        value: Option<MilliCelsius>,
        /// Worst value while the condition held.
        worst: Option<MilliCelsius>,
    },
}

/// What a step asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In order.
    pub decisions: Vec<Decision>,
    /// Whether the state must be saved (always together with the decisions).
    pub save: bool,
}

/// One condition's timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    /// The condition held at the last evaluation.
    holding: bool,
    /// How long it holds, frozen time included.
    held_ms: u64,
    /// How much of that counts.
    counted_ms: u64,
    raised: bool,
    worst: Option<MilliCelsius>,
    alarm: Option<AlarmRef>,
}

/// Time since the last step.
#[derive(Clone, Copy)]
enum Elapsed {
    Known(u64),
    Unknown,
}

/// What one evaluation of a timer sees.
struct Look {
    kind: AlarmKind,
    /// The condition holds.
    holds: bool,
    /// The condition ended; differs from `!holds` within the difference.
    ended: bool,
    delay_ms: u64,
    value: Option<MilliCelsius>,
    limit: Option<MilliCelsius>,
}

impl Timer {
    /// Keeps the value farther from the limit.
    fn track(&mut self, kind: AlarmKind, value: Option<MilliCelsius>) {
        let Some(value) = value else { return };
        self.worst = Some(match (self.worst, kind) {
            (None, _) => value,
            (Some(worst), AlarmKind::TooCold) => worst.min(value),
            (Some(worst), _) => worst.max(value),
        });
    }

    /// One evaluation.
    fn step(&mut self, look: &Look, elapsed: Elapsed, wall: UnixMillis, out: &mut Outcome) {
        if self.raised {
            self.track(look.kind, look.value);
            if look.ended {
                let (kind, alarm, value, worst) = (look.kind, self.alarm, look.value, self.worst);
                out.decisions.push(Decision::Return { kind, alarm, value, worst });
                *self = Self::default();
            }
            return;
        }
        if !look.holds {
            out.save |= self.holding;
            *self = Self::default();
            return;
        }
        if self.holding {
            let (held, counted) = match elapsed {
                Elapsed::Known(ms) => (ms, ms),
                Elapsed::Unknown => (0, look.delay_ms),
            };
            self.held_ms = self.held_ms.saturating_add(held);
            self.counted_ms = self.counted_ms.saturating_add(counted);
        } else {
            self.holding = true;
            out.save = true;
        }
        self.track(look.kind, look.value);
        if self.counted_ms >= look.delay_ms {
            self.raised = true;
            let since = wall.plus(-i64::try_from(self.held_ms).unwrap_or(i64::MAX));
            let (kind, value, limit) = (look.kind, look.value, look.limit);
            out.decisions.push(Decision::Raise { kind, since, value, limit });
        }
    }
}

/// The part of a watch that survives a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct WatchState {
    warm: Timer,
    cold: Timer,
    fault: Timer,
    lost: Timer,
    defrost: Timer,
    door: Timer,
    /// Phase of the last sample.
    phase: Phase,
    /// Freeze used up.
    frozen_ms: u64,
    /// Time since the last good value that counts for limits, and all of it.
    blind_counted_ms: u64,
    blind_ms: u64,
    /// A restart of unknown length fell into the blind time.
    blind_unknown: bool,
    /// Wall time of the last step.
    wall: UnixMillis,
}

/// Follows one cabinet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    limits: Limits,
    state: WatchState,
    /// Monotonic time of the last step of this run.
    last_ms: Option<u64>,
    /// Whether a state of an earlier run is loaded, so that the first step closes a gap.
    resumed: bool,
    saved_ms: u64,
}

impl Watch {
    /// A cabinet that was never watched.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: WatchState::default(), last_ms: None, resumed: false, saved_ms: 0 }
    }

    /// The cabinet as it was saved; `None` when nothing was.
    pub fn from_bytes(limits: Limits, bytes: Option<&[u8]>) -> (Self, Restored) {
        let (state, restored) = reopen(VERSION, bytes);
        let resumed = restored == Restored::Intact;
        (Self { state, resumed, ..Self::new(limits) }, restored)
    }

    /// Bytes to store with the decisions of a step.
    pub fn to_bytes(&self) -> Vec<u8> {
        seal(VERSION, &self.state)
    }

    /// New limits after a reload; running delays go on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Names the alarm that a Raise of this kind became. Call it before `to_bytes` of the same transaction.
    pub fn bind(&mut self, kind: AlarmKind, alarm: AlarmRef) {
        if let Some(timer) = self.timer(kind) {
            timer.alarm = Some(alarm);
        }
    }

    /// Takes over an alarm that the ledger holds open: after damage, or to be sure at every start.
    pub fn adopt(&mut self, kind: AlarmKind, alarm: AlarmRef, worst: Option<MilliCelsius>) {
        if let Some(timer) = self.timer(kind) {
            let kept = timer.worst;
            *timer = Timer { holding: true, raised: true, worst: kept, alarm: Some(alarm), ..*timer };
            timer.track(kind, worst);
        }
    }

    /// Whether an alarm of this kind is raised.
    pub fn is_raised(&self, kind: AlarmKind) -> bool {
        let mut copy = self.clone();
        copy.timer(kind).is_some_and(|timer| timer.raised)
    }

    fn timer(&mut self, kind: AlarmKind) -> Option<&mut Timer> {
        match kind {
            AlarmKind::TooWarm => Some(&mut self.state.warm),
            AlarmKind::TooCold => Some(&mut self.state.cold),
            AlarmKind::SensorFault => Some(&mut self.state.fault),
            AlarmKind::Lost => Some(&mut self.state.lost),
            AlarmKind::DefrostTooLong => Some(&mut self.state.defrost),
            AlarmKind::DoorOpen => Some(&mut self.state.door),
            AlarmKind::LowWater | AlarmKind::OverTemperature => None,
        }
    }

    /// One sample, at a moment. Call it with [`Value::NoAnswer`] while a device is silent.
    pub fn step(&mut self, sample: &Sample, now: Moment) -> Outcome {
        let elapsed = elapsed(self.last_ms, self.resumed, self.state.wall, now);
        self.resumed = false;
        self.last_ms = Some(now.mono_ms);
        self.state.wall = now.wall;
        let mut out = Outcome::default();
        // A silent device does not say what it does: it is taken to go on with it.
        let silent = sample.value == Value::NoAnswer;
        let sample = &Sample { phase: if silent { self.state.phase } else { sample.phase }, ..*sample };
        let frozen = self.freeze(sample, elapsed, now.wall, &mut out);
        self.answers(sample, elapsed, now.wall, &mut out);
        self.temperatures(sample.value, elapsed, frozen, now.wall, &mut out);
        self.state.phase = sample.phase;
        let open = [self.state.warm, self.state.cold, self.state.fault, self.state.lost, self.state.defrost];
        let running = open.iter().any(|timer| timer.holding && !timer.raised) || self.state.frozen_ms > 0;
        let due = running && now.mono_ms.saturating_sub(self.saved_ms) >= SAVE_EVERY_MS;
        out.save |= due || !out.decisions.is_empty();
        if out.save {
            self.saved_ms = now.mono_ms;
        }
        out
    }

    /// Accounts for freezing time. Returns whether the time since the last step is frozen for the high delay.
    fn freeze(&mut self, sample: &Sample, elapsed: Elapsed, wall: UnixMillis, out: &mut Outcome) -> bool {
        let state = &mut self.state;
        let cap = self.limits.freeze_cap_ms;
        let freezing = sample.phase.freezes();
        // The time before a change of phase belongs to the phase that it began in, unless both are known to freeze.
        let frozen_span = state.phase.freezes();
        if frozen_span {
            let spent = match elapsed {
                Elapsed::Known(ms) => ms,
                Elapsed::Unknown => cap,
            };
            state.frozen_ms = state.frozen_ms.saturating_add(spent);
        }
        out.save |= freezing != frozen_span;
        let exhausted = state.frozen_ms >= cap;
        let look = Look {
            kind: AlarmKind::DefrostTooLong,
            holds: freezing && exhausted && sample.phase != Phase::Door && sample.value != Value::NoAnswer,
            ended: !freezing,
            delay_ms: 0,
            value: None,
            limit: None,
        };
        // DefrostTooLong began when the freeze did, not when the allowance ended.
        let began = wall.plus(-i64::try_from(state.frozen_ms).unwrap_or(i64::MAX));
        state.defrost.step(&look, elapsed, began, out);
        let within = match (sample.value, self.limits.high) {
            (Value::Good(value), Some(high)) => value <= high,
            (Value::Good(_), None) => true,
            (Value::Fault | Value::NoAnswer, _) => false,
        };
        if !freezing && within {
            state.frozen_ms = 0;
        }
        frozen_span && !exhausted
    }

    /// Conditions of the device itself: fault, silence, door.
    fn answers(&mut self, sample: &Sample, elapsed: Elapsed, wall: UnixMillis, out: &mut Outcome) {
        let plain =
            |kind, holds, ended, delay_ms| Look { kind, holds, ended, delay_ms, value: None, limit: None };
        let silent = sample.value == Value::NoAnswer;
        let lost = plain(AlarmKind::Lost, silent, !silent, self.limits.lost_delay_ms);
        self.state.lost.step(&lost, elapsed, wall, out);
        // Silence says nothing about the sensor or the door: their timers go on as they were.
        let fault = sample.value == Value::Fault || (silent && self.state.fault.holding);
        let good = matches!(sample.value, Value::Good(_));
        let fault = plain(AlarmKind::SensorFault, fault, good, self.limits.fault_delay_ms);
        self.state.fault.step(&fault, elapsed, wall, out);
        let open = sample.phase == Phase::Door || sample.door_open == Some(true);
        let open = if silent { self.state.door.holding } else { open };
        let door = plain(AlarmKind::DoorOpen, open, !open, self.limits.door_delay_ms);
        self.state.door.step(&door, elapsed, wall, out);
    }

    /// The two limits.
    fn temperatures(
        &mut self,
        value: Value,
        elapsed: Elapsed,
        frozen: bool,
        wall: UnixMillis,
        out: &mut Outcome,
    ) {
        let state = &mut self.state;
        match elapsed {
            Elapsed::Known(ms) => {
                state.blind_ms = state.blind_ms.saturating_add(ms);
                if !frozen {
                    state.blind_counted_ms = state.blind_counted_ms.saturating_add(ms);
                }
            }
            Elapsed::Unknown => state.blind_unknown = true,
        }
        let Value::Good(value) = value else { return };
        let (all, counted) = (state.blind_ms, state.blind_counted_ms);
        let unknown = core::mem::take(&mut state.blind_unknown);
        (state.blind_ms, state.blind_counted_ms) = (0, 0);
        let difference = self.limits.difference.0.max(0);
        let delay_ms = self.limits.delay_ms;
        let (high, low) = (self.limits.high, self.limits.low);
        let warm = Look {
            kind: AlarmKind::TooWarm,
            holds: high.is_some_and(|high| value > high),
            ended: high.is_none_or(|high| value.0 <= high.0.saturating_sub(difference)),
            delay_ms,
            value: Some(value),
            limit: high,
        };
        limit_step(&mut state.warm, &warm, (all, counted, unknown), wall, out);
        let cold = Look {
            kind: AlarmKind::TooCold,
            holds: low.is_some_and(|low| value < low),
            ended: low.is_none_or(|low| value.0 >= low.0.saturating_add(difference)),
            value: Some(value),
            limit: low,
            ..warm
        };
        limit_step(&mut state.cold, &cold, (all, all, unknown), wall, out);
    }
}

/// Steps a limit timer whose held and counted times differ (freezing, time without values).
fn limit_step(timer: &mut Timer, look: &Look, span: (u64, u64, bool), wall: UnixMillis, out: &mut Outcome) {
    let (all, counted, unknown) = span;
    let elapsed = if unknown { Elapsed::Unknown } else { Elapsed::Known(counted) };
    if timer.holding && !timer.raised && look.holds {
        timer.held_ms = timer.held_ms.saturating_add(all - counted.min(all));
    }
    timer.step(look, elapsed, wall, out);
}

/// Time since the last step: monotonic within a run, wall time over a restart.
fn elapsed(last_ms: Option<u64>, resumed: bool, saved: UnixMillis, now: Moment) -> Elapsed {
    match last_ms {
        Some(last) => Elapsed::Known(now.mono_ms.saturating_sub(last)),
        None if resumed => u64::try_from(now.wall.since(saved)).map_or(Elapsed::Unknown, Elapsed::Known),
        None => Elapsed::Known(0),
    }
}

/// The part of a flag watch that survives a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct FlagState {
    timer: Timer,
    wall: UnixMillis,
}

/// Follows one yes/no condition, such as low water.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagWatch {
    kind: AlarmKind,
    delay_ms: u64,
    state: FlagState,
    last_ms: Option<u64>,
    resumed: bool,
}

impl FlagWatch {
    /// A condition that was never watched.
    pub fn new(kind: AlarmKind, delay_ms: u64) -> Self {
        Self { kind, delay_ms, state: FlagState::default(), last_ms: None, resumed: false }
    }

    /// The condition as it was saved; `None` when nothing was.
    pub fn from_bytes(kind: AlarmKind, delay_ms: u64, bytes: Option<&[u8]>) -> (Self, Restored) {
        let (state, restored) = reopen(VERSION, bytes);
        let resumed = restored == Restored::Intact;
        (Self { state, resumed, ..Self::new(kind, delay_ms) }, restored)
    }

    /// Bytes to store with the decisions of a step.
    pub fn to_bytes(&self) -> Vec<u8> {
        seal(VERSION, &self.state)
    }

    /// Names the alarm that a Raise became.
    pub fn bind(&mut self, alarm: AlarmRef) {
        self.state.timer.alarm = Some(alarm);
    }

    /// Takes over an alarm that the ledger holds open.
    pub fn adopt(&mut self, alarm: AlarmRef) {
        self.state.timer = Timer { holding: true, raised: true, alarm: Some(alarm), ..self.state.timer };
    }

    /// One look: `None` when the device did not say. Unknown time counts when the condition held before and after.
    pub fn step(&mut self, holds: Option<bool>, now: Moment) -> Outcome {
        let mut out = Outcome::default();
        let Some(holds) = holds else { return out };
        let elapsed = elapsed(self.last_ms, self.resumed, self.state.wall, now);
        self.resumed = false;
        self.last_ms = Some(now.mono_ms);
        self.state.wall = now.wall;
        let (kind, delay_ms) = (self.kind, self.delay_ms);
        let look = Look { kind, holds, ended: !holds, delay_ms, value: None, limit: None };
        self.state.timer.step(&look, elapsed, now.wall, &mut out);
        out.save |= !out.decisions.is_empty();
        out
    }
}
