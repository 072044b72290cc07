//! Which tag is worked on next. Pure: time is an argument.
//!
//! Contract
//! * At most `slots` jobs run, at most one per tag; never more than [`TAG_JOBS_MAX`] wait.
//! * Images of one tag run in the order they were given, and so do its other orders; LED orders overtake images.
//! * Among tags the oldest job that can run runs first; one whose tag is not heard, or that waits for its next attempt, holds
//!   up nobody else.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fault::TagFault;
use crate::event::{TagOrder, TagWork};
use crate::host::TAG_JOBS_MAX;

/// Pause before the second attempt; the third waits twice as long, and so on.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

struct Entry {
    ticket: u64,
    order: TagOrder,
    accepted: Instant,
    not_before: Instant,
    tried: u8,
    last_fault: Option<TagFault>,
    running: bool,
}

impl Entry {
    const fn urgent(&self) -> bool {
        matches!(self.order.work, TagWork::Led(_))
    }
}

/// A job that is over.
pub(crate) struct Ended {
    pub(crate) tag: Arc<str>,
    pub(crate) job: u64,
    /// It was an image.
    pub(crate) image: bool,
}

/// A job that ended without success.
pub(crate) struct Failed {
    pub(crate) ended: Ended,
    pub(crate) fault: TagFault,
}

/// Jobs that wait or run.
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    next_ticket: u64,
    attempts: u8,
    slots: usize,
    patience: Duration,
}

impl Queue {
    /// `patience`: how long a job waits for its tag to be heard.
    pub(crate) fn new(attempts: u8, slots: u8, patience: Duration) -> Self {
        Self {
            entries: VecDeque::new(),
            next_ticket: 0,
            attempts,
            slots: usize::from(slots.max(1)),
            patience,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < TAG_JOBS_MAX
    }

    pub(crate) fn push(&mut self, order: TagOrder, now: Instant) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let entry = Entry {
            ticket,
            order,
            accepted: now,
            not_before: now,
            tried: 0,
            last_fault: None,
            running: false,
        };
        self.entries.push_back(entry);
    }

    /// Jobs that run.
    pub(crate) fn running(&self) -> usize {
        self.entries.iter().filter(|entry| entry.running).count()
    }

    /// Starts the first job that may run; gives its ticket.
    pub(crate) fn start(
        &mut self,
        now: Instant,
        reachable: impl Fn(&str) -> bool,
    ) -> Option<(u64, TagOrder)> {
        if self.running() >= self.slots {
            return None;
        }
        let busy: BTreeSet<Arc<str>> =
            self.entries.iter().filter(|e| e.running).map(|e| e.order.tag.clone()).collect();
        for urgent in [true, false] {
            let mut earlier = BTreeSet::new();
            for entry in self.entries.iter_mut().filter(|entry| entry.urgent() == urgent) {
                let tag = &entry.order.tag;
                let first = earlier.insert(tag.clone()) && !busy.contains(tag);
                if first && entry.not_before <= now && reachable(tag) {
                    entry.running = true;
                    entry.tried += 1;
                    return Some((entry.ticket, entry.order.clone()));
                }
            }
        }
        None
    }

    /// The tag of a running job.
    pub(crate) fn tag(&self, ticket: u64) -> Option<Arc<str>> {
        self.entries.iter().find(|e| e.ticket == ticket && e.running).map(|e| e.order.tag.clone())
    }

    /// A running job succeeded.
    pub(crate) fn succeeded(&mut self, ticket: u64) -> Option<Ended> {
        let index = self.entries.iter().position(|e| e.ticket == ticket && e.running)?;
        self.take(index).map(|(ended, _)| ended)
    }

    /// A running job's attempt failed; it is returned when no other attempt is made.
    pub(crate) fn failed(&mut self, ticket: u64, now: Instant, fault: &TagFault) -> Option<Failed> {
        let index = self.entries.iter().position(|e| e.ticket == ticket && e.running)?;
        let entry = self.entries.get_mut(index)?;
        entry.running = false;
        entry.last_fault = Some(fault.clone());
        entry.not_before = now + RETRY_PAUSE.saturating_mul(entry.tried.into());
        if entry.tried < self.attempts && fault.worth_repeating() {
            return None;
        }
        let (ended, entry) = self.take(index)?;
        Some(Failed { ended, fault: spent(entry.tried, fault.clone()) })
    }

    /// The session ended under the running jobs: those attempts are spent, the jobs stay.
    pub(crate) fn interrupted(&mut self, reason: &str) {
        for entry in self.entries.iter_mut().filter(|e| e.running) {
            entry.running = false;
            entry.last_fault = Some(TagFault::Interrupted(reason.to_owned()));
        }
    }

    /// Takes out jobs whose attempts are spent, or whose tag is not reachable and was waited for long enough. A job that
    /// only waits for its turn stays.
    pub(crate) fn expire(&mut self, now: Instant, reachable: impl Fn(&str) -> bool) -> Vec<Failed> {
        let (attempts, patience) = (self.attempts, self.patience);
        let over = |e: &Entry| {
            let waited = now.saturating_duration_since(e.accepted.max(e.not_before));
            !e.running && (e.tried >= attempts || (waited >= patience && !reachable(&e.order.tag)))
        };
        let mut out = Vec::new();
        while let Some(index) = self.entries.iter().position(over) {
            let Some((ended, entry)) = self.take(index) else { break };
            let fault = match entry.last_fault {
                Some(fault) => spent(entry.tried, fault),
                None => TagFault::NotHeard { waited_ms: patience.as_millis() },
            };
            out.push(Failed { ended, fault });
        }
        out
    }

