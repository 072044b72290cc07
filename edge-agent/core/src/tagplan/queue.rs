//! Which tag is ready, in which queue it stands, and which one is started.

use super::tag::{Phase, Place, TIMER_MAX_MS};
use super::{AdapterNo, Job, Planner, TagNo, Work};
use alloc::vec::Vec;

/// Tags of another adapter that an idle one looks at.
const STEAL_LOOK: usize = 16;

impl Planner {
    /// The adapter that should serve a tag: the best that is there and heard it lately.
    pub(super) fn choose(&self, tag: TagNo, now_ms: u64) -> Option<AdapterNo> {
        let usable = self.tag(tag)?.links().filter(|link| {
            let fresh = now_ms.saturating_sub(link.heard_ms()) < self.limits.silent_ms;
            fresh && self.adapters.get(usize::from(link.adapter.0)).is_some_and(|adapter| adapter.up)
        });
        // Of equals the first one added.
        usable.max_by_key(|link| (link.score(), core::cmp::Reverse(link.adapter))).map(|link| link.adapter)
    }

    /// Takes a tag out of queues and timers.
    pub(super) fn unqueue(&mut self, tag: TagNo) {
        let Some(state) = self.tag_mut(tag) else { return };
        let timer = state.take_timer();
        // Looked at before it is changed: an idle tag gets no box by being looked at.
        let place = state.busy().place.and_then(|_| state.busy_mut().place.take());
        if let Some(at) = timer {
            self.timers.remove(&(at, tag));
            self.operations += 1;
        }
        let Some(place) = place else { return };
        let Some(adapter) = self.adapter_mut(place.adapter) else { return };
        if let Some(since) = place.flash {
            adapter.lanes.flash.remove(&(since, tag));
        }
        if let Some((due, since)) = place.image {
            adapter.lanes.image.remove(&(due, tag));
            adapter.lanes.age.remove(&(since, tag));
        }
        if let Some(at) = place.check {
            adapter.lanes.check.remove(&(at, tag));
        }
        self.operations += 4;
    }

    /// Puts a tag where it belongs now.
    pub(super) fn requeue(&mut self, tag: TagNo, now_ms: u64) {
        self.unqueue(tag);
        self.queue(tag, now_ms);
        if let Some(state) = self.tag_mut(tag) {
            state.tidy();
        }
    }

    /// Puts a tag that stands nowhere where it belongs.
    fn queue(&mut self, tag: TagNo, now_ms: u64) {
        let limits = self.limits;
        let adapter = self.choose(tag, now_ms);
        let Some(state) = self.tag_mut(tag) else { return };
        match &state.busy().phase {
            Phase::Running(_) | Phase::Confirming => return,
            Phase::Settling(settling) if settling.until_ms > now_ms => {
                let until_ms = settling.until_ms;
                return self.set_timer(tag, until_ms);
            }
            Phase::Settling(_) => return self.settle(tag),
            Phase::Idle => {}
        }
        let at = state.busy().not_before_ms;
        if at > now_ms {
            state.busy_mut().ready_ms = None;
            return self.set_timer(tag, at);
        }
        if state.spent(&limits) {
            state.success();
        }
        let weak_until = state.weak_until(&limits).filter(|until| *until > now_ms);
        let check = state.check(&limits).map(|_| state.next_check_ms);
        let due = check.is_some_and(|at| at <= now_ms) && adapter.is_some();
        if state.is_idle() && !due {
            if let Some(at) = check.filter(|at| *at > now_ms) {
                self.set_timer(tag, at);
            }
            return;
        }
        let busy = state.busy_mut();
        busy.not_before_ms = 0;
        let flashes = busy.flashes.len();
        busy.flashes.retain(|waiting| waiting.flash.until_ms > now_ms);
        let missed = flashes - busy.flashes.len();
        let flash = busy.flashes.first().map(|waiting| waiting.since_ms);
        let image = busy.want.filter(|_| weak_until.is_none());
        // The next moment at which more of it may be ready.
        let later = weak_until.or(check.filter(|at| *at > now_ms));
        let check = check.filter(|at| *at <= now_ms);
        let ready = adapter.filter(|_| flash.is_some() || image.is_some() || check.is_some());
        if image.is_none() || ready.is_none() {
            busy.ready_ms = None;
        }
        if let Some(adapter) = ready {
            let since = image.map(|_| *busy.ready_ms.get_or_insert(now_ms));
            let image = image.zip(since).map(|(want, since)| (want.due_ms, since));
            let place = Place { adapter, flash, image, check };
            busy.place = Some(place);
            self.enqueue(tag, place);
        }
        if let Some(at) = later {
            self.set_timer(tag, at);
        }
        self.missed = self.missed.saturating_add(u64::try_from(missed).unwrap_or(u64::MAX));
    }

    fn enqueue(&mut self, tag: TagNo, place: Place) {
        self.operations += 4;
        let Some(adapter) = self.adapter_mut(place.adapter) else { return };
        if let Some(since) = place.flash {
            adapter.lanes.flash.insert((since, tag));
        }
        if let Some((due, since)) = place.image {
            adapter.lanes.image.insert((due, tag));
            adapter.lanes.age.insert((since, tag));
        }
        if let Some(at) = place.check {
            adapter.lanes.check.insert((at, tag));
        }
    }

