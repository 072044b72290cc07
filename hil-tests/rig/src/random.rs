//! Seeded numbers: the same seed gives each actor of a run the same choices. The interleaving of real programs is not
//! repeatable, and the oracle does not need it to be.

use std::time::Duration;

/// A small generator (SplitMix64, G. Steele et al. 2014); one per actor, so that actors do not disturb each other.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of actor number `actor` in the run `seed`.
    pub fn new(seed: u64, actor: u64) -> Self {
        let mut random = Self(seed ^ actor.wrapping_mul(0xA076_1D64_78BD_642F));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range has no number: {low} to {high}");
        match (high - low).checked_add(1) {
            Some(span) => low + self.next() % span,
            None => self.next(),
        }
    }

    /// A signed number from `low` to `high`, both included.
    pub fn signed(&mut self, low: i64, high: i64) -> i64 {
        low.saturating_add_unsigned(self.between(0, high.abs_diff(low)))
    }

    /// True in `permille` of a thousand cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.between(0, 999) < permille
    }

    /// A time from `low` to `high` milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// One of the items. The list must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let last = u64::try_from(items.len()).expect("a list fits the address space") - 1;
        let index = usize::try_from(self.between(0, last)).expect("the index is below the length");
        &items[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_choices_other_actor_other_choices() {
        let draw = |seed, actor| {
            let mut random = Random::new(seed, actor);
            (0..8).map(|_| random.between(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut random = Random::new(3, 4);
        let drawn: std::collections::BTreeSet<i64> = (0..200).map(|_| random.signed(-2, 2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), vec![-2, -1, 0, 1, 2]);
        assert_eq!(random.pick(&["only"]), &"only");
    }
}
