//! When to send which part of which log. Sans-IO: the log itself is the outbox, this only keeps positions.
//!
//! Invariants
//! * `acked <= sent <= head` per log. Nothing is ever considered delivered before an ack names it.
//! * Unacknowledged bytes in flight stay within one block of `window_bytes`.
//! * Logs are sent in the order of their first [`Sender::handle_head`]; a log waits until the ones before it are
//!   acknowledged, unless those are stuck (the peer refuses a single record, or says nothing at the longest retry).
//! * No ack for the retry time: everything unacknowledged is sent again; the time doubles up to `retry_max_ms`.
//! * A gap named by the peer rewinds at most once per `retry_min_ms`, so that a burst of gap acks costs one resend.
//! * A refused block is sent again as single records until the refused range is passed: the peer can then keep the one
//!   bad record aside and move on.
//! * A log that is given back to the peer who wrote it goes beside the others: nothing waits for it, it is no lag, and it is
//!   dropped after the longest retry, because who still wants it asks again.
//!
//! `now` is monotonic milliseconds.

use crate::{Ack, BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Nak};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use sync_model::{LogId, Seq};

/// Pacing of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderConfig {
    /// Unacknowledged bytes in flight.
    pub window_bytes: usize,
    /// Bytes of records per block, at most [`BLOCK_BYTES_MAX`].
    pub block_bytes: usize,
    /// How long a new record waits for company.
    pub linger_ms: u64,
    /// First wait for an ack.
    pub retry_min_ms: u64,
    /// Longest wait for an ack.
    pub retry_max_ms: u64,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            window_bytes: 256 * 1024,
            block_bytes: 32 * 1024,
            linger_ms: 20,
            retry_min_ms: 1_000,
            retry_max_ms: 30_000,
        }
    }
}

/// What to read from the log and publish next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRange {
    /// The log.
    pub log: LogId,
    /// First position.
    pub first: Seq,
    /// Most records.
    pub max_records: usize,
    /// Most bytes of records; the first record goes even if it is longer.
    pub max_bytes: usize,
}

/// What an ack said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// The peer has more than before.
    Advanced {
        /// The log.
        log: LogId,
        /// Durable at the peer up to here.
        upto: Seq,
    },
    /// Nothing new.
    Stale,
    /// The peer lacks what it once acknowledged (it was restored): that part is sent again.
    Regressed {
        /// The log.
        log: LogId,
        /// Durable at the peer up to here.
        upto: Seq,
    },
    /// The peer has more than we wrote: this log went back in time, or another writer uses its name.
    Ahead {
        /// The log.
        log: LogId,
        /// Durable at the peer up to here.
        upto: Seq,
        /// Our own end.
        head: Seq,
    },
    /// A log that was never announced here.
    Unknown(LogId),
}

/// Positions of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The log.
    pub log: LogId,
    /// Durable at the peer.
    pub acked: Seq,
    /// Sent at least once since the last rewind.
    pub sent: Seq,
    /// Written.
    pub head: Seq,
    /// The peer refuses a single record, or is silent at the longest retry.
    pub stuck: bool,
}

/// Positions of every log, in sending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderStatus {
    /// Whether the link is up.
    pub up: bool,
    /// The logs.
    pub logs: Vec<LogStatus>,
}

impl SenderStatus {
    /// Records written but not acknowledged.
    pub fn lag(&self) -> u64 {
        self.logs.iter().fold(0, |sum, log| sum.saturating_add(log.head.0.saturating_sub(log.acked.0)))
    }
}

#[derive(Clone, Debug)]
struct Outgoing {
    log: LogId,
    head: Seq,
    acked: Seq,
    sent: Seq,
    /// Sent and unacknowledged: last position and bytes of each block.
    flight: VecDeque<(Seq, usize)>,
    /// Single records up to here, after a refusal.
    singles_upto: Seq,
    /// When waiting records go out although a block is not full.
    linger_at: u64,
    /// When unacknowledged records go again.
    retry_at: u64,
    retry_ms: u64,
    /// Earliest next rewind because of a gap.
    rewind_at: u64,
    stuck: bool,
    /// Not sent until released: the peer has another history of this log.
    held: bool,
    /// The peer's own log, sent because it asked for it.
    aside: bool,
}

