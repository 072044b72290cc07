//! What the store shares with HQ and other stores: conflicts, overrides, the device registry, rights, statements.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    Conflicts = "conflicts";
    Overrides = "overrides";
    DeviceRegistry = "registry";
    Rights = "rights";
    Statements = "statements";
    StatementDetail = "statement";
}

/// `GET /v1/conflicts?all=`: merges that dropped or combined a business value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    /// Conflicts, settled ones only on demand.
    pub conflicts: Vec<Conflict>,
    /// How many there are in all; the list is bounded.
    pub total: usize,
}

/// One conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Names it for ever.
    pub id: String,
    /// `value-dropped`, `values-both`, `device-kept`, `device-both` or `fence-overspent`.
    pub kind: String,
    /// Register, device or article.
    pub subject: String,
    /// Both sides.
    pub sides: Vec<ConflictSide>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<i64>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictSide {
    /// `store.epoch` or `hq.epoch`.
    pub by: String,
    /// When, by the writer's clock; 0 where it has no moment.
    pub at_ms: i64,
    /// What it says.
    pub value: String,
    /// Whether it is in force.
    pub stands: bool,
}

/// `POST /v1/conflicts/{id}/settle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// Who is content with what stands.
    pub by: String,
}

/// `GET /v1/overrides`: registers that store and HQ both write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// By name.
    pub overrides: Vec<OverrideRow>,
}

/// One register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRow {
    /// Such as `threshold/cabinet-1/high`.
    pub name: String,
    /// Every value that stands; more than one is a conflict.
    pub values: Vec<OverrideValue>,
}

/// Value of an override.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideValue {
    /// None: as configured.
    Cleared,
    /// A number; for thresholds thousandths of a degree Celsius.
    Number(i64),
    /// Words.
    Note(String),
}

/// `POST /v1/overrides`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// `threshold/DEVICE/high`, `threshold/DEVICE/low` or `note/ANYTHING`.
    pub name: String,
    /// What it says from now on.
    pub value: OverrideValue,
    /// Who.
    pub by: String,
}

/// `GET /v1/registry`: devices as store and HQ list them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRegistry {
    /// By name.
    pub devices: Vec<RegistryRow>,
}

/// One device of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRow {
    /// Its id.
    pub device: String,
    /// `scale`, `cabinet`, `tag` or `steamer`.
    pub class: String,
    /// Address, serial number or place.
    pub label: String,
}

/// `POST /v1/registry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase", deny_unknown_fields)]
pub enum RegistryRequest {
    /// Adds a device, or describes it anew.
    Set {
        /// Its id.
        device: String,
        /// Its class.
        class: String,
        /// Address, serial number or place.
        label: String,
    },
    /// Removes a device.
    Remove {
        /// Its id.
        device: String,
    },
}

/// `GET /v1/rights?sku=`: rights to stock that is shared between stores and channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// By article and epoch, newest epoch first.
    pub rights: Vec<RightsRow>,
}

/// Rights of one article held by one epoch of this store; epoch 0 is what the store put into the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsRow {
    /// Article.
    pub sku: u64,
    /// Epoch.
    pub epoch: u32,
    /// May still be promised.
    pub held_milli: i64,
    /// Granted by HQ.
    pub granted_milli: i64,
    /// Promised to channels, voided promises taken off.
    pub promised_milli: i64,
    /// Consumed by goods that left without a promise.
    pub taken_milli: i64,
    /// Left without a right.
    pub shortfall_milli: i64,
    /// Given back to HQ.
    pub returned_milli: i64,
    /// Taken back by HQ.
    pub fenced_milli: i64,
}

/// `POST /v1/rights/return`: gives rights back to HQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightsReturnRequest {
    /// Article.
    pub sku: u64,
    /// How many, in thousandths of the stock unit.
    pub quantity_milli: i64,
}

/// `GET /v1/statements`: signed statements of business days, newest day first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statements {
    /// The store's public key, hexadecimal; `None`: it has no certificate and signs nothing.
    #[serde(default)]
    pub key: Option<String>,
    /// By day.
    pub statements: Vec<StatementBrief>,
}

/// What became of one day's statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementBrief {
    /// `YYYY-MM-DD`.
    pub day: String,
    /// `unsigned`, `signed`, `disputed`, `countersigned` or `rooted`.
    pub state: String,
    /// SHA-256 of the statement.
    #[serde(default)]
    pub digest: Option<String>,
    /// When the store signed it.
    #[serde(default)]
    pub signed_ms: Option<i64>,
    /// When HQ answered.
    #[serde(default)]
    pub answered_ms: Option<i64>,
    /// Number of the day root that holds it.
    #[serde(default)]
    pub root: Option<u64>,
    /// Why HQ disputes it: `rows`, `signature` or `ends`.
    #[serde(default)]
    pub reason: Option<String>,
    /// Rows that differ, the store's side first.
    #[serde(default)]
    pub rows: Vec<String>,
}

/// `GET /v1/statements/{day}?files=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementDetail {
    /// What became of it.
    pub brief: StatementBrief,
    /// Whether the ledger gives the statement that was signed; `None` when none was.
    #[serde(default)]
    pub agrees: Option<bool>,
    /// Sales, returns, and their lines.
    pub sales: u64,
    /// Returns.
    pub returns: u64,
    /// Lines of both.
    pub lines: u64,
    /// First ticket, `epoch.seq`.
    #[serde(default)]
    pub first: Option<String>,
    /// Last ticket, `epoch.seq`.
    #[serde(default)]
    pub last: Option<String>,
    /// Money accounts.
    pub money: Vec<StatedMoney>,
    /// Tax rates.
    pub taxes: Vec<StatedTax>,
    /// Articles.
    pub articles: Vec<StatedArticle>,
    /// Ends of the logs that were taken into account.
    pub ends: Vec<StatedLog>,
    /// The signed statement as a file, hexadecimal; only with `files=true`.
    #[serde(default)]
    pub file_hex: Option<String>,
    /// Its proof for the day root.
    #[serde(default)]
    pub proof_hex: Option<String>,
    /// The day root.
    #[serde(default)]
    pub root_hex: Option<String>,
}

/// A money account of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedMoney {
    /// ISO 4217.
    pub currency: String,
    /// Name of the account.
    pub account: String,
    /// Minor units; sales and tax negative.
    pub amount_minor: i64,
}

/// A tax rate of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedTax {
    /// ISO 4217.
    pub currency: String,
    /// Hundredths of a percent.
    pub rate: u16,
    /// Amounts with tax.
    pub gross_minor: i64,
    /// Tax contained.
    pub tax_minor: i64,
}

/// An article of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedArticle {
    /// ISO 4217.
    pub currency: String,
    /// Article number.
    pub sku: u64,
    /// Sold.
    pub sold_milli: i64,
    /// Brought back.
    pub returned_milli: i64,
    /// Paid by customers.
    pub charged_minor: i64,
    /// Paid to customers.
    pub refunded_minor: i64,
    /// Reductions.
    pub discount_minor: i64,
}

/// End of a log in a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedLog {
    /// Epoch.
    pub epoch: u32,
    /// Last position.
    pub upto: u64,
    /// Chain link there, hexadecimal.
    pub link: String,
}
