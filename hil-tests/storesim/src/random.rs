//! SplitMix64 (G. Steele et al. 2014): the same run for the same seed, on every machine.

/// Seeded choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed. Streams of different purpose take different labels.
    pub fn new(seed: u64, label: u64) -> Self {
        let mut random = Self(seed ^ label.wrapping_mul(0xA076_1D64_78BD_642F));
        random.draw();
        random
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, each equally likely; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// A number of `from..=upto`.
    pub fn range(&mut self, from: u64, upto: u64) -> u64 {
        from + self.below(upto.saturating_sub(from) + 1)
    }

    /// True in `permille` of a thousand cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// An index of a list of `count` entries.
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// Sixteen bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let (a, b) = (self.draw().to_be_bytes(), self.draw().to_be_bytes());
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(a.into_iter().chain(b)).for_each(|(to, from)| *to = from);
        bytes
    }
}
