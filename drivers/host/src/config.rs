//! Configuration of the host side: which device hangs where, and how patiently it is asked.
//!
//! Contract
//! * Every table refuses unknown keys; every optional key has a default that is written here and nowhere else.
//! * [`HostConfig::check`] finds what serde cannot see: unknown bus or profile names, ids used twice, two owners of one
//!   port, values out of range. A configuration that passes it starts; what is missing at run time (a port that is
//!   unplugged, a bus that refuses) is a matter of health, not of configuration.
//! * Units are in the key names: `_ms` milliseconds, `_s` seconds, `_g` grams, `_mc` milli-degrees Celsius.

use drv_protocol::advert::Format;
use drv_protocol::i2c::Chip;
use serde::Deserialize;
use std::sync::Arc;

mod check;
mod scale;
mod tag;

pub use scale::{ScaleConfig, ScaleLine, ScaleProtocol};
pub use tag::{EslAddress, KeyText, TagAddress, TagEncoding, TagFamily, TagHeader, TagScan};

/// Most devices of all classes together.
pub const DEVICES_MAX: usize = 32_768;

/// All devices of one store and the buses and adapters they hang on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Modbus buses, each with exactly one owner.
    #[serde(default)]
    pub bus: Vec<BusConfig>,
    /// Counter scales, one serial port each.
    #[serde(default)]
    pub scale: Vec<ScaleConfig>,
    /// Cold cabinets, on a bus, on a 1-Wire probe, on an I2C chip or on an advertising sensor.
    #[serde(default)]
    pub cabinet: Vec<CabinetConfig>,
    /// Steamers, on a bus.
    #[serde(default)]
    pub steamer: Vec<SteamerConfig>,
    /// Shelf tags, on the BLE adapter.
    #[serde(default)]
    pub tag: Vec<TagConfig>,
    /// The BLE adapter; needed as soon as one tag or advertising sensor is configured.
    #[serde(default)]
    pub ble: Option<BleConfig>,
    /// I2C buses that cabinets' chips hang on.
    #[serde(default)]
    pub i2c: Vec<I2cConfig>,
    /// The 1-Wire tree; defaults apply when a cabinet uses it and the table is absent.
    #[serde(default)]
    pub w1: Option<W1Config>,
}

/// What a bus runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusKind {
    /// Modbus RTU on a serial port (`port`, `baud`, `parity`, `stop_bits`).
    ModbusRtu,
    /// Modbus TCP (`address`).
    ModbusTcp,
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParityKind {
    /// No parity bit.
    #[default]
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
}

/// One Modbus bus.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// Name that cabinets and steamers refer to.
    pub id: String,
    /// RTU or TCP.
    pub kind: BusKind,
    /// RTU: serial device path.
    #[serde(default)]
    pub port: Option<String>,
    /// RTU: bits per second, default 9600.
    #[serde(default)]
    pub baud: Option<u32>,
    /// RTU: parity, default none.
    #[serde(default)]
    pub parity: ParityKind,
    /// RTU: stop bits, 1 or 2, default 1.
    #[serde(default = "one")]
    pub stop_bits: u8,
    /// TCP: `host:port`.
    #[serde(default)]
    pub address: Option<String>,
    /// How long one answer may take.
    #[serde(default = "bus_timeout")]
    pub timeout_ms: u32,
    /// Silence kept between an answer and the next request (RTU: at least t3.5 in any case).
    #[serde(default)]
    pub turnaround_ms: u32,
    /// Longest poll interval that a mute unit is backed off to.
    #[serde(default = "mute_backoff")]
    pub mute_backoff_max_ms: u32,
}

/// Temperature limits of a cabinet. The host only carries them; the agent decides with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CabinetLimits {
    /// Upper limit in milli-degrees Celsius.
    pub high_mc: Option<i32>,
    /// Lower limit in milli-degrees Celsius.
    pub low_mc: Option<i32>,
    /// How long a limit must be exceeded before it is an alarm.
    pub delay_s: Option<u32>,
    /// Hysteresis on the way back.
    pub difference_mc: Option<u32>,
    /// Longest defrost that suspends the high alarm.
    pub defrost_cap_s: Option<u32>,
}

/// An I2C bus.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct I2cConfig {
    /// Name that cabinets refer to.
    pub id: String,
    /// Device file, `/dev/i2c-1`; better a link that a udev rule keeps to one adapter.
    pub path: String,
}

