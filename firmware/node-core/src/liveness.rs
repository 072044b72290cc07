//! When the watchdog may be fed: only while measuring and the line are both looked after.
//!
//! Neither alone is enough: a loop that hangs in a bus transfer may still be interrupted, and a loop that answers may have
//! stopped measuring, which is the worse of the two.

/// The longest time without a complete round over the probes, in milliseconds: a round of four probes that all start anew
/// takes up to 3.2 s.
pub const MEASURE_LIMIT_MS: u64 = 5_000;
/// The longest time without a look at the line, in milliseconds.
pub const LINE_LIMIT_MS: u64 = 1_000;

/// What was done when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Liveness {
    measured_ms: u64,
    line_ms: u64,
}

impl Liveness {
    /// All probes were asked; whether they answered does not matter here.
    pub fn measured(&mut self, now_ms: u64) {
        self.measured_ms = now_ms;
    }

    /// The line was looked at.
    pub fn line(&mut self, now_ms: u64) {
        self.line_ms = now_ms;
    }

    /// Whether to feed the watchdog.
    #[must_use]
    pub fn is_alive(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.measured_ms) <= MEASURE_LIMIT_MS
            && now_ms.saturating_sub(self.line_ms) <= LINE_LIMIT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_one_missing_starves_the_watchdog() {
        let mut alive = Liveness::default();
        assert!(alive.is_alive(0));
        for now in (0..60_000).step_by(500) {
            alive.line(now);
            assert_eq!(alive.is_alive(now), now <= MEASURE_LIMIT_MS, "measuring stopped at {now}");
        }
        alive.measured(60_000);
        alive.line(60_000);
        assert!(alive.is_alive(61_000) && !alive.is_alive(61_001), "nobody looks at the line");
    }
}
