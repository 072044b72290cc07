//! What the plan keeps of one tag.

use super::{AdapterNo, FAILURE_COST_DB, Flash, Limits, Urgency, Want, Work};
use crate::price::TillPrice;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Deref;

/// How an adapter hears a tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) adapter: AdapterNo,
    /// Failures in a row.
    failed: u8,
    /// Smoothed signal in eighths of a dBm.
    rssi_x8: i16,
    pub(super) heard_ms: u64,
}

impl Link {
    /// Comparable: higher is better, eighths of a decibel.
    pub(super) fn score(&self) -> i32 {
        i32::from(self.rssi_x8) - 8 * FAILURE_COST_DB * i32::from(self.failed.min(5))
    }

    /// Smoothed signal in dBm.
    pub(super) fn rssi(&self) -> i16 {
        self.rssi_x8 / 8
    }
}

/// A signal in eighths of a dBm; a radio's signal lies within -127 and 20 dBm (Bluetooth Core, volume 4, part E, 7.7.65).
fn eighths(rssi: i16) -> i16 {
    rssi.clamp(-127, 127) * 8
}

/// Where a tag stands. Boxed where few of thousands of tags are at a time.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Idle,
    Running(Box<Running>),
    Settling(Box<Settling>),
    Confirming,
}

/// A job that a tag carries out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) adapter: AdapterNo,
    pub(super) work: Work,
    pub(super) since_ms: u64,
    pub(super) was_uncertain: bool,
}

/// An accepted image that the panel may not show yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    pub(super) show: TillPrice,
    pub(super) until_ms: u64,
}

/// Keys under which a ready tag is queued; kept so that it can be taken out again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) adapter: AdapterNo,
    pub(super) flash: Option<u64>,
    /// Deadline, and since when it is ready.
    pub(super) image: Option<(u64, u64)>,
    pub(super) check: Option<u64>,
}

/// A flash that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) flash: Flash,
    pub(super) since_ms: u64,
}

/// Flashes that wait, first come first: most tags have none, ever.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "eight bytes in each of thousands of tags, not 24")]
pub(super) struct Flashes(Option<Box<Vec<Waiting>>>);

impl Deref for Flashes {
    type Target = [Waiting];

    fn deref(&self) -> &[Waiting] {
        self.0.as_deref().map(Vec::as_slice).unwrap_or_default()
    }
}

impl Flashes {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.0.get_or_insert_default().push(waiting);
    }

    pub(super) fn retain(&mut self, stays: impl Fn(&Waiting) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(stays);
        }
        self.0 = self.0.take().filter(|list| !list.is_empty());
    }
}

/// A tag.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) led: bool,
    pub(super) links: Vec<Link>,
    pub(super) battery_mv: Option<u16>,
    pub(super) shown: Option<TillPrice>,
    pub(super) uncertain: bool,
    pub(super) want: Option<Box<Want>>,
    pub(super) want_since_ms: u64,
    /// Since when the image could have been started.
    pub(super) ready_ms: Option<u64>,
    pub(super) flashes: Flashes,
    pub(super) next_check_ms: u64,
    pub(super) phase: Phase,
    /// Failures since the last success or rest.
    pub(super) failed: u8,
    pub(super) not_before_ms: u64,
    pub(super) pause_ms: u64,
    pub(super) place: Option<Box<Place>>,
    pub(super) timer: Option<u64>,
}

impl Tag {
    pub(super) fn new(led: bool, limits: &Limits, next_check_ms: u64) -> Self {
        Self {
            led,
            links: Vec::new(),
            battery_mv: None,
            shown: None,
            uncertain: false,
            want: None,
            want_since_ms: 0,
            ready_ms: None,
            flashes: Flashes::default(),
            next_check_ms,
            phase: Phase::Idle,
            failed: 0,
            not_before_ms: 0,
            pause_ms: limits.retry_min_ms,
            place: None,
            timer: None,
        }
    }

    /// Takes a signal in.
    pub(super) fn hear(&mut self, adapter: AdapterNo, rssi: Option<i16>, now_ms: u64) {
        match self.links.iter_mut().find(|link| link.adapter == adapter) {
            Some(link) => {
                if let Some(rssi) = rssi {
                    link.rssi_x8 += (eighths(rssi) - link.rssi_x8) / 4;
                }
                link.heard_ms = now_ms;
            }
            None => {
                // One is what most tags have.
                self.links.reserve_exact(1);
                self.links.push(Link {
                    adapter,
                    rssi_x8: eighths(rssi.unwrap_or(-127)),
                    heard_ms: now_ms,
                    failed: 0,
                });
            }
        }
    }

    /// When it was heard last, by anyone.
    pub(super) fn heard_ms(&self) -> Option<u64> {
        self.links.iter().map(|link| link.heard_ms).max()
    }

    /// An attempt over this adapter ended.
    pub(super) fn tried(&mut self, adapter: AdapterNo, failed: bool) {
        if let Some(link) = self.links.iter_mut().find(|link| link.adapter == adapter) {
            link.failed = if failed { link.failed.saturating_add(1) } else { 0 };
        }
    }

    pub(super) fn failure(&mut self, limits: &Limits, now_ms: u64) {
        self.failed = self.failed.saturating_add(1);
        let pause = if self.spent(limits) { self.pause_ms.max(limits.rest_ms) } else { self.pause_ms };
        self.not_before_ms = now_ms.saturating_add(pause);
        self.pause_ms = self.pause_ms.saturating_mul(2).min(limits.retry_max_ms);
    }

    pub(super) fn success(&mut self, limits: &Limits) {
        self.failed = 0;
        self.not_before_ms = 0;
        self.pause_ms = limits.retry_min_ms;
    }

    pub(super) fn spent(&self, limits: &Limits) -> bool {
        self.failed >= limits.attempts.max(1)
    }

    pub(super) fn weak(&self, limits: &Limits) -> bool {
        self.battery_mv.is_some_and(|mv| mv < limits.weak_mv)
    }

    /// Until when a weak battery keeps the image waiting.
    pub(super) fn weak_until(&self, limits: &Limits) -> Option<u64> {
        let want =
            self.want.as_deref().filter(|want| want.urgency == Urgency::Layout && self.weak(limits))?;
        Some(self.want_since_ms.saturating_add(limits.weak_wait_ms).min(want.due_ms))
    }

    /// The check that is due, if nothing speaks against it.
    pub(super) fn check(&self, limits: &Limits) -> Option<TillPrice> {
        let due = limits.check_every_ms > 0 && self.want.is_none() && !self.uncertain && !self.weak(limits);
        self.shown.filter(|_| due)
    }
}