/// Where a chip is on an I2C bus.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct I2cSource {
    /// The id of an `[[i2c]]`.
    pub bus: String,
    /// Seven-bit address.
    pub address: u8,
    /// The chip.
    pub chip: Chip,
}

/// A sensor that advertises.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BleSource {
    /// Bluetooth address, `A4:C1:38:00:11:22`.
    pub address: String,
    /// How it advertises.
    pub format: Format,
    /// File with the key of an encrypting sensor: 32 hexadecimal digits. With a key, plain frames are refused. A systemd
    /// credential is such a file too.
    #[serde(default)]
    pub key_file: Option<String>,
    /// Whether a counter may start over (battery changed) once the sensor has been lost; otherwise only a restart of the
    /// host accepts it.
    #[serde(default = "yes")]
    pub counter_may_restart: bool,
}

/// One cold cabinet: either `bus` + `unit` + `profile`, or `w1`, or `i2c`, or `ble`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CabinetConfig {
    /// Device name.
    pub id: String,
    /// Bus it hangs on.
    #[serde(default)]
    pub bus: Option<String>,
    /// Modbus unit, 1 to 247.
    #[serde(default)]
    pub unit: Option<u8>,
    /// Profile that says which register is what.
    #[serde(default)]
    pub profile: Option<String>,
    /// Address offset instead of the profile's own, where `edgectl device probe` settled it: -1 or 0.
    #[serde(default)]
    pub address_offset: Option<i32>,
    /// 1-Wire sensor directory, for example `28-0316a2794c1f`.
    #[serde(default)]
    pub w1: Option<String>,
    /// A chip on an I2C bus.
    #[serde(default)]
    pub i2c: Option<I2cSource>,
    /// A sensor that advertises.
    #[serde(default)]
    pub ble: Option<BleSource>,
    /// Time between two readings; of an advertising sensor, the least time between two that are reported.
    #[serde(default = "cabinet_poll")]
    pub poll_ms: u32,
    /// Silence after which the cabinet counts as lost; default three polls, at least 1.5 s. Of an advertising sensor, how
    /// old its newest measurement may be; default [`BleConfig::lost_after_ms`].
    #[serde(default)]
    pub lost_after_ms: Option<u32>,
    /// See [`CabinetLimits::high_mc`].
    #[serde(default)]
    pub high_mc: Option<i32>,
    /// See [`CabinetLimits::low_mc`].
    #[serde(default)]
    pub low_mc: Option<i32>,
    /// See [`CabinetLimits::delay_s`].
    #[serde(default)]
    pub delay_s: Option<u32>,
    /// See [`CabinetLimits::difference_mc`].
    #[serde(default)]
    pub difference_mc: Option<u32>,
    /// See [`CabinetLimits::defrost_cap_s`].
    #[serde(default)]
    pub defrost_cap_s: Option<u32>,
}

impl CabinetConfig {
    /// The limits of this cabinet as one value.
    #[must_use]
    pub fn limits(&self) -> CabinetLimits {
        CabinetLimits {
            high_mc: self.high_mc,
            low_mc: self.low_mc,
            delay_s: self.delay_s,
            difference_mc: self.difference_mc,
            defrost_cap_s: self.defrost_cap_s,
        }
    }
}

/// One steamer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteamerConfig {
    /// Device name.
    pub id: String,
    /// Bus it hangs on.
    pub bus: String,
    /// Modbus unit of the controller, 1 to 247.
    pub unit: u8,
    /// Profile that says which register is what.
    pub profile: String,
    /// Time between two readings.
    #[serde(default = "steamer_poll")]
    pub poll_ms: u32,
    /// Silence after which the steamer counts as lost; default three polls, at least 1.5 s.
    #[serde(default)]
    pub lost_after_ms: Option<u32>,
}

