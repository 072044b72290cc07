//! Shelf tags: the plan, what blocks it, LED orders of pickers.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    TagPlan = "tag-plan";
    Tags = "tags";
}

/// `GET /v1/tags/plan`: how far the labels are, when they should be done, what blocks them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagPlan {
    /// Tags with an image to show.
    pub images: u32,
    /// Of them: waiting for a slot of the radio.
    pub ready: u32,
    /// Of them: under way.
    pub running: u32,
    /// Of them: accepted, the panel still refreshes.
    pub settling: u32,
    /// Of them: cannot be started now.
    pub blocked: TagsBlocked,
    /// Of them: past the time at which they should be shown.
    pub late: u32,
    /// Tags with an LED to flash.
    pub flashes: u32,
    /// Since when the label that waits longest is wanted.
    #[serde(default)]
    pub oldest_ms: Option<i64>,
    /// When all should be shown that are neither silent nor without an adapter; absent when there is none.
    #[serde(default)]
    pub done_ms: Option<i64>,
    /// Rises that the tills do not charge yet, because tags have not confirmed them; at most 100.
    pub held: Vec<HeldRise>,
}

/// Tags that cannot be started, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsBlocked {
    /// No adapter runs that hears the tag.
    pub adapter_lost: u32,
    /// The tag is not heard.
    pub silent: u32,
    /// It waits for its next try.
    pub pausing: u32,
    /// Its tries are spent, it rests.
    pub spent: u32,
    /// Its battery is weak and the label is not urgent.
    pub battery: u32,
}

/// A rise that waits for tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRise {
    /// Article.
    pub sku: u64,
    /// What the tills charge.
    pub till_minor: i64,
    /// What they will charge.
    pub next_minor: i64,
    /// Tags without a confirmation.
    pub tags: Vec<String>,
}

/// `GET /v1/tags?bad=&limit=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// By id.
    pub tags: Vec<TagRow>,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRow {
    /// Its id.
    pub id: String,
    /// Article.
    pub sku: u64,
    /// What it confirmed last.
    #[serde(default)]
    pub confirmed_minor: Option<i64>,
    /// Whether it may show something else by now: an image was begun and not confirmed.
    #[serde(default)]
    pub uncertain: bool,
    /// What it has to show.
    #[serde(default)]
    pub wanted_minor: Option<i64>,
    /// `idle`, `ready`, `running`, `settling`, `adapter-lost`, `silent`, `pausing`, `spent` or `battery`.
    pub state: String,
    /// Since when: wanted, running, silent, or its adapter lost.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Until when it waits.
    #[serde(default)]
    pub until_ms: Option<i64>,
    /// Failures in a row.
    #[serde(default)]
    pub failed: u8,
    /// Battery.
    #[serde(default)]
    pub battery_mv: Option<u16>,
    /// Signal, smoothed.
    #[serde(default)]
    pub rssi: Option<i16>,
}

/// `POST /v1/tags/flash`: the LEDs of an order's tags, in its colour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlashRequest {
    /// The picker's order.
    pub order: u64,
    /// `red`, `green`, `blue`, `yellow`, `cyan`, `magenta` or `white`: one per order.
    pub color: String,
    /// 1 to 256 tags.
    pub tags: Vec<String>,
    /// For how long at most, 1 to 3600.
    pub seconds: u32,
}
