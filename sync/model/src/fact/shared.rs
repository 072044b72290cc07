//! What several writers touch: rights to shared stock, registers, the device registry, conflicts.
//!
//! Rights are a bounded counter. Only HQ issues and grants, in its log for the store; only the holder spends and returns, in
//! its own log; so no right is in two hands. Rights belong to (store, epoch): a restored store holds none until HQ says so.

use crate::{
    DeviceClass, DeviceId, Epoch, FactRef, Milli, ReservationOutcome, Seq, Sku, StoreId, Text, TransferLine,
    UnixMillis,
};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Shared stock promised to a channel, pending. Takes as many rights of the epoch that writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseOpened {
    /// Article.
    pub sku: Sku,
    /// Stock units, and rights.
    pub quantity: Milli,
    /// Channel name.
    pub channel: Text<16>,
    /// The channel's own order reference.
    pub reference: Text<40>,
    /// When the holder may void it.
    pub expires: UnixMillis,
}

/// The end of a promise. Voided: its rights are free again. Posted: the next goods that leave need none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseClosed {
    /// Which.
    pub promise: FactRef,
    /// Article, repeated so that the fold needs no look-up.
    pub sku: Sku,
    /// Stock units, repeated.
    pub quantity: Milli,
    /// Posted: the goods left through a sale; voided: they are free again.
    pub outcome: ReservationOutcome,
}

/// Goods under shared rights left the store without a promise of their own: a sale, waste, a transfer. Never refused: what
/// neither a posted promise nor the epoch's rights cover is a shortfall, which HQ makes good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsTaken {
    /// Article.
    pub sku: Sku,
    /// The fact that took the goods.
    pub of: FactRef,
    /// Covered by posted promises.
    pub posted: Milli,
    /// Rights consumed.
    pub rights: Milli,
    /// Not covered.
    pub shortfall: Milli,
}

/// Rights given back to HQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsReturned {
    /// Article.
    pub sku: Sku,
    /// How many.
    pub quantity: Milli,
}

/// Stock of the store goes into the shared pool (positive) or out of it (negative). HQ holds the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsIssued {
    /// Article.
    pub sku: Sku,
    /// How many rights, signed.
    pub quantity: Milli,
}

/// Rights handed from the pool to one epoch of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsGranted {
    /// The holder's epoch.
    pub epoch: Epoch,
    /// Article.
    pub sku: Sku,
    /// How many.
    pub quantity: Milli,
}

/// An epoch may spend no more. What HQ knows it to hold goes back to the pool; what it spent beyond is to be made good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochFenced {
    /// The epoch.
    pub epoch: Epoch,
    /// How far HQ had its log.
    pub upto: Seq,
    /// Rights taken back, at most 200 articles.
    pub lines: Vec<FencedLine>,
}

/// Rights of one article taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedLine {
    /// Article.
    pub sku: Sku,
    /// How many.
    pub quantity: Milli,
}

/// The rest of a transfer is booked as shrink: sent less arrived. Negative where more arrived than was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferClosed {
    /// The store's transfer-out fact.
    pub of: FactRef,
    /// Where it went.
    pub to: StoreId,
    /// Differences per article and lot, signed; none when everything arrived.
    pub lines: Vec<TransferLine>,
}

/// Context of an operation on something that store and HQ both write: its name and what its writer had seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteContext {
    /// The writer's how-manieth operation on this object, from 1.
    pub count: u64,
    /// Reading of the writer's hybrid clock: milliseconds times 65,536, plus a counter.
    pub hlc: u64,
    /// Writer (store times 2^32 plus epoch; store 0 is HQ) and how many of its operations were seen; at most 64 writers.
    pub seen: Vec<(u64, u64)>,
}

/// A register was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterWritten {
    /// Name: `note/...` is read as one value, everything else as all values that stand.
    pub name: Text<64>,
    /// What it says.
    pub value: RegisterValue,
    /// Name and context of the write.
    pub write: WriteContext,
}

/// Value of a register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegisterValue {
    /// No override.
    Cleared,
    /// A number in the unit that the name says.
    Number(i64),
    /// Words.
    Note(Text<200>),
}

/// The device registry was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryChanged {
    /// The device.
    pub device: DeviceId,
    /// Added or described anew; `None`: removed.
    pub entry: Option<DeviceEntry>,
    /// Name and context of the change.
    pub write: WriteContext,
}

/// What the registry says about a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// Its class.
    pub class: DeviceClass,
    /// Address, serial number or place, for a technician.
    pub label: Text<80>,
}

/// A person looked at a conflict and is content with what stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictSettled {
    /// Its id, as listed.
    pub conflict: Text<32>,
    /// Who.
    pub by: Text<32>,
}

/// HQ wrote a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HqRegisterWritten(pub RegisterWritten);

/// HQ changed the device registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HqRegistryChanged(pub RegistryChanged);

/// HQ settled a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HqConflictSettled(pub ConflictSettled);
