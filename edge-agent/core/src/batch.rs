//! A steam batch from order to sale or waste: cooked once, proven, sold first-in first-out, never past its time.
//!
//! States and transitions (`BatchMoved` facts; reasons in quotes are stable words)
//! | From | When | To |
//! |---|---|---|
//! | Queued | it is its turn; device stopped, no program end shown, no interlock | Preheat "commanded" |
//! | Queued | operator cancels | Discarded "cancelled" |
//! | Preheat | device runs and is in steaming mode, or its chamber is within 2 degrees of the set-point | Steaming "at-temperature" |
//! | Preheat | device shows program end | Steaming "at-temperature", CoreCheck "program-end" |
//! | Preheat | the run was seen, or the chamber grew warm, and now it is stopped without program end | Discarded "power-cut" |
//! | Preheat | the device never started for 15 min | Discarded "not-started" |
//! | Steaming | program end | CoreCheck "program-end" |
//! | Steaming | stopped without program end | Discarded "power-cut" |
//! | CoreCheck | core >= minimum | Hold "core-ok" |
//! | CoreCheck | not proven within 10 min | Discarded "core-not-proven" |
//! | Hold | nothing left | SoldOut "sold-out" |
//! | Hold | hold limit reached; or 2 h after it first fell below hot hold | Expired "hold-limit" / "below-hot-hold" |
//! | Hold | the time of a restart cannot be known | Expired "time-unknown" |
//! | Expired | at once | Discarded |
//! | any open | operator discards | Discarded "operator" |
//!
//! Waste: leaving Preheat (once the run was seen or the chamber grew warm), Steaming, CoreCheck or Hold for Discarded books
//! the remaining quantity: `Expired` for a hold limit, `TimeUnknown` when heating or holding cannot be proven, `Damaged`
//! for an operator. A batch that was never heated books nothing: nothing was taken.
//!
//! Exactly one run per batch. Preheat is durable *before* the run is written, and it is entered only while the device is
//! seen stopped with no program end showing: so in Preheat "running" and "program end" can only mean this batch's run. A
//! program end left over from an earlier batch is first taken back with a Stop. The run is written when a reading *newer
//! than the last write's answer* shows the device stopped, no program end, and the chamber no more than 5 degrees above
//! what it was when the batch was commanded. After a restart the same rule decides: the device runs or has ended -> go on;
//! stopped and as cold as before -> the write never happened, write it; stopped and warmer -> it ran and lost power.
//!
//! Time: within a run the monotonic clock; over a restart the wall clock; a gap that cannot be known expires a held batch.
//!
//! A controller may stay in run after its program end, to keep the chamber hot: what counts is whether a *program* runs, so
//! program end is looked at first. A reading in error mode proves nothing about the program (its inputs may be unread): it
//! neither starts, goes on with, nor loses a batch.
//!
//! Failure cases: refused or failed writes are repeated every [`RETRY_MS`] under the same rule; readings with a sensor
//! fault prove nothing; interlocks (low water, over-temperature, open door) keep a batch Queued. Damaged bytes: the agent
//! rebuilds the batch from the ledger with [`Batch::recovered`], whose times are unknown, so a heated one is discarded.

use crate::Moment;
use crate::saved::{Damage, open, seal};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use sync_model::{
    BatchMoved, BatchQueued, BatchRef, BatchState, DeviceId, LotId, Milli, MilliCelsius, Sku, Text,
    UnixMillis, Waste, WasteReason,
};

const VERSION: u8 = 1;
/// Pause between writes to a device that does not do what it was told.
pub const RETRY_MS: u64 = 5_000;
/// Longest time from command to a seen run.
pub const START_MS_MAX: u64 = 15 * 60_000;
/// Longest time to prove the core temperature.
pub const CORE_CHECK_MS_MAX: u64 = 10 * 60_000;
/// Time that food may be below hot hold before it goes.
pub const BELOW_HOT_HOLD_MS_MAX: u64 = 2 * 3_600_000;
/// A running state is saved at least this often.
pub const SAVE_EVERY_MS: u64 = 60_000;
/// Chamber within this of the set-point is at temperature.
const NEAR_MC: i32 = 2_000;
/// Chamber this much above its temperature at command time has been heated.
const WARMED_MC: i32 = 5_000;

