//! One weighing per load change, whatever is repeated, restarted or refused.
//!
//! States (durable: [`LatchState`])
//! * `Ready`: the pan was seen empty; the next stable load is a new one.
//! * `Latched { net, event }`: this load is recorded.
//! * `Unknown`: the saved state was damaged, so a load on the pan may be recorded or not. Nothing is accepted before the
//!   pan is seen empty: a customer who weighs again loses seconds, a load counted twice is money.
//!
//! Transitions (only a reading that is stable and younger than [`AGE_MS_MAX`] moves anything)
//! | State | Reading | Proposal |
//! |---|---|---|
//! | Ready | usable, net >= 20 e | Accept |
//! | Latched | centre of zero, net < 20 e, or net below zero | Clear |
//! | Latched | usable, net >= 20 e, differs from the latched net by >= 20 e | Accept: a new weighing of the whole load |
//! | Latched | usable, differs by less | none: the same load, a touched pan, or the load found after a restart |
//! | Unknown | as Latched | Clear |
//!
//! Goods added to a recorded load are therefore a second weighing of the sum; the till decides which one it takes.
//!
//! Durability: a proposal ([`Work`]) stands until [`Latch::committed`] or [`Latch::refused`]. Meanwhile the screen says
//! `Measuring`: `Ready` and `Accepted` are shown only for durable states. An emptied pan during a pending commit is
//! remembered, so that an equal second load is not taken for the first one.
//!
//! Failure cases: over capacity, under zero, net unknown (not usable) never accepts; a refused commit (ledger full, busy)
//! leaves the durable state, so the same load is proposed again at its next reading; a driver fault shows as `Fault` and
//! keeps the latch.

use crate::saved::{Damage, Restored, open, seal};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use sync_model::{FactRef, Grams};

/// A reading older than this is not what lies on the pan.
pub const AGE_MS_MAX: u64 = 1000;
/// Smallest load in verification intervals (OIML R 76: minimum capacity of class III).
pub const MINIMUM_INTERVALS: i64 = 20;
const VERSION: u8 = 1;

/// What a scale said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Net weight; 0 when the frame carried none.
    pub net: Grams,
    /// The scale itself reported equilibrium. Never synthesized.
    pub stable: bool,
    /// Stable, net known, not over capacity, not under zero.
    pub usable: bool,
    /// The scale reports centre of zero.
    pub centre_of_zero: bool,
    /// Milliseconds since the frame arrived.
    pub age_ms: u64,
}

/// What survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatchState {
    /// The pan was seen empty.
    Ready,
    /// This load is recorded.
    Latched {
        /// Its net weight.
        net: Grams,
        /// Its weighing fact.
        event: Option<FactRef>,
    },
    /// Not known; wait for an empty pan.
    Unknown,
}

/// What to commit: the weighing (if any) and the state bytes, in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Append a weighing of this net weight.
    Accept {
        /// Net weight.
        net: Grams,
    },
    /// The pan is empty again.
    Clear,
}

impl Work {
    /// The state bytes to store with it; `event` is the weighing just appended.
    pub fn state(&self, event: Option<FactRef>) -> Vec<u8> {
        seal(VERSION, &self.after(event))
    }

    /// The state once it is durable.
    fn after(self, event: Option<FactRef>) -> LatchState {
        match self {
            Self::Accept { net } => LatchState::Latched { net, event },
            Self::Clear => LatchState::Ready,
        }
    }
}

/// What a screen beside the scale may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Put goods on.
    Ready,
    /// Wait.
    Measuring {
        /// What the scale shows, when it is a weight.
        net: Option<Grams>,
    },
    /// Recorded, durably.
    Accepted {
        /// Net weight.
        net: Grams,
        /// The weighing fact.
        event: Option<FactRef>,
    },
    /// Something is wrong; what to do.
    Fault {
        /// For a reader.
        reason: String,
    },
}

impl Screen {
    /// The word of the programming interface.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Measuring { .. } => "measuring",
            Self::Accepted { .. } => "accepted",
            Self::Fault { .. } => "fault",
        }
    }
}

/// Decides for one scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latch {
    minimum: Grams,
    durable: LatchState,
    pending: Option<Work>,
    /// The pan was empty while a proposal was pending.
    emptied: bool,
    /// Last live reading, for the screen.
    live: Option<Reading>,
    fault: Option<String>,
}

