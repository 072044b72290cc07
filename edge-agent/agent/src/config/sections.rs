//! What the configuration file may say, with the defaults. Every table refuses unknown keys.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use sync_model::Currency;

/// `[store]`: who this store is. A change needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// Store number, from 1.
    pub id: u32,
    /// ISO 4217 code of the tills.
    pub currency: Currency,
    /// The store's time zone as minutes east of UTC: it bounds the trading day.
    pub utc_offset_minutes: i16,
}

/// `[ledger]`: where facts are kept. `dir`, `max_bytes` and `queue` need a restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSection {
    /// Folder of the ledger file; created when missing.
    pub dir: PathBuf,
    /// Ceiling of the ledger file; absent = the disk.
    pub max_bytes: Option<u64>,
    /// Free-space floor: below it tills are refused, below twice of it telemetry is shed.
    #[serde(default = "default_reserve")]
    pub reserve_bytes: u64,
    /// Jobs that may wait for the writer thread.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Days that records stay after HQ has acknowledged them. HQ's backups must be younger.
    #[serde(default = "default_keep_days")]
    pub keep_days: u32,
}

/// Fewest days that records stay: as long as idempotency keys.
pub const KEEP_DAYS_MIN: u32 = 90;

fn default_keep_days() -> u32 {
    KEEP_DAYS_MIN
}

fn default_reserve() -> u64 {
    256 * 1024 * 1024
}

fn default_queue() -> usize {
    256
}

/// `[api]`: where people and tills connect. Addresses need a restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSection {
    /// Unix socket for people.
    pub socket: PathBuf,
    /// Loopback address for tills and the page.
    pub listen: SocketAddr,
    /// Requests served at once; more are answered 503.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// A request is given up after this time.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_concurrency() -> usize {
    256
}

fn default_timeout_ms() -> u64 {
    10_000
}

/// `[hq]`: the broker on the way to headquarters. Absent = a store of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HqSection {
    /// Broker name or address.
    pub host: String,
    /// Broker port.
    #[serde(default = "default_mqtt_port")]
    pub port: u16,
    /// MQTT keep-alive.
    #[serde(default = "default_keep_alive_s")]
    pub keep_alive_s: u16,
    /// Unacknowledged bytes on the way.
    #[serde(default = "default_window_bytes")]
    pub window_bytes: usize,
    /// Records of one block.
    #[serde(default = "default_block_bytes")]
    pub block_bytes: usize,
    /// How long a lone fact waits for company.
    #[serde(default = "default_linger_ms")]
    pub linger_ms: u64,
    /// Shortest wait for an ack.
    #[serde(default = "default_retry_min_ms")]
    pub retry_min_ms: u64,
    /// Longest wait for an ack.
    #[serde(default = "default_retry_max_ms")]
    pub retry_max_ms: u64,
    /// Silence after which the store introduces itself again.
    #[serde(default = "default_hello_s")]
    pub hello_s: u64,
    /// Identity for mutual TLS. Absent = plain MQTT, for development and private lines.
    pub tls: Option<HqTlsSection>,
}

/// `[hq.tls]`: the store's identity, as `sync-hq ca enroll` wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HqTlsSection {
    /// The CA that signs broker and stores.
    pub ca: PathBuf,
    /// This store's certificate; its common name is the store's number.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl HqTlsSection {
    /// The files as the pipe takes them.
    pub fn files(&self) -> sync_mqtt::TlsFiles {
        sync_mqtt::TlsFiles { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() }
    }
}

fn default_mqtt_port() -> u16 {
    1883
}

fn default_keep_alive_s() -> u16 {
    240
}

fn default_window_bytes() -> usize {
    256 * 1024
}

fn default_block_bytes() -> usize {
    sync_core::BLOCK_BYTES_MAX
}

fn default_linger_ms() -> u64 {
    500
}

fn default_retry_min_ms() -> u64 {
    2_000
}

fn default_retry_max_ms() -> u64 {
    60_000
}

fn default_hello_s() -> u64 {
    30
}

/// `[profiles]`: device profiles.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfilesSection {
    /// Folder of the profile files; the file name without `.toml` is the profile's name.
    pub dir: PathBuf,
}

