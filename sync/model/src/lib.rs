//! Vocabulary of Steelyard: ids, exact quantities, facts, stamps and their frozen byte form.
//!
//! Purpose: every other crate speaks in these types; nothing here does IO, reads a clock or allocates without bound.
//!
//! Contract
//! * Money, mass, stock and temperature are exact integers with their unit in the type name. No floats.
//! * A fact's kind number is never reused and its body layout never changes: a new layout is a new kind.
//! * A kind this build does not know is carried as [`Fact::Unknown`] and re-encodes to the same bytes.
//!
//! Terms: *fact* = what happened, immutable; *record* = the canonical bytes of a stamped fact; *log* = the append-only
//! sequence of records written by one (store, direction, epoch); *seq* = position in a log, from 1, without gaps.
//!
//! Deliberately not here: hashing and wire blocks (`sync-core`), SQL (`sync-store`), JSON shapes for people (`edge-api`).
#![no_std]

extern crate alloc;

mod fact;
mod id;
mod kind;
mod money;
mod quantity;
mod stamp;
mod text;

pub use fact::*;
pub use id::{
    DeviceId, Direction, Epoch, EventId, FactRef, LogId, LotId, ParseIdError, Seq, Sku, StoreId, TillId,
};
pub use kind::Kind;
pub use money::{Currency, Minor, RoundingError, extend_price};
pub use quantity::{Grams, Milli, MilliCelsius};
pub use stamp::{BusinessDay, ClockQuality, Stamp, UnixMillis};
pub use text::{Text, TextError};

/// Largest encoded record in bytes (stamp, kind and body). Larger input is refused before it is stored.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
