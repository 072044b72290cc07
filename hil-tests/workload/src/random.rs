//! Seeded choices that know how surprising they were.

/// SplitMix64 (G. Steele et al. 2014) that adds up the information of each choice.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    bits: f64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self { state: seed ^ 0xA076_1D64_78BD_642F, bits: 0.0 };
        random.next();
        random
    }

    /// Bits of information in the choices so far: the shortest record that could tell them apart.
    pub(crate) fn bits(&self) -> f64 {
        self.bits
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn surprise(&mut self, share: f64) {
        self.bits -= share.log2();
    }

    /// A number below `end`, each equally likely.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let end = end.max(1);
        self.surprise(1.0 / float(end));
        self.next() % end
    }

    /// A number from `low` to `high`, both included, each equally likely.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low.saturating_add_unsigned(self.below(high.abs_diff(low) + 1))
    }

    /// True in `permille` of a thousand cases.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        let hit = self.next() % 1000 < permille;
        self.surprise(float(if hit { permille } else { 1000 - permille }) / 1000.0);
        hit
    }

    /// An index, as likely as its weight; `sums` are the running sums of the weights.
    pub(crate) fn weighted(&mut self, sums: &[u64]) -> usize {
        let total = sums.last().copied().unwrap_or(1).max(1);
        let drawn = self.next() % total;
        let at = sums.partition_point(|sum| *sum <= drawn);
        let before = at.checked_sub(1).and_then(|at| sums.get(at)).copied().unwrap_or(0);
        self.surprise(float(sums.get(at).copied().unwrap_or(total) - before) / float(total));
        at
    }

    /// The sum of two numbers below `end`: likely in the middle, rare at the ends.
    pub(crate) fn middling(&mut self, end: u64) -> u64 {
        let end = end.max(1);
        let sum = self.next() % end + self.next() % end;
        let ways = if sum < end { sum + 1 } else { 2 * end - 1 - sum };
        self.surprise(float(ways) / float(end) / float(end));
        sum
    }

    /// A waiting time in milliseconds with this mean, exponentially distributed.
    pub(crate) fn wait(&mut self, mean_ms: u64) -> i64 {
        let mean = float(mean_ms.max(1));
        let even = (float(self.next() >> 11) + 0.5) / float(1 << 53);
        let drawn = (-even.ln() * mean).floor();
        self.bits += drawn / mean * std::f64::consts::LOG2_E - (1.0 - (-1.0 / mean).exp()).log2();
        #[allow(clippy::cast_possible_truncation, reason = "at most 37 means, and `as` saturates")]
        let millis = drawn as i64;
        millis
    }
}

fn float(value: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "shares for statistics")]
    let float = value as f64;
    float
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_is_the_entropy_on_average() {
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            random.below(256);
        }
        assert!((random.bits() / 20_000.0 - 8.0).abs() < 1e-6);
        let before = random.bits();
        for _ in 0..20_000 {
            random.chance(110);
        }
        // H(0.11) is half a bit.
        assert!(((random.bits() - before) / 20_000.0 - 0.5).abs() < 0.02);
        let (before, mut sum) = (random.bits(), 0);
        for _ in 0..20_000 {
            sum += random.wait(30_000);
        }
        // log2(e x mean) = 16.32 bits.
        assert!(((random.bits() - before) / 20_000.0 - 16.32).abs() < 0.05);
        assert!((29_000..31_000).contains(&(sum / 20_000)));
    }
}
