//! The device side of every protocol Steelyard speaks: simulated devices for tests, rig and demo.
//!
//! Contract: no IO, no clock, no threads. Bytes go in with the time (milliseconds of any monotonic clock), bytes and
//! delays come out. Everything random comes from a seed, so a run can be repeated. Each simulator counts what it
//! really did (weighings shown, batches run, images completed): that is the truth a test compares a store with.
//! Faults are switched on by name and never make a simulator panic.
//!
//! | module | device |
//! |---|---|
//! | [`scale`] | Toledo 8217 counter scale |
//! | [`modbus`] | one Modbus bus with many units, RTU and TCP |
//! | [`cabinet`] | cold cabinet with a thermal model behind a controller's registers |
//! | [`steamer`] | Omron E5CC, input module and core probe around a steam chamber |
//! | [`tag`] | Gicisky shelf tag |
//! | [`transcript`] | any device, as it was recorded |
//! | [`rng`] | the seeded generator |

pub mod cabinet;
pub mod modbus;
pub mod rng;
pub mod scale;
pub mod steamer;
pub mod tag;
pub mod thermal;
pub mod transcript;

pub use cabinet::{CabinetConfig, CabinetMap, CabinetSim};
pub use modbus::{Answer, Bank, ModbusSim, TcpLink, UnitFaults};
pub use rng::Rng;
pub use scale::{ScaleConfig, ScaleCounters, ScaleFaults, ScaleSim};
pub use steamer::{SteamerConfig, SteamerSim};
pub use tag::{TagAction, TagFaults, TagSim};
