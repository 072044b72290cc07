//! Which shelf tag is served next, by which adapter, and what keeps the others waiting.
//!
//! [`Planner`] decides, the caller acts: it starts what [`Planner::poll_job`] gives, says how it ended with
//! [`Planner::handle_ended`], makes durable what [`Planner::poll_settled`] gives and says so with
//! [`Planner::handle_confirmed`]. Time is an argument, milliseconds of one monotonic clock. What a tag has to show is
//! decided elsewhere ([`crate::price::decide`], joined with this plan in [`crate::shelf`]).
//!
//! # States of a tag
//! | State | Meaning | Leaves by |
//! |---|---|---|
//! | idle | nothing to do, or its work waits: ready in a queue, paused, or out of reach | `poll_job` |
//! | running | one job holds one connection slot | `handle_ended`, `lost_ms` without an answer |
//! | settling | the image is accepted, the panel still refreshes and may show the old one | `settle_ms` |
//! | confirming | the caller makes the confirmation durable | `handle_confirmed`, `handle_unconfirmed` |
//!
//! From the start of an image until its confirmation is durable it is *uncertain* what the tag shows:
//! [`Planner::shown`] says `None`, so no price at the till can rely on it. A failed attempt leaves it uncertain.
//!
//! # Order
//! Per adapter: flashes for pickers first (first come), then images by deadline, then drift checks within their share of
//! the air. When an image has been ready for `starve_ms`, every second start of its adapter belongs to the image that has
//! waited longest. So of *n* images ready that long, each is started within 2*n* starts of its adapter, whatever else
//! comes in. Work that is not urgent waits up to `weak_wait_ms` longer on a tag with a weak battery.
//!
//! The adapter of a tag is the one that hears it best: smoothed signal less [`FAILURE_COST_DB`] per failure in a row over
//! that adapter. An adapter without work of its own takes over tags that it hears at most `steal_db` worse.
//!
//! # Failure cases
//! | Case | Answer |
//! |---|---|
//! | attempt fails | pause, doubled from `retry_min_ms` to `retry_max_ms`, perhaps another adapter |
//! | `attempts` fail in a row | the tag rests for `rest_ms` ([`Blocker::Spent`]); then it may try as often again |
//! | no answer for `lost_ms` | counts as failed; a later answer is ignored by its number |
//! | tag not heard for `silent_ms` | not tried ([`Blocker::Silent`]) until it is heard again |
//! | every adapter that hears it is gone | not tried ([`Blocker::AdapterLost`]) |
//! | tag shows something else ([`Outcome::Differs`]) | uncertain, so that it is written again |
//! | flash not out before its end | dropped and counted |
//!
//! The radio must keep one promise: attempts on one tag take effect in the order in which they were started; one that was
//! given up never takes effect after the next one was confirmed.
//!
//! # Bounds
//! [`TAGS_MAX`] tags, [`ADAPTERS_MAX`] adapters, one order of a picker per [`Color`]; every call costs a bounded number of
//! operations on ordered sets ([`Planner::operations`]) per tag concerned, except adapters that come or go and the reports,
//! which look at every tag once.

mod adapter;
mod flash;
mod planner;
mod queue;
mod report;
mod tag;

pub use flash::{Color, Flash, FlashRefusal, ORDER_TAGS_MAX};
pub use planner::{Planner, PlannerFull};
pub use report::{Blocked, Blocker, PlanReport, TagReport, TagState};

use crate::price::TillPrice;

/// Most tags of a store.
pub const TAGS_MAX: usize = 20_000;
/// Most adapters of a gateway.
pub const ADAPTERS_MAX: usize = 8;
/// What a failure in a row over an adapter costs it in the choice for that tag.
pub const FAILURE_COST_DB: i32 = 6;

/// A tag by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagNo(pub u32);

/// An adapter by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterNo(pub u8);

/// The rules of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row after which a tag rests; 0 counts as 1.
    pub attempts: u8,
    /// Pause after the first failure.
    pub retry_min_ms: u64,
    /// Longest pause between two attempts.
    pub retry_max_ms: u64,
    /// Rest of a tag whose attempts are spent.
    pub rest_ms: u64,
    /// An image that has been ready for so long gets every second start.
    pub starve_ms: u64,
    /// Silence after which a tag is not tried.
    pub silent_ms: u64,
    /// An attempt without an answer for so long is given up.
    pub lost_ms: u64,
    /// From the tag's acceptance of an image until its panel surely shows it.
    pub settle_ms: u64,
    /// Below this battery voltage work that is not urgent waits.
    pub weak_mv: u16,
    /// How much longer it waits.
    pub weak_wait_ms: u64,
    /// How much worse an idle adapter may hear a tag that it takes over.
    pub steal_db: u8,
    /// Period of the drift check of one tag; 0 checks nothing.
    pub check_every_ms: u64,
    /// Share of each adapter's slots that checks may take.
    pub check_permille: u16,
    /// Length of an attempt as long as none was measured.
    pub assumed_ms: u32,
    /// Failures among 1000 attempts as long as none was measured.
    pub assumed_failed_permille: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 5,
            retry_min_ms: 5_000,
            retry_max_ms: 300_000,
            rest_ms: 900_000,
            starve_ms: 600_000,
            silent_ms: 120_000,
            lost_ms: 300_000,
            // Three-colour panels take seconds after the last block; 20 s is an assumption on the safe side.
            settle_ms: 20_000,
            weak_mv: 2_500,
            weak_wait_ms: 12 * 3_600_000,
            steal_db: 12,
            check_every_ms: 30 * 86_400_000,
            check_permille: 50,
            assumed_ms: 4_000,
            assumed_failed_permille: 50,
        }
    }
}

/// How soon an image has to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The price on the tag is not the till's, or holds a rise back.
    Price,
    /// The price is right, the picture is not the one of today's template.
    Layout,
}

/// What a tag has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Price and version.
    pub show: TillPrice,
    /// How soon.
    pub urgency: Urgency,
    /// Should be shown by then: orders the images and counts those that are late.
    pub due_ms: u64,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Write the image of this price.
    Image(TillPrice),
    /// See to it that the tag shows the image of this price: read it back, or where the family cannot, write it again.
    Check(TillPrice),
    /// Flash the LED.
    Flash(Flash),
}

/// A job to start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Comes back in [`Planner::handle_ended`].
    pub number: u64,
    /// The tag.
    pub tag: TagNo,
    /// Over this adapter.
    pub adapter: AdapterNo,
    /// What to do.
    pub work: Work,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The tag confirmed it.
    Done,
    /// It did not; an image may be shown all the same.
    Failed,
    /// Nothing left this gateway: no attempt is spent.
    NotStarted,
    /// A check found another image.
    Differs,
}
