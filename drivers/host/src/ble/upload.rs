//! One attempt to write an image to one tag.

use std::future::Future;
use std::time::Duration;

use btleplug::api::{Central as _, CharPropFlags, Characteristic, Peripheral as _, ScanFilter, WriteType};
use btleplug::platform::{Adapter, Peripheral, PeripheralId};
use drv_protocol::gicisky::{
    COMMAND_CHARACTERISTIC, Encoding, IMAGE_CHARACTERISTIC, Planes, SERVICE, Start, Step, StreamHeader,
    Transfer,
};
use futures_util::StreamExt as _;
use uuid::Uuid;

use crate::config::{BleConfig, TagEncoding};
use crate::registry::{FRAMES_MAX, Way};

/// Limit for the disconnect that ends every attempt.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What an attempt was.
pub(super) struct Attempt {
    /// Raw frames, the last [`FRAMES_MAX`].
    pub(super) frames: Vec<(Way, Vec<u8>)>,
    /// The image's hash, or what went wrong with the tag.
    pub(super) result: Result<[u8; 8], String>,
    /// The scan could not be started again: the adapter, not the tag, is at fault.
    pub(super) adapter_fault: Option<String>,
}

/// Everything an attempt needs, owned.
pub(super) struct Upload {
    pub(super) adapter: Adapter,
    pub(super) peripheral: PeripheralId,
    pub(super) planes: Planes,
    pub(super) encoding: TagEncoding,
    pub(super) config: BleConfig,
}

/// Puts a limit on a call that leaves this process.
pub(super) async fn within<T, E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer in {} ms", limit.as_millis())),
    }
}

fn uuid(short: u16) -> Uuid {
    // The Bluetooth base UUID with the 16-bit number in its first group.
    Uuid::from_u128(0x0000_0000_0000_1000_8000_0080_5F9B_34FB | u128::from(short) << 96)
}

impl Upload {
    fn operation(&self) -> Duration {
        Duration::from_millis(self.config.operation_timeout_ms.into())
    }

    /// Stops the scan, writes, disconnects, scans again.
    pub(super) async fn run(self) -> Attempt {
        let mut frames = Vec::new();
        // A controller connects badly while it scans; a scan that was not running is no fault.
        let stopped = within(self.operation(), "stop scan", self.adapter.stop_scan()).await;
        if let Err(reason) = stopped {
            tracing::debug!("{reason}");
        }
        let result = self.attempt(&mut frames).await;
        let scan = self.adapter.start_scan(ScanFilter::default());
        let adapter_fault = within(self.operation(), "start scan", scan).await.err();
        Attempt { frames, result, adapter_fault }
    }

    async fn attempt(&self, frames: &mut Vec<(Way, Vec<u8>)>) -> Result<[u8; 8], String> {
        let found = self.adapter.peripheral(&self.peripheral);
        let peripheral = within(self.operation(), "find", found).await?;
        let connect = Duration::from_millis(self.config.connect_timeout_ms.into());
        let transfer = Duration::from_millis(self.config.transfer_timeout_ms.into());
        let mut result = within(connect, "connect", peripheral.connect()).await.map(|()| [0; 8]);
        if result.is_ok() {
            result = within(transfer, "transfer", self.write(&peripheral, frames)).await;
        }
        // Also after a connect that timed out: BlueZ goes on trying until it is told not to.
        if let Err(reason) = within(DISCONNECT_LIMIT, "disconnect", peripheral.disconnect()).await {
            tracing::debug!("{reason}");
        }
        result
    }

    async fn write(
        &self,
        peripheral: &Peripheral,
        frames: &mut Vec<(Way, Vec<u8>)>,
    ) -> Result<[u8; 8], String> {
        let limit = self.operation();
        within(limit, "discover services", peripheral.discover_services()).await?;
        let all = peripheral.characteristics();
        let find = |short: u16| {
            let found = all.iter().find(|c| c.uuid == uuid(short) && c.service_uuid == uuid(SERVICE));
            found.ok_or_else(|| format!("no characteristic {short:04X} in service {SERVICE:04X}"))
        };
        let (command, image) = (find(COMMAND_CHARACTERISTIC)?, find(IMAGE_CHARACTERISTIC)?);
        let mut answers = within(limit, "notifications", peripheral.notifications()).await?;
        within(limit, "subscribe", peripheral.subscribe(command)).await?;

        let (encoding, start) = match self.encoding {
            TagEncoding::Raw => (Encoding::Raw, Start::Plain),
            TagEncoding::Lines => (Encoding::Lines(StreamHeader::Total), Start::Plain),
            TagEncoding::Chunks => (Encoding::Chunks(StreamHeader::Plane), Start::Compression2),
        };
        let mut transfer = Transfer::new(self.planes.encode(encoding), start).map_err(|e| e.to_string())?;
        let mut step = Some(transfer.begin());
        loop {
            match step {
                Some(Step::WriteCommand(bytes)) => send(peripheral, command, &bytes, limit, frames).await?,
                Some(Step::WriteBlock(bytes)) => send(peripheral, image, &bytes, limit, frames).await?,
                Some(Step::Done) => return Ok(self.planes.hash()),
                None => {}
            }
            let wait = tokio::time::timeout(limit, answers.next()).await;
            let (done, all) = transfer.progress();
            let answer = match wait {
                Ok(Some(answer)) => answer,
                Ok(None) => return Err(format!("link lost after {done} of {all} blocks")),
                Err(_) => return Err(format!("tag mute after {done} of {all} blocks")),
            };
            step = None;
            if answer.uuid == command.uuid {
                keep(frames, Way::Received, &answer.value);
                let outcome = transfer.handle_notify(&answer.value);
                step = match outcome {
                    Ok(step) => step,
                    Err(error) => {
                        let Step::WriteCommand(bytes) = transfer.cancel() else {
                            return Err(error.to_string());
                        };
                        // The tag may be gone; the transfer's own error is the one to tell.
                        if let Err(reason) = send(peripheral, command, &bytes, limit, frames).await {
                            tracing::debug!("{reason}");
                        }
                        return Err(error.to_string());
                    }
                };
            }
        }
    }
}

async fn send(
    peripheral: &Peripheral,
    characteristic: &Characteristic,
    bytes: &[u8],
    limit: Duration,
    frames: &mut Vec<(Way, Vec<u8>)>,
) -> Result<(), String> {
    keep(frames, Way::Sent, bytes);
    let confirmed = characteristic.properties.contains(CharPropFlags::WRITE);
    let kind = if confirmed { WriteType::WithResponse } else { WriteType::WithoutResponse };
    within(limit, "write", peripheral.write(characteristic, bytes, kind)).await
}

fn keep(frames: &mut Vec<(Way, Vec<u8>)>, way: Way, bytes: &[u8]) {
    if frames.len() == FRAMES_MAX {
        frames.remove(0);
    }
    frames.push((way, bytes.to_vec()));
}
