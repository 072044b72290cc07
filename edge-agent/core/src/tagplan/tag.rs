//! What the plan keeps of one tag.
//!
//! A store has thousands of tags, and nearly all of them show what they should: what only a tag with something to do has is in
//! a box of its own ([`Busy`]), made when it is needed and dropped when the tag is idle again.

use super::{AdapterNo, FAILURE_COST_DB, Flash, Limits, Urgency, Want, Work};
use crate::price::TillPrice;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU64;
use sync_model::Minor;

/// How an adapter hears a tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) adapter: AdapterNo,
    /// Failures in a row.
    failed: u8,
    /// Smoothed signal in eighths of a dBm.
    rssi_x8: i16,
    heard: Mark,
}

/// Milliseconds since boot, one more: so that a time that may be missing takes no more than a time.
#[derive(Clone, Copy, Debug)]
struct Mark(NonZeroU64);

/// The last moment that a timer can be set to.
pub(super) const TIMER_MAX_MS: u64 = u64::MAX - 1;

impl Mark {
    fn new(ms: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(ms))
    }

    fn ms(self) -> u64 {
        self.0.get() - 1
    }
}

impl Link {
    /// When it was heard last.
    pub(super) fn heard_ms(&self) -> u64 {
        self.heard.ms()
    }

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

/// What a tag has to do, and how far it is.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) want: Option<Want>,
    pub(super) want_since_ms: u64,
    /// Since when the image could have been started.
    pub(super) ready_ms: Option<u64>,
    /// First come first.
    pub(super) flashes: Vec<Waiting>,
    pub(super) phase: Phase,
    /// Failures since the last success or rest.
    pub(super) failed: u8,
    pub(super) not_before_ms: u64,
    /// Pause behind the next failure; 0: the shortest.
    pause_ms: u64,
    pub(super) place: Option<Place>,
}

impl Busy {
    const IDLE: Self = Self {
        want: None,
        want_since_ms: 0,
        ready_ms: None,
        flashes: Vec::new(),
        phase: Phase::Idle,
        failed: 0,
        not_before_ms: 0,
        pause_ms: 0,
        place: None,
    };

    /// Nothing of it says more than that there is none. Without failures the pause is the shortest, and without a wish
    /// nobody asks since when.
    fn idle(&self) -> bool {
        let waits = self.want.is_some() || !self.flashes.is_empty() || self.place.is_some();
        let tried = self.failed > 0 || self.not_before_ms > 0 || self.ready_ms.is_some();
        !waits && !tried && matches!(self.phase, Phase::Idle)
    }
}

/// What a tag is without anything to do.
static IDLE: Busy = Busy::IDLE;

/// A tag.
#[derive(Debug)]
pub(super) struct Tag {
    /// The first adapter that heard it: most tags are heard by one.
    first: Option<Link>,
    /// The others.
    #[expect(clippy::box_collection, reason = "eight bytes in each of thousands of tags, not 24")]
    others: Option<Box<Vec<Link>>>,
    shown: TillPrice,
    /// Whether it showed anything yet.
    has_shown: bool,
    pub(super) led: bool,
    pub(super) uncertain: bool,
    pub(super) battery_mv: Option<u16>,
    pub(super) next_check_ms: u64,
    timer: Option<Mark>,
    busy: Option<Box<Busy>>,
}

impl Tag {
    pub(super) fn new(led: bool, next_check_ms: u64) -> Self {
        Self {
            first: None,
            others: None,
            shown: TillPrice { price: Minor(0), version: 0 },
            has_shown: false,
            led,
            uncertain: false,
            battery_mv: None,
            next_check_ms,
            timer: None,
            busy: None,
        }
    }

    /// What it has to do.
    pub(super) fn busy(&self) -> &Busy {
        self.busy.as_deref().unwrap_or(&IDLE)
    }

    /// The same, to change it; [`Tag::tidy`] afterwards.
    pub(super) fn busy_mut(&mut self) -> &mut Busy {
        self.busy.get_or_insert_with(|| Box::new(Busy::IDLE))
    }

