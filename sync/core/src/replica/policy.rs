//! How often HQ answers bad messages: rate bounds per store for keeping aside, refusing and judging.
//!
//! Purpose: a store that sends nonsense for ever must fill neither HQ's file nor its own down log nor the line.
//! Time is monotonic milliseconds and an argument.

use alloc::collections::BTreeMap;
use sync_model::{EventId, StoreId};

/// Stores with their own allowance; any further ones share one.
const STORES_MAX: usize = 20_000;

/// The same verdict is not repeated for this long.
const REPEAT_MS: u64 = 3_600_000;

/// A bucket of tokens that refills with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    burst: u64,
    every_ms: u64,
    tokens: u64,
    counted_ms: u64,
}

impl Bucket {
    fn new(burst: u64, every_ms: u64) -> Self {
        Self { burst, every_ms, tokens: burst, counted_ms: 0 }
    }

    fn take(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.counted_ms) / self.every_ms;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(self.burst);
            self.counted_ms += earned * self.every_ms;
        }
        let granted = self.tokens > 0;
        self.tokens -= u64::from(granted);
        granted
    }
}

/// One store's allowances.
#[derive(Clone, Debug)]
struct Allowance {
    quarantine: Bucket,
    nak: Bucket,
    verdict: Bucket,
    /// What was judged last, and when.
    judged: Option<(&'static str, Option<EventId>, u64)>,
}

impl Allowance {
    fn new() -> Self {
        Self {
            quarantine: Bucket::new(20, 5_000),
            nak: Bucket::new(50, 500),
            verdict: Bucket::new(5, 60_000),
            judged: None,
        }
    }
}

/// What may be done about a bad message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    /// Keep the bytes.
    pub(super) keep: bool,
    /// Tell the sender at once.
    pub(super) nak: bool,
    /// Put it on record in the store's down log.
    pub(super) verdict: bool,
}

/// The rate bounds of a fleet.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    stores: BTreeMap<StoreId, Allowance>,
    /// For topics without a store, and for stores beyond [`STORES_MAX`].
    others: Allowance,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self { stores: BTreeMap::new(), others: Allowance::new() }
    }

    /// Rules on a bad message. Without a store there is nobody to answer.
    pub(super) fn rule(
        &mut self,
        now_ms: u64,
        store: Option<StoreId>,
        code: &'static str,
        of: Option<EventId>,
    ) -> Ruling {
        let allowance = self.allowance(store);
        let keep = allowance.quarantine.take(now_ms);
        if store.is_none() {
            return Ruling { keep, nak: false, verdict: false };
        }
        let nak = allowance.nak.take(now_ms);
        let repeated = allowance
            .judged
            .is_some_and(|(was, by, at)| was == code && by == of && now_ms.saturating_sub(at) < REPEAT_MS);
        let verdict = !repeated && allowance.verdict.take(now_ms);
        if verdict {
            allowance.judged = Some((code, of, now_ms));
        }
        Ruling { keep, nak, verdict }
    }

    fn allowance(&mut self, store: Option<StoreId>) -> &mut Allowance {
        let known = store.filter(|store| self.stores.contains_key(store) || self.stores.len() < STORES_MAX);
        match known {
            Some(store) => self.stores.entry(store).or_insert_with(Allowance::new),
            None => &mut self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_model::{Direction, Epoch, LogId, Seq};

    const STORE: Option<StoreId> = Some(StoreId(7));

    fn event(seq: u64) -> Option<EventId> {
        let log = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1) };
        Some(EventId { log, seq: Seq(seq) })
    }

    #[test]
    fn a_flood_is_kept_refused_and_judged_within_bounds() {
        let mut policy = Policy::new();
        let (mut kept, mut naks, mut verdicts) = (0, 0, 0);
        // One bad message per millisecond for ten minutes, each about another event.
        for now in 0..600_000 {
            let ruling = policy.rule(now, STORE, "equivocation", event(now));
            kept += u32::from(ruling.keep);
            naks += u32::from(ruling.nak);
            verdicts += u32::from(ruling.verdict);
        }
        assert_eq!((kept, naks, verdicts), (20 + 119, 50 + 1_199, 5 + 9));
    }

    #[test]
    fn the_same_verdict_is_given_once_per_hour() {
        let mut policy = Policy::new();
        assert!(policy.rule(0, STORE, "undecodable", None).verdict);
        assert!(!policy.rule(1_000, STORE, "undecodable", None).verdict);
        assert!(policy.rule(2_000, STORE, "equivocation", event(4)).verdict);
        assert!(!policy.rule(3_000, STORE, "equivocation", event(4)).verdict);
        assert!(policy.rule(4_000, STORE, "equivocation", event(5)).verdict);
        assert!(policy.rule(4_000 + REPEAT_MS, STORE, "equivocation", event(5)).verdict);
    }

    #[test]
    fn one_store_does_not_use_up_another_ones_allowance() {
        let mut policy = Policy::new();
        for _ in 0..1_000 {
            policy.rule(0, STORE, "undecodable", None);
        }
        let all = Ruling { keep: true, nak: true, verdict: true };
        assert_eq!(policy.rule(0, Some(StoreId(8)), "undecodable", None), all);
        assert_eq!(
            policy.rule(0, None, "bad-topic", None),
            Ruling { keep: true, nak: false, verdict: false }
        );
    }

    #[test]
    fn stores_beyond_the_limit_share_one_allowance() {
        let mut policy = Policy::new();
        for store in 1..=40_000 {
            policy.rule(0, Some(StoreId(store)), "undecodable", None);
        }
        assert_eq!(policy.stores.len(), STORES_MAX);
        assert!(!policy.rule(0, Some(StoreId(50_000)), "undecodable", None).keep);
    }
}
