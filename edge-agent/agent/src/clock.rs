//! Wall clock, monotonic clock and how far the wall clock can be trusted.
//!
//! Contract
//! * Every stamp that the daemon writes comes from [`Clock::stamp`]; every interval is measured on [`Clock::mono_ms`].
//! * [`Clock::watch`] is called about once a second. When the wall clock moved more than [`JUMP_MS`] against the monotonic
//!   clock it says by how much, and stamps are `Suspect` until the system says that it is synchronized and
//!   [`SETTLE_MS`] passed without a further jump. Facts are kept and marked, never dropped.
//! * A time outside 2024-2100, or one before the newest fact of the ledger, is `Suspect` too.
//! * Synchronized means: systemd-timesyncd says so by its marker file. `rustix` does not wrap `adjtimex`, and this crate
//!   has no unsafe code of its own; without the marker the clock counts as `Unsynced`.

use rustix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use sync_model::{ClockQuality, Stamp, UnixMillis};

/// A difference between the clocks that counts as a jump.
pub const JUMP_MS: i64 = 2_000;
/// How long a synchronized clock must run smoothly before it is trusted again.
pub const SETTLE_MS: u64 = 60_000;
/// systemd-timesyncd touches this file when it has set the clock.
const TIMESYNC_MARKER: &str = "/run/systemd/timesync/synchronized";
/// 2024-01-01 and 2100-01-01: wall times outside are not plausible.
const PLAUSIBLE: std::ops::Range<i64> = 1_704_067_200_000..4_102_444_800_000;

/// Shared clock of the daemon.
#[derive(Clone, Debug)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    marker: PathBuf,
    trust: Mutex<Trust>,
}

#[derive(Debug)]
struct Trust {
    /// Wall minus monotonic at the last look.
    offset_ms: i64,
    quality: ClockQuality,
    /// Monotonic time of the last jump.
    jumped_at: Option<u64>,
    /// Stamps before this moment contradict the ledger.
    floor: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// The system's clocks.
    pub fn new() -> Self {
        Self::with_marker(Path::new(TIMESYNC_MARKER))
    }

    /// The system's clocks with another synchronization marker.
    pub fn with_marker(marker: &Path) -> Self {
        let trust = Trust {
            offset_ms: offset(wall_ms(), mono_ms()),
            quality: ClockQuality::Unsynced,
            jumped_at: None,
            floor: PLAUSIBLE.start,
        };
        let clock =
            Self { inner: Arc::new(Inner { marker: marker.to_path_buf(), trust: Mutex::new(trust) }) };
        clock.watch();
        clock
    }

    /// Wall time in milliseconds.
    pub fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    /// Milliseconds since boot, never going back, suspend included: the clock that device events carry as well.
    pub fn mono_ms(&self) -> u64 {
        mono_ms()
    }

    /// The present moment with its quality.
    pub fn stamp(&self) -> Stamp {
        self.stamp_at(self.wall_ms())
    }

    /// A moment read from the wall clock elsewhere in this process, with the present quality.
    pub fn stamp_at(&self, wall_ms: i64) -> Stamp {
        let trust = self.trust();
        let clock = if plausible(&trust, wall_ms) { trust.quality } else { ClockQuality::Suspect };
        Stamp { at: UnixMillis(wall_ms), clock }
    }

    /// Present quality.
    pub fn quality(&self) -> ClockQuality {
        self.stamp().clock
    }

    /// Tells the clock the newest stamp of the ledger: a wall clock before it went back while nobody watched.
    pub fn set_floor(&self, newest: UnixMillis) {
        let mut trust = self.trust();
        trust.floor = trust.floor.max(newest.0.saturating_sub(JUMP_MS));
    }

    /// Compares the clocks. `Some` is the jump in milliseconds, negative when the wall clock went back.
    pub fn watch(&self) -> Option<i64> {
        self.judge(self.wall_ms(), self.mono_ms())
    }

    fn judge(&self, wall_ms: i64, mono_ms: u64) -> Option<i64> {
        let synced = self.inner.marker.exists();
        let mut trust = self.trust();
        let offset = offset(wall_ms, mono_ms);
        let by = offset.saturating_sub(trust.offset_ms);
        let jumped = by.saturating_abs() > JUMP_MS;
        trust.offset_ms = offset;
        if jumped {
            trust.jumped_at = Some(mono_ms);
        }
        let settled = trust.jumped_at.is_none_or(|at| mono_ms.saturating_sub(at) >= SETTLE_MS);
        trust.quality = match (synced, settled) {
            (true, true) => ClockQuality::Synced,
            (_, false) => ClockQuality::Suspect,
            (false, true) if trust.jumped_at.is_some() => ClockQuality::Suspect,
            (false, true) => ClockQuality::Unsynced,
        };
        jumped.then_some(by)
    }

    fn trust(&self) -> std::sync::MutexGuard<'_, Trust> {
        self.inner.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plausible(trust: &Trust, wall_ms: i64) -> bool {
    PLAUSIBLE.contains(&wall_ms) && wall_ms >= trust.floor
}

fn offset(wall_ms: i64, mono_ms: u64) -> i64 {
    wall_ms.saturating_sub(i64::try_from(mono_ms).unwrap_or(i64::MAX))
}

/// Through the C library, not by a system call of our own: so the network rig can show the daemon another time of day.
fn wall_ms() -> i64 {
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn mono_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let millis = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(marker: &Path) -> (Clock, i64) {
        let clock = Clock::with_marker(marker);
        let wall = clock.wall_ms();
        clock.trust().offset_ms = wall;
        (clock, wall)
    }

    #[test]
    fn jump_is_reported_once_and_makes_stamps_suspect_until_synced_and_settled() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("synchronized");
        let (clock, wall) = clock(&marker);
        assert_eq!(clock.quality(), ClockQuality::Unsynced);
        assert_eq!(clock.judge(wall + 1_000, 1_000), None);
        assert_eq!(clock.judge(wall + 3_602_000, 2_000), Some(3_600_000));
        assert_eq!(clock.judge(wall + 3_603_000, 3_000), None);
        assert_eq!(clock.quality(), ClockQuality::Suspect);
        std::fs::write(&marker, b"").unwrap();
        clock.judge(wall + 3_604_000, 4_000);
        assert_eq!(clock.quality(), ClockQuality::Suspect);
        clock.judge(wall + 3_663_000, 63_000);
        assert_eq!(clock.quality(), ClockQuality::Synced);
        assert_eq!(clock.judge(wall + 64_000, 64_000), Some(-3_600_000));
    }

    #[test]
    fn time_before_the_ledger_or_outside_reason_is_suspect() {
        let dir = tempfile::tempdir().unwrap();
        let (clock, wall) = clock(&dir.path().join("none"));
        clock.set_floor(UnixMillis(wall + 60_000));
        assert_eq!(clock.stamp_at(wall).clock, ClockQuality::Suspect);
        assert_eq!(clock.stamp_at(wall + 60_001).clock, ClockQuality::Unsynced);
        assert_eq!(clock.stamp_at(0).clock, ClockQuality::Suspect);
        assert_eq!(clock.stamp_at(4_200_000_000_000).clock, ClockQuality::Suspect);
    }
}