/// Modes of a steamer, after OPC 30200, as far as a batch cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Off.
    Off,
    /// On or standing by.
    Idle,
    /// Heating up.
    Preheat,
    /// Steaming, combi-steaming or hot air: cooking.
    Cooking,
    /// Cleaning and everything else that is not for food.
    Other,
    /// Error.
    Error,
}

/// What a steamer says. Built from the driver's reading by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Mode.
    pub mode: Mode,
    /// The controller is in run. With `program_end` it only keeps the chamber hot.
    pub running: bool,
    /// The program ended (stays until the next run or stop).
    pub program_end: bool,
    /// Chamber.
    pub chamber: Option<MilliCelsius>,
    /// Core probe.
    pub core: Option<MilliCelsius>,
    /// Door.
    pub door_open: bool,
    /// Low water.
    pub low_water: bool,
    /// Over-temperature cut-out.
    pub over_temperature: bool,
    /// A sensor is at fault: temperatures prove nothing.
    pub sensor_fault: bool,
    /// Monotonic time at which it was asked for (not answered): decides whether it is newer than a write.
    pub asked_mono_ms: u64,
}

/// Where a batch stands towards its steamer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Next to be cooked: the head of the queue of a free steamer.
    Next,
    /// In the chamber: readings are about it.
    Inside,
    /// Neither: readings are about another batch.
    Elsewhere,
}

/// What happens to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The steamer was read.
    Reading(Reading, Place),
    /// The orders of an earlier outcome were carried out or failed.
    Ordered(Result<(), ()>),
    /// Sold.
    Sold(Milli),
    /// An operator throws it away, or cancels it while it is queued.
    Discard,
    /// Time passed.
    Tick,
}

/// Something to write to the device, **after** the outcome's facts and state are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Set-point of the chamber.
    SetPoint(MilliCelsius),
    /// Run this program for this long.
    Run {
        /// Programme number.
        program: u16,
        /// Steaming time.
        steam_s: u32,
    },
    /// Stop.
    Stop,
}

/// What a step asks for: commit moves, waste and state in one transaction, then write the orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In order.
    pub moves: Vec<BatchMoved>,
    /// Written off.
    pub waste: Vec<Waste>,
    /// To write, in order; answer with [`Input::Ordered`].
    pub orders: Vec<Order>,
    /// Whether the state must be saved.
    pub save: bool,
}

/// House rules of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Hot food must stay at least this warm.
    pub hot_hold: MilliCelsius,
}

impl Rules {
    /// 60 degrees (China).
    pub const CHINA: Self = Self { hot_hold: MilliCelsius(60_000) };
    /// 57 degrees (FDA Food Code 3-501.16).
    pub const FDA: Self = Self { hot_hold: MilliCelsius(57_000) };
}

/// The part that survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BatchBody {
    id: BatchRef,
    order: BatchQueued,
    state: BatchState,
    remaining: Milli,
    /// Chamber when the batch was commanded.
    start_chamber: Option<MilliCelsius>,
    /// The device was seen running this batch.
    run_seen: bool,
    /// How long it is in its state.
    in_state_ms: u64,
    /// Since it first fell below hot hold.
    below_ms: Option<u64>,
    /// When it was ready for sale.
    ready_at: Option<UnixMillis>,
    /// A restart of unknown length lies behind it.
    gap_unknown: bool,
    /// Wall time of the last step.
    wall: UnixMillis,
}

