//! Messages to systemd: ready, reloading, stopping, and the watchdog, which is fed only while the daemon is really alive.
//!
//! Alive means: the ledger's writer thread and the device loop both answered within the last [`PULSE_MS`]. Without
//! systemd every call does nothing.

use sd_notify::NotifyState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Age at which a pulse no longer counts as life.
pub const PULSE_MS: u64 = 10_000;

/// When each part that must live last answered, on the daemon's monotonic clock.
#[derive(Debug, Default)]
pub struct Pulses {
    writer: AtomicU64,
    devices: AtomicU64,
}

impl Pulses {
    /// The writer thread answered.
    pub fn writer(&self, now_ms: u64) {
        self.writer.store(now_ms, Ordering::Relaxed);
    }

    /// The device loop went round.
    pub fn devices(&self, now_ms: u64) {
        self.devices.store(now_ms, Ordering::Relaxed);
    }

    /// Whether both answered recently.
    pub fn alive(&self, now_ms: u64) -> bool {
        [&self.writer, &self.devices]
            .into_iter()
            .all(|pulse| now_ms.saturating_sub(pulse.load(Ordering::Relaxed)) < PULSE_MS)
    }
}

/// Tells systemd; failures are worth a line, never more.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Ledger open, API listening.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often to feed the watchdog: half of what systemd asks, so that one late turn does no harm.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alive_needs_both_pulses() {
        let pulses = Pulses::default();
        assert!(pulses.alive(0));
        pulses.writer(PULSE_MS);
        assert!(!pulses.alive(PULSE_MS));
        pulses.devices(PULSE_MS);
        assert!(pulses.alive(PULSE_MS));
        assert!(!pulses.alive(2 * PULSE_MS));
    }
}
