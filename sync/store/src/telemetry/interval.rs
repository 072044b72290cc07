//! Samples summed up by interval: least, greatest and mean of the good ones, and how many were bad. No IO, no clock.

use super::series::Point;
use std::collections::BTreeMap;
use sync_model::UnixMillis;

/// Most intervals of one answer.
pub const INTERVALS_MAX: i64 = 20_000;

/// The samples of one interval. Without a good sample there is no value at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its begin, a multiple of the length since 1970; it ends before the next multiple.
    pub from: UnixMillis,
    /// Good samples.
    pub good: u64,
    /// Bad samples: counted, never part of a value.
    pub bad: u64,
    /// Least, mean (rounded half up) and greatest value of the good samples.
    pub values: Option<Spread>,
}

/// Values of an interval, in the exact unit of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Least.
    pub min: i64,
    /// Mean, rounded half up.
    pub mean: i64,
    /// Greatest.
    pub max: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    good: u64,
    bad: u64,
    min: i64,
    max: i64,
    sum: i128,
}

/// Sums up samples in any order.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    every: i64,
    sums: BTreeMap<i64, Sum>,
    /// The interval of the last sample, kept out of the tree: most samples fall into the one of the sample before.
    open: Option<(i64, Sum)>,
}

impl Intervals {
    /// For intervals of `every` > 0 milliseconds.
    pub(super) fn new(every: i64) -> Self {
        Self { every: every.max(1), sums: BTreeMap::new(), open: None }
    }

    pub(super) fn add(&mut self, point: Point) {
        let from = point.at.0.div_euclid(self.every).saturating_mul(self.every);
        let mut sum = match self.open.take() {
            Some((open, sum)) if open == from => sum,
            other => {
                self.sums.extend(other);
                self.sums.get(&from).copied().unwrap_or_default()
            }
        };
        if point.good {
            sum.min = if sum.good == 0 { point.value } else { sum.min.min(point.value) };
            sum.max = if sum.good == 0 { point.value } else { sum.max.max(point.value) };
            sum.sum += i128::from(point.value);
            sum.good += 1;
        } else {
            sum.bad += 1;
        }
        self.open = Some((from, sum));
    }

    /// Those with samples, in order.
    pub(super) fn finish(mut self) -> Vec<Interval> {
        self.sums.extend(self.open.take());
        let each = |(from, sum): (i64, Sum)| {
            let values = (sum.good > 0).then(|| {
                let good = i128::from(sum.good);
                // A mean lies between two i64.
                let mean = i64::try_from((2 * sum.sum + good).div_euclid(2 * good)).unwrap_or(sum.max);
                Spread { min: sum.min, mean, max: sum.max }
            });
            Interval { from: UnixMillis(from), good: sum.good, bad: sum.bad, values }
        };
        self.sums.into_iter().map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(points: &[(i64, i64, bool)]) -> Vec<Interval> {
        let mut intervals = Intervals::new(10);
        points.iter().for_each(|(at, value, good)| {
            intervals.add(Point { at: UnixMillis(*at), value: *value, good: *good });
        });
        intervals.finish()
    }

    #[test]
    fn bad_samples_are_counted_and_never_averaged_in() {
        let found = sum(&[(10, 4, true), (19, 7, true), (12, 1_000, false), (-1, -3, true), (35, 9, false)]);
        let spread = |min, mean, max| Some(Spread { min, mean, max });
        let expected = [
            Interval { from: UnixMillis(-10), good: 1, bad: 0, values: spread(-3, -3, -3) },
            Interval { from: UnixMillis(10), good: 2, bad: 1, values: spread(4, 6, 7) },
            Interval { from: UnixMillis(30), good: 0, bad: 1, values: None },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_order_does_not_matter_and_the_ends_do_not_overflow() {
        let points = [(5, i64::MAX, true), (15, 1, true), (6, i64::MAX, true), (7, -2, false), (16, 2, true)];
        let mut turned = points;
        turned.reverse();
        assert_eq!(sum(&points), sum(&turned));
        assert_eq!(sum(&points)[0].values.unwrap().mean, i64::MAX);
        assert_eq!(sum(&[(1, -1, true), (2, -2, true)])[0].values.unwrap().mean, -1);
        let ends = [(i64::MIN, i64::MIN, true), (i64::MAX, i64::MIN, true)];
        assert_eq!(sum(&ends).len(), 2);
    }
}
