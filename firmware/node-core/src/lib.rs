//! The cold-cabinet node without its board.
//!
//! Purpose: everything that can be decided without a register of the microcontroller, so that it is tested on the host. A board
//! (`firmware/boards/*`) brings time, a serial line, I2C, a storage and a watchdog, and calls [`Node`].
//!
//! | module | what |
//! |---|---|
//! | [`filter`] | median and plausibility of one probe |
//! | [`alarm`] | limit, delay, hysteresis, latch |
//! | [`samples`] | buffered samples with sequence numbers |
//! | [`door`] | debounced input |
//! | [`liveness`] | when the watchdog may be fed |
//! | [`line`] | Modbus RTU: frames by silence, functions 3, 4, 6, 16, 43/14 |
//! | [`settings`] | settings in two copies over a [`settings::Storage`] |
//! | [`eeprom`] | that storage in an AT24C32 |
//! | [`image`] | length and CRC-32 of a firmware image |
//! | [`node`] | all of it together, behind the register map of `drv_protocol::node` |
//!
//! Contract: no heap, no clock, no panic on any input. Time is an argument: microseconds on the line, milliseconds elsewhere,
//! both since the start and never going back. Temperatures are thousandths of a degree in integers.
#![no_std]

pub mod alarm;
pub mod crc32;
pub mod door;
pub mod eeprom;
pub mod filter;
pub mod image;
pub mod line;
pub mod liveness;
pub mod node;
pub mod samples;
pub mod settings;

pub use node::Node;
