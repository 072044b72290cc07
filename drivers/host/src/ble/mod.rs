//! Owner of the BLE adapter: listens for the configured tags and advertising sensors, and writes images to tags, one
//! operation at a time.
//!
//! Contract
//! * One thread with a runtime of its own. When D-Bus, `bluetoothd` or the adapter is lost the session ends, the whole
//!   runtime with every task of the D-Bus library is dropped, and a new one is built: a lost D-Bus connection never heals
//!   by itself. A panic inside a task of that library stays in its task.
//! * Every call that leaves this process has a time limit.
//! * Jobs of one tag run in the order they were given. A job whose tag is not heard waits without holding up others and
//!   fails when the tag stays silent; a failed attempt is repeated up to `attempts` times.

mod jobs;
mod sensors;
mod session;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use crate::config::{BleConfig, CabinetConfig, TagConfig, TagEncoding};
use crate::event::TagJob;
use crate::pace::Backoff;
use crate::registry::Desk;
use crate::supervise::{Driver, pause};
use jobs::Queue;
use sensors::Sensors;

/// A configured tag.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    device: Arc<str>,
    /// `FF:FF:92:00:00:01`, upper case.
    address: String,
    model: u16,
    encoding: TagEncoding,
}

/// Owner of the adapter.
pub(crate) struct BleDriver {
    config: BleConfig,
    tags: Vec<Tag>,
    sensors: Sensors,
    jobs: Receiver<TagJob>,
    queue: Queue,
}

impl BleDriver {
    pub(crate) fn new(
        config: BleConfig,
        tags: &[TagConfig],
        cabinets: &[CabinetConfig],
        jobs: Receiver<TagJob>,
    ) -> Self {
        let tag = |tag: &TagConfig| Tag {
            device: Arc::from(tag.id.as_str()),
            address: tag.address.to_ascii_uppercase(),
            model: tag.model,
            encoding: tag.encoding,
        };
        let queue = Queue::new(config.attempts, Duration::from_millis(config.lost_after_ms.into()));
        let sensors = Sensors::new(&config, cabinets);
        Self { config, tags: tags.iter().map(tag).collect(), sensors, jobs, queue }
    }

    pub(crate) fn devices(&self) -> Vec<Arc<str>> {
        self.tags.iter().map(|t| &t.device).chain(self.sensors.devices()).cloned().collect()
    }
}

impl Driver for BleDriver {
    fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(500, 10_000);
        while !desk.stopping() {
            let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(self.session(desk, &mut backoff)),
                Err(error) => Err(format!("BLE runtime: {error}")),
            };
            let Err(reason) = outcome else { return };
            self.queue.interrupted(&reason);
            let devices = self.devices();
            desk.unreachable(devices.iter(), &reason);
            devices.iter().for_each(|device| desk.count(device, |c| c.reopened += 1));
            pause(desk, backoff.pause());
            self.settle_jobs(desk);
        }
    }
}
