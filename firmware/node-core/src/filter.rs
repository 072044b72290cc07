//! From what a chip says to a reading that can be believed: jumps, a stuck converter, median of three.
//!
//! * A jump of more than [`JUMP_MC`] between two rounds is faster than the air of a cabinet; it is no reading until
//!   [`CONFIRM`] rounds in a row agree with it (a probe moved by hand, a defrost heater touched).
//! * The same word for [`STUCK_MS`] is no reading: a converter that works flickers by its least bit within a day.
//! * What remains is the median of the last three; fewer than three: the last one.
//! * Any fault forgets the three: after it the reading starts over.

use drv_protocol::node::Quality;

/// The largest step between two rounds that is believed at once, in thousandths of a degree.
pub const JUMP_MC: i32 = 4_000;
/// Rounds in a row that must agree with a jump, the jump itself included.
pub const CONFIRM: u8 = 3;
/// How long the same value may stay, in milliseconds.
pub const STUCK_MS: u64 = 24 * 3_600_000;

/// One probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    kept: [i32; 3],
    count: u8,
    jump: Option<(i32, u8)>,
    same: Option<(i32, u64)>,
    quality: Quality,
}

impl Filter {
    /// Takes what the chip said at `now_ms`, in thousandths of a degree, or why it said nothing.
    pub fn update(&mut self, now_ms: u64, found: Result<i32, Quality>) {
        self.quality = match found {
            Ok(value) => self.judge(now_ms, value),
            Err(why) => {
                self.forget();
                self.same = None;
                why
            }
        };
    }

    /// Thousandths of a degree, or why there is no reading.
    ///
    /// # Errors
    /// The quality, never [`Quality::Good`].
    pub fn reading(&self) -> Result<i32, Quality> {
        let [a, b, c] = self.kept;
        match (self.quality, self.count) {
            (Quality::Good, 3) => Ok(a.max(b).min(c).max(a.min(b))),
            (Quality::Good, _) => Ok(c),
            (why, _) => Err(why),
        }
    }

    fn judge(&mut self, now_ms: u64, value: i32) -> Quality {
        let since = match self.same {
            Some((same, since)) if same == value => since,
            _ => now_ms,
        };
        self.same = Some((value, since));
        if now_ms.saturating_sub(since) >= STUCK_MS {
            self.forget();
            return Quality::Stuck;
        }
        let [.., last] = self.kept;
        if self.count > 0 && value.abs_diff(last) > JUMP_MC.unsigned_abs() {
            let agreeing = match self.jump {
                Some((from, count)) if value.abs_diff(from) <= JUMP_MC.unsigned_abs() => count + 1,
                _ => 1,
            };
            if agreeing < CONFIRM {
                self.jump = Some((value, agreeing));
                return Quality::TooFast;
            }
            self.forget();
        }
        self.jump = None;
        let [_, b, c] = self.kept;
        self.kept = [b, c, value];
        self.count = (self.count + 1).min(3);
        Quality::Good
    }

    fn forget(&mut self) {
        self.count = 0;
        self.jump = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fed(values: &[Result<i32, Quality>]) -> Filter {
        let mut filter = Filter::default();
        for (round, value) in (0_u64..).zip(values) {
            filter.update(round * 500, *value);
        }
        filter
    }

    #[test]
    fn a_spike_is_dropped_and_a_step_is_believed_after_three_rounds() {
        assert_eq!(Filter::default().reading(), Err(Quality::Waiting));
        assert_eq!(fed(&[Ok(4_000)]).reading(), Ok(4_000));
        assert_eq!(
            fed(&[Ok(4_000), Ok(4_062), Ok(4_000), Ok(7_900)]).reading(),
            Ok(4_062),
            "median of three"
        );
        let spike = [Ok(4_000), Ok(4_000), Ok(85_000)];
        assert_eq!(fed(&spike).reading(), Err(Quality::TooFast));
        assert_eq!(fed(&[&spike[..], &[Ok(4_000)]].concat()).reading(), Ok(4_000));
        assert_eq!(fed(&[&spike[..], &[Ok(85_000)]].concat()).reading(), Err(Quality::TooFast));
        assert_eq!(fed(&[&spike[..], &[Ok(85_000), Ok(85_062)]].concat()).reading(), Ok(85_062));
        let wild = [Ok(0), Ok(50_000), Ok(-50_000), Ok(50_000), Ok(-50_000)];
        assert_eq!(fed(&wild).reading(), Err(Quality::TooFast));
    }

    #[test]
    fn a_fault_is_never_the_last_value_and_the_next_reading_starts_over() {
        let broken = [Ok(4_000), Ok(4_000), Err(Quality::NoAnswer)];
        assert_eq!(fed(&broken).reading(), Err(Quality::NoAnswer));
        assert_eq!(fed(&[&broken[..], &[Ok(-18_500)]].concat()).reading(), Ok(-18_500));
    }

    #[test]
    fn a_converter_that_stands_still_for_a_day_is_stuck() {
        let mut filter = Filter::default();
        filter.update(0, Ok(4_000));
        filter.update(STUCK_MS - 1, Ok(4_000));
        assert_eq!(filter.reading(), Ok(4_000));
        filter.update(STUCK_MS, Ok(4_000));
        assert_eq!(filter.reading(), Err(Quality::Stuck));
        filter.update(STUCK_MS + 500, Ok(4_062));
        assert_eq!(filter.reading(), Ok(4_062));
    }

    proptest! {
        #[test]
        fn a_reading_is_always_something_the_chip_said(
            values in proptest::collection::vec(
                prop_oneof![8 => any::<i32>().prop_map(Ok), 8 => (-3_000_i32..3_000).prop_map(Ok), 1 => Just(Err(Quality::DeadLine))],
                1..40,
            ),
        ) {
            match fed(&values).reading() {
                Ok(reading) => prop_assert!(values.contains(&Ok(reading))),
                Err(why) => prop_assert!(why != Quality::Good),
            }
            if values.last() == Some(&Err(Quality::DeadLine)) {
                prop_assert_eq!(fed(&values).reading(), Err(Quality::DeadLine));
            }
        }
    }
}
