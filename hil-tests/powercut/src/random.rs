//! Seeded choices: the same on every run and every machine.

/// SplitMix64 (S. Vigna, public domain).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Of several numbers.
    pub(crate) fn of(parts: &[u64]) -> Self {
        let mut seed = Self(0x5354_4545_4c59_4152);
        for part in parts {
            seed.0 ^= *part;
            seed.next();
        }
        seed
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `bound` numbers from 0 on; 0 when there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        u64::try_from(bound)
            .ok()
            .and_then(|bound| self.next().checked_rem(bound))
            .map_or(0, |drawn| usize::try_from(drawn).unwrap_or(0))
    }

    /// One of two, with even odds.
    pub(crate) fn toss(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
