//! Thresholds that store staff or HQ wrote into registers, on their way to the device loop.
//!
//! Rules: read again when HQ's log grew or somebody here wrote one, never per sale; what cannot be read leaves what is in
//! force. Which of several values counts is said in `sync-store`'s `overrides`.

use crate::daemon::Daemon;
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_model::{DeviceId, Direction, LogId, Seq};
use sync_store::Thresholds;
use tokio::sync::{Notify, watch};

/// Thresholds in force, by device.
pub type InForce = BTreeMap<DeviceId, Thresholds>;

/// Where the device loop hears of them.
#[derive(Debug)]
pub struct Overrides {
    in_force: watch::Sender<InForce>,
    written: Notify,
}

impl Default for Overrides {
    fn default() -> Self {
        Self { in_force: watch::channel(InForce::new()).0, written: Notify::new() }
    }
}

impl Overrides {
    /// What is in force, now and whenever it changes.
    pub(crate) fn in_force(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    /// Somebody here wrote one, and it is durable.
    pub(crate) fn written(&self) {
        self.written.notify_one();
    }
}

fn down_ends(heads: &BTreeMap<LogId, Seq>) -> BTreeMap<LogId, Seq> {
    let down = heads.iter().filter(|(log, _)| log.direction == Direction::Down);
    down.map(|(log, head)| (*log, *head)).collect()
}

/// Runs until `stop` turns true.
pub(crate) async fn run(daemon: Arc<Daemon>, mut stop: watch::Receiver<bool>) {
    let mut heads = daemon.heads();
    let mut seen = None;
    let mut due = true;
    while !*stop.borrow() {
        let ends = down_ends(&heads.borrow_and_update());
        if due || seen.as_ref() != Some(&ends) {
            let store = daemon.store;
            match daemon.read(move |reader| reader.thresholds(store)).await {
                Ok(found) => {
                    daemon.overrides.in_force.send_if_modified(|known| {
                        let news = *known != found;
                        if news {
                            tracing::info!(devices = found.len(), "thresholds set by people are in force");
                            *known = found;
                        }
                        news
                    });
                    (seen, due) = (Some(ends), false);
                }
                Err(error) => {
                    tracing::warn!(%error, "thresholds cannot be read: those in force stay");
                    due = true;
                }
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            changed = heads.changed() => if changed.is_err() { break },
            () = daemon.overrides.written.notified() => due = true,
            () = tokio::time::sleep(std::time::Duration::from_secs(60)), if due => {}
        }
    }
}
