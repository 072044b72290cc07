//! The plan's state and what changes it.

use super::adapter::Adapter;
use super::flash::Orders;
use super::tag::{Phase, Running, Settling, Tag, Waiting};
use super::{
    ADAPTERS_MAX, AdapterNo, Color, Flash, FlashRefusal, Job, Limits, Outcome, TAGS_MAX, TagNo, Want, Work,
};
use crate::price::TillPrice;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// The plan holds no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlannerFull {
    /// Of tags.
    #[error("more than {TAGS_MAX} tags")]
    Tags,
    /// Of adapters.
    #[error("more than {ADAPTERS_MAX} adapters")]
    Adapters,
}

/// The plan of a store's tags.
#[derive(Debug)]
pub struct Planner {
    pub(super) limits: Limits,
    pub(super) tags: Vec<Tag>,
    pub(super) adapters: Vec<Adapter>,
    pub(super) orders: Orders,
    /// Running jobs.
    pub(super) running: BTreeMap<u64, TagNo>,
    /// Running jobs by when they are given up.
    lost: BTreeSet<(u64, u64)>,
    /// Tags to look at again.
    pub(super) timers: BTreeSet<(u64, TagNo)>,
    /// Tags whose panel shows the image by now.
    settled: BTreeSet<TagNo>,
    next_job: u64,
    /// The adapter that is asked first.
    pub(super) turn: usize,
    pub(super) operations: u64,
    pub(super) missed: u64,
    drifted: u64,
}

impl Planner {
    /// An empty plan. Jobs are numbered from `first_job` on: an answer to an earlier run's job must not be taken for ours.
    pub fn new(limits: Limits, first_job: u64) -> Self {
        Self {
            limits,
            tags: Vec::new(),
            adapters: Vec::new(),
            orders: Orders::default(),
            running: BTreeMap::new(),
            lost: BTreeSet::new(),
            timers: BTreeSet::new(),
            settled: BTreeSet::new(),
            next_job: first_job,
            turn: 0,
            operations: 0,
            missed: 0,
            drifted: 0,
        }
    }

    /// Adds an adapter that carries so many connections at once.
    ///
    /// # Errors
    /// More than [`ADAPTERS_MAX`].
    pub fn add_adapter(&mut self, slots: u16, now_ms: u64) -> Result<AdapterNo, PlannerFull> {
        if self.adapters.len() >= ADAPTERS_MAX {
            return Err(PlannerFull::Adapters);
        }
        let number = u8::try_from(self.adapters.len()).map_err(|_| PlannerFull::Adapters)?;
        self.adapters.push(Adapter::new(slots, &self.limits, now_ms));
        Ok(AdapterNo(number))
    }

    /// Makes room for so many tags at once, and no more: a list that grows by doubling leaves holes behind it.
    pub fn reserve(&mut self, tags: usize) {
        self.tags.reserve_exact(tags);
    }

    /// Adds a tag. `led`: its family has an LED that a public protocol drives.
    ///
    /// # Errors
    /// More than [`TAGS_MAX`].
    pub fn add_tag(&mut self, led: bool, now_ms: u64) -> Result<TagNo, PlannerFull> {
        if self.tags.len() >= TAGS_MAX {
            return Err(PlannerFull::Tags);
        }
        let number = u32::try_from(self.tags.len()).map_err(|_| PlannerFull::Tags)?;
        // Spread over the period, so that the checks of tags that were added together do not fall due together.
        let spread = u64::from(number.wrapping_mul(2_654_435_761));
        let offset = (u128::from(self.limits.check_every_ms) * u128::from(spread)) >> 32;
        let first_check = now_ms.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
        self.tags.push(Tag::new(led, first_check));
        Ok(TagNo(number))
    }

    pub(super) fn tag(&self, tag: TagNo) -> Option<&Tag> {
        self.tags.get(usize::try_from(tag.0).ok()?)
    }

