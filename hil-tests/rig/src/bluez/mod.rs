//! Bluetooth without a radio: a private D-Bus, our own `org.bluez` on it, or tags registered with somebody else's.
//!
//! * [`PrivateBus`] runs a `dbus-daemon`; a program is sent there by `DBUS_SYSTEM_BUS_ADDRESS`.
//! * [`FakeBluez`] serves one adapter and many tags: scanning, connecting, GATT; and sensors that only advertise ([`Spoken`]). It is written from BlueZ's D-Bus documents
//!   and so shares no code with what it tests, but it is ours: it proves our side against our reading.
//! * [`BlueZoo`] runs Samsung's BlueZ mock, and [`Peripheral`] registers a tag with its second adapter: an independent daemon
//!   between our host side and the tag.
//!
//! The tags themselves are [`drv_sim::GattTag`]s of any family and stay shared with the test.

mod bus;
mod fake;
mod gatt;
mod sensor;
mod zoo;

pub use bus::PrivateBus;
pub use fake::{FakeBluez, FakeTag};
pub use sensor::Spoken;
pub use zoo::{BlueZoo, Peripheral};

use crate::RigError;

pub(crate) fn failed(what: &str, error: &dyn std::fmt::Display) -> RigError {
    RigError::State(format!("{what}: {error}"))
}