/// One steam batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    body: BatchBody,
    rules: Rules,
    last_ms: Option<u64>,
    saved_ms: u64,
    /// Monotonic time of the last write's answer, or of its order while `writing`.
    written_ms: Option<u64>,
    writing: bool,
}

impl Batch {
    /// A batch whose `BatchQueued` fact `id` is being committed.
    pub fn new(id: BatchRef, order: BatchQueued, rules: Rules, now: Moment) -> Self {
        let remaining = order.quantity;
        Self::in_state(id, order, BatchState::Queued, remaining, rules, now)
    }

    /// A batch of which only the ledger knows: its saved state is damaged. Times are unknown; in Hold it expires at the
    /// next step, in Preheat to CoreCheck it is discarded unless the device still shows its run.
    pub fn recovered(
        id: BatchRef,
        order: BatchQueued,
        state: BatchState,
        remaining: Milli,
        rules: Rules,
        now: Moment,
    ) -> Self {
        let mut batch = Self::in_state(id, order, state, remaining, rules, now);
        batch.body.gap_unknown = true;
        // Whether the run was written is not known: taken as seen, a stopped device then means a lost run.
        batch.body.run_seen = state == BatchState::Preheat;
        batch
    }

    fn in_state(
        id: BatchRef,
        order: BatchQueued,
        state: BatchState,
        remaining: Milli,
        rules: Rules,
        now: Moment,
    ) -> Self {
        let body = BatchBody {
            id,
            order,
            state,
            remaining,
            start_chamber: None,
            run_seen: false,
            in_state_ms: 0,
            below_ms: None,
            ready_at: None,
            gap_unknown: false,
            wall: now.wall,
        };
        Self {
            body,
            rules,
            last_ms: Some(now.mono_ms),
            saved_ms: now.mono_ms,
            written_ms: None,
            writing: false,
        }
    }

    /// The batch as it was saved.
    pub fn from_bytes(rules: Rules, bytes: &[u8]) -> Result<Self, Damage> {
        let body: BatchBody = open(VERSION, bytes)?;
        Ok(Self { body, rules, last_ms: None, saved_ms: 0, written_ms: None, writing: false })
    }

    /// Bytes to store with the facts of a step.
    pub fn to_bytes(&self) -> Vec<u8> {
        seal(VERSION, &self.body)
    }

    /// Its name.
    pub fn id(&self) -> BatchRef {
        self.body.id
    }

    /// What was ordered.
    pub fn order(&self) -> &BatchQueued {
        &self.body.order
    }

    /// The steamer.
    pub fn device(&self) -> &DeviceId {
        &self.body.order.device
    }

    /// Article.
    pub fn sku(&self) -> Sku {
        self.body.order.sku
    }

    /// State.
    pub fn state(&self) -> BatchState {
        self.body.state
    }

    /// Left for sale.
    pub fn remaining(&self) -> Milli {
        self.body.remaining
    }

    /// When it became ready.
    pub fn ready_at(&self) -> Option<UnixMillis> {
        self.body.ready_at
    }

