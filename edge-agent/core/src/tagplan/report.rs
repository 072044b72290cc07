//! What people see of the plan: how far it is, when it should be done, what blocks it.

use super::tag::{Phase, Tag};
use super::{AdapterNo, Planner, TagNo, Want, Work};
use crate::price::TillPrice;

/// What keeps a tag's work from being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// Every adapter that hears the tag is gone; this is the one that heard it best.
    AdapterLost {
        /// The adapter.
        adapter: AdapterNo,
        /// Since when.
        since_ms: u64,
    },
    /// Nobody hears the tag.
    Silent {
        /// Heard last; `None`: never in this run.
        since_ms: Option<u64>,
    },
    /// It waits for its next attempt.
    Pausing {
        /// Failures in a row.
        failed: u8,
        /// Until then.
        until_ms: u64,
    },
    /// Its attempts are spent.
    Spent {
        /// Failures in a row.
        failed: u8,
        /// It rests until then.
        until_ms: u64,
    },
    /// Its battery is weak and the work is not urgent.
    Battery {
        /// The voltage.
        mv: u16,
        /// It waits until then.
        until_ms: u64,
    },
}

/// What a tag is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagState {
    /// Nothing to do.
    Idle,
    /// It waits for a slot.
    Ready,
    /// A job runs.
    Running {
        /// Which.
        work: Work,
        /// Since when.
        since_ms: u64,
    },
    /// Accepted, not surely shown or not durable yet.
    Settling,
    /// It cannot be started.
    Blocked(Blocker),
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagReport {
    /// What it confirmed last.
    pub confirmed: Option<TillPrice>,
    /// Whether it may show something else by now.
    pub uncertain: bool,
    /// What it has to show.
    pub want: Option<Want>,
    /// Since when.
    pub since_ms: Option<u64>,
    /// What it is doing.
    pub state: TagState,
    /// Flashes that wait.
    pub flashes: u8,
    /// Failures in a row.
    pub failed: u8,
    /// Its adapter.
    pub adapter: Option<AdapterNo>,
    /// Smoothed signal there.
    pub rssi_dbm: Option<i16>,
    /// Battery.
    pub battery_mv: Option<u16>,
}

/// Tags with an image to show that cannot be started, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// [`Blocker::AdapterLost`].
    pub adapter_lost: u32,
    /// [`Blocker::Silent`].
    pub silent: u32,
    /// [`Blocker::Pausing`].
    pub pausing: u32,
    /// [`Blocker::Spent`].
    pub spent: u32,
    /// [`Blocker::Battery`].
    pub battery: u32,
}

/// The whole plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// Tags with an image to show.
    pub images: u32,
    /// Of them: waiting for a slot.
    pub ready: u32,
    /// Of them: under way.
    pub running: u32,
    /// Of them: accepted, not confirmed yet.
    pub settling: u32,
    /// Of them: cannot be started now.
    pub blocked: Blocked,
    /// Of them: past their deadline.
    pub late: u32,
    /// Tags with a flash to do.
    pub flashes: u32,
    /// Since when the image that waits longest is wanted.
    pub oldest_ms: Option<u64>,
    /// When every image should be shown that is not blocked by silence or a lost adapter; `None` when there is none.
    pub done_ms: Option<u64>,
}

impl Planner {
    fn blocker(&self, tag: &Tag, now_ms: u64) -> Option<Blocker> {
        let busy = tag.busy();
        if busy.not_before_ms > now_ms {
            let (failed, until_ms) = (busy.failed, busy.not_before_ms);
            return Some(match tag.spent(&self.limits) {
                true => Blocker::Spent { failed, until_ms },
                false => Blocker::Pausing { failed, until_ms },
            });
        }
        if let Some(until_ms) = tag.weak_until(&self.limits).filter(|until| *until > now_ms) {
            return Some(Blocker::Battery { mv: tag.battery_mv.unwrap_or_default(), until_ms });
        }
        let fresh = tag.links().filter(|link| now_ms.saturating_sub(link.heard_ms()) < self.limits.silent_ms);
        let Some(best) = fresh.clone().max_by_key(|link| link.score()) else {
            return Some(self.silence(tag));
        };
        let up = |number: AdapterNo| self.adapters.get(usize::from(number.0)).is_some_and(|state| state.up);
        if fresh.map(|link| link.adapter).any(up) {
            return None;
        }
        let since_ms = self.adapters.get(usize::from(best.adapter.0)).map_or(0, |state| state.since_ms);
        Some(Blocker::AdapterLost { adapter: best.adapter, since_ms })
    }

