//! Owner of the BLE adapter: listens for the configured tags and advertising sensors, and carries out jobs at tags.
//!
//! Contract
//! * One thread with a runtime of its own. When D-Bus, `bluetoothd` or the adapter is lost the session ends, the whole
//!   runtime with every task of the D-Bus library is dropped, and a new one is built: a lost D-Bus connection never heals
//!   by itself. A panic inside a task of that library stays in its task.
//! * Every call that leaves this process has a time limit.
//! * Jobs run in the order and number that `jobs` states; a failed attempt is repeated up to `attempts` times.
//! * The adapter is cared for as `care` states: scan again, power cycle, new session, report; each bounded and paused.
//! * A daemon that lost track of a link: one that is up before the connect is dropped, one without services is dropped and
//!   tried again, a connect that is "already in progress" is told to end; several of these in a row power the adapter
//!   off and on.
//!
//! Limits named: no L2CAP channel, so no image to an ESL label ([`Unsupported::ImageTransport`]); no pairing agent, so a label
//! that insists on an encrypted link needs one on the gateway (bluetoothctl's, or another) when it is first connected to.

mod attempt;
mod care;
mod family;
mod fault;
mod jobs;
mod link;
mod power;
mod sensors;
mod session;

pub(crate) use family::unsupported;
pub use fault::{TagFault, Unsupported};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use drv_protocol::advert::Address;

use crate::config::{BleConfig, CabinetConfig, TagConfig};
use crate::event::TagOrder;
use crate::pace::Backoff;
use crate::registry::Desk;
use crate::supervise::{Driver, pause};
use care::Care;
use family::Family;
use jobs::Queue;
use sensors::Sensors;

/// A configured tag.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    device: Arc<str>,
    address: Address,
    model: u16,
    family: Family,
}

/// Owner of the adapter.
pub(crate) struct BleDriver {
    config: BleConfig,
    /// In the order of their addresses.
    tags: Box<[Tag]>,
    sensors: Sensors,
    jobs: Receiver<TagOrder>,
    queue: Queue,
    care: Care,
}

impl BleDriver {
    pub(crate) fn new(
        config: BleConfig,
        tags: &[TagConfig],
        cabinets: &[CabinetConfig],
        jobs: Receiver<TagOrder>,
    ) -> Self {
        let tag = |tag: &TagConfig| {
            // The configuration was checked: it is an address.
            let address = tag.address.get()?;
            let family = Family::new(tag, &config);
            Some(Tag { device: Arc::clone(&tag.id), address, model: tag.model, family })
        };
        let tags: Vec<Tag> = tags.iter().filter_map(tag).collect();
        let mut tags = tags.into_boxed_slice();
        tags.sort_unstable_by_key(|tag| tag.address);
        let patience = Duration::from_millis(config.lost_after_ms.into());
        let queue = Queue::new(config.attempts, config.connections, patience);
        let sensors = Sensors::new(&config, cabinets);
        let care = Care::new(config.canary_ms.into());
        Self { config, tags, sensors, jobs, queue, care }
    }

    /// The names of its devices.
    fn named(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tags.iter().map(|t| &t.device).chain(self.sensors.devices())
    }
}

impl Driver for BleDriver {
    fn devices(&self) -> Vec<Arc<str>> {
        self.named().cloned().collect()
    }

    fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(500, 10_000);
        while !desk.stopping() {
            let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let outcome = runtime.block_on(self.session(desk, &mut backoff));
                    // A thread that a call to the daemon holds must not hold the next session.
                    runtime.shutdown_background();
                    outcome
                }
                Err(error) => Err(format!("BLE runtime: {error}")),
            };
            let Err(reason) = outcome else { return };
            tracing::debug!("session ends: {reason}");
            self.queue.interrupted(&reason);
            desk.unreachable(self.named(), &reason);
            self.named().for_each(|device| desk.count(device, |c| &mut c.reopened));
            pause(desk, backoff.pause());
            self.settle_unheard(desk);
        }
    }
}