    /// When it must be off sale, by the wall clock: for people. What counts is the time it really held.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        let ready = self.body.ready_at?;
        let limit = ready.plus(i64::from(self.body.order.hold_limit_s).saturating_mul(1000));
        let left = self.body.below_ms.map(|below| BELOW_HOT_HOLD_MS_MAX.saturating_sub(below));
        let cold = left.map(|left| self.body.wall.plus(i64::try_from(left).unwrap_or(i64::MAX)));
        Some(cold.map_or(limit, |cold| cold.min(limit)))
    }

    /// Whether it is over (sold out or discarded).
    pub fn is_closed(&self) -> bool {
        matches!(self.body.state, BatchState::SoldOut | BatchState::Discarded)
    }

    /// Whether it occupies its steamer.
    pub fn is_cooking(&self) -> bool {
        matches!(self.body.state, BatchState::Preheat | BatchState::Steaming | BatchState::CoreCheck)
    }

    /// One step.
    pub fn step(&mut self, input: Input, now: Moment) -> Outcome {
        let mut out = Outcome::default();
        if self.is_closed() {
            return out;
        }
        self.pass_time(now);
        match input {
            Input::Reading(reading, place) => self.read(&reading, place, now, &mut out),
            Input::Ordered(_) => {
                self.writing = false;
                self.written_ms = Some(now.mono_ms);
                // Nothing to save: an answer comes once, and a commit that fails must not take it away.
                return out;
            }
            Input::Sold(quantity) => self.sell(quantity, &mut out),
            Input::Discard => self.discard_by_operator(&mut out),
            Input::Tick => {}
        }
        self.expire(&mut out);
        let due = self.body.state != BatchState::Queued
            && now.mono_ms.saturating_sub(self.saved_ms) >= SAVE_EVERY_MS;
        out.save |= due || !out.moves.is_empty();
        if out.save {
            self.saved_ms = now.mono_ms;
        }
        out
    }

    /// Lets the clocks run.
    fn pass_time(&mut self, now: Moment) {
        let elapsed = match self.last_ms {
            Some(last) => now.mono_ms.saturating_sub(last),
            None => u64::try_from(now.wall.since(self.body.wall)).unwrap_or_else(|_| {
                self.body.gap_unknown = true;
                0
            }),
        };
        self.last_ms = Some(now.mono_ms);
        self.body.wall = now.wall;
        self.body.in_state_ms = self.body.in_state_ms.saturating_add(elapsed);
        self.body.below_ms = self.body.below_ms.map(|below| below.saturating_add(elapsed));
    }

    fn go(&mut self, to: BatchState, reason: &str, temperature: Option<MilliCelsius>, out: &mut Outcome) {
        let from = core::mem::replace(&mut self.body.state, to);
        let reason = Text::lossy(reason);
        out.moves.push(BatchMoved { batch: self.body.id, from, to, temperature, reason });
        self.body.in_state_ms = 0;
    }

    /// Discards and books what is left.
    fn discard(
        &mut self,
        reason: &str,
        waste: Option<WasteReason>,
        temperature: Option<MilliCelsius>,
        out: &mut Outcome,
    ) {
        self.go(BatchState::Discarded, reason, temperature, out);
        let quantity = core::mem::replace(&mut self.body.remaining, Milli::ZERO);
        if let Some(reason) = waste.filter(|_| quantity.0 > 0) {
            let batch = Some(self.body.id);
            out.waste.push(Waste {
                sku: self.body.order.sku,
                lot: LotId::default(),
                quantity,
                reason,
                batch,
            });
        }
    }

    fn read(&mut self, reading: &Reading, place: Place, now: Moment, out: &mut Outcome) {
        match (self.body.state, place) {
            (BatchState::Queued, Place::Next) => self.start(reading, now, out),
            (BatchState::Preheat, Place::Inside) => self.preheat(reading, now, out),
            (BatchState::Steaming, Place::Inside) => self.steam(reading, out),
            (BatchState::CoreCheck, Place::Inside) => self.prove_core(reading, out),
            (BatchState::Hold, Place::Inside) => self.watch_hold(reading),
            _ => {}
        }
    }

    /// Whether something may be written now: nothing is being written, the reading is newer than the last write, and the
    /// last write is long enough ago.
    fn may_write(&self, reading: &Reading, now: Moment) -> bool {
        let rested =
            |written: u64| reading.asked_mono_ms > written && now.mono_ms.saturating_sub(written) >= RETRY_MS;
        !self.writing && self.written_ms.is_none_or(rested)
    }

    fn write(&mut self, orders: &[Order], now: Moment, out: &mut Outcome) {
        out.orders.extend_from_slice(orders);
        self.writing = true;
        self.written_ms = Some(now.mono_ms);
    }

    fn start(&mut self, reading: &Reading, now: Moment, out: &mut Outcome) {
        let interlock =
            reading.door_open || reading.low_water || reading.over_temperature || reading.sensor_fault;
        if interlock || matches!(reading.mode, Mode::Error | Mode::Other) {
            return;
        }
        if reading.program_end {
            if self.may_write(reading, now) {
                self.write(&[Order::Stop], now, out);
            }
            return;
        }
        if reading.running || self.writing {
            return;
        }
        self.body.start_chamber = reading.chamber;
        // Orders come from the next reading: then the move is durable.
        self.written_ms = None;
        self.go(BatchState::Preheat, "commanded", reading.chamber, out);
    }

    /// Whether the chamber shows that this batch was heated.
    fn warmed(&self, reading: &Reading) -> bool {
        match (self.body.start_chamber, reading.chamber) {
            (Some(before), Some(now)) => now.0 > before.0.saturating_add(WARMED_MC),
            _ => false,
        }
    }

    fn preheat(&mut self, reading: &Reading, now: Moment, out: &mut Outcome) {
        if reading.running || reading.program_end {
            out.save |= !self.body.run_seen;
            self.body.run_seen = true;
            let set_point = self.body.order.set_point.0.saturating_sub(NEAR_MC);
            let near = reading.chamber.is_some_and(|chamber| !reading.sensor_fault && chamber.0 >= set_point);
            if reading.program_end || reading.mode == Mode::Cooking || near {
                self.go(BatchState::Steaming, "at-temperature", reading.chamber, out);
                self.steam(reading, out);
            }
            return;
        }
        let inconclusive = reading.mode == Mode::Error || reading.sensor_fault;
        if !inconclusive && (self.body.run_seen || self.warmed(reading)) {
            return self.discard("power-cut", Some(WasteReason::TimeUnknown), reading.chamber, out);
        }
        if !self.body.run_seen && self.body.in_state_ms >= START_MS_MAX {
            return self.discard("not-started", None, reading.chamber, out);
        }
        if !inconclusive && !self.body.run_seen && self.may_write(reading, now) {
            let (program, steam_s) = (self.body.order.program, self.body.order.steam_s);
            let set_point = self.body.order.set_point;
            self.write(&[Order::SetPoint(set_point), Order::Run { program, steam_s }], now, out);
        }
    }

    fn steam(&mut self, reading: &Reading, out: &mut Outcome) {
        if reading.program_end {
            self.go(BatchState::CoreCheck, "program-end", reading.core.or(reading.chamber), out);
            self.prove_core(reading, out);
        } else if !reading.running && reading.mode != Mode::Error {
            self.discard("power-cut", Some(WasteReason::TimeUnknown), reading.chamber, out);
        }
    }

    fn prove_core(&mut self, reading: &Reading, out: &mut Outcome) {
        let core = reading.core.filter(|_| !reading.sensor_fault);
        if let Some(core) = core.filter(|core| *core >= self.body.order.core_min) {
            self.body.ready_at = Some(self.body.wall);
            self.body.gap_unknown = false;
            self.go(BatchState::Hold, "core-ok", Some(core), out);
        }
    }

    /// The hot-hold clock starts when the food is first seen too cold and never stops.
    fn watch_hold(&mut self, reading: &Reading) {
        let shown = reading.core.or(reading.chamber).filter(|_| !reading.sensor_fault);
        if shown.is_some_and(|shown| shown < self.rules.hot_hold) && self.body.below_ms.is_none() {
            self.body.below_ms = Some(0);
        }
    }

    fn sell(&mut self, quantity: Milli, out: &mut Outcome) {
        if self.body.state != BatchState::Hold || quantity.0 <= 0 {
            return;
        }
        out.save = true;
        self.body.remaining = Milli(self.body.remaining.0.saturating_sub(quantity.0).max(0));
        if self.body.remaining == Milli::ZERO {
            self.go(BatchState::SoldOut, "sold-out", None, out);
        }
    }

    fn discard_by_operator(&mut self, out: &mut Outcome) {
        match self.body.state {
            BatchState::Queued => self.discard("cancelled", None, None, out),
            BatchState::Preheat | BatchState::Steaming => {
                let waste = (self.body.run_seen || self.body.state == BatchState::Steaming)
                    .then_some(WasteReason::Damaged);
                self.discard("operator", waste, None, out);
                out.orders.push(Order::Stop);
            }
            BatchState::CoreCheck | BatchState::Hold | BatchState::Expired => {
                self.discard("operator", Some(WasteReason::Damaged), None, out);
            }
            BatchState::SoldOut | BatchState::Discarded => {}
        }
    }

    /// What time alone decides.
    fn expire(&mut self, out: &mut Outcome) {
        let body = &self.body;
        let limit_ms = u64::from(body.order.hold_limit_s).saturating_mul(1000);
        let (reason, waste) = match body.state {
            BatchState::CoreCheck if body.in_state_ms >= CORE_CHECK_MS_MAX => {
                return self.discard("core-not-proven", Some(WasteReason::TimeUnknown), None, out);
            }
            BatchState::Hold if body.gap_unknown => ("time-unknown", WasteReason::TimeUnknown),
            BatchState::Hold if body.in_state_ms >= limit_ms => ("hold-limit", WasteReason::Expired),
            BatchState::Hold if body.below_ms.is_some_and(|below| below >= BELOW_HOT_HOLD_MS_MAX) => {
                ("below-hot-hold", WasteReason::Expired)
            }
            // A crash between the two moves of an expiry cannot happen (one transaction); a recovered batch may be here.
            BatchState::Expired => return self.discard("expired", Some(WasteReason::Expired), None, out),
            _ => return,
        };
        self.go(BatchState::Expired, reason, None, out);
        self.discard(reason, Some(waste), None, out);
    }
}