    fn take(&mut self, index: usize) -> Option<(Ended, Entry)> {
        let entry = self.entries.remove(index)?;
        let image = matches!(entry.order.work, TagWork::Image(_));
        Some((Ended { tag: entry.order.tag.clone(), job: entry.order.job, image }, entry))
    }
}

/// The fault of a job: what a single attempt says speaks for itself.
fn spent(attempts: u8, last: TagFault) -> TagFault {
    if last.worth_repeating() { TagFault::Attempts { attempts, last: Box::new(last) } } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ble::Unsupported;
    use crate::event::{LedColour, LedOrder};
    use drv_protocol::gicisky::{Model, Planes};

    fn job(number: u64, tag: &str) -> TagOrder {
        let planes = Planes::blank(Model::find(0x0B).unwrap()).unwrap();
        TagOrder { job: number, tag: Arc::from(tag), work: TagWork::Image(planes) }
    }

    fn light(number: u64, tag: &str) -> TagOrder {
        let order = LedOrder { led: 0, colour: LedColour::Green, seconds: 5 };
        TagOrder { job: number, tag: Arc::from(tag), work: TagWork::Led(order) }
    }

    fn queue(slots: u8) -> (Queue, Instant) {
        (Queue::new(2, slots, Duration::from_secs(60)), Instant::now())
    }

    fn lost() -> TagFault {
        TagFault::LinkLost { done: "0 of 4 blocks".to_owned() }
    }

    #[test]
    fn a_tag_that_is_not_heard_does_not_hold_up_others() {
        let (mut queue, now) = queue(1);
        queue.push(job(1, "mute"), now);
        queue.push(job(2, "near"), now);
        let (ticket, order) = queue.start(now, |tag| tag == "near").unwrap();
        assert_eq!(order.job, 2);
        assert!(queue.start(now, |_| true).is_none(), "one slot");
        assert_eq!(queue.succeeded(ticket).unwrap().job, 2);
        assert!(queue.expire(now + Duration::from_secs(60), |_| true).is_empty(), "it waits for its turn");
        let failed = queue.expire(now + Duration::from_secs(60), |_| false);
        assert_eq!((failed[0].ended.job, &failed[0].fault), (1, &TagFault::NotHeard { waited_ms: 60_000 }));
    }

    #[test]
    fn jobs_of_one_tag_keep_their_order_over_a_retry() {
        let (mut queue, now) = queue(4);
        queue.push(job(1, "a"), now);
        queue.push(job(2, "a"), now);
        let (ticket, order) = queue.start(now, |_| true).unwrap();
        assert_eq!(order.job, 1);
        assert!(queue.start(now, |_| true).is_none(), "one connection per tag");
        assert!(queue.failed(ticket, now, &lost()).is_none());
        assert!(queue.start(now, |_| true).is_none(), "job 2 waits behind the retry of job 1");
        let later = now + RETRY_PAUSE;
        let (ticket, order) = queue.start(later, |_| true).unwrap();
        assert_eq!(order.job, 1);
        let failed = queue.failed(ticket, later, &lost()).unwrap();
        assert!(failed.fault.to_string().contains("2 attempts"), "{}", failed.fault);
        assert_eq!(queue.start(later, |_| true).unwrap().1.job, 2);
    }

    #[test]
    fn slots_are_filled_by_different_tags_oldest_first() {
        let (mut queue, now) = queue(2);
        for (number, tag) in [(1, "a"), (2, "a"), (3, "b"), (4, "c")] {
            queue.push(job(number, tag), now);
        }
        let (first, order) = queue.start(now, |_| true).unwrap();
        let (_, second) = queue.start(now, |_| true).unwrap();
        assert_eq!((order.job, second.job), (1, 3));
        assert!(queue.start(now, |_| true).is_none(), "two slots");
        queue.succeeded(first).unwrap();
        assert_eq!(queue.start(now, |_| true).unwrap().1.job, 2, "older than job 4");
        assert_eq!(queue.running(), 2);
        assert!(queue.succeeded(first).is_none(), "a ticket is good once");
    }

    #[test]
    fn led_orders_overtake_images() {
        let (mut queue, now) = queue(1);
        queue.push(job(1, "a"), now);
        queue.push(light(2, "a"), now);
        queue.push(light(3, "b"), now);
        let (ticket, order) = queue.start(now, |_| true).unwrap();
        assert_eq!(order.job, 2);
        assert!(!queue.succeeded(ticket).unwrap().image);
        assert_eq!(queue.start(now, |_| true).unwrap().1.job, 3);
    }

    #[test]
    fn what_cannot_be_done_is_not_tried_again() {
        let (mut queue, now) = queue(1);
        queue.push(light(1, "a"), now);
        let (ticket, _) = queue.start(now, |_| true).unwrap();
        let fault = TagFault::Unsupported(Unsupported::Led("gicisky"));
        assert_eq!(queue.failed(ticket, now, &fault).unwrap().fault, fault);
        assert!(queue.has_room() && queue.running() == 0);
    }

    #[test]
    fn an_interrupted_attempt_is_spent() {
        let (mut queue, now) = queue(1);
        queue.push(job(1, "a"), now);
        for _ in 0..2 {
            assert!(queue.start(now, |_| true).is_some());
            queue.interrupted("bus lost");
        }
        let failed = queue.expire(now, |_| true);
        assert!(failed[0].fault.to_string().contains("bus lost"), "{}", failed[0].fault);
    }
}
