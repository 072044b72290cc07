//! Getting back what this side wrote and lost: which logs, up to where the peer has them, and where to ask from.

use crate::{Ack, Link};
use alloc::collections::BTreeMap;
use sync_model::{LogId, Seq};

/// Logs that can be asked for at a time; a peer that claims more is answered in turns.
const LOGS_MAX: usize = 16;
/// Asks without progress before the asker stops waiting.
const ASKS_MAX: u32 = 6;
/// Asks answered with nothing new after which the peer has nothing more.
const ECHOES: u32 = 2;

/// One log that the peer has more of, or differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Durable at the peer, as far as it said.
    pub(super) peer: Seq,
    /// Asked from here: up to here this side has the log, and believes to have it as the peer has it.
    pub(super) from: Seq,
    /// Own link at `from`, once read.
    pub(super) link: Option<Link>,
    /// How far the next refusal steps back.
    step: u64,
    /// When to ask (again).
    pub(super) ask_at: u64,
    asks: u32,
    /// The ask after which the peer last sent nothing new.
    echoed: u32,
    /// Asks that were answered with nothing new.
    echoes: u32,
    since: u64,
}

impl Lost {
    fn moved(&mut self, now: u64) {
        self.asks = 0;
        self.echoed = 0;
        self.echoes = 0;
        self.since = now;
    }
}

/// What a returned block that this side has already says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Equal {
    /// The peer has more, which is asked for.
    More,
    /// The peer has nothing more: both have the same up to here. What this side has beyond is news to the peer.
    End(Seq),
}

/// Everything that is being asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Recall {
    lost: BTreeMap<LogId, Lost>,
}

impl Recall {
    /// The peer has `peer` of the log; this side believes to share `from` with it. True: this is news.
    pub(super) fn note(&mut self, now: u64, log: LogId, peer: Seq, from: Seq) -> bool {
        if let Some(lost) = self.lost.get_mut(&log) {
            lost.peer = lost.peer.max(peer);
            return false;
        }
        if self.lost.len() >= LOGS_MAX {
            return false;
        }
        let link = (from == Seq::ZERO).then(|| Link::genesis(log));
        let (asks, echoed, echoes) = (0, 0, 0);
        let lost = Lost { peer, from, link, step: 1, ask_at: now, asks, echoed, echoes, since: now };
        self.lost.insert(log, lost);
        true
    }

    pub(super) fn contains(&self, log: LogId) -> bool {
        self.lost.contains_key(&log)
    }

    /// A log whose own link has to be read before it can be asked for.
    pub(super) fn wants_link(&self, now: u64) -> Option<(LogId, Seq)> {
        let waits = |lost: &Lost| lost.link.is_none() && lost.ask_at <= now;
        self.lost.iter().find(|(_, lost)| waits(lost)).map(|(log, lost)| (*log, lost.from))
    }

    /// The own link was read; `None`: the log is shorter here than believed.
    pub(super) fn link(&mut self, log: LogId, at: Seq, link: Option<Link>) {
        let Some(lost) = self.lost.get_mut(&log).filter(|lost| lost.from == at) else { return };
        match link {
            Some(link) => lost.link = Some(link),
            None => step_back(log, lost),
        }
    }

    /// The next ask that is due; it is due again after `again_ms`, or given up.
    pub(super) fn ask(&mut self, now: u64, again_ms: u64, answers: impl Fn(LogId) -> bool) -> Option<Ack> {
        let due = |log: &LogId, lost: &Lost| lost.link.is_some() && lost.ask_at <= now && answers(*log);
        let (log, lost) = self.lost.iter_mut().find(|(log, lost)| due(log, lost))?;
        lost.ask_at = now.saturating_add(again_ms << lost.asks.min(6));
        lost.asks = lost.asks.saturating_add(1);
        let link = lost.link.unwrap_or(Link::genesis(*log));
        let gap = Some((lost.from.next(), lost.peer.max(lost.from.next())));
        Some(Ack { log: *log, upto: lost.from, link, gap })
    }