/// Where each open batch of one steamer stands. At most one is `Next` (and only on a free steamer), at most one `Inside`:
/// the cooking one, else the one that became ready last.
pub fn places<'a>(batches: impl Iterator<Item = &'a Batch>) -> BTreeMap<BatchRef, Place> {
    let open: Vec<&Batch> = batches.filter(|batch| !batch.is_closed()).collect();
    let cooking = open.iter().filter(|batch| batch.is_cooking()).map(|batch| batch.id()).min();
    let held = open.iter().filter(|batch| batch.state() == BatchState::Hold);
    let newest = held.max_by_key(|batch| (batch.ready_at(), batch.id())).map(|batch| batch.id());
    let queued =
        open.iter().filter(|batch| batch.state() == BatchState::Queued).map(|batch| batch.id()).min();
    let place = |id: BatchRef| match (cooking, queued) {
        (Some(cooking), _) if cooking == id => Place::Inside,
        (None, Some(queued)) if queued == id => Place::Next,
        (None, _) if newest == Some(id) => Place::Inside,
        _ => Place::Elsewhere,
    };
    open.iter().map(|batch| (batch.id(), place(batch.id()))).collect()
}

/// Splits a sold quantity over the batches of its article in Hold, oldest first. The second value is what no batch covers
/// (sold from elsewhere, or late): it touches stock only.
pub fn allocate<'a>(
    batches: impl Iterator<Item = &'a Batch>,
    sku: Sku,
    quantity: Milli,
) -> (Vec<(BatchRef, Milli)>, Milli) {
    let holds = batches.filter(|batch| batch.state() == BatchState::Hold && batch.sku() == sku);
    let mut holds: Vec<&Batch> = holds.collect();
    holds.sort_by_key(|batch| (batch.ready_at(), batch.id()));
    let mut left = quantity.0.max(0);
    let mut parts = Vec::new();
    for batch in holds {
        let part = left.min(batch.remaining().0);
        if part > 0 {
            parts.push((batch.id(), Milli(part)));
            left -= part;
        }
    }
    (parts, Milli(left))
}