impl Outgoing {
    fn flight_bytes(&self) -> usize {
        self.flight.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    fn rewind(&mut self) {
        self.sent = self.acked;
        self.flight.clear();
    }

    fn done(&self) -> bool {
        self.held || self.acked >= self.head
    }

    /// Whether the logs after this one wait for it.
    fn blocks(&self) -> bool {
        !self.stuck && !self.aside
    }

    fn advance(&mut self, now: u64, upto: Seq, retry_min_ms: u64) {
        self.acked = upto;
        self.sent = self.sent.max(upto);
        while self.flight.front().is_some_and(|(last, _)| *last <= upto) {
            self.flight.pop_front();
        }
        self.retry_ms = retry_min_ms;
        self.retry_at = now.saturating_add(retry_min_ms);
        self.stuck = false;
    }
}

/// Decides what goes out next. One per direction at each writer.
#[derive(Clone, Debug)]
pub struct Sender {
    config: SenderConfig,
    up: bool,
    logs: Vec<Outgoing>,
}

impl Sender {
    /// A sender that knows no log yet, link down. Out-of-range settings are pulled into range.
    pub fn new(config: SenderConfig) -> Self {
        let block_bytes = config.block_bytes.clamp(1, BLOCK_BYTES_MAX);
        let retry_min_ms = config.retry_min_ms.max(1);
        let config = SenderConfig {
            block_bytes,
            window_bytes: config.window_bytes.max(block_bytes),
            retry_min_ms,
            retry_max_ms: config.retry_max_ms.max(retry_min_ms),
            ..config
        };
        Self { config, up: false, logs: Vec::new() }
    }

    /// The log has been written up to `head`. Announce old epochs first: they are finished first.
    pub fn handle_head(&mut self, now: u64, log: LogId, head: Seq) {
        let linger_at = now.saturating_add(self.config.linger_ms);
        if let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == log) {
            if head > entry.head {
                if entry.sent >= entry.head {
                    entry.linger_at = linger_at;
                }
                entry.head = head;
            }
            return;
        }
        self.logs.push(Outgoing {
            log,
            head,
            acked: Seq::ZERO,
            sent: Seq::ZERO,
            flight: VecDeque::new(),
            singles_upto: Seq::ZERO,
            linger_at,
            retry_at: 0,
            retry_ms: self.config.retry_min_ms,
            rewind_at: 0,
            stuck: false,
            held: false,
            aside: false,
        });
    }

