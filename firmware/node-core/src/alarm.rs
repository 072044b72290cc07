//! A limit with delay, hysteresis and latch.
//!
//! States: quiet, exceeding since an instant, raised. A raised alarm ends when the temperature is back inside by the
//! hysteresis *and* a master has read it: an excursion between two polls is not missed. Without a reading nothing changes and the
//! delay starts over: a failed probe is no proof of a long excursion.

/// Which side is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above the limit.
    Above,
    /// Below the limit.
    Below,
}

/// When an alarm is raised and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The side.
    pub side: Side,
    /// The limit, in thousandths of a degree.
    pub limit_mc: i32,
    /// How far inside ends it, in thousandths of a degree; not negative.
    pub hysteresis_mc: i32,
    /// How long the limit must be exceeded, in milliseconds.
    pub delay_ms: u64,
}

/// One alarm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    since: Option<u64>,
    raised: bool,
    seen: bool,
}

impl Alarm {
    /// Takes a reading, `None` where there is none.
    pub fn update(&mut self, now_ms: u64, reading_mc: Option<i32>, rule: &Rule) {
        let Some(reading) = reading_mc else {
            self.since = None;
            return;
        };
        // Widened, so that limits at the ends of the range cannot overflow.
        let (reading, limit) = (i64::from(reading), i64::from(rule.limit_mc));
        let outside = match rule.side {
            Side::Above => reading - limit,
            Side::Below => limit - reading,
        };
        if outside > 0 {
            let since = *self.since.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) >= rule.delay_ms {
                self.seen &= self.raised;
                self.raised = true;
            }
        } else {
            self.since = None;
            if self.seen && outside <= -i64::from(rule.hysteresis_mc) {
                self.raised = false;
                self.seen = false;
            }
        }
    }

    /// Whether it is raised.
    #[must_use]
    pub const fn is_raised(&self) -> bool {
        self.raised
    }

    /// A master has read it.
    pub fn read(&mut self) {
        self.seen = self.raised;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HIGH: Rule = Rule { side: Side::Above, limit_mc: 5_000, hysteresis_mc: 500, delay_ms: 1_000 };

    #[test]
    fn raised_after_the_delay_and_ended_inside_once_read() {
        let mut alarm = Alarm::default();
        let mut at = |now, reading: Option<i32>, read: bool| {
            alarm.update(now, reading, &HIGH);
            let raised = alarm.is_raised();
            if read {
                alarm.read();
            }
            raised
        };
        assert!(!at(0, Some(5_000), false), "the limit itself is inside");
        assert!(!at(100, Some(5_001), false) && !at(1_099, Some(9_000), false));
        assert!(at(1_100, Some(9_000), false));
        assert!(at(1_200, Some(1_000), true), "stays until it was read");
        assert!(at(1_300, Some(4_501), false), "not back by the hysteresis");
        assert!(!at(1_400, Some(4_500), false));
        assert!(!at(2_000, Some(9_000), false) && !at(2_500, None, false));
        assert!(!at(3_400, Some(9_000), false), "the delay starts over after a fault");
        assert!(at(4_400, Some(9_000), true) && at(9_000, None, false), "a fault ends nothing");
    }

    proptest! {
        #[test]
        fn both_sides_are_mirror_images(
            steps in proptest::collection::vec((0_u64..3_000, proptest::option::of(any::<i32>())), 1..60),
            limit in -100_000_i32..100_000,
        ) {
            let above = Rule { limit_mc: limit, ..HIGH };
            let below = Rule { side: Side::Below, limit_mc: -limit, ..HIGH };
            let (mut a, mut b, mut now) = (Alarm::default(), Alarm::default(), 0);
            for (step, reading) in steps {
                now += step;
                let reading = reading.map(|value| value.max(-i32::MAX));
                a.update(now, reading, &above);
                b.update(now, reading.map(|value| -value), &below);
                prop_assert_eq!(a.is_raised(), b.is_raised());
                if step % 2 == 0 { a.read(); b.read(); }
            }
        }
    }
}
