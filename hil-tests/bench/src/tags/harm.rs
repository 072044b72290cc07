//! Whether the till charges more than the glass of a tag shows, at every instant.
//!
//! Told of each change at the till and on each glass, in the order of time; knows nothing of plans, versions or
//! confirmations.

use std::collections::BTreeMap;

/// Till and glass of every article.
#[derive(Debug, Default)]
pub(super) struct Watch {
    till: BTreeMap<u64, i64>,
    /// By tag: its article, what it shows.
    glass: BTreeMap<u32, (u64, i64)>,
    tags: BTreeMap<u64, Vec<u32>>,
    /// Tags whose customers are harmed, since when.
    harmed: BTreeMap<u32, u64>,
    total_ms: u64,
}

impl Watch {
    /// The till charges a price from now on.
    pub(super) fn till(&mut self, sku: u64, price: i64, now_ms: u64) {
        self.till.insert(sku, price);
        for tag in self.tags.get(&sku).cloned().unwrap_or_default() {
            self.compare(tag, now_ms);
        }
    }

    /// Customers see a price on a tag from now on.
    pub(super) fn glass(&mut self, tag: u32, sku: u64, price: i64, now_ms: u64) {
        if self.glass.insert(tag, (sku, price)).is_none() {
            self.tags.entry(sku).or_default().push(tag);
        }
        self.compare(tag, now_ms);
    }

    fn compare(&mut self, tag: u32, now_ms: u64) {
        let Some((sku, shown)) = self.glass.get(&tag) else { return };
        let harms = self.till.get(sku).is_some_and(|charged| charged > shown);
        if harms {
            self.harmed.entry(tag).or_insert(now_ms);
        } else if let Some(since) = self.harmed.remove(&tag) {
            self.total_ms += now_ms.saturating_sub(since);
        }
    }

    /// Harm so far, in milliseconds summed over tags.
    pub(super) fn total_ms(&self, now_ms: u64) -> u64 {
        self.total_ms + self.harmed.values().map(|since| now_ms.saturating_sub(*since)).sum::<u64>()
    }

    /// Price on a tag's glass.
    pub(super) fn shown(&self, tag: u32) -> Option<i64> {
        self.glass.get(&tag).map(|(_, price)| *price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_runs_from_the_instant_the_till_is_above_until_it_is_not() {
        let mut watch = Watch::default();
        watch.till(7, 100, 0);
        watch.glass(1, 7, 100, 0);
        watch.glass(2, 7, 100, 0);
        watch.till(7, 90, 1_000);
        watch.glass(1, 7, 90, 2_000);
        assert_eq!(watch.total_ms(3_000), 0, "cheaper than shown harms nobody");
        watch.till(7, 95, 3_000);
        assert_eq!(watch.total_ms(3_500), 500, "tag 1 shows 90, tag 2 still 100");
        watch.glass(2, 7, 90, 4_000);
        watch.till(7, 90, 5_000);
        assert_eq!(watch.total_ms(9_000), 2_000 + 1_000);
        assert_eq!(watch.shown(2), Some(90));
    }
}
