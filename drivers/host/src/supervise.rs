//! One supervised thread per bus, port or adapter.
//!
//! Contract: a driver that panics takes nobody with it. It is restarted after a pause, at most [`RESTARTS_MAX`] times in
//! [`RESTART_WINDOW_MS`]; after that its devices are `Failed` with the reason, until the host is started anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::advice::Cause;
use crate::clock::mono_ms;
use crate::error::HostError;
use crate::pace::{Backoff, Budget};
use crate::registry::Desk;

/// Restarts allowed within the window.
pub(crate) const RESTARTS_MAX: usize = 5;
/// The window.
pub(crate) const RESTART_WINDOW_MS: u64 = 600_000;
/// Longest wait in one piece, so that a stop is noticed.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// A driver that owns a bus, port or adapter.
pub(crate) trait Driver: Send + 'static {
    /// The devices behind it.
    fn devices(&self) -> Vec<Arc<str>>;

    /// Runs until the desk says stop. Must come back to the desk at least every few seconds.
    fn run(&mut self, desk: &mut Desk);
}

/// Starts the thread of a driver.
pub(crate) fn spawn(
    owner: &str,
    mut driver: impl Driver,
    mut desk: Desk,
) -> Result<JoinHandle<()>, HostError> {
    let name = owner.to_owned();
    let body = move || {
        let mut budget = Budget::new(RESTARTS_MAX, RESTART_WINDOW_MS);
        let mut backoff = Backoff::new(500, 30_000);
        while !desk.stopping() {
            // After a panic the driver reopens everything it owns, so a half-changed state is thrown away.
            let outcome = catch_unwind(AssertUnwindSafe(|| driver.run(&mut desk)));
            let Err(panic) = outcome else { break };
            let reason = format!("driver of {name} panicked: {}", panic_text(panic.as_ref()));
            tracing::error!("{reason}");
            let again = budget.spend(mono_ms());
            let verdict =
                if again { reason } else { format!("{reason}; given up after {RESTARTS_MAX} restarts") };
            let cause = if again { Cause::DriverPanicked } else { Cause::DriverGivenUp };
            let devices = driver.devices();
            desk.down(devices.iter(), cause, &verdict);
            devices.iter().for_each(|device| desk.count(device, |c| &mut c.restarts));
            if again {
                pause(&mut desk, backoff.pause());
            } else {
                break;
            }
        }
        drain(&mut desk);
    };
    std::thread::Builder::new()
        .name(format!("drv {owner}"))
        .spawn(body)
        .map_err(|source| HostError::Thread { owner: owner.to_owned(), source })
}

/// Sleeps in slices while delivering what waits; returns early on stop.
pub(crate) fn pause(desk: &mut Desk, time: Duration) {
    let until = Instant::now() + time;
    while !desk.stopping() {
        desk.flush();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// [`pause`] before a port is tried again; ends early, with true, when something is plugged in.
pub(crate) fn pause_for_plug(desk: &mut Desk, time: Duration) -> bool {
    let until = Instant::now() + time;
    while !desk.stopping() && !desk.plugged() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        pause(desk, left.min(SLICE));
    }
    !desk.stopping()
}

/// Results that wait are delivered even after the driver ended, as long as somebody listens and no stop was asked.
fn drain(desk: &mut Desk) {
    while desk.backlog() > 0 && !desk.stopping() {
        desk.flush();
        std::thread::sleep(SLICE);
    }
    desk.flush();
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DeviceBody;
    use crate::health::HealthState;
    use crate::registry::{DeviceClass, Registry};
    use tokio::sync::mpsc;

    struct Panics;
    impl Driver for Panics {
        fn devices(&self) -> Vec<Arc<str>> {
            vec!["d".into()]
        }

        fn run(&mut self, _desk: &mut Desk) {
            panic!("broken on purpose");
        }
    }

    #[test]
    fn a_panicking_driver_is_reported_and_ends_only_itself() {
        let id: Arc<str> = Arc::from("d");
        let registry = Arc::new(Registry::new([(id.clone(), DeviceClass::Tag, 1_000)].into_iter()));
        let (tx, mut rx) = mpsc::channel(16);
        let desk = Desk::new(registry.clone(), tx);
        let thread = spawn("test", Panics, desk).unwrap();
        let event = rx.blocking_recv().unwrap();
        let DeviceBody::Health(health) = event.body else { panic!("expected health") };
        assert_eq!((health.state, health.cause), (HealthState::Failed, Some(Cause::DriverPanicked)));
        assert!(health.reason.contains("broken on purpose"), "{}", health.reason);
        registry.ask_stop();
        thread.join().unwrap();
    }

    #[test]
    fn a_plug_ends_a_pause_and_is_not_missed_before_it() {
        let id: Arc<str> = Arc::from("d");
        let registry = Arc::new(Registry::new([(id, DeviceClass::Scale, 1_000)].into_iter()));
        let (tx, _rx) = mpsc::channel(16);
        let mut desk = Desk::new(registry.clone(), tx);
        assert!(!pause_for_plug(&mut desk, Duration::ZERO), "nothing was plugged in");
        registry.plug();
        assert!(pause_for_plug(&mut desk, Duration::from_secs(3_600)), "plugged before the pause");
        let plugger = std::thread::spawn(move || registry.plug());
        assert!(pause_for_plug(&mut desk, Duration::from_secs(3_600)), "plugged during the pause");
        plugger.join().unwrap();
    }
}
