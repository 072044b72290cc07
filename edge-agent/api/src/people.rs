//! What people look at: status, devices, events, stock, settlement, alarms, batches, curves, checks.

use crate::schema::named;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

named! {
    Status = "status";
    Devices = "devices";
    DeviceDetail = "device";
    Frames = "frames";
    Events = "events";
    Stock = "stock";
    Sync = "sync";
    Alarms = "alarms";
    Batches = "batches";
    Curve = "curve";
    Doctor = "doctor";
    Health = "health";
    Verify = "verify";
    Backup = "backup";
    Done = "done";
}

/// `GET /v1/status`: one screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Store number.
    pub store: u32,
    /// `ok` or `degraded`.
    pub state: String,
    /// Why degraded, one line each.
    pub reasons: Vec<String>,
    /// What needs a hand, headquarters first, then what broke last.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// Troubles that are not listed.
    #[serde(default)]
    pub more_troubles: u32,
    /// Version of the daemon.
    pub software: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The daemon's wall clock.
    pub now_ms: i64,
    /// `synced`, `unsynced` or `suspect`.
    pub clock: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Devices by class (`scale`, `cabinet`, `tag`, `steamer`).
    pub devices: BTreeMap<String, ClassCount>,
    /// Alarms that are active.
    pub alarms: AlarmCount,
    /// Settlement in brief.
    pub sync: SyncBrief,
    /// Ledger in brief.
    pub ledger: LedgerBrief,
}

/// One thing that needs a hand: one cable, one device, one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The devices concerned, at most eight; `headquarters` for the way to HQ.
    pub devices: Vec<String>,
    /// How many devices are concerned.
    pub count: u32,
    /// `scale`, `cabinet`, `tag`, `steamer` or `hq`.
    pub class: String,
    /// `degraded`, `lost` or `failed`.
    pub state: String,
    /// When the first of them worked last.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Why, for programs: `port-missing`, `mute`, `noise`, …
    pub cause: String,
    /// Why, as the driver saw it.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

/// Devices of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// In the configuration.
    pub configured: u32,
    /// Seen at least once since start.
    pub seen: u32,
    /// Working.
    pub ok: u32,
    /// Working badly.
    pub degraded: u32,
    /// Not answering or given up.
    pub lost: u32,
}

/// Alarms that are active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmCount {
    /// All.
    pub open: u32,
    /// Nobody took notice yet.
    pub unacknowledged: u32,
    /// Put aside for a time.
    pub shelved: u32,
}

/// Settlement in brief.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncBrief {
    /// Whether an HQ is configured.
    pub configured: bool,
    /// Whether the broker is connected.
    pub connected: bool,
    /// Events that HQ has not acknowledged yet.
    pub lag: u64,
    /// When HQ acknowledged last.
    #[serde(default)]
    pub last_ack_ms: Option<i64>,
}

/// Ledger in brief.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerBrief {
    /// Current log, `store-up-epoch`.
    pub log: String,
    /// Last position.
    pub head: u64,
    /// Size of the file with its write-ahead log.
    pub bytes: u64,
    /// Free space on its disk.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// `ok`, `full` or `failed`.
    pub state: String,
    /// Set when the ledger had to be salvaged at start: where the evidence is.
    #[serde(default)]
    pub salvaged: Option<String>,
}

/// `GET /v1/devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// By id.
    pub devices: Vec<Device>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// `scale`, `cabinet`, `tag` or `steamer`.
    pub class: String,
    /// `unseen`, `ok`, `degraded`, `lost` or `failed`.
    pub state: String,
    /// Why, when not ok.
    #[serde(default)]
    pub reason: String,
    /// Why, for programs; empty when ok.
    #[serde(default)]
    pub cause: String,
    /// What to do; empty when ok.
    #[serde(default)]
    pub advice: String,
    /// When it worked last, when not ok.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Last answer or advertisement.
    #[serde(default)]
    pub last_seen_ms: Option<i64>,
    /// Last reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<DeviceReading>,
}

