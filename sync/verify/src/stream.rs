//! The histories of a captured stream: one chain per log, put together from blocks in whatever order they were captured.
//!
//! A log is *anchored* when its chain begins at genesis, or at a link that an acknowledgement in the capture names;
//! otherwise its first block is believed about what came before it.

use std::collections::BTreeMap;
use sync_core::Link;
use sync_core::replica::{Incoming, Prev};
use sync_model::{LogId, Seq};

/// Blocks kept while what comes before them is missing.
const WAITING_MAX: usize = 4_096;

/// What a block did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// It follows another link than the one before it.
    Prev { log: LogId, at: Seq },
    /// Another record under the name of one that was seen.
    Equivocation { log: LogId, at: Seq },
    /// Nothing says what came before it.
    Unanchored { log: LogId, first: Seq },
    /// Records between the end of the history and this block are missing.
    Gap { log: LogId, missing: (Seq, Seq) },
    /// More blocks wait than are kept.
    Crowd { log: LogId },
}

impl Break {
    /// Stable word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Prev { .. } => "chain-break",
            Self::Equivocation { .. } => "equivocation",
            Self::Unanchored { .. } => "unanchored",
            Self::Gap { .. } => "gap",
            Self::Crowd { .. } => "gaps",
        }
    }
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prev { log, at } => write!(f, "{log}: the block after {at} follows another link"),
            Self::Equivocation { log, at } => write!(f, "{log}: two different records at {at}"),
            Self::Unanchored { log, first } => {
                write!(
                    f,
                    "{log}: the block at {first} carries 8 bytes of the link before it, the capture not the rest"
                )
            }
            Self::Gap { log, missing: (from, upto) } => write!(f, "{log}: {from} to {upto} are missing"),
            Self::Crowd { log } => write!(f, "{log}: more than {WAITING_MAX} blocks wait for missing ones"),
        }
    }
}

/// One log's history as far as the capture shows it.
#[derive(Debug)]
pub(crate) struct History {
    /// Position before the first captured record.
    pub(crate) base: Seq,
    /// Whether the link at `base` is more than the first block's word.
    pub(crate) anchored: bool,
    /// Links at `base`, `base + 1`, …
    links: Vec<Link>,
}

impl History {
    /// Last position.
    pub(crate) fn end(&self) -> Seq {
        let records = u64::try_from(self.links.len()).unwrap_or(u64::MAX).saturating_sub(1);
        Seq(self.base.0.saturating_add(records))
    }

    /// The link at a position.
    pub(crate) fn link(&self, seq: Seq) -> Option<Link> {
        let offset = seq.0.checked_sub(self.base.0).and_then(|offset| usize::try_from(offset).ok())?;
        self.links.get(offset).copied()
    }
}

/// Every log of a capture.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    pub(crate) logs: BTreeMap<LogId, History>,
    /// Links that acknowledgements name.
    hints: BTreeMap<(LogId, Seq), Link>,
    waiting: BTreeMap<LogId, Vec<Incoming>>,
}

impl Histories {
    /// Takes note of a link that somebody acknowledged.
    pub(crate) fn hint(&mut self, log: LogId, seq: Seq, link: Link) {
        self.hints.entry((log, seq)).or_insert(link);
    }

    /// Takes a block in; returns what breaks. Blocks that come too early wait.
    pub(crate) fn take(&mut self, block: Incoming) -> Vec<Break> {
        let log = block.log;
        let mut breaks = Vec::new();
        self.place(block, &mut breaks);
        while let Some(next) = self.due(log) {
            self.place(next, &mut breaks);
        }
        breaks
    }

    /// A waiting block that the history has reached.
    fn due(&mut self, log: LogId) -> Option<Incoming> {
        let end = self.logs.get(&log)?.end();
        let waiting = self.waiting.get_mut(&log)?;
        let index = waiting.iter().position(|block| block.first.0 <= end.0.saturating_add(1))?;
        Some(waiting.swap_remove(index))
    }

    fn place(&mut self, block: Incoming, breaks: &mut Vec<Break>) {
        let log = block.log;
        let Some(before) = block.first.0.checked_sub(1).map(Seq) else {
            return breaks.push(Break::Prev { log, at: Seq::ZERO });
        };
        if !self.logs.contains_key(&log) {
            let hint = self.hints.get(&(log, before)).copied();
            let known = if before == Seq::ZERO { Some(Link::genesis(log)) } else { hint };
            let (link, anchored) = match (known, block.prev) {
                (Some(link), _) => (link, true),
                (None, Prev::Whole(link)) => (link, false),
                (None, Prev::Short(_)) => {
                    return breaks.push(Break::Unanchored { log, first: block.first });
                }
            };
            self.logs.insert(log, History { base: before, anchored, links: vec![link] });
        }
        let Some(history) = self.logs.get_mut(&log) else { return };
        if before > history.end() {
            let waiting = self.waiting.entry(log).or_default();
            if waiting.len() < WAITING_MAX {
                waiting.push(block);
            } else {
                breaks.push(Break::Crowd { log });
            }
            return;
        }
        let prev = match (history.link(before), block.prev) {
            (Some(link), prev) if prev.fits(&link) => link,
            (Some(_), _) => return breaks.push(Break::Prev { log, at: before }),
            // From before the first captured block: it must lead to the same link.
            (None, Prev::Whole(link)) => link,
            (None, Prev::Short(_)) => {
                return breaks.push(Break::Unanchored { log, first: block.first });
            }
        };
        let mut link = prev;
        for (offset, record) in (0_u64..).zip(&block.records) {
            let seq = Seq(block.first.0.saturating_add(offset));
            link = link.next(log, seq, record);
            match history.link(seq) {
                Some(known) if known == link => {}
                Some(_) => return breaks.push(Break::Equivocation { log, at: seq }),
                None if seq == history.end().next() => history.links.push(link),
                None => {}
            }
        }
    }

    /// Blocks that never had what comes before them.
    pub(crate) fn gaps(&self) -> Vec<Break> {
        let mut gaps = Vec::new();
        for (log, waiting) in &self.waiting {
            let Some(history) = self.logs.get(log) else { continue };
            if let Some(first) = waiting.iter().map(|block| block.first.0).min() {
                let missing = (history.end().next(), Seq(first.saturating_sub(1)));
                gaps.push(Break::Gap { log: *log, missing });
            }
        }
        gaps
    }
}
