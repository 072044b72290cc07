//! The one clock of all simulated devices in a process: their `now` argument.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since this was first asked in this process; never goes back.
#[must_use]
pub fn now_ms() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let begun = BEGUN.get_or_init(Instant::now);
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