/// Last reading of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum DeviceReading {
    /// A scale.
    Scale {
        /// Screen state: `ready`, `measuring`, `accepted`, `fault`.
        state: String,
        /// Net weight.
        #[serde(default)]
        net_g: Option<i64>,
    },
    /// A cabinet.
    Cabinet {
        /// `None` when the sensor is at fault.
        #[serde(default)]
        temperature_mc: Option<i32>,
        /// `normal`, `defrost`, `drip`, `hold`, `fan-delay`, `door`.
        phase: String,
        /// Upper limit.
        #[serde(default)]
        high_mc: Option<i32>,
        /// Lower limit.
        #[serde(default)]
        low_mc: Option<i32>,
        /// What is wrong with the sensor.
        #[serde(default)]
        fault: Option<String>,
        /// Alarms that the controller itself raises, as its profile words them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alarms: Vec<String>,
    },
    /// A tag.
    Tag {
        /// Article.
        sku: u64,
        /// What it is known to show.
        #[serde(default)]
        shown_minor: Option<i64>,
        /// What it should show, when that differs.
        #[serde(default)]
        wanted_minor: Option<i64>,
        /// Battery.
        #[serde(default)]
        battery_mv: Option<u16>,
        /// Signal.
        #[serde(default)]
        rssi: Option<i16>,
    },
    /// A steamer.
    Steamer {
        /// OPC 30200 mode, lower case, such as `preheat`.
        mode: String,
        /// Whether a program runs.
        running: bool,
        /// Chamber.
        #[serde(default)]
        chamber_mc: Option<i32>,
        /// Core probe.
        #[serde(default)]
        core_mc: Option<i32>,
        /// Batch inside, `epoch.seq`.
        #[serde(default)]
        batch: Option<String>,
    },
}

/// `GET /v1/devices/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDetail {
    /// The device.
    pub device: Device,
    /// How it is connected, such as `modbus-rtu cold-1 unit 7`.
    pub connection: String,
    /// Counters of its driver.
    pub counters: BTreeMap<String, u64>,
    /// Last raw frames, hexadecimal, newest last.
    #[serde(default)]
    pub frames: Vec<String>,
}

/// `GET /v1/devices/{id}/frames?after=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// The device.
    pub device: String,
    /// How it is connected.
    pub connection: String,
    /// `serial`, `modbus-rtu`, `modbus-tcp`, `w1`, `ble` or `unknown`.
    pub wire: String,
    /// Version of the daemon.
    pub software: String,
    /// The frames, oldest first.
    pub frames: Vec<Frame>,
    /// Number of the last frame: the next question's `after`.
    pub next: u64,
    /// Frames after `after` that are not kept any more.
    pub missed: u64,
}

/// One raw frame of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Counted per device from 1.
    pub number: u64,
    /// Milliseconds since boot.
    pub mono_ms: u64,
    /// `>` to the device, `<` from it.
    pub way: String,
    /// Its bytes.
    pub hex: String,
    /// What it says.
    pub text: String,
}

/// `GET /v1/events?after=&limit=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// In log order. Without `after`: the last `limit`.
    pub events: Vec<EventRow>,
    /// Pass this as `after` to go on; absent when the log is empty.
    #[serde(default)]
    pub next: Option<String>,
}

/// One event of the store's own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// `epoch.seq`.
    pub id: String,
    /// Kind name, such as `weighing`.
    pub kind: String,
    /// When.
    pub at_ms: i64,
    /// Trust in that clock: `synced`, `unsynced` or `suspect`.
    pub clock: String,
    /// One line for a reader.
    pub text: String,
}

/// `GET /v1/stock?sku=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// By article and lot.
    pub rows: Vec<StockRow>,
}

/// Stock of one article and lot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRow {
    /// Article.
    pub sku: u64,
    /// Name, when the article is known.
    #[serde(default)]
    pub name: Option<String>,
    /// `piece`, `kilogram` or `litre`, when the article is known.
    #[serde(default)]
    pub unit: Option<String>,
    /// Lot, empty when none is kept.
    #[serde(default)]
    pub lot: String,
    /// On hand.
    pub on_hand_milli: i64,
    /// Promised to channels (per article; shown on its first row).
    pub reserved_milli: i64,
    /// Whether it is fresh food made in the store.
    #[serde(default)]
    pub fresh: bool,
}

/// `GET /v1/sync`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// In brief.
    pub brief: SyncBrief,
    /// `host:port` of the broker.
    #[serde(default)]
    pub broker: Option<String>,
    /// Since when connected or disconnected.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Why the connection ended last.
    #[serde(default)]
    pub last_error: Option<String>,
    /// Logs in both directions.
    pub logs: Vec<SyncLog>,
    /// Messages kept aside as unreadable or wrong.
    pub quarantined: u64,
}

