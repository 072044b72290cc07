//! Configuration of the host side: which device hangs where, and how patiently it is asked.
//!
//! Contract
//! * Every table refuses unknown keys; every optional key has a default that is written here and nowhere else.
//! * [`HostConfig::check`] finds what serde cannot see: unknown bus or profile names, ids used twice, two owners of one
//!   port, values out of range. A configuration that passes it starts; what is missing at run time (a port that is
//!   unplugged, a bus that refuses) is a matter of health, not of configuration.
//! * Units are in the key names: `_ms` milliseconds, `_s` seconds, `_g` grams, `_mc` milli-degrees Celsius.

use serde::Deserialize;

mod check;

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
    /// Cold cabinets, on a bus or on a 1-Wire probe.
    #[serde(default)]
    pub cabinet: Vec<CabinetConfig>,
    /// Steamers, on a bus.
    #[serde(default)]
    pub steamer: Vec<SteamerConfig>,
    /// Shelf tags, on the BLE adapter.
    #[serde(default)]
    pub tag: Vec<TagConfig>,
    /// The BLE adapter; needed as soon as one tag is configured.
    #[serde(default)]
    pub ble: Option<BleConfig>,
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

/// Wire protocol of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ScaleProtocol {
    /// Mettler-Toledo 8217 / 8213.
    #[serde(rename = "toledo-8217")]
    Toledo8217,
}

/// One counter scale.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleConfig {
    /// Device name.
    pub id: String,
    /// Wire protocol.
    pub protocol: ScaleProtocol,
    /// Serial device path.
    pub port: String,
    /// Bits per second.
    #[serde(default = "scale_baud")]
    pub baud: u32,
    /// 7 or 8.
    #[serde(default = "seven")]
    pub data_bits: u8,
    /// Parity.
    #[serde(default = "even")]
    pub parity: ParityKind,
    /// Verification interval e in grams.
    pub interval_g: u32,
    /// Maximum capacity in grams.
    pub capacity_g: u32,
    /// Time between two weight requests.
    #[serde(default = "scale_poll")]
    pub poll_ms: u32,
    /// Silence between an answer and the next command; the 8217 wants 200 ms.
    #[serde(default = "scale_gap")]
    pub min_gap_ms: u32,
    /// How long one answer may take.
    #[serde(default = "scale_timeout")]
    pub timeout_ms: u32,
    /// Silence after which the scale counts as lost; default three polls, at least 1.5 s.
    #[serde(default)]
    pub lost_after_ms: Option<u32>,
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

/// One cold cabinet: either `bus` + `unit` + `profile`, or `w1`.
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
    /// 1-Wire sensor directory, for example `28-0316a2794c1f`.
    #[serde(default)]
    pub w1: Option<String>,
    /// Time between two readings.
    #[serde(default = "cabinet_poll")]
    pub poll_ms: u32,
    /// Silence after which the cabinet counts as lost; default three polls, at least 1.5 s.
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
    /// Device name.
    pub id: String,
    /// Bluetooth address, `FF:FF:92:00:00:01`.
    pub address: String,
    /// Model number as advertised (11 = 212x104 black, white, red).
    pub model: u16,
    /// Article on display. The host only carries it.
    pub sku: u64,
    /// How images are packed for this tag's firmware.
    #[serde(default)]
    pub encoding: TagEncoding,
}

/// How an image is packed for a tag; firmware families differ, and a wrong one leaves the panel unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagEncoding {
    /// Planes as they are.
    Raw,
    /// One literal chunk per panel line, header counting the whole stream.
    #[default]
    Lines,
    /// Compressed chunks of 64 bytes, header counting one plane ("compression 2").
    Chunks,
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
}

impl Default for W1Config {
    fn default() -> Self {
        Self { root: w1_root() }
    }
}

fn one() -> u8 {
    1
}
fn three() -> u8 {
    3
}
fn seven() -> u8 {
    7
}
fn even() -> ParityKind {
    ParityKind::Even
}
fn bus_timeout() -> u32 {
    300
}
fn mute_backoff() -> u32 {
    10_000
}
fn scale_baud() -> u32 {
    9600
}
fn scale_poll() -> u32 {
    250
}
fn scale_gap() -> u32 {
    200
}
fn scale_timeout() -> u32 {
    300
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
fn w1_root() -> String {
    "/sys/bus/w1/devices".to_owned()
}

/// Silence after which a polled device counts as lost: the configured value, else three polls and one second of
/// grace for the transport, at least 1.5 s.
#[must_use]
pub fn lost_after(poll_ms: u32, configured: Option<u32>) -> u64 {
    configured.map_or_else(|| (u64::from(poll_ms) * 3 + 500).max(1_500), u64::from)
}