    /// It has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_none()
    }

    /// Gives back what an idle tag does not need.
    pub(super) fn tidy(&mut self) {
        self.busy = self.busy.take().filter(|busy| !busy.idle());
    }

    /// What it confirmed last.
    pub(super) fn shown(&self) -> Option<TillPrice> {
        self.has_shown.then_some(self.shown)
    }

    pub(super) fn show(&mut self, shown: TillPrice) {
        (self.shown, self.has_shown) = (shown, true);
    }

    /// When it is looked at again.
    pub(super) fn timer_ms(&self) -> Option<u64> {
        self.timer.map(Mark::ms)
    }

    pub(super) fn set_timer(&mut self, at_ms: u64) {
        self.timer = Some(Mark::new(at_ms));
    }

    pub(super) fn take_timer(&mut self) -> Option<u64> {
        self.timer.take().map(Mark::ms)
    }

    /// The adapters that heard it, first come first.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> + Clone {
        self.first.iter().chain(self.others.iter().flat_map(|others| others.iter()))
    }

    fn link_mut(&mut self, adapter: AdapterNo) -> Option<&mut Link> {
        let others = self.others.iter_mut().flat_map(|others| others.iter_mut());
        self.first.iter_mut().chain(others).find(|link| link.adapter == adapter)
    }

    /// Takes a signal in.
    pub(super) fn hear(&mut self, adapter: AdapterNo, rssi: Option<i16>, now_ms: u64) {
        let heard = Mark::new(now_ms);
        if let Some(link) = self.link_mut(adapter) {
            if let Some(rssi) = rssi {
                link.rssi_x8 += (eighths(rssi) - link.rssi_x8) / 4;
            }
            link.heard = heard;
            return;
        }
        let link = Link { adapter, rssi_x8: eighths(rssi.unwrap_or(-127)), heard, failed: 0 };
        if self.first.is_none() {
            self.first = Some(link);
        } else {
            self.others.get_or_insert_default().push(link);
        }
    }

    /// When it was heard last, by anyone.
    pub(super) fn heard_ms(&self) -> Option<u64> {
        self.links().map(Link::heard_ms).max()
    }

    /// An attempt over this adapter ended.
    pub(super) fn tried(&mut self, adapter: AdapterNo, failed: bool) {
        if let Some(link) = self.link_mut(adapter) {
            link.failed = if failed { link.failed.saturating_add(1) } else { 0 };
        }
    }

    pub(super) fn failure(&mut self, limits: &Limits, now_ms: u64) {
        let busy = self.busy_mut();
        busy.failed = busy.failed.saturating_add(1);
        let shortest = if busy.pause_ms == 0 { limits.retry_min_ms } else { busy.pause_ms };
        let spent = busy.failed >= limits.attempts.max(1);
        let pause = if spent { shortest.max(limits.rest_ms) } else { shortest };
        busy.not_before_ms = now_ms.saturating_add(pause);
        busy.pause_ms = shortest.saturating_mul(2).min(limits.retry_max_ms);
    }

    pub(super) fn success(&mut self) {
        if let Some(busy) = &mut self.busy {
            (busy.failed, busy.not_before_ms, busy.pause_ms) = (0, 0, 0);
        }
    }

    pub(super) fn spent(&self, limits: &Limits) -> bool {
        self.busy().failed >= limits.attempts.max(1)
    }

    pub(super) fn weak(&self, limits: &Limits) -> bool {
        self.battery_mv.is_some_and(|mv| mv < limits.weak_mv)
    }

    /// Until when a weak battery keeps the image waiting.
    pub(super) fn weak_until(&self, limits: &Limits) -> Option<u64> {
        let busy = self.busy();
        let want = busy.want.filter(|want| want.urgency == Urgency::Layout && self.weak(limits))?;
        Some(busy.want_since_ms.saturating_add(limits.weak_wait_ms).min(want.due_ms))
    }

    /// The check that is due, if nothing speaks against it.
    pub(super) fn check(&self, limits: &Limits) -> Option<TillPrice> {
        let wanted = self.busy().want.is_some();
        let due = limits.check_every_ms > 0 && !wanted && !self.uncertain && !self.weak(limits);
        self.shown().filter(|_| due)
    }
}
