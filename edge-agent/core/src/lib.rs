//! Pure decisions of a store: what a reading means, what a ticket may say, what a price does next, which tag
//! is served when.
//!
//! Contract
//! * No IO, no clock, no threads: time is an argument ([`Moment`]), states are values.
//! * A decision is a proposal. The caller commits the facts and the state bytes of one decision in **one** transaction and
//!   shows, commands or answers nothing before that commit is durable. [`weighing::Latch`] keeps its proposal apart until
//!   it is told; the other states are plain values: step a clone, and put it in place of the old one after the commit.
//! * States that must survive a restart have `to_bytes` and `from_bytes`: versioned, checksummed, at most
//!   [`STATE_BYTES_MAX`]. Damaged bytes never stop anything: they give a safe fresh state and say so ([`Restored`]).
//! * Where time cannot be known (a restart with the clock set back) the answer is the one that protects the customer.
//!
//! Terms: *mono* = milliseconds of a clock that never goes back, of one run of the daemon; *wall* = unix milliseconds, may
//! jump; *gap* = time between two runs of the daemon.
//!
//! Deliberately not here: alarm acknowledgement and stock folds (`sync-store`), device protocols (`drv-protocol`).
#![no_std]

extern crate alloc;

pub mod batch;
pub mod excursion;
pub mod minute;
pub mod offer;
pub mod price;
mod saved;
pub mod shelf;
pub mod tagplan;
pub mod ticket;
pub mod weighing;

pub use saved::{Damage, Restored, STATE_BYTES_MAX};

use alloc::collections::BTreeMap;
use sync_model::{Article, Minor, Sku, UnixMillis};

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of the monotonic clock of this run.
    pub mono_ms: u64,
    /// Wall time.
    pub wall: UnixMillis,
}

impl Moment {
    /// A moment.
    pub fn new(mono_ms: u64, wall_ms: i64) -> Self {
        Self { mono_ms, wall: UnixMillis(wall_ms) }
    }
}

/// What the store knows of articles.
pub trait Catalogue {
    /// The article in its highest version.
    fn article(&self, sku: Sku) -> Option<Article>;
    /// What the tills charge now, per stock unit.
    fn price(&self, sku: Sku) -> Option<Minor>;
}

/// An article with what the tills charge for it: the value of a [`Catalogue`] held in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The article in its highest version.
    pub article: Article,
    /// What the tills charge now; `None` while a new article has no price yet.
    pub price: Option<Minor>,
}

impl Catalogue for BTreeMap<Sku, Listing> {
    fn article(&self, sku: Sku) -> Option<Article> {
        self.get(&sku).map(|listing| listing.article.clone())
    }

    fn price(&self, sku: Sku) -> Option<Minor> {
        self.get(&sku)?.price
    }
}