/// `[telemetry]`: raw samples beside the ledger, for curves. Never part of the record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// Days kept.
    pub keep_days: u32,
    /// Bytes on disk at most; the oldest samples go first.
    pub max_bytes: u64,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { keep_days: 90, max_bytes: 4 << 30 }
    }
}

/// `[prices]`: the price and tag pump.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricesSection {
    /// How often due prices and unconfirmed tags are looked at.
    pub tick_ms: u64,
    /// First wait after a tag did not confirm; doubles up to `retry_max_s`.
    pub retry_min_s: u64,
    /// Longest wait between tries of one tag.
    pub retry_max_s: u64,
    /// Tag jobs handed to the radio at once.
    pub tags_in_flight: u16,
    /// Tries in a row after which a tag rests.
    pub attempts: u8,
    /// How long.
    pub rest_s: u64,
    /// From a new price until its tag should show it; orders the tags and counts those that are late.
    pub due_s: u64,
    /// From a tag's acceptance of an image until its panel surely shows it: a rise waits for that at the till.
    pub refresh_s: u64,
    /// A label that has been ready for so long gets every second slot, whatever else comes in.
    pub starve_s: u64,
    /// Below this battery voltage a tag gets new prices only, anything else later.
    pub weak_mv: u16,
    /// Every label is written again once in so many days, in case it shows something else; 0: never.
    pub check_days: u16,
}

impl Default for PricesSection {
    fn default() -> Self {
        Self {
            tick_ms: 500,
            retry_min_s: 5,
            retry_max_s: 300,
            tags_in_flight: 4,
            attempts: 5,
            rest_s: 900,
            due_s: 600,
            refresh_s: 20,
            starve_s: 600,
            weak_mv: 2_500,
            check_days: 30,
        }
    }
}

/// `[labels]`: what shelf tags look like.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelsSection {
    /// Folder of template files; the file name without `.toml` is the template's name. Absent = `shelf` and `promotion`, which
    /// come with the daemon.
    pub templates: Option<PathBuf>,
    /// Template of everyday prices.
    pub template: String,
    /// Template of prices with an old price beside them.
    pub promotion: String,
    /// Sign before prices; absent = the store's currency.
    pub currency: Option<String>,
    /// What a price is for, of articles that are counted.
    pub piece: String,
    /// The same of articles that are weighed.
    pub kilogram: String,
    /// The same of articles that are measured.
    pub litre: String,
}

impl Default for LabelsSection {
    fn default() -> Self {
        Self {
            templates: None,
            template: "shelf".into(),
            promotion: "promotion".into(),
            currency: None,
            piece: String::new(),
            kilogram: "/kg".into(),
            litre: "/L".into(),
        }
    }
}

/// `[steam]`: rules for every steamer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteamSection {
    /// Hot food must stay at least this warm.
    pub hot_hold_mc: i32,
    /// How long a steamer must report low water or over-temperature before it is an alarm.
    pub flag_delay_s: u32,
}

impl Default for SteamSection {
    fn default() -> Self {
        Self { hot_hold_mc: 60_000, flag_delay_s: 2 }
    }
}

/// `[cabinets]`: what a `[[cabinet]]` does not say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CabinetsSection {
    /// How long a limit must be broken.
    pub delay_s: u32,
    /// How far inside the limit a value must be to end an alarm.
    pub difference_mc: u32,
    /// How long a sensor must be at fault.
    pub fault_delay_s: u32,
    /// How long a cabinet must be silent beyond what its driver waits.
    pub lost_delay_s: u32,
    /// Longest time that defrost or an open door may hold back the high alarm.
    pub defrost_cap_s: u32,
    /// How long the door may be open.
    pub door_delay_s: u32,
}

impl Default for CabinetsSection {
    fn default() -> Self {
        Self {
            delay_s: 900,
            difference_mc: 1_000,
            fault_delay_s: 30,
            lost_delay_s: 0,
            defrost_cap_s: 3_600,
            door_delay_s: 300,
        }
    }
}

/// `[backup]`: what the doctor expects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupSection {
    /// Oldest backup that is still fine.
    pub max_age_h: u32,
}

impl Default for BackupSection {
    fn default() -> Self {
        Self { max_age_h: 26 }
    }
}

/// `[channels]`: share of the offer per sales channel, in thousandths.
pub type Channels = BTreeMap<String, u16>;