    fn set_timer(&mut self, tag: TagNo, at_ms: u64) {
        let at_ms = at_ms.min(TIMER_MAX_MS);
        if let Some(state) = self.tag_mut(tag) {
            state.set_timer(at_ms);
            self.timers.insert((at_ms, tag));
            self.operations += 1;
        }
    }

    pub(super) fn fire_timers(&mut self, now_ms: u64) {
        while let Some((_, tag)) = self.timers.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.requeue(tag, now_ms);
        }
    }

    /// When the plan should be asked again if nothing happens before.
    pub fn poll_wake(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A job to start now. Call until `None`.
    pub fn poll_job(&mut self, now_ms: u64) -> Option<Job> {
        self.end_orders(now_ms);
        self.fire_timers(now_ms);
        let count = self.adapters.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Ok(number) = u8::try_from(index) else { continue };
            if let Some((tag, work)) = self.next_of(AdapterNo(number), now_ms) {
                self.turn = index + 1;
                return self.start(tag, AdapterNo(number), work, now_ms);
            }
        }
        None
    }

    /// What an adapter should start.
    fn next_of(&mut self, number: AdapterNo, now_ms: u64) -> Option<(TagNo, Work)> {
        loop {
            let starve_ms = self.limits.starve_ms;
            let permille = self.limits.check_permille;
            let adapter = self.adapter_mut(number).filter(|adapter| adapter.free())?;
            let lanes = &adapter.lanes;
            let oldest = lanes.age.first().copied();
            let starved = oldest.filter(|(since, _)| now_ms.saturating_sub(*since) >= starve_ms);
            let flash = lanes.flash.first().copied();
            let image = lanes.image.first().copied();
            let check = lanes.check.first().copied();
            let aged = starved.filter(|_| !adapter.aged_last);
            let (tag, work) = if let Some((_, tag)) = aged {
                (tag, self.image_of(tag))
            } else if let Some((_, tag)) = flash {
                (tag, self.flash_of(tag, now_ms))
            } else if let Some((_, tag)) = image {
                (tag, self.image_of(tag))
            } else if let Some((_, tag)) = check.filter(|_| adapter.may_check(permille, now_ms)) {
                (tag, self.check_of(tag))
            } else {
                return self.steal(number, now_ms);
            };
            // What made it ready may be over by now: silence sends no event.
            if self.choose(tag, now_ms) != Some(number) {
                self.requeue(tag, now_ms);
                continue;
            }
            let Some(work) = work else {
                self.requeue(tag, now_ms);
                continue;
            };
            if let Some(adapter) = self.adapter_mut(number) {
                adapter.aged_last = aged.is_some();
            }
            return Some((tag, work));
        }
    }

    fn image_of(&self, tag: TagNo) -> Option<Work> {
        self.tag(tag)?.busy().want.map(|want| Work::Image(want.show))
    }

    fn flash_of(&self, tag: TagNo, now_ms: u64) -> Option<Work> {
        let waiting = self.tag(tag)?.busy().flashes.first().filter(|waiting| waiting.flash.until_ms > now_ms);
        waiting.map(|waiting| Work::Flash(waiting.flash))
    }

    fn check_of(&self, tag: TagNo) -> Option<Work> {
        self.tag(tag)?.check(&self.limits).map(Work::Check)
    }

    /// A tag that waits for an adapter without a free slot and is heard nearly as well by this one.
    fn steal(&mut self, number: AdapterNo, now_ms: u64) -> Option<(TagNo, Work)> {
        let busy = self.adapters.iter().filter(|adapter| adapter.up && !adapter.free());
        let candidates: Vec<(bool, TagNo)> = busy
            .flat_map(|adapter| {
                let flash = adapter.lanes.flash.iter().map(|(_, tag)| (true, *tag));
                let image = adapter.lanes.image.iter().map(|(_, tag)| (false, *tag));
                flash.chain(image).take(STEAL_LOOK)
            })
            .collect();
        self.operations += u64::try_from(candidates.len()).unwrap_or(u64::MAX);
        let (flash, tag) = candidates.into_iter().find(|(_, tag)| self.hears_well(*tag, number, now_ms))?;
        let work = if flash { self.flash_of(tag, now_ms) } else { self.image_of(tag) };
        Some((tag, work?))
    }

    fn hears_well(&self, tag: TagNo, number: AdapterNo, now_ms: u64) -> bool {
        let Some(tag) = self.tag(tag) else { return false };
        let fresh = tag.links().filter(|link| now_ms.saturating_sub(link.heard_ms()) < self.limits.silent_ms);
        let best = fresh.clone().map(|link| link.score()).max();
        let ours = fresh.filter(|link| link.adapter == number).map(|link| link.score()).max();
        let slack = 8 * i32::from(self.limits.steal_db);
        best.zip(ours).is_some_and(|(best, ours)| ours >= best - slack)
    }
}
