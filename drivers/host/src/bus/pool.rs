//! All Modbus TCP buses of a store on one thread: 150 units behind 150 addresses cost 150 sockets, not 150 stacks.
//!
//! Contract: a bus that panics takes no other with it and is started anew like any driver; buses begin spread over their poll
//! interval, so that neither the network nor this thread sees them all at once.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::Bus;
use crate::clock::mono_ms;
use crate::pace::{Backoff, Budget};
use crate::registry::Desk;
use crate::supervise::{Driver, RESTART_WINDOW_MS, RESTARTS_MAX, SLICE, panic_text};

/// The thread of all TCP buses. Each bus reports through a desk of its own.
pub(crate) struct TcpPool(pub(crate) Vec<(Bus, Desk)>);

impl Driver for TcpPool {
    fn devices(&self) -> Vec<std::sync::Arc<str>> {
        self.0.iter().flat_map(|(bus, _)| bus.devices()).collect()
    }

    fn run(&mut self, desk: &mut Desk) {
        let devices = self.devices();
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return desk.unreachable(devices.iter(), &format!("no event loop: {error}")),
        };
        runtime.block_on(async {
            let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
            let every = self.0.iter().map(|(bus, _)| bus.interval()).min().unwrap_or_default();
            let buses = self.0.iter_mut().zip(0u32..);
            let mut running: FuturesUnordered<_> =
                buses.map(|((bus, desk), index)| supervised(bus, desk, every * index / count)).collect();
            while !desk.stopping() {
                tokio::select! {
                    Some(()) = running.next() => {}
                    () = tokio::time::sleep(SLICE) => {
                        desk.flush();
                        devices.iter().for_each(|device| desk.tick(device));
                    }
                }
            }
            // Dropping the futures ends every exchange where it is; a stop answers nothing.
        });
    }
}

/// One bus, restarted after a panic within the budget that every driver has.
async fn supervised(bus: &mut Bus, desk: &mut Desk, start_after: Duration) {
    tokio::time::sleep(start_after).await;
    let mut budget = Budget::new(RESTARTS_MAX, RESTART_WINDOW_MS);
    let mut backoff = Backoff::new(500, 30_000);
    loop {
        // After a panic the bus reopens its connection, so a half-read answer is thrown away.
        let Err(panic) = AssertUnwindSafe(bus.run(desk)).catch_unwind().await else { return };
        let reason = format!("driver of {} panicked: {}", bus.id, panic_text(panic.as_ref()));
        tracing::error!("{reason}");
        let again = budget.spend(mono_ms());
        let verdict =
            if again { reason } else { format!("{reason}; given up after {RESTARTS_MAX} restarts") };
        desk.unreachable(bus.devices().iter(), &verdict);
        bus.devices().iter().for_each(|device| desk.count(device, |c| &mut c.restarts));
        if !again {
            return;
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}