    /// Whether asking has led nowhere for long, or for `patience_ms` (a peer that cannot be asked).
    pub(super) fn hopeless(&self, now: u64, log: LogId, patience_ms: u64) -> bool {
        let late = |lost: &Lost| now.saturating_sub(lost.since) >= patience_ms;
        self.lost.get(&log).is_some_and(|lost| lost.asks >= ASKS_MAX || late(lost))
    }

    /// The returned history does not continue what this side has at `from`.
    pub(super) fn refused(&mut self, now: u64, log: LogId) {
        if let Some(lost) = self.lost.get_mut(&log) {
            step_back(log, lost);
            lost.ask_at = now;
            lost.moved(now);
        }
    }

    /// Both sides have the same up to `last`, where the peer's block ended. `None`: the log is not asked for.
    ///
    /// The peer's end is known from hearsay: it may have lost its own tail since. When two asks are answered with a block
    /// that ends no later than where was asked from, the peer has no more than that block.
    pub(super) fn equal(&mut self, now: u64, log: LogId, last: Seq) -> Option<Equal> {
        let lost = self.lost.get_mut(&log)?;
        if last <= lost.from && lost.asks > lost.echoed {
            lost.echoed = lost.asks;
            lost.echoes = lost.echoes.saturating_add(1);
        }
        if last >= lost.peer || lost.echoes >= ECHOES {
            self.lost.remove(&log);
            return Some(Equal::End(last));
        }
        if last > lost.from {
            lost.from = last;
            lost.link = None;
            lost.ask_at = now;
            lost.step = 1;
            lost.moved(now);
        }
        Some(Equal::More)
    }

    /// Returned history is durable up to the ack. True: all of it is back.
    pub(super) fn returned(&mut self, now: u64, ack: &Ack, again_ms: u64) -> bool {
        let Some(lost) = self.lost.get_mut(&ack.log) else { return false };
        lost.from = ack.upto;
        lost.link = Some(ack.link);
        lost.step = 1;
        lost.moved(now);
        lost.ask_at = now.saturating_add(again_ms);
        if ack.upto >= lost.peer {
            self.lost.remove(&ack.log);
            return true;
        }
        false
    }

    pub(super) fn forget(&mut self, log: LogId) {
        self.lost.remove(&log);
    }

    /// A new connection: ask at once.
    pub(super) fn restart(&mut self, now: u64) {
        for lost in self.lost.values_mut() {
            lost.ask_at = now;
            lost.moved(now);
        }
    }

    pub(super) fn logs(&self) -> impl Iterator<Item = (LogId, Lost)> {
        self.lost.iter().map(|(log, lost)| (*log, *lost))
    }

    /// When there is something to do: asking a peer that answers, or giving up on one that cannot be asked.
    pub(super) fn next_wake(&self, patience_ms: u64, answers: impl Fn(LogId) -> bool) -> Option<u64> {
        let at = |(log, lost): (&LogId, &Lost)| match lost.asks {
            _ if answers(*log) => Some(lost.ask_at),
            0 => Some(lost.since.saturating_add(patience_ms)),
            _ => None,
        };
        self.lost.iter().filter_map(at).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lost.is_empty()
    }
}

/// From where to answer an ask, or how far its answer came. An ask at or beyond this side's end is answered with the last
/// record: whether the asker has the same one there is what it has to find out. `None`: nothing to answer with.
pub(super) fn answerable(ask: &Ack, head: Seq) -> Option<Ack> {
    if ask.gap.is_none() {
        return (ask.upto <= head).then_some(*ask);
    }
    let last = head.0.checked_sub(1)?;
    Some(Ack { upto: ask.upto.min(Seq(last)), ..*ask })
}

fn step_back(log: LogId, lost: &mut Lost) {
    lost.from = Seq(lost.from.0.saturating_sub(lost.step));
    lost.step = lost.step.saturating_mul(2);
    lost.link = (lost.from == Seq::ZERO).then(|| Link::genesis(log));
}