    /// Not heard for long: because of the tag, or because nobody listens.
    fn silence(&self, tag: &Tag) -> Blocker {
        let gone = |number: AdapterNo| self.adapters.get(usize::from(number.0)).filter(|state| !state.up);
        let last = tag.links().max_by_key(|link| link.heard_ms());
        match last.and_then(|link| Some((link, gone(link.adapter)?))) {
            Some((link, state)) => Blocker::AdapterLost { adapter: link.adapter, since_ms: state.since_ms },
            None => Blocker::Silent { since_ms: tag.heard_ms() },
        }
    }

    fn state(&self, tag: &Tag, now_ms: u64) -> TagState {
        match &tag.busy().phase {
            Phase::Running(running) => TagState::Running { work: running.work, since_ms: running.since_ms },
            Phase::Settling(_) | Phase::Confirming => TagState::Settling,
            Phase::Idle if tag.busy().want.is_none() && tag.busy().flashes.is_empty() => TagState::Idle,
            Phase::Idle => self.blocker(tag, now_ms).map_or(TagState::Ready, TagState::Blocked),
        }
    }

    /// One tag; `None` when it is not in the plan.
    pub fn report_tag(&self, number: TagNo, now_ms: u64) -> Option<TagReport> {
        let tag = self.tag(number)?;
        let busy = tag.busy();
        let best = tag.links().max_by_key(|link| (link.score(), core::cmp::Reverse(link.adapter)));
        Some(TagReport {
            confirmed: tag.shown(),
            uncertain: tag.uncertain,
            want: busy.want,
            since_ms: busy.want.map(|_| busy.want_since_ms),
            state: self.state(tag, now_ms),
            flashes: u8::try_from(busy.flashes.len()).unwrap_or(u8::MAX),
            failed: busy.failed,
            adapter: best.map(|link| link.adapter),
            rssi_dbm: best.map(|link| link.rssi()),
            battery_mv: tag.battery_mv,
        })
    }

    /// The whole plan: looks at every tag.
    pub fn report(&self, now_ms: u64) -> PlanReport {
        let mut report = PlanReport::default();
        // Images that each adapter still has to carry, and the last moment at which one of them may begin.
        let mut load = [0_u64; super::ADAPTERS_MAX];
        let mut last_begin = now_ms;
        for (index, tag) in (0_u32..).zip(&self.tags) {
            let busy = tag.busy();
            report.flashes += u32::from(!busy.flashes.is_empty());
            let Some(want) = busy.want else { continue };
            report.images += 1;
            report.late += u32::from(want.due_ms < now_ms);
            report.oldest_ms =
                Some(report.oldest_ms.map_or(busy.want_since_ms, |old| old.min(busy.want_since_ms)));
            let state = self.state(tag, now_ms);
            let begin = count(&mut report, state);
            let Some(begin) = begin else { continue };
            last_begin = last_begin.max(begin);
            let carrier = match &busy.phase {
                Phase::Running(running) => Some(running.adapter),
                Phase::Settling(_) | Phase::Confirming => None,
                Phase::Idle => self.choose(TagNo(index), now_ms),
            };
            if let Some(load) = carrier.and_then(|number| load.get_mut(usize::from(number.0))) {
                *load += 1;
            }
        }
        let workable = report.images - report.blocked.silent - report.blocked.adapter_lost;
        report.done_ms = (workable > 0).then(|| self.done_ms(&load, last_begin, now_ms));
        report
    }

    /// When that load is carried.
    fn done_ms(&self, load: &[u64], last_begin: u64, now_ms: u64) -> u64 {
        let mut done = last_begin;
        for (adapter, load) in self.adapters.iter().zip(load).filter(|(_, load)| **load > 0) {
            let at_once = u64::from(adapter.slots).clamp(1, *load);
            let carried = load.saturating_mul(adapter.cost_ms()).div_ceil(at_once);
            done = done.max(now_ms.saturating_add(carried)).max(last_begin.saturating_add(adapter.cost_ms()));
        }
        done.saturating_add(self.limits.settle_ms)
    }
}

/// Counts a tag with an image to show; gives when its attempt may begin, `None` when nobody knows.
fn count(report: &mut PlanReport, state: TagState) -> Option<u64> {
    let blocked = &mut report.blocked;
    match state {
        TagState::Idle | TagState::Ready => report.ready += 1,
        TagState::Running { .. } => report.running += 1,
        TagState::Settling => report.settling += 1,
        TagState::Blocked(blocker) => match blocker {
            Blocker::AdapterLost { .. } => {
                blocked.adapter_lost += 1;
                return None;
            }
            Blocker::Silent { .. } => {
                blocked.silent += 1;
                return None;
            }
            Blocker::Pausing { until_ms, .. } => {
                blocked.pausing += 1;
                return Some(until_ms);
            }
            Blocker::Spent { until_ms, .. } => {
                blocked.spent += 1;
                return Some(until_ms);
            }
            Blocker::Battery { until_ms, .. } => {
                blocked.battery += 1;
                return Some(until_ms);
            }
        },
    }
    Some(0)
}