impl Latch {
    /// A scale with verification interval `interval` that never recorded anything.
    pub fn new(interval: Grams) -> Self {
        Self::with_state(interval, LatchState::Ready)
    }

    /// The scale as it was saved; `None` when nothing was.
    pub fn from_bytes(interval: Grams, bytes: Option<&[u8]>) -> (Self, Restored) {
        let Some(bytes) = bytes else { return (Self::new(interval), Restored::Fresh) };
        match open(VERSION, bytes).and_then(Self::checked) {
            Ok(state) => (Self::with_state(interval, state), Restored::Intact),
            Err(damage) => (Self::with_state(interval, LatchState::Unknown), Restored::Damaged(damage)),
        }
    }

    /// A negative latched load cannot have been written.
    fn checked(state: LatchState) -> Result<LatchState, Damage> {
        match state {
            LatchState::Latched { net, .. } if net.0 <= 0 => Err(Damage::Body),
            LatchState::Ready | LatchState::Latched { .. } | LatchState::Unknown => Ok(state),
        }
    }

    fn with_state(interval: Grams, durable: LatchState) -> Self {
        let minimum = Grams(interval.0.max(1).saturating_mul(MINIMUM_INTERVALS));
        Self { minimum, durable, pending: None, emptied: false, live: None, fault: None }
    }

    /// The durable state's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        seal(VERSION, &self.durable)
    }

    /// The durable state.
    pub fn state(&self) -> LatchState {
        self.durable
    }

    /// A reading. Returns what to commit; nothing while an earlier proposal is pending.
    pub fn step(&mut self, reading: &Reading) -> Option<Work> {
        self.fault = None;
        self.live = Some(*reading);
        if !reading.stable || reading.age_ms >= AGE_MS_MAX {
            return None;
        }
        let empty = self.shows_empty(reading);
        if self.pending.is_some() {
            self.emptied |= empty;
            return None;
        }
        let work = self.propose(reading, empty);
        self.pending = work;
        work
    }

    /// Whether a stable reading shows an empty pan. A frame without a weight (over capacity) shows nothing of the kind.
    fn shows_empty(&self, reading: &Reading) -> bool {
        let light = reading.usable && reading.net < self.minimum;
        reading.centre_of_zero || light || reading.net.0 < 0
    }

    /// The proposal for a stable, live reading.
    fn propose(&self, reading: &Reading, empty: bool) -> Option<Work> {
        let load = reading.usable && !empty;
        match self.durable {
            LatchState::Ready => load.then_some(Work::Accept { net: reading.net }),
            LatchState::Latched { .. } | LatchState::Unknown if empty || self.emptied => Some(Work::Clear),
            LatchState::Latched { net, .. } => {
                let other = reading.net.0.abs_diff(net.0) >= self.minimum.0.unsigned_abs();
                (load && other).then_some(Work::Accept { net: reading.net })
            }
            LatchState::Unknown => None,
        }
    }

    /// The pending proposal is durable; `event` names the weighing of an Accept.
    pub fn committed(&mut self, event: Option<FactRef>) {
        let Some(work) = self.pending.take() else { return };
        self.durable = work.after(event);
        if work == Work::Clear {
            self.emptied = false;
        }
    }

    /// The pending proposal was not committed; the durable state stands.
    pub fn refused(&mut self, reason: &str) {
        self.pending = None;
        self.emptied = false;
        self.fault = Some(reason.into());
    }

    /// The driver cannot read the scale. The latch stays.
    pub fn fault(&mut self, reason: &str) {
        self.live = None;
        self.fault = Some(reason.into());
    }

    /// What the screen may say now.
    pub fn screen(&self) -> Screen {
        if let Some(reason) = &self.fault {
            return Screen::Fault { reason: reason.clone() };
        }
        let Some(live) = self.live else { return Screen::Measuring { net: None } };
        let shown = live.usable.then_some(live.net);
        if self.pending.is_some() || !live.stable || live.age_ms >= AGE_MS_MAX {
            return Screen::Measuring { net: shown };
        }
        let empty = self.shows_empty(&live);
        match self.durable {
            LatchState::Ready | LatchState::Latched { .. } if !live.usable && !empty => {
                Screen::Fault { reason: "the load is outside the range of the scale".into() }
            }
            LatchState::Ready => Screen::Ready,
            LatchState::Latched { net, event } => Screen::Accepted { net, event },
            LatchState::Unknown => Screen::Fault { reason: "take everything off the pan".into() },
        }
    }
}