/// One log and how far it is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncLog {
    /// `store-up-epoch` or `store-dn-epoch`.
    pub log: String,
    /// Last position known here.
    pub head: u64,
    /// Last position that the other side has durably.
    pub acked: u64,
    /// Last position handed to the broker.
    pub sent: u64,
}

/// `GET /v1/alarms?all=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms {
    /// Newest first.
    pub alarms: Vec<Alarm>,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// `epoch.seq` of its raising.
    pub id: String,
    /// Device.
    pub device: String,
    /// Kind, such as `too-warm`.
    pub kind: String,
    /// `unacknowledged`, `acknowledged`, `shelved` or `returned`.
    pub state: String,
    /// When the condition began.
    pub since_ms: i64,
    /// Value that broke the limit.
    #[serde(default)]
    pub value_mc: Option<i32>,
    /// The limit.
    #[serde(default)]
    pub limit_mc: Option<i32>,
    /// Worst value so far.
    #[serde(default)]
    pub worst_mc: Option<i32>,
    /// Who took notice or shelved.
    #[serde(default)]
    pub by: Option<String>,
    /// Until when shelved.
    #[serde(default)]
    pub until_ms: Option<i64>,
}

/// `POST /v1/alarms/{id}/ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// Who.
    pub by: String,
}

/// `POST /v1/alarms/{id}/shelve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShelveRequest {
    /// Who.
    pub by: String,
    /// For how long, 1 to 1440.
    pub minutes: u32,
}

/// `POST /v1/batches/{id}/discard`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscardRequest {
    /// Who.
    pub by: String,
}

/// `POST /v1/devices/{id}/scale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleOrderRequest {
    /// Who.
    pub by: String,
    /// What the scale is to do.
    pub order: ScaleOrder,
    /// With `tare`: this tare in grams instead of what lies on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tare_g: Option<i64>,
}

/// What a scale can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleOrder {
    /// Set zero.
    Zero,
    /// Take a tare.
    Tare,
    /// Forget the tare.
    ClearTare,
}

/// `GET /v1/batches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batches {
    /// Open batches and the last closed ones, newest first.
    pub batches: Vec<BatchRow>,
}

/// One steam batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRow {
    /// `epoch.seq` of its queueing.
    pub id: String,
    /// Steamer.
    pub device: String,
    /// Article.
    pub sku: u64,
    /// Name, when the article is known.
    #[serde(default)]
    pub name: Option<String>,
    /// State, such as `steaming`.
    pub state: String,
    /// Made.
    pub quantity_milli: i64,
    /// Left for sale.
    pub remaining_milli: i64,
    /// When it must be off sale.
    #[serde(default)]
    pub expires_ms: Option<i64>,
    /// When it was queued.
    pub queued_ms: i64,
}

/// `GET /v1/cabinets/{id}/curve?minutes=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// Cabinet.
    pub device: String,
    /// Upper limit.
    #[serde(default)]
    pub high_mc: Option<i32>,
    /// Lower limit.
    #[serde(default)]
    pub low_mc: Option<i32>,
    /// Oldest first; at most 2,000.
    pub points: Vec<CurvePoint>,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// When.
    pub at_ms: i64,
    /// `None`: no good sample, the curve has a hole.
    #[serde(default)]
    pub temperature_mc: Option<i32>,
}

/// `GET /v1/doctor`: the first ten checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// In the order in which to look.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Short name, such as `ledger-space`.
    pub name: String,
    /// `ok`, `warn`, `fail` or `skip`.
    pub state: String,
    /// What was found.
    pub found: String,
    /// What to do; empty when ok.
    #[serde(default)]
    pub advice: String,
}

/// `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `degraded`.
    pub state: String,
}

/// `POST /v1/ledger/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Whether everything holds.
    pub ok: bool,
    /// Events checked.
    pub events: u64,
    /// Logs checked.
    pub logs: u32,
    /// What does not hold, one line each.
    pub problems: Vec<String>,
    /// How long it took.
    pub took_ms: u64,
}

/// `POST /v1/backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// New file, absolute path.
    pub path: String,
}

/// Answer to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Answer to an order without a result of its own, such as a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done.
    pub text: String,
}
