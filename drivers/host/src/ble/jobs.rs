//! Which tag is written next. Pure: time is an argument.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::TagJob;
use crate::host::TAG_JOBS_MAX;

/// Pause before the second attempt; the third waits twice as long, and so on.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

struct Entry {
    job: TagJob,
    accepted: Instant,
    not_before: Instant,
    tried: u8,
    last_fault: Option<String>,
    running: bool,
}

/// A job that ended without success.
pub(crate) struct Failed {
    pub(crate) tag: Arc<str>,
    pub(crate) job: u64,
    pub(crate) reason: String,
}

/// Jobs that wait or run. At most one runs.
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    attempts: u8,
    patience: Duration,
}

impl Queue {
    /// `patience`: how long a job waits for its tag to be heard.
    pub(crate) fn new(attempts: u8, patience: Duration) -> Self {
        Self { entries: VecDeque::new(), attempts, patience }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < TAG_JOBS_MAX
    }

    pub(crate) fn push(&mut self, job: TagJob, now: Instant) {
        let entry = Entry { job, accepted: now, not_before: now, tried: 0, last_fault: None, running: false };
        self.entries.push_back(entry);
    }

    /// Starts the first job that may run: its tag is reachable and no earlier job of that tag is left.
    pub(crate) fn start(&mut self, now: Instant, reachable: impl Fn(&str) -> bool) -> Option<TagJob> {
        if self.entries.iter().any(|entry| entry.running) {
            return None;
        }
        let mut earlier = BTreeSet::new();
        for entry in &mut self.entries {
            let first = earlier.insert(entry.job.tag.clone());
            if first && entry.not_before <= now && reachable(&entry.job.tag) {
                entry.running = true;
                entry.tried += 1;
                return Some(entry.job.clone());
            }
        }
        None
    }

    /// The tag of the running job.
    pub(crate) fn running_tag(&self) -> Option<Arc<str>> {
        self.entries.iter().find(|e| e.running).map(|e| e.job.tag.clone())
    }

    /// The running job succeeded; returns its tag and number.
    pub(crate) fn succeeded(&mut self) -> Option<(Arc<str>, u64)> {
        let entry = self.entries.iter().position(|e| e.running).and_then(|i| self.entries.remove(i))?;
        Some((entry.job.tag, entry.job.job))
    }

    /// The running job's attempt failed; it is returned when there is none left.
    pub(crate) fn failed(&mut self, now: Instant, reason: &str) -> Option<Failed> {
        let index = self.entries.iter().position(|e| e.running)?;
        let entry = self.entries.get_mut(index)?;
        entry.running = false;
        entry.last_fault = Some(reason.to_owned());
        entry.not_before = now + RETRY_PAUSE.saturating_mul(entry.tried.into());
        if entry.tried < self.attempts {
            return None;
        }
        let reason = format!("{} attempts, last: {reason}", entry.tried);
        let entry = self.entries.remove(index)?;
        Some(Failed { tag: entry.job.tag, job: entry.job.job, reason })
    }

    /// The session ended under the running job: that attempt is spent, the job stays.
    pub(crate) fn interrupted(&mut self, reason: &str) {
        for entry in self.entries.iter_mut().filter(|e| e.running) {
            entry.running = false;
            entry.last_fault = Some(reason.to_owned());
        }
    }

    /// Takes out jobs whose tag was not reachable for too long or whose attempts are spent.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Failed> {
        let (attempts, patience) = (self.attempts, self.patience);
        let spent = |e: &Entry| {
            let waited = now.saturating_duration_since(e.accepted.max(e.not_before));
            !e.running && (e.tried >= attempts || waited >= patience)
        };
        let mut out = Vec::new();
        while let Some(index) = self.entries.iter().position(spent) {
            let Some(entry) = self.entries.remove(index) else { break };
            let reason = match entry.last_fault {
                Some(fault) => format!("{} attempts, last: {fault}", entry.tried),
                None => format!("tag not heard for {} ms", patience.as_millis()),
            };
            out.push(Failed { tag: entry.job.tag, job: entry.job.job, reason });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drv_protocol::gicisky::{Model, Planes};

    fn job(number: u64, tag: &str) -> TagJob {
        TagJob {
            job: number,
            tag: Arc::from(tag),
            planes: Planes::blank(Model::find(0x0B).unwrap()).unwrap(),
        }
    }

    fn queue() -> (Queue, Instant) {
        (Queue::new(2, Duration::from_secs(60)), Instant::now())
    }

    #[test]
    fn a_tag_that_is_not_heard_does_not_hold_up_others() {
        let (mut queue, now) = queue();
        queue.push(job(1, "mute"), now);
        queue.push(job(2, "near"), now);
        assert_eq!(queue.start(now, |tag| tag == "near").unwrap().job, 2);
        assert!(queue.start(now, |_| true).is_none(), "one at a time");
        assert_eq!(queue.succeeded().unwrap().1, 2);
        let failed = queue.expire(now + Duration::from_secs(60));
        assert!(failed[0].job == 1 && failed[0].reason.contains("not heard"), "{}", failed[0].reason);
    }

    #[test]
    fn jobs_of_one_tag_keep_their_order_over_a_retry() {
        let (mut queue, now) = queue();
        queue.push(job(1, "a"), now);
        queue.push(job(2, "a"), now);
        assert_eq!(queue.start(now, |_| true).unwrap().job, 1);
        assert!(queue.failed(now, "lost link").is_none());
        assert!(queue.start(now, |_| true).is_none(), "job 2 waits behind the retry of job 1");
        let later = now + RETRY_PAUSE;
        assert_eq!(queue.start(later, |_| true).unwrap().job, 1);
        assert!(queue.failed(later, "lost link").unwrap().reason.contains("2 attempts"));
        assert_eq!(queue.start(later, |_| true).unwrap().job, 2);
    }

    #[test]
    fn an_interrupted_attempt_is_spent() {
        let (mut queue, now) = queue();
        queue.push(job(1, "a"), now);
        for _ in 0..2 {
            assert!(queue.start(now, |_| true).is_some());
            queue.interrupted("bus lost");
        }
        let failed = queue.expire(now);
        assert!(failed[0].reason.contains("bus lost"), "{}", failed[0].reason);
    }
}