    /// The peer says what it has.
    pub fn handle_ack(&mut self, now: u64, ack: &Ack) -> AckOutcome {
        let retry_min_ms = self.config.retry_min_ms;
        let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == ack.log) else {
            return AckOutcome::Unknown(ack.log);
        };
        if ack.upto > entry.head {
            let head = entry.head;
            entry.advance(now, head, retry_min_ms);
            return AckOutcome::Ahead { log: ack.log, upto: ack.upto, head };
        }
        let outcome = if ack.upto > entry.acked {
            entry.advance(now, ack.upto, retry_min_ms);
            AckOutcome::Advanced { log: ack.log, upto: ack.upto }
        } else if ack.gap.is_some() && ack.upto < entry.acked && now >= entry.rewind_at {
            entry.acked = ack.upto;
            AckOutcome::Regressed { log: ack.log, upto: ack.upto }
        } else {
            AckOutcome::Stale
        };
        if ack.gap.is_some() && ack.upto == entry.acked && entry.sent > entry.acked && now >= entry.rewind_at
        {
            entry.rewind();
            entry.rewind_at = now.saturating_add(retry_min_ms);
        }
        outcome
    }

    /// The peer refuses something. A range is tried again as single records; a single that is refused marks the log as
    /// stuck and waits for the longest retry. A refusal that names nothing we have in flight, nor the block that is next, is
    /// left to the retry timer.
    pub fn handle_nak(&mut self, now: u64, nak: &Nak) {
        let Some((log, first, last)) = nak.of else { return };
        let retry_max_ms = self.config.retry_max_ms;
        let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == log) else { return };
        // The next block may be refused before it is sent: by the pipe, when the broker takes smaller packets.
        let next = first == entry.sent.next() && first < last && last <= entry.head;
        if last <= entry.acked || (first > entry.sent && !next) || first > last {
            return;
        }
        if first == last {
            entry.stuck = true;
            entry.retry_ms = retry_max_ms;
            entry.retry_at = now.saturating_add(retry_max_ms);
            entry.sent = entry.sent.max(first);
            entry.singles_upto = entry.singles_upto.max(first);
            // Later records cannot be taken before this one: hold them until the retry.
            if entry.flight.is_empty() {
                entry.flight.push_back((entry.sent, 0));
            }
        } else if entry.singles_upto < last {
            entry.singles_upto = last.min(entry.head);
            entry.rewind();
        }
    }

    /// Nothing more of the log goes out, and nothing waits for it, until it is released.
    pub fn hold(&mut self, log: LogId, held: bool) {
        if let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == log) {
            entry.held = held;
            entry.rewind();
        }
    }

    /// The peer asks for its own log from a position on; `head` is its end here.
    pub fn give_back(&mut self, now: u64, ask: &Ack, head: Seq) {
        self.handle_head(now, ask.log, head);
        if let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == ask.log) {
            entry.aside = true;
            entry.stuck = false;
        }
        self.handle_ack(now, ask);
    }

    /// The peer has the log up to `shared` as it is here, and nothing else: it is sent on from there.
    pub fn resume(&mut self, now: u64, log: LogId, shared: Seq) {
        let retry_min_ms = self.config.retry_min_ms;
        if let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == log) {
            entry.held = false;
            entry.acked = shared.min(entry.head);
            entry.rewind();
            entry.advance(now, entry.acked, retry_min_ms);
            entry.linger_at = now;
        }
    }

    /// What waits for company goes now.
    pub fn hurry(&mut self, now: u64) {
        for entry in &mut self.logs {
            entry.linger_at = entry.linger_at.min(now);
        }
    }

    /// The log is no longer to be sent.
    pub fn forget(&mut self, log: LogId) {
        self.logs.retain(|entry| entry.log != log);
    }

    /// Positions of one log.
    pub fn log(&self, log: LogId) -> Option<LogStatus> {
        self.logs.iter().find(|entry| entry.log == log).map(Self::status_of)
    }

    /// The link is up: everything unacknowledged may have been lost with the old one.
    pub fn handle_up(&mut self, now: u64) {
        self.up = true;
        for entry in &mut self.logs {
            entry.rewind();
            entry.retry_ms = self.config.retry_min_ms;
            entry.linger_at = now;
            entry.stuck = false;
        }
    }

    /// The link is down: nothing goes out.
    pub fn handle_down(&mut self) {
        self.up = false;
    }

    /// What to send now, if anything. Answer with [`Sender::handle_sent`] when it was handed over; when the pipe is full,
    /// just ask again later.
    pub fn poll(&mut self, now: u64) -> Option<SendRange> {
        if !self.up {
            return None;
        }
        let config = self.config;
        self.logs.retain(|entry| !(entry.aside && entry.stuck));
        for entry in &mut self.logs {
            if entry.done() {
                continue;
            }
            if !entry.flight.is_empty() && now >= entry.retry_at {
                let doubled = entry.retry_ms.saturating_mul(2).min(config.retry_max_ms);
                entry.stuck |= entry.retry_ms >= config.retry_max_ms;
                entry.retry_ms = doubled;
                entry.rewind();
                entry.linger_at = now;
            }
            if Self::sendable(&config, entry) && now >= entry.linger_at {
                let singles = entry.sent < entry.singles_upto;
                return Some(SendRange {
                    log: entry.log,
                    first: entry.sent.next(),
                    max_records: if singles { 1 } else { BLOCK_RECORDS_MAX },
                    max_bytes: config.block_bytes,
                });
            }
            if entry.blocks() {
                return None;
            }
        }
        None
    }

    /// A block of `bytes` record bytes was handed to the pipe.
    pub fn handle_sent(&mut self, now: u64, log: LogId, first: Seq, last: Seq, bytes: usize) {
        let Some(entry) = self.logs.iter_mut().find(|entry| entry.log == log) else { return };
        if first > entry.sent.next() || last <= entry.sent {
            return;
        }
        if entry.flight.is_empty() {
            entry.retry_at = now.saturating_add(entry.retry_ms);
        }
        entry.sent = last.min(entry.head);
        entry.flight.push_back((entry.sent, bytes));
    }

    /// When [`Sender::poll`] is next worth asking without a new input; a moment that has passed means now.
    pub fn next_wake(&self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let mut wake: Option<u64> = None;
        for entry in self.logs.iter().filter(|entry| !entry.done()) {
            let retry = (!entry.flight.is_empty()).then_some(entry.retry_at);
            let linger = Self::sendable(&self.config, entry).then_some(entry.linger_at);
            for at in [retry, linger].into_iter().flatten() {
                wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
            }
            if entry.blocks() {
                break;
            }
        }
        wake
    }

    /// Positions of every log, without those that are given back.
    pub fn status(&self) -> SenderStatus {
        let own = self.logs.iter().filter(|entry| !entry.aside);
        SenderStatus { up: self.up, logs: own.map(Self::status_of).collect() }
    }

    fn status_of(entry: &Outgoing) -> LogStatus {
        LogStatus {
            log: entry.log,
            acked: entry.acked,
            sent: entry.sent,
            head: entry.head,
            stuck: entry.stuck,
        }
    }

    /// Whether the log has something unsent that fits the window. A stuck log sends one block and waits.
    fn sendable(config: &SenderConfig, entry: &Outgoing) -> bool {
        let in_flight = entry.flight_bytes();
        let fits = in_flight.saturating_add(config.block_bytes) <= config.window_bytes;
        entry.sent < entry.head && (entry.flight.is_empty() || (fits && !entry.stuck))
    }
}
