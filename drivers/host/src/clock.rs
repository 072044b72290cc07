//! The two clocks that stamp a reading.
//!
//! Contract: [`mono_ms`] never goes back, counts since boot and goes on during suspend, and is the same clock for every
//! process of the machine, so ages computed across processes are right. [`wall_ms`] is whatever the system believes.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since boot.
#[must_use]
pub fn mono_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000 + nanos / 1_000_000
}

/// Milliseconds since 1970-01-01 UTC by the system's clock; negative before that.
#[must_use]
pub fn wall_ms() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}