    pub(super) fn tag_mut(&mut self, tag: TagNo) -> Option<&mut Tag> {
        self.tags.get_mut(usize::try_from(tag.0).ok()?)
    }

    pub(super) fn adapter_mut(&mut self, adapter: AdapterNo) -> Option<&mut Adapter> {
        self.adapters.get_mut(usize::from(adapter.0))
    }

    /// What the tag surely shows; `None` while that is uncertain.
    pub fn shown(&self, tag: TagNo) -> Option<TillPrice> {
        self.tag(tag).filter(|tag| !tag.uncertain)?.shown()
    }

    /// What the tag confirmed last, even if it may show something else by now.
    pub fn confirmed(&self, tag: TagNo) -> Option<TillPrice> {
        self.tag(tag)?.shown()
    }

    /// What the tag has to show; `None`: it is fine as it is.
    pub fn want(&self, tag: TagNo) -> Option<Want> {
        self.tag(tag)?.busy().want
    }

    /// How many operations on ordered sets all calls so far took.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Flashes that were not out before their end.
    pub fn missed_flashes(&self) -> u64 {
        self.missed
    }

    /// Checks that found another image.
    pub fn drifted(&self) -> u64 {
        self.drifted
    }

    /// An adapter was heard with this tag's advertisement.
    pub fn handle_heard(
        &mut self,
        tag: TagNo,
        adapter: AdapterNo,
        rssi: Option<i16>,
        battery_mv: Option<u16>,
        now_ms: u64,
    ) {
        if usize::from(adapter.0) >= self.adapters.len() {
            return;
        }
        let limits = self.limits;
        let Some(state) = self.tag_mut(tag) else { return };
        let weak = state.weak(&limits);
        state.hear(adapter, rssi, now_ms);
        state.battery_mv = battery_mv.or(state.battery_mv);
        let turned = state.weak(&limits) != weak;
        let busy = state.busy();
        let placed = busy.place.map(|place| place.adapter);
        // An idle tag without work stays where it is: nowhere.
        let works = !busy.flashes.is_empty() || busy.want.is_some() || state.timer_ms().is_none();
        if turned || (works && placed != self.choose(tag, now_ms)) {
            self.requeue(tag, now_ms);
        }
    }

    /// An adapter is there, or lost. Its running jobs still end by [`Planner::handle_ended`] or by time.
    pub fn handle_adapter(&mut self, adapter: AdapterNo, up: bool, now_ms: u64) {
        let Some(state) = self.adapter_mut(adapter).filter(|state| state.up != up) else { return };
        (state.up, state.since_ms) = (up, now_ms);
        let hears = |tag: &Tag| tag.links().any(|link| link.adapter == adapter);
        let concerned: Vec<TagNo> = (0_u32..)
            .zip(&self.tags)
            .filter(|(_, tag)| hears(tag))
            .map(|(number, _)| TagNo(number))
            .collect();
        for tag in concerned {
            self.requeue(tag, now_ms);
        }
    }

