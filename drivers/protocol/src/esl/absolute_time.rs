//! The label's clock: milliseconds modulo 2^32 from a start of the access point's choice (ESLS 3.1, ESLP 5).

/// More than this ahead is implausible: 48 days.
pub const IMPLAUSIBLE_MS: u32 = 48 * 24 * 3_600 * 1_000;

/// A point of the shared clock. It wraps after 49.7 days, so there is no order, only a distance ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsoluteTime(pub u32);

impl AbsoluteTime {
    /// The clock at `ms` milliseconds of any monotonic clock that starts the count.
    #[must_use]
    pub fn of_ms(ms: u64) -> Self {
        Self(u32::try_from(ms & u64::from(u32::MAX)).unwrap_or_default())
    }

    /// How far `target` lies ahead, across the wrap.
    #[must_use]
    pub const fn until(self, target: Self) -> u32 {
        target.0.wrapping_sub(self.0)
    }

    /// Whether a label accepts `target` as a time to act at. Zero is no time: it cancels.
    #[must_use]
    pub const fn plausible(self, target: Self) -> bool {
        target.0 != 0 && self.until(target) <= IMPLAUSIBLE_MS
    }

    /// The time `ms` later; never zero, which would cancel: then one millisecond more.
    #[must_use]
    pub const fn after(self, ms: u32) -> Self {
        match self.0.wrapping_add(ms) {
            0 => Self(1),
            value => Self(value),
        }
    }

    /// The value on the wire.
    #[must_use]
    pub const fn encode(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}
