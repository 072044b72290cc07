//! Bytes to frames and back for every device Steelyard drives: pure, `no_std`, shared with firmware and simulators.
//!
//! Contract: nothing here performs IO, reads a clock, keeps a thread or panics on input. Every decoder takes
//! arbitrary bytes, holds a bounded amount of them and answers with a named error that carries the (bounded)
//! offending bytes. Time, where it matters, is an argument.
//!
//! | module | device class |
//! |---|---|
//! | [`scale`], [`scales`], [`toledo8217`] | counter scales on a serial line: what they say, their protocols |
//! | [`modbus`], [`profile`] | register devices on RS-485 or TCP, described by data |
//! | [`node`] | our own cold-cabinet node: its register map, shared with its firmware |
//! | [`ds18b20`] | 1-Wire temperature sensors through sysfs |
//! | [`i2c`] | temperature and humidity chips over `embedded-hal` |
//! | [`advert`], [`ccm`] | BLE sensors that only advertise, and the seal on their frames |
//! | [`steamer`] | steamers: controller plus digital inputs, OPC 30200 modes, interlocks |
//! | [`gicisky`], [`esl`], [`oepl`] | BLE shelf tags: Gicisky / PICKSMART, Bluetooth SIG ESL, OpenEPaperLink |
//! | [`gs1`], [`label`] | codes of weighed articles, and label printers |
//! | [`mod@unit`], [`evidence`] | units, and bounded copies of bad bytes |
#![no_std]

extern crate alloc;

pub mod advert;
pub mod ccm;
pub mod ds18b20;
pub mod esl;
pub mod evidence;
pub mod gicisky;
pub mod gs1;
pub mod i2c;
pub mod label;
pub mod modbus;
pub mod node;
pub mod oepl;
pub mod profile;
pub mod scale;
pub mod scales;
pub mod steamer;
pub mod toledo8217;
pub mod unit;

pub use evidence::Evidence;
pub use unit::{CentiPercent, Grams, MilliCelsius};
