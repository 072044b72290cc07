//! The device side of every protocol Steelyard speaks: simulated devices for tests, rig and demo.
//!
//! Contract: no IO, no clock, no threads. Bytes go in with the time (milliseconds of any monotonic clock), bytes and
//! delays come out. Everything random comes from a seed, so a run can be repeated. Each simulator counts what it
//! really did (weighings shown, batches run, images completed): that is the truth a test compares a store with.
//! Faults are switched on by name and never make a simulator panic.
//!
//! | module | device |
//! |---|---|
//! | [`scale`] | counter scale, in every protocol of `drv_protocol::scales` |
//! | [`modbus`] | one Modbus bus with many units, RTU and TCP |
//! | [`cabinet`] | cold cabinet with a thermal model behind a controller's registers |
//! | [`steamer`] | Omron E5CC, input module and core probe around a steam chamber |
//! | [`tag`], [`esl`], [`oepl`] | shelf tags: Gicisky, Bluetooth SIG ESL, OpenEPaperLink; [`gatt`] hosts any of them |
//! | [`radio`] | the air between thousands of tags and their adapters |
//! | [`mod@i2c`] | temperature and humidity chips on one I2C bus |
//! | [`advert`] | sensor that advertises, in every format that is read |
//! | [`transcript`] | any device, as it was recorded |
//! | [`rng`] | the seeded generator |

pub mod advert;
pub mod cabinet;
pub mod esl;
pub mod gatt;
pub mod i2c;
pub mod modbus;
pub mod oepl;
pub mod radio;
pub mod rng;
pub mod scale;
pub mod steamer;
pub mod tag;
pub mod thermal;
pub mod transcript;

pub use advert::{AdvertFaults, AdvertSim};
pub use cabinet::{CabinetConfig, CabinetMap, CabinetSim};
pub use esl::{EslFaults, EslParts, EslSim};
pub use gatt::{Attribute, GattTag, Refusal};
pub use i2c::{ChipFaults, I2cSim, SharedI2c};
pub use modbus::{Answer, Bank, ModbusSim, TcpLink, UnitFaults};
pub use oepl::{OeplFaults, OeplSim};
pub use rng::Rng;
pub use scale::{ScaleConfig, ScaleCounters, ScaleFaults, ScaleSim};
pub use steamer::{SteamerConfig, SteamerSim};
pub use tag::{TagAction, TagFaults, TagSim};