/// One shelf tag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagConfig {
    /// Device name. Whatever knows the tag shares it.
    pub id: Arc<str>,
    /// Bluetooth address, `FF:FF:92:00:00:01`.
    pub address: TagAddress,
    /// Model number as advertised (11 = 212x104 black, white, red); an ESL label has none: 0.
    #[serde(default)]
    pub model: u16,
    /// Article on display. The host only carries it.
    pub sku: u64,
    /// What protocol the tag speaks.
    #[serde(default)]
    pub family: TagFamily,
    /// Gicisky: how images are packed for this tag's firmware.
    #[serde(default)]
    pub encoding: TagEncoding,
    /// Gicisky, encodings `lines` and `chunks`: what the stream's header counts, where the firmware differs.
    #[serde(default)]
    pub header: Option<TagHeader>,
    /// Gicisky and OEPL: the firmware shows 1 as black in the black plane.
    #[serde(default)]
    pub inverted: bool,
    /// Gicisky and OEPL: the order in which this panel's memory runs, where it is another than the model's.
    #[serde(default)]
    pub scan: Option<TagScan>,
    /// ESL: the label's address.
    #[serde(default)]
    pub esl: Option<EslAddress>,
    /// ESL: key and vector of the label's responses, 48 hex digits.
    #[serde(default)]
    pub response_key: Option<KeyText>,
}

/// The BLE adapter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BleConfig {
    /// Adapter name such as `hci0`; default: the first in name order.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Length of one scan window; a new window re-arms the controller's scan.
    #[serde(default = "ble_scan")]
    pub scan_ms: u32,
    /// Limit for a connect including service resolution.
    #[serde(default = "ble_connect")]
    pub connect_timeout_ms: u32,
    /// Limit for every single GATT operation and for the wait for a notification.
    #[serde(default = "ble_operation")]
    pub operation_timeout_ms: u32,
    /// Limit for one whole tag write attempt after the connect.
    #[serde(default = "ble_transfer")]
    pub transfer_timeout_ms: u32,
    /// Attempts per tag write.
    #[serde(default = "three")]
    pub attempts: u8,
    /// Silence after which a tag counts as lost.
    #[serde(default = "ble_lost")]
    pub lost_after_ms: u32,
    /// Connections at the same time; controllers differ, and some take one only.
    #[serde(default = "one")]
    pub connections: u8,
    /// Scanning time in which not a single advertisement is heard, of whatever device, before the adapter itself is suspect;
    /// 0 never suspects it.
    #[serde(default = "ble_canary")]
    pub canary_ms: u32,
    /// ESL: key and vector of the sync packets, 48 hex digits.
    #[serde(default)]
    pub sync_key: Option<KeyText>,
}

impl Default for BleConfig {
    fn default() -> Self {
        Self {
            adapter: None,
            scan_ms: ble_scan(),
            connect_timeout_ms: ble_connect(),
            operation_timeout_ms: ble_operation(),
            transfer_timeout_ms: ble_transfer(),
            attempts: three(),
            lost_after_ms: ble_lost(),
            connections: one(),
            canary_ms: ble_canary(),
            sync_key: None,
        }
    }
}

/// The 1-Wire sysfs tree.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct W1Config {
    /// Directory that holds one folder per sensor.
    #[serde(default = "w1_root")]
    pub root: String,
    /// Resolution set on every sensor that can be set, 9 to 12 bits; as it is when absent. Needs the right to write to the
    /// sensors' files.
    #[serde(default)]
    pub resolution: Option<u8>,
}

impl Default for W1Config {
    fn default() -> Self {
        Self { root: w1_root(), resolution: None }
    }
}

fn yes() -> bool {
    true
}
fn one() -> u8 {
    1
}
fn three() -> u8 {
    3
}
fn bus_timeout() -> u32 {
    300
}
fn mute_backoff() -> u32 {
    10_000
}
fn cabinet_poll() -> u32 {
    5_000
}
fn steamer_poll() -> u32 {
    1_000
}
fn ble_scan() -> u32 {
    30_000
}
fn ble_connect() -> u32 {
    15_000
}
fn ble_operation() -> u32 {
    5_000
}
fn ble_transfer() -> u32 {
    90_000
}
fn ble_lost() -> u32 {
    120_000
}
fn ble_canary() -> u32 {
    120_000
}
fn w1_root() -> String {
    "/sys/bus/w1/devices".to_owned()
}

/// Silence after which a polled device counts as lost: the configured value, else three polls and one second of
/// grace for the transport, at least 1.5 s.
#[must_use]
pub fn lost_after(poll_ms: u32, configured: Option<u32>) -> u64 {
    configured.map_or_else(|| (u64::from(poll_ms) * 3 + 500).max(1_500), u64::from)
}
