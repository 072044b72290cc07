//! Waiting times between connection attempts: exponential, bounded, jittered, so that a fleet does not return in step.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bounds of the waiting time between connection attempts, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// First wait.
    pub min_ms: u64,
    /// Longest wait.
    pub max_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min_ms: 200, max_ms: 30_000 }
    }
}

/// The state of one pipe's waiting.
pub(crate) struct Waits {
    bounds: Backoff,
    failures: u32,
    random: u64,
}

impl Waits {
    /// Waits seeded by `name` and the time, so that clones of one image differ as well.
    pub(crate) fn new(bounds: Backoff, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().hash(&mut hasher);
        Self::seeded(bounds, hasher.finish())
    }

    fn seeded(bounds: Backoff, seed: u64) -> Self {
        let min_ms = bounds.min_ms.max(1);
        let bounds = Backoff { min_ms, max_ms: bounds.max_ms.max(min_ms) };
        Self { bounds, failures: 0, random: seed | 1 }
    }

    /// The connection proved itself: begin again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long a connection must last to count as proof; a shorter one is flapping and keeps the waits growing.
    pub(crate) fn proof(&self) -> Duration {
        Duration::from_millis(self.bounds.min_ms.saturating_mul(10))
    }

    /// The next wait: between half of and the full exponential step.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.bounds.min_ms.saturating_mul(1 << self.failures.min(20)).min(self.bounds.max_ms);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: jitter needs spread, not secrecy.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = step / 2;
        Duration::from_millis(half + self.random % (step - half + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_reset() {
        let mut waits = Waits::seeded(Backoff { min_ms: 200, max_ms: 30_000 }, 42);
        for failure in 0..100_u32 {
            let step = (200_u64 << failure.min(20)).min(30_000);
            let wait = waits.next().as_millis();
            assert!(u128::from(step / 2) <= wait && wait <= u128::from(step), "{failure}: {wait}");
        }
        waits.reset();
        assert!(waits.next().as_millis() <= 200);
    }

    #[test]
    fn senseless_bounds_are_mended() {
        let mut waits = Waits::seeded(Backoff { min_ms: 0, max_ms: 0 }, 0);
        assert!(waits.next() <= Duration::from_millis(1));
        let mut waits = Waits::seeded(Backoff { min_ms: u64::MAX, max_ms: 1 }, 7);
        assert!(waits.next() >= Duration::from_millis(u64::MAX / 2));
    }
}
