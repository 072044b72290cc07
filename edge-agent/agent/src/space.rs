//! Free space on the ledger's disk, checked every second.
//!
//! Below twice the floor telemetry is shed; below the floor tills are refused with code `disk-full`, while the ledger can
//! still commit what is under way and what devices report. Both end by themselves when space returns.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Enough room.
    None,
    /// Below twice the floor: telemetry is shed.
    Tight,
    /// Below the floor: tills are refused.
    Full,
}

/// Watches one folder's file system.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    reserve: AtomicU64,
    free: AtomicU64,
    pressure: AtomicU8,
}

impl Space {
    /// Watches the file system of `dir` with a floor of `reserve_bytes`.
    pub fn new(dir: &Path, reserve_bytes: u64) -> Self {
        let space = Self {
            dir: dir.to_path_buf(),
            reserve: AtomicU64::new(reserve_bytes),
            free: AtomicU64::new(u64::MAX),
            pressure: AtomicU8::new(0),
        };
        space.check();
        space
    }

    /// Changes the floor (on reload).
    pub fn set_reserve(&self, bytes: u64) {
        self.reserve.store(bytes, Ordering::Relaxed);
        self.check();
    }

    /// Measures now. `Some` when the pressure changed.
    pub fn check(&self) -> Option<Pressure> {
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            // An unreadable file system is reported by the ledger itself; it is not a full one.
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "free space cannot be read");
                return None;
            }
        };
        self.free.store(free, Ordering::Relaxed);
        let reserve = self.reserve.load(Ordering::Relaxed);
        let pressure = if free < reserve {
            Pressure::Full
        } else if free < reserve.saturating_mul(2) {
            Pressure::Tight
        } else {
            Pressure::None
        };
        let before = self.pressure.swap(pressure as u8, Ordering::Relaxed);
        (before != pressure as u8).then_some(pressure)
    }

    /// As of the last check.
    pub fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Tight,
            _ => Pressure::Full,
        }
    }

    /// Free bytes for this user, as of the last check.
    pub fn free_bytes(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// The floor.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_follows_the_floor_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), 0);
        assert_eq!(space.pressure(), Pressure::None);
        space.set_reserve(u64::MAX);
        assert_eq!(space.pressure(), Pressure::Full);
        assert!(space.free_bytes() > 0);
        // Just under the present free space, with room for other writers of this disk.
        space.set_reserve(space.free_bytes() / 4 * 3);
        assert_eq!(space.pressure(), Pressure::Tight);
        space.set_reserve(0);
        assert_eq!(space.pressure(), Pressure::None);
    }
}
