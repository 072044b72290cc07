//! Host side of the drivers: owns the serial ports, Modbus and I2C buses, the 1-Wire tree and the BLE adapter of one store.
//!
//! Purpose: bytes of real transports in, [`DeviceEvent`]s out; jobs (tag images, steamer orders) in, results out.
//!
//! Contract
//! * One supervised thread owns each bus, port or adapter; mutual exclusion and the fault domain are the same thing.
//! * A device that is mute, lies or is unplugged is reported within seconds and costs nobody else more than its own time
//!   budget. Nothing blocks without a limit, no queue grows without a bound, no bytes stop the host.
//! * Readings may be dropped when the receiver is slow; health and results of jobs are delivered late rather than lost.
//!
//! Deliberately not here: what a reading means (`edge-core`), frames and state machines (`drv-protocol`).
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the configuration tables |
//! | [`event`] | readings, results, jobs |
//! | [`health`] | the health state machine of a device |
//! | [`advice`] | causes of trouble, and what to do |
//! | [`ports`] | stable names of serial ports |
//! | [`host`] | start, jobs, snapshots, stop |
//! | [`profiles`] | device profiles from a folder |
//! | [`clock`] | the clocks that stamp events |
//! | `scale`, `bus`, `w1`, `i2c`, `ble` | the drivers; `serial` and `wire` are what they run on |
//! | `supervise`, `registry`, `pace` | threads and restarts; reporting; backoff and log gates |
//! | `hotplug`, `trace` | what wakes a waiting driver; frames in words |

pub mod advice;
mod ble;
mod bus;
pub mod clock;
pub mod config;
mod error;
pub mod event;
pub mod health;
pub mod host;
mod hotplug;
mod i2c;
mod pace;
pub mod ports;
pub mod profiles;
mod registry;
mod scale;
mod serial;
mod supervise;
mod trace;
mod w1;
mod wire;

pub use advice::Cause;
pub use ble::{TagFault, Unsupported};
pub use bus::{Found, Inquiry};
pub use config::HostConfig;
pub use error::{HostBusy, HostError};
pub use event::{
    CabinetReading, CabinetState, DeviceBody, DeviceEvent, LedColour, LedOrder, ScaleDone, ScaleOrder,
    ScaleReading, SteamerOrder, TagAnswer, TagJob, TagOrder, TagWork,
};
pub use health::{Counters, Health, HealthState};
pub use host::{Host, start};
pub use registry::{DeviceClass, DeviceHealth, RawFrame, Way};
