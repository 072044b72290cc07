//! One adapter: its slots, its queues, what its attempts took.

use super::{Limits, TagNo};
use alloc::collections::BTreeSet;

/// Attempts that a new measurement is averaged over.
const MEAN_OVER: u64 = 16;
/// Checks may save up their share of the air for at most so long.
const CREDIT_MAX_MS: i64 = 60_000;

/// Ready tags of one adapter. A tag stands in a lane for each kind of work that it has.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Flashes, by when they were asked for.
    pub(super) flash: BTreeSet<(u64, TagNo)>,
    /// Images, by deadline.
    pub(super) image: BTreeSet<(u64, TagNo)>,
    /// The same images, by when they became ready.
    pub(super) age: BTreeSet<(u64, TagNo)>,
    /// Checks, by when they were due.
    pub(super) check: BTreeSet<(u64, TagNo)>,
}

/// An adapter.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) slots: u16,
    pub(super) running: u16,
    pub(super) up: bool,
    /// Since when it is up, or lost.
    pub(super) since_ms: u64,
    pub(super) lanes: Lanes,
    /// The last start was one by waiting time.
    pub(super) aged_last: bool,
    /// Whether a check runs.
    pub(super) checking: bool,
    /// Air time that checks may use, in microseconds; a debt when the last one took longer than was saved.
    credit_us: i64,
    credit_at_ms: u64,
    /// Mean length of an attempt, in sixteenths of a millisecond.
    mean_x16: u64,
    /// Failures among 65536 attempts, smoothed.
    failed_x65536: u64,
}

impl Adapter {
    pub(super) fn new(slots: u16, limits: &Limits, now_ms: u64) -> Self {
        Self {
            slots,
            running: 0,
            up: true,
            since_ms: now_ms,
            lanes: Lanes::default(),
            aged_last: false,
            checking: false,
            credit_us: 0,
            credit_at_ms: now_ms,
            mean_x16: u64::from(limits.assumed_ms).max(1) * MEAN_OVER,
            failed_x65536: u64::from(limits.assumed_failed_permille.min(999)) * 65_536 / 1_000,
        }
    }

    pub(super) fn free(&self) -> bool {
        self.up && self.running < self.slots
    }

    /// An attempt took so long.
    pub(super) fn measure(&mut self, took_ms: u64, failed: bool) {
        self.mean_x16 = self.mean_x16 - self.mean_x16 / MEAN_OVER + took_ms.min(3_600_000);
        let found = if failed { 65_536 / 64 } else { 0 };
        self.failed_x65536 = self.failed_x65536 - self.failed_x65536 / 64 + found;
    }

    /// Slot time that one success takes on average, failures included.
    pub(super) fn cost_ms(&self) -> u64 {
        let succeeded = 65_536_u64.saturating_sub(self.failed_x65536).max(655);
        (self.mean_x16 / MEAN_OVER).max(1).saturating_mul(65_536) / succeeded
    }

    /// Whether the share of the air allows a check now.
    pub(super) fn may_check(&mut self, permille: u16, now_ms: u64) -> bool {
        let elapsed = now_ms.saturating_sub(self.credit_at_ms);
        self.credit_at_ms = now_ms;
        // A thousandth of a millisecond is a microsecond.
        let earned = elapsed.saturating_mul(u64::from(permille)).saturating_mul(u64::from(self.slots));
        let credit = self.credit_us.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX));
        self.credit_us = credit.min(CREDIT_MAX_MS * 1_000);
        !self.checking && self.credit_us > 0
    }

    /// A check took so long.
    pub(super) fn checked(&mut self, took_ms: u64) {
        self.checking = false;
        let took_us = i64::try_from(took_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        self.credit_us = self.credit_us.saturating_sub(took_us);
    }
}
