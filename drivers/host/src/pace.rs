//! Pacing: backoff with jitter, a restart budget, and a gate for log lines. Pure except for the jitter's seed.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential backoff with up to 25 % jitter, bounded.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min_ms: u64,
    max_ms: u64,
    next_ms: u64,
    noise: u64,
}

impl Backoff {
    /// Starts at `min_ms`, doubles up to `max_ms`.
    #[must_use]
    pub(crate) fn new(min_ms: u64, max_ms: u64) -> Self {
        // RandomState is seeded by the system: two gateways after one power cut do not retry in step.
        let noise = RandomState::new().hash_one(min_ms) | 1;
        Self { min_ms, max_ms, next_ms: min_ms, noise }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        let base = self.next_ms;
        self.next_ms = (base * 2).min(self.max_ms);
        Duration::from_millis(base + self.noise % (base / 4 + 1))
    }

    /// Back to the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next_ms = self.min_ms;
    }
}

/// At most so many restarts in so long.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    limit: usize,
    window_ms: u64,
    spent: VecDeque<u64>,
}

impl Budget {
    /// `limit` restarts within `window_ms`.
    #[must_use]
    pub(crate) fn new(limit: usize, window_ms: u64) -> Self {
        Self { limit, window_ms, spent: VecDeque::with_capacity(limit) }
    }

    /// Spends one; false when there is none left.
    pub(crate) fn spend(&mut self, now_ms: u64) -> bool {
        while self.spent.front().is_some_and(|&t| now_ms.saturating_sub(t) >= self.window_ms) {
            self.spent.pop_front();
        }
        if self.spent.len() >= self.limit {
            return false;
        }
        self.spent.push_back(now_ms);
        true
    }
}

/// Lets one log line through per interval and counts the others.
#[derive(Debug, Clone)]
pub(crate) struct LogGate {
    interval_ms: u64,
    next_ms: u64,
    held_back: u64,
}

impl LogGate {
    /// One line per `interval_ms`.
    #[must_use]
    pub(crate) fn new(interval_ms: u64) -> Self {
        Self { interval_ms, next_ms: 0, held_back: 0 }
    }

    /// Some(number of lines held back since the last one) when a line may be written now.
    pub(crate) fn open(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_ms {
            self.held_back += 1;
            return None;
        }
        self.next_ms = now_ms + self.interval_ms;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_is_bounded_and_resets() {
        let mut backoff = Backoff::new(100, 1_000);
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= Duration::from_millis(100) && pause <= Duration::from_millis(1_250));
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(125));
    }

    #[test]
    fn budget_refills_with_time() {
        let mut budget = Budget::new(2, 1_000);
        assert!(budget.spend(0) && budget.spend(1));
        assert!(!budget.spend(999));
        assert!(budget.spend(1_000));
    }

    #[test]
    fn gate_counts_what_it_holds_back() {
        let mut gate = LogGate::new(1_000);
        assert_eq!(gate.open(0), Some(0));
        assert_eq!(gate.open(1), None);
        assert_eq!(gate.open(999), None);
        assert_eq!(gate.open(1_000), Some(2));
    }
}
