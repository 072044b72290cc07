//! A connected tag: its characteristics with a time limit on every operation, and the frames that went over the link.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use btleplug::api::{CharPropFlags, Characteristic, Peripheral as _, ValueNotification, WriteType};
use btleplug::platform::Peripheral;
use futures_util::{Stream, StreamExt as _};
use uuid::Uuid;

use super::fault::{TagFault, call};
use crate::registry::{FRAMES_MAX, Way};

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

/// The 128-bit form of a 16-bit Bluetooth number.
pub(super) fn uuid(short: u16) -> Uuid {
    // The Bluetooth base UUID with the 16-bit number in its first group.
    Uuid::from_u128(0x0000_0000_0000_1000_8000_0080_5F9B_34FB | u128::from(short) << 96)
}

/// The last raw frames of an attempt.
#[derive(Debug, Default)]
pub(super) struct Frames(VecDeque<(Way, Vec<u8>)>);

impl Frames {
    fn keep(&mut self, way: Way, bytes: &[u8]) {
        if self.0.len() == FRAMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((way, bytes.to_vec()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Way, &[u8])> {
        self.0.iter().map(|(way, bytes)| (*way, bytes.as_slice()))
    }
}

type Notifications = Pin<Box<dyn Stream<Item = ValueNotification> + Send>>;

/// A connected tag with its services discovered.
pub(super) struct Link<'a> {
    peripheral: &'a Peripheral,
    service: u16,
    characteristics: Vec<Characteristic>,
    limit: Duration,
    frames: &'a mut Frames,
    /// What is subscribed to, and its notifications.
    answers: Option<(Uuid, Notifications)>,
}

impl<'a> Link<'a> {
    /// Discovers the characteristics of one service.
    pub(super) async fn open(
        peripheral: &'a Peripheral,
        service: u16,
        limit: Duration,
        frames: &'a mut Frames,
    ) -> Result<Self, TagFault> {
        within(limit, "discover services", peripheral.discover_services()).await.map_err(call)?;
        let all = peripheral.characteristics();
        // After a restart of the daemon a device can be connected and have nothing; only a new link heals that.
        if all.is_empty() {
            return Err(TagFault::NoServices);
        }
        let characteristics = all.into_iter().filter(|c| c.service_uuid == uuid(service)).collect();
        Ok(Self { peripheral, service, characteristics, limit, frames, answers: None })
    }

    /// Those of `wanted` that the service has.
    pub(super) fn present(&self, wanted: &[u16]) -> Vec<u16> {
        wanted.iter().copied().filter(|short| self.find(*short).is_ok()).collect()
    }

    fn find(&self, short: u16) -> Result<&Characteristic, TagFault> {
        let found = self.characteristics.iter().find(|c| c.uuid == uuid(short));
        found.ok_or(TagFault::Missing { service: self.service, characteristic: short })
    }

    /// Subscribes to a characteristic's notifications; [`Link::answer`] gives them.
    pub(super) async fn subscribe(&mut self, short: u16) -> Result<(), TagFault> {
        let characteristic = self.find(short)?.clone();
        let answers =
            within(self.limit, "notifications", self.peripheral.notifications()).await.map_err(call)?;
        within(self.limit, "subscribe", self.peripheral.subscribe(&characteristic)).await.map_err(call)?;
        self.answers = Some((characteristic.uuid, answers));
        Ok(())
    }

    /// Writes, with a response where the characteristic has one.
    pub(super) async fn write(&mut self, short: u16, bytes: &[u8]) -> Result<(), TagFault> {
        let characteristic = self.find(short)?.clone();
        self.frames.keep(Way::Sent, bytes);
        let confirmed = characteristic.properties.contains(CharPropFlags::WRITE);
        let kind = if confirmed { WriteType::WithResponse } else { WriteType::WithoutResponse };
        within(self.limit, "write", self.peripheral.write(&characteristic, bytes, kind)).await.map_err(call)
    }

    /// Reads.
    pub(super) async fn read(&mut self, short: u16) -> Result<Vec<u8>, TagFault> {
        let characteristic = self.find(short)?.clone();
        let value = within(self.limit, "read", self.peripheral.read(&characteristic)).await.map_err(call)?;
        self.frames.keep(Way::Received, &value);
        Ok(value)
    }

    /// The next notification. `done` says how far it has come, for the fault.
    pub(super) async fn answer(&mut self, done: impl FnOnce() -> String) -> Result<Vec<u8>, TagFault> {
        let (from, answers) =
            self.answers.as_mut().ok_or_else(|| TagFault::Call("not subscribed".to_owned()))?;
        let from = *from;
        let next = async {
            while let Some(answer) = answers.next().await {
                if answer.uuid == from {
                    return Some(answer.value);
                }
            }
            None
        };
        match tokio::time::timeout(self.limit, next).await {
            Ok(Some(value)) => {
                self.frames.keep(Way::Received, &value);
                Ok(value)
            }
            Ok(None) => Err(TagFault::LinkLost { done: done() }),
            Err(_) => Err(TagFault::Mute { done: done() }),
        }
    }
}
