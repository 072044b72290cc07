//! The customer never pays more than the label shows.
//!
//! States of one article: `Settled` (till and tags agree with the highest version), `Waiting` (its effective time has not
//! come), `TagsFirst` (going up: the till waits for tags), `TagsAfter` (the till is done, tags follow).
//!
//! | Next price | Till | Tags |
//! |---|---|---|
//! | not effective yet | keeps | show the till's price |
//! | first price of the article, or no tags | now | after |
//! | lower or equal | now | after the till's change is durable |
//! | higher | when every tag has confirmed this version | now |
//!
//! [`decide`] has no memory: it is called again after every durable change (a new article version, a `PriceChanged`, a tag's
//! confirmation) and at [`Plan::wake`]. So a restart in the middle of a change needs nothing of its own.
//!
//! Failure cases: a tag that never confirms holds a rise back, visibly ([`Plan::waiting_for`]); taking it out of the
//! configuration ends the wait. A confirmation of an older version never counts. A tag that shows less than the till
//! charges, because it was set up or replaced later, is written at once.

use alloc::vec::Vec;
use sync_model::{Article, DeviceId, Minor, PriceChanged, UnixMillis};

/// What the tills charge, with the version it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TillPrice {
    /// Per stock unit.
    pub price: Minor,
    /// Version of HQ's entry.
    pub version: u64,
}

/// A tag of the article and what it last confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The tag.
    pub tag: DeviceId,
    /// Confirmed price and version; `None` when it never confirmed this article.
    pub confirmed: Option<TillPrice>,
}

/// A tag to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTarget {
    /// The tag.
    pub tag: DeviceId,
    /// What it must show.
    pub show: TillPrice,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Commit this, then decide again.
    pub till: Option<PriceChanged>,
    /// Tags to write (again) now.
    pub tags: Vec<TagTarget>,
    /// Tags that hold a rise back.
    pub waiting_for: Vec<DeviceId>,
    /// Decide again at this time.
    pub wake: Option<UnixMillis>,
}

/// What the next step of an article's price is.
pub fn decide(article: &Article, till: Option<TillPrice>, tags: &[Shown], now: UnixMillis) -> Plan {
    let next = TillPrice { price: article.price, version: article.version };
    let Some(till) = till else {
        // Without a price the article cannot be sold at all: there is no label that could be undercut.
        return match now < article.effective {
            true => Plan { wake: Some(article.effective), ..Plan::default() },
            false => Plan { till: Some(change(article, None)), ..Plan::default() },
        };
    };
    if next.version <= till.version {
        return Plan { tags: targets(tags, till), ..Plan::default() };
    }
    if now < article.effective {
        return Plan { tags: targets(tags, till), wake: Some(article.effective), ..Plan::default() };
    }
    if next.price <= till.price {
        return Plan { till: Some(change(article, Some(till.price))), ..Plan::default() };
    }
    let tags = targets(tags, next);
    if tags.is_empty() {
        return Plan { till: Some(change(article, Some(till.price))), ..Plan::default() };
    }
    let waiting_for = tags.iter().map(|target| target.tag.clone()).collect();
    Plan { tags, waiting_for, ..Plan::default() }
}

/// Tags that do not show this.
fn targets(tags: &[Shown], show: TillPrice) -> Vec<TagTarget> {
    let stale = tags.iter().filter(|tag| tag.confirmed != Some(show));
    stale.map(|tag| TagTarget { tag: tag.tag.clone(), show }).collect()
}

fn change(article: &Article, from: Option<Minor>) -> PriceChanged {
    PriceChanged { sku: article.sku, from, to: article.price, version: article.version }
}
