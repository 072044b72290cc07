//! A simulated tag as a host of it sees it: an advertisement and one GATT service.
//!
//! Purpose: the rig serves any tag family on D-Bus without knowing it. Exactly one attribute notifies; what a tag does in
//! answer to a write is a list of [`TagAction`]s, in order.

use std::fmt::Debug;

use crate::tag::TagAction;

/// One characteristic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its 16-bit Bluetooth UUID.
    pub uuid: u16,
    /// It can be read.
    pub read: bool,
    /// It can be written with a response.
    pub write: bool,
    /// It can be written without one.
    pub command: bool,
    /// It notifies.
    pub notify: bool,
}

impl Attribute {
    /// Readable only.
    #[must_use]
    pub const fn readable(uuid: u16) -> Self {
        Self { uuid, read: true, write: false, command: false, notify: false }
    }

    /// Writable with a response only.
    #[must_use]
    pub const fn writable(uuid: u16) -> Self {
        Self { uuid, read: false, write: true, command: false, notify: false }
    }
}

/// The attribute refuses: the Attribute Protocol's error, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such attribute.
    #[error("no such attribute")]
    Unknown,
    /// It cannot be read or written.
    #[error("not permitted")]
    NotPermitted,
    /// The value has the wrong length or is none.
    #[error("invalid value")]
    Value,
    /// The tag does not answer at all.
    #[error("no answer")]
    Silent,
}

/// A tag that can be hosted.
pub trait GattTag: Debug + Send {
    /// The name it advertises.
    fn name(&self) -> &str;
    /// What it advertises: manufacturer number and data.
    fn manufacturer_data(&self) -> Option<(u16, Vec<u8>)>;
    /// Its service, a 16-bit Bluetooth UUID.
    fn service(&self) -> u16;
    /// The service's characteristics.
    fn attributes(&self) -> &'static [Attribute];
    /// A central has connected.
    fn connected(&mut self, now: u64);
    /// The connection is gone.
    fn disconnected(&mut self, now: u64);
    /// A read.
    ///
    /// # Errors
    /// The attribute refuses.
    fn read(&mut self, uuid: u16, now: u64) -> Result<Vec<u8>, Refusal>;
    /// A write, with or without a response.
    ///
    /// # Errors
    /// The attribute refuses.
    fn write(&mut self, uuid: u16, bytes: &[u8], now: u64) -> Result<Vec<TagAction>, Refusal>;
}
