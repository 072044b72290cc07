//! One attempt to carry out a job at one tag: connect, let the family work, disconnect.

use std::time::Duration;

use btleplug::api::{Central as _, Peripheral as _};
use btleplug::platform::{Adapter, PeripheralId};

use super::family::{Family, Writer as _};
use super::fault::{TagFault, call};
use super::link::{Frames, Link, within};
use crate::config::BleConfig;
use crate::event::{TagAnswer, TagWork};

/// Limit for the disconnect that ends every attempt.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What an attempt was.
pub(super) struct Attempt {
    /// The job's ticket.
    pub(super) ticket: u64,
    /// Raw frames, the last few.
    pub(super) frames: Frames,
    /// What came of it.
    pub(super) result: Result<TagAnswer, TagFault>,
}

/// Everything an attempt needs, owned.
pub(super) struct Task {
    pub(super) ticket: u64,
    pub(super) adapter: Adapter,
    pub(super) peripheral: PeripheralId,
    pub(super) family: Family,
    pub(super) work: TagWork,
    pub(super) config: BleConfig,
}

impl Task {
    fn operation(&self) -> Duration {
        Duration::from_millis(self.config.operation_timeout_ms.into())
    }

    /// Carries the job out, once. The scan is the caller's to stop and start.
    pub(super) async fn run(self) -> Attempt {
        let mut frames = Frames::default();
        let result = self.attempt(&mut frames).await;
        Attempt { ticket: self.ticket, frames, result }
    }

    async fn attempt(&self, frames: &mut Frames) -> Result<TagAnswer, TagFault> {
        let found = self.adapter.peripheral(&self.peripheral);
        let peripheral = within(self.operation(), "find", found).await.map_err(call)?;
        // A link that outlived its session (the daemon was killed, or we were) has no services and never gets any.
        if within(self.operation(), "link state", peripheral.is_connected()).await.unwrap_or(false) {
            tracing::info!("a link that is already up is dropped first");
            drop_link(&peripheral).await;
        }
        let connect = Duration::from_millis(self.config.connect_timeout_ms.into());
        let transfer = Duration::from_millis(self.config.transfer_timeout_ms.into());
        let result = match within(connect, "connect", peripheral.connect()).await {
            Ok(()) => {
                let work = async {
                    let service = self.family.service();
                    let mut link = Link::open(&peripheral, service, self.operation(), frames).await?;
                    self.family.run(&mut link, &self.work).await
                };
                let late = |_| TagFault::Call(format!("transfer: no answer in {} ms", transfer.as_millis()));
                tokio::time::timeout(transfer, work).await.map_err(late).and_then(|result| result)
            }
            Err(reason) => Err(call(reason)),
        };
        // Also after a connect that timed out: BlueZ goes on trying until it is told not to.
        drop_link(&peripheral).await;
        result
    }
}

async fn drop_link(peripheral: &btleplug::platform::Peripheral) {
    if let Err(reason) = within(DISCONNECT_LIMIT, "disconnect", peripheral.disconnect()).await {
        tracing::debug!("{reason}");
    }
}