    /// Sets what a tag has to show; `None`: it is fine as it is. A job under way is not called back.
    pub fn handle_want(&mut self, tag: TagNo, want: Option<Want>, now_ms: u64) {
        let Some(state) = self.tag_mut(tag) else { return };
        let same = match (state.busy().want, want) {
            (Some(old), Some(new)) => old.show == new.show && old.urgency == new.urgency,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        // Time already waited counts when the price changes again, or it could change for ever and never be shown.
        let busy = state.busy_mut();
        if busy.want.is_none() {
            busy.want_since_ms = now_ms;
        }
        busy.want = want;
        self.requeue(tag, now_ms);
    }

    /// Flashes the tags of a picker's order.
    ///
    /// # Errors
    /// Named refusals; then no tag of the call flashes.
    pub fn handle_flash(&mut self, flash: Flash, tags: &[TagNo], now_ms: u64) -> Result<(), FlashRefusal> {
        self.end_orders(now_ms);
        self.orders.admit(&flash, now_ms)?;
        if !self.orders.holds(flash.order, tags) {
            return Err(FlashRefusal::TooMany);
        }
        for tag in tags {
            let led = self.tag(*tag).ok_or(FlashRefusal::Unknown(*tag))?.led;
            if !led {
                return Err(FlashRefusal::NoLed(*tag));
            }
        }
        self.orders.add(&flash, tags);
        for tag in tags {
            let Some(state) = self.tag_mut(*tag) else { continue };
            // One per order, and there are no more orders than colours.
            let flashes = &mut state.busy_mut().flashes;
            flashes.retain(|waiting| waiting.flash.order != flash.order);
            flashes.push(Waiting { flash, since_ms: now_ms });
            self.requeue(*tag, now_ms);
        }
        Ok(())
    }

    /// An order is picked: its colour is free, what still waits of it is dropped. Gives its tags.
    pub fn handle_order_done(&mut self, order: u64, now_ms: u64) -> Vec<TagNo> {
        let Some(ended) = self.orders.0.remove(&order) else { return Vec::new() };
        for tag in &ended.tags {
            let Some(state) = self.tag_mut(*tag) else { continue };
            state.busy_mut().flashes.retain(|waiting| waiting.flash.order != order);
            self.requeue(*tag, now_ms);
        }
        ended.tags
    }

    /// The order that flashes in a colour.
    pub fn order_of(&self, color: Color) -> Option<u64> {
        self.orders.0.iter().find(|(_, order)| order.color == color).map(|(number, _)| *number)
    }

    pub(super) fn end_orders(&mut self, now_ms: u64) {
        while let Some(order) = self.orders.over(now_ms) {
            let waiting = |tag: &Tag| tag.busy().flashes.iter().any(|waiting| waiting.flash.order == order);
            let tags = self.orders.0.get(&order).map(|order| order.tags.as_slice()).unwrap_or_default();
            let missed = tags.iter().filter(|tag| self.tag(**tag).is_some_and(waiting)).count();
            self.missed = self.missed.saturating_add(u64::try_from(missed).unwrap_or(u64::MAX));
            self.handle_order_done(order, now_ms);
        }
    }

    pub(super) fn start(&mut self, tag: TagNo, adapter: AdapterNo, work: Work, now_ms: u64) -> Option<Job> {
        self.unqueue(tag);
        let number = self.next_job;
        let state = self.tag_mut(tag)?;
        let was_uncertain = state.uncertain;
        state.uncertain |= matches!(work, Work::Image(_));
        let busy = state.busy_mut();
        busy.ready_ms = None;
        busy.phase = Phase::Running(Box::new(Running { adapter, work, since_ms: now_ms, was_uncertain }));
        self.next_job = self.next_job.wrapping_add(1);
        self.running.insert(number, tag);
        self.lost.insert((now_ms.saturating_add(self.limits.lost_ms), number));
        self.operations += 2;
        let carrier = self.adapter_mut(adapter)?;
        carrier.running = carrier.running.saturating_add(1);
        carrier.checking |= matches!(work, Work::Check(_));
        Some(Job { number, tag, adapter, work })
    }

    /// A job ended. Gives what it was; `None` for a job that is not ours or was given up.
    pub fn handle_ended(&mut self, number: u64, outcome: Outcome, now_ms: u64) -> Option<Job> {
        let limits = self.limits;
        let tag = self.running.remove(&number)?;
        self.operations += 2;
        let state = self.tag_mut(tag)?;
        let Phase::Running(running) = &state.busy().phase else { return None };
        let Running { adapter, work, since_ms, was_uncertain } = **running;
        state.busy_mut().phase = Phase::Idle;
        match outcome {
            Outcome::Done => {
                state.success();
                state.tried(adapter, false);
                if matches!(work, Work::Image(_) | Work::Check(_)) {
                    state.next_check_ms = now_ms.saturating_add(limits.check_every_ms);
                }
                match work {
                    Work::Image(show) => {
                        let until_ms = now_ms.saturating_add(limits.settle_ms);
                        state.busy_mut().phase = Phase::Settling(Box::new(Settling { show, until_ms }));
                    }
                    Work::Flash(done) => state.busy_mut().flashes.retain(|waiting| waiting.flash != done),
                    Work::Check(_) => {}
                }
            }
            Outcome::Failed => {
                state.failure(&limits, now_ms);
                state.tried(adapter, true);
            }
            Outcome::NotStarted => {
                state.uncertain = was_uncertain;
                state.busy_mut().not_before_ms = now_ms.saturating_add(limits.retry_min_ms);
            }
            Outcome::Differs => {
                state.success();
                state.uncertain = true;
            }
        }
        self.lost.remove(&(since_ms.saturating_add(limits.lost_ms), number));
        self.drifted += u64::from(outcome == Outcome::Differs);
        self.free_slot(adapter, work, outcome, now_ms.saturating_sub(since_ms));
        self.requeue(tag, now_ms);
        Some(Job { number, tag, adapter, work })
    }

    fn free_slot(&mut self, adapter: AdapterNo, work: Work, outcome: Outcome, took_ms: u64) {
        let Some(carrier) = self.adapter_mut(adapter) else { return };
        carrier.running = carrier.running.saturating_sub(1);
        if matches!(work, Work::Check(_)) {
            carrier.checked(took_ms);
        }
        // The measure is for images; a flash is shorter, and what was not started took nothing.
        if matches!(work, Work::Image(_)) && outcome != Outcome::NotStarted {
            carrier.measure(took_ms, outcome == Outcome::Failed);
        }
    }

    /// A job that is given up, because nobody said how it ended. Call until `None`.
    pub fn poll_lost(&mut self, now_ms: u64) -> Option<Job> {
        let (_, number) = self.lost.first().copied().filter(|(at, _)| *at <= now_ms)?;
        self.handle_ended(number, Outcome::Failed, now_ms)
    }

    /// A tag whose panel shows its new image by now: make that durable and say [`Planner::handle_confirmed`]. Call until
    /// `None`.
    pub fn poll_settled(&mut self, now_ms: u64) -> Option<(TagNo, TillPrice)> {
        self.fire_timers(now_ms);
        loop {
            let tag = self.settled.pop_first()?;
            self.operations += 1;
            let Some(state) = self.tag_mut(tag) else { continue };
            if let Phase::Settling(settling) = &state.busy().phase {
                let show = settling.show;
                state.busy_mut().phase = Phase::Confirming;
                return Some((tag, show));
            }
        }
    }

    pub(super) fn settle(&mut self, tag: TagNo) {
        self.settled.insert(tag);
        self.operations += 1;
    }

    /// It is durable that the tag shows this; also what the ledger knows at the start.
    pub fn handle_confirmed(&mut self, tag: TagNo, show: TillPrice, now_ms: u64) {
        let Some(state) = self.tag_mut(tag) else { return };
        state.show(show);
        let busy = state.busy_mut();
        if busy.want.is_some_and(|want| want.show == show) {
            busy.want = None;
        }
        if matches!(busy.phase, Phase::Confirming | Phase::Idle) {
            busy.phase = Phase::Idle;
            state.uncertain = false;
        }
        self.requeue(tag, now_ms);
    }

    /// The confirmation could not be made durable: the image is written again, which does no harm.
    pub fn handle_unconfirmed(&mut self, tag: TagNo, now_ms: u64) {
        let limits = self.limits;
        let Some(state) = self.tag_mut(tag).filter(|tag| matches!(tag.busy().phase, Phase::Confirming))
        else {
            return;
        };
        let busy = state.busy_mut();
        busy.phase = Phase::Idle;
        busy.not_before_ms = now_ms.saturating_add(limits.retry_min_ms);
        self.requeue(tag, now_ms);
    }
}
