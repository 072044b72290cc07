//! Raw samples of a device over a span of time, one by one or summed up by interval.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    Samples = "samples";
}

/// Metric number of temperatures, in thousandths of a degree.
pub const TEMPERATURE: u8 = 1;

/// `GET /v1/samples/{device}?metric=&from=&to=&every=`: times in Unix milliseconds, `every` in milliseconds.
///
/// Without `every`: `rows`, at most 10,000, and `next_ms` when there are more. With it: `intervals`, at most 10,000 asked
/// for, those without any sample left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Device.
    pub device: String,
    /// Which of its values; 1 is the temperature in thousandths of a degree.
    pub metric: u8,
    /// First time asked for.
    pub from_ms: i64,
    /// First time not asked for any more.
    pub to_ms: i64,
    /// Length of an interval; absent: single samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<i64>,
    /// In order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<SampleRow>,
    /// In order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<IntervalRow>,
    /// Ask again from here for the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<i64>,
    /// What is missing because it is damaged, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRow {
    /// When.
    pub at_ms: i64,
    /// The value in the exact unit of the metric; of a bad sample: what was read, `None` when nothing was.
    pub value: Option<i64>,
    /// Whether it can be trusted.
    pub good: bool,
}

/// The samples of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// Begin: a multiple of the length since 1970.
    pub from_ms: i64,
    /// Good samples; the values are theirs.
    pub good: u64,
    /// Bad samples.
    pub bad: u64,
    /// Least; `None` without a good sample.
    #[serde(default)]
    pub min: Option<i64>,
    /// Mean, rounded half up.
    #[serde(default)]
    pub mean: Option<i64>,
    /// Greatest.
    #[serde(default)]
    pub max: Option<i64>,
}
