//! Hybrid logical clock: milliseconds and a counter in 64 bits. Orders writes that have not seen each other, nothing else.

use serde::{Deserialize, Serialize};
use sync_model::{ClockQuality, UnixMillis};

/// How far ahead of a synced clock a remote stamp may be and still move this clock.
pub const AHEAD_MS_MAX: i64 = 5 * 60 * 1000;
/// Largest millisecond that fits beside the counter.
const MS_MAX: i64 = (1 << 47) - 1;

/// A reading: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first reading of a millisecond.
    pub fn at(now: UnixMillis) -> Self {
        Self(now.0.clamp(0, MS_MAX).cast_unsigned() << 16)
    }

    /// The millisecond.
    pub fn millis(self) -> UnixMillis {
        UnixMillis((self.0 >> 16).cast_signed())
    }
}

/// What became of a remote reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Later readings of this clock are greater.
    Adopted,
    /// As adopted, but this clock cannot judge it: it is not synced itself.
    Suspect,
    /// More than [`AHEAD_MS_MAX`] ahead of a synced clock, or beyond any date: this clock does not follow. The value it came
    /// with still counts.
    TooFarAhead,
}

/// A clock that never gives the same reading twice, as long as its last reading is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// Goes on after the last reading that was kept.
    pub fn after(last: Hlc) -> Self {
        Self { last }
    }

    /// The last reading: keep it in the same transaction as what was stamped with it.
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// The next reading. Never goes back, whatever the wall clock does.
    pub fn tick(&mut self, now: UnixMillis) -> Hlc {
        self.last = Hlc(self.last.0.saturating_add(1)).max(Hlc::at(now));
        self.last
    }

    /// Takes notice of a remote reading, within bounds.
    pub fn witness(&mut self, remote: Hlc, now: UnixMillis, quality: ClockQuality) -> Witness {
        if remote.millis().0 >= MS_MAX {
            // Nothing would be left after it: every later reading of this clock would be the same.
            return Witness::TooFarAhead;
        }
        let ahead = remote.millis().since(now) > AHEAD_MS_MAX;
        match (ahead, quality) {
            (true, ClockQuality::Synced) => Witness::TooFarAhead,
            (true, ClockQuality::Unsynced | ClockQuality::Suspect) => {
                self.last = self.last.max(remote);
                Witness::Suspect
            }
            (false, _) => {
                self.last = self.last.max(remote);
                Witness::Adopted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_only_grow() {
        let mut clock = HlcClock::default();
        let mut last = Hlc::default();
        for now in [1_000, 1_000, 5, -7, 1_000, 2_000, i64::MAX, i64::MIN, 0] {
            let next = clock.tick(UnixMillis(now));
            assert!(next > last, "{now}");
            last = next;
        }
        let mut after = HlcClock::after(last);
        assert!(after.tick(UnixMillis(3)) > last);
    }

    #[test]
    fn a_clock_far_ahead_is_not_followed_by_a_synced_one() {
        let now = UnixMillis(1_790_000_000_000);
        let far = Hlc::at(now.plus(AHEAD_MS_MAX + 1));
        let mut clock = HlcClock::default();
        assert_eq!(clock.witness(far, now, ClockQuality::Synced), Witness::TooFarAhead);
        assert!(clock.tick(now) < far);
        assert_eq!(
            clock.witness(Hlc::at(now.plus(AHEAD_MS_MAX)), now, ClockQuality::Synced),
            Witness::Adopted
        );
        assert_eq!(clock.tick(now).millis(), now.plus(AHEAD_MS_MAX));
        assert_eq!(clock.witness(far, now, ClockQuality::Unsynced), Witness::Suspect);
        assert!(clock.tick(now) > far);
    }

    #[test]
    fn no_remote_reading_uses_the_clock_up() {
        for quality in [ClockQuality::Synced, ClockQuality::Unsynced, ClockQuality::Suspect] {
            for remote in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, (1 << 63) - 65_537] {
                let mut clock = HlcClock::after(Hlc::at(UnixMillis(1_790_000_000_000)));
                clock.witness(Hlc(remote), UnixMillis(0), quality);
                let first = clock.tick(UnixMillis(0));
                assert!(clock.tick(UnixMillis(0)) > first, "{remote:x} {quality:?}");
            }
        }
    }
}
