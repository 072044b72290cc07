//! Settlement with headquarters, store side: the pump between the ledger, [`sync_core::Sender`] and the MQTT pipe.
//!
//! Contract
//! * The ledger's committed rows are the only outbox: blocks are read back from the log, so nothing that a power cut could
//!   take back is ever published. A PUBACK proves nothing; HQ's ack does, and it is recorded in the ledger.
//! * Down blocks are ingested in one transaction; their retained ack is published only after that commit.
//! * What does not decode, is too large, or names another store is kept aside in the ledger's quarantine, counted, and
//!   answered with a bounded rate of Naks. The link stays up.
//! * Nothing here is waited for by trading: this task only reads, and its few ledger jobs queue like everybody's; when the
//!   queue is full they are dropped and HQ repeats what was not acknowledged.
//!
//! Hello goes out on every connect, and when HQ has not acknowledged for `hello_s` although something waits.

mod inbound;
mod view;

pub use view::{Ahead, SettleState, SettleView};

use crate::config::HqSection;
use crate::daemon::Daemon;
use crate::logging::Throttle;
use inbound::Committed;
use std::sync::Arc;
use std::time::Duration;
use sync_core::{AckOutcome, Block, Hello, Message, Nak, SendRange, Sender, SenderConfig};
use sync_model::{Direction, LogId, Seq, StoreId};
use sync_mqtt::topic::{self, Leaf};
use sync_mqtt::{Pipe, PipeConfig, PipeError, PipeEvent, Publish, Will};
use tokio::sync::{mpsc, watch};

/// Blocks sent before events are looked at again.
const BLOCKS_PER_TURN: usize = 8;
/// Pause when the pipe is full or the ledger cannot be read.
const PAUSE_MS: u64 = 100;
/// Least time between two Naks of ours.
const NAK_PERIOD_MS: u64 = 1_000;
/// Ledger jobs of this task that may be under way.
const JOBS_MAX: usize = 16;
/// Publishes in flight at the pipe.
const INFLIGHT: u16 = 16;

/// The pump's own state.
struct Pump {
    daemon: Arc<Daemon>,
    hq: HqSection,
    pipe: Pipe,
    sender: Sender,
    /// Results of ledger jobs, from the writer thread.
    committed: mpsc::Sender<Committed>,
    jobs: usize,
    up: bool,
    /// Monotonic time of the last ack, or of the connect.
    heard_ms: u64,
    hello_ms: u64,
    nak_ms: u64,
    /// Do not send before this moment.
    pause_until: u64,
    /// Bounds the lines about bad messages.
    throttle: Throttle,
}

/// Runs until `stop` turns true.
pub async fn run(daemon: Arc<Daemon>, hq: HqSection, mut stop: watch::Receiver<bool>) {
    let (pipe, mut events) = sync_mqtt::open(pipe_config(&daemon, &hq));
    let (committed, mut results) = mpsc::channel(JOBS_MAX);
    let sender = Sender::new(SenderConfig {
        window_bytes: hq.window_bytes,
        block_bytes: hq.block_bytes,
        linger_ms: hq.linger_ms,
        retry_min_ms: hq.retry_min_ms,
        retry_max_ms: hq.retry_max_ms,
    });
    let mut pump = Pump {
        daemon: daemon.clone(),
        hq,
        pipe,
        sender,
        committed,
        jobs: 0,
        up: false,
        heard_ms: 0,
        hello_ms: 0,
        nak_ms: 0,
        pause_until: 0,
        throttle: Throttle::default(),
    };
    pump.announce().await;
    let mut heads = daemon.heads();
    while !*stop.borrow() {
        pump.send().await;
        pump.show();
        let wait = pump.wait();
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => pump.event(event).await,
                None => break,
            },
            Some(result) = results.recv() => pump.result(result),
            changed = heads.changed() => {
                if changed.is_err() { break }
                pump.heads(&mut heads);
            }
            () = tokio::time::sleep(wait) => pump.tick().await,
            _ = stop.changed() => {}
        }
    }
    pump.goodbye().await;
}

fn pipe_config(daemon: &Daemon, hq: &HqSection) -> PipeConfig {
    let store = daemon.store;
    let epoch = daemon.ledger.log().map_or(0, |log| log.epoch.0);
    let mut config = PipeConfig::new(hq.host.clone(), hq.port, format!("steelyard-{store}-{epoch}"));
    config.keep_alive_s = hq.keep_alive_s;
    config.tls = hq.tls.as_ref().map(crate::config::HqTlsSection::files);
    config.inflight = INFLIGHT;
    config.subscriptions = topic::store_filters(store);
    config.will =
        Some(Will { topic: topic::name(store, Leaf::Presence), payload: b"0".to_vec(), retain: true });
    config
}

/// Whether this store writes the log.
fn own(store: StoreId, log: LogId) -> bool {
    log.store == store && log.direction == Direction::Up
}

impl Pump {
    fn now(&self) -> u64 {
        self.daemon.clock.mono_ms()
    }

    /// Tells the sender what was written and acknowledged before this start; old epochs first.
    async fn announce(&mut self) {
        let now = self.now();
        let mut rows = match self.daemon.read(|reader| reader.heads()).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "the log's heads cannot be read; settlement starts with the next commit");
                return;
            }
        };
        rows.sort_by_key(|row| row.log);
        let store = self.daemon.store;
        for row in rows.iter().filter(|row| own(store, row.log)) {
            self.sender.handle_head(now, row.log, row.head);
            let ack = sync_core::Ack { log: row.log, upto: row.acked, link: row.link, gap: None };
            // The link is only looked at by the ledger; here the position counts.
            self.sender.handle_ack(now, &ack);
        }
    }

    fn heads(&mut self, heads: &mut watch::Receiver<crate::daemon::Heads>) {
        let now = self.now();
        let known: Vec<(LogId, Seq)> =
            heads.borrow_and_update().iter().map(|(log, seq)| (*log, *seq)).collect();
        for (log, head) in known {
            if own(self.daemon.store, log) {
                self.sender.handle_head(now, log, head);
            }
        }
    }

    /// How long nothing has to be done.
    fn wait(&self) -> Duration {
        let now = self.now();
        let wake = self.sender.next_wake().unwrap_or(u64::MAX).max(self.pause_until);
        // Half a second bounds the wait for the hello timer and for a queue that became free.
        Duration::from_millis(wake.saturating_sub(now).clamp(1, 500))
    }

    async fn send(&mut self) {
        if !self.up || self.now() < self.pause_until {
            return;
        }
        for _ in 0..BLOCKS_PER_TURN {
            let Some(range) = self.sender.poll(self.now()) else { return };
            if !self.send_range(range).await {
                self.pause_until = self.now().saturating_add(PAUSE_MS);
                return;
            }
        }
    }

    /// Reads one block and hands it to the pipe. `false`: later.
    async fn send_range(&mut self, range: SendRange) -> bool {
        let SendRange { log, first, max_records, max_bytes } = range;
        let block = self.daemon.read(move |reader| reader.block(log, first, max_records, max_bytes)).await;
        let block: Block = match block {
            Ok(Some(block)) => block,
            Ok(None) => {
                tracing::warn!(%log, %first, "the log has nothing to send at a position that was announced");
                return false;
            }
            Err(error) => {
                tracing::error!(%log, %first, %error, "a block cannot be read from the ledger");
                return false;
            }
        };
        let (last, bytes) = (block.last(), block.records.iter().map(Vec::len).sum());
        match self.publish(Leaf::Up, Message::Block(block).encode(), Publish::Live) {
            Ok(()) => {
                let now = self.now();
                self.sender.handle_sent(now, log, first, last, bytes);
                true
            }
            Err(PipeError::TooLarge { bytes, max }) if last > first => {
                tracing::warn!(%log, %first, %last, bytes, max, "broker takes smaller packets: sending singles");
                let nak = Nak {
                    code: sync_model::Text::lossy("too-large"),
                    detail: sync_model::Text::default(),
                    of: Some((log, first, last)),
                };
                let now = self.now();
                self.sender.handle_nak(now, &nak);
                false
            }
            Err(error) => {
                tracing::debug!(%log, %first, %error, "block waits");
                false
            }
        }
    }

    fn publish(&self, leaf: Leaf, payload: Vec<u8>, mode: Publish) -> Result<(), PipeError> {
        self.pipe.try_publish(&topic::name(self.daemon.store, leaf), payload, mode)
    }

    async fn event(&mut self, event: PipeEvent) {
        let now = self.now();
        match event {
            PipeEvent::Up => {
                self.up = true;
                self.heard_ms = now;
                self.sender.handle_up(now);
                self.daemon.settle.connected(self.daemon.clock.wall_ms());
                tracing::info!(host = %self.hq.host, port = self.hq.port, "connected to the broker");
                if let Err(error) = self.publish(Leaf::Presence, b"1".to_vec(), Publish::Retained) {
                    tracing::debug!(%error, "presence waits for the next connect");
                }
                self.hello().await;
            }
            PipeEvent::Down { reason } => {
                if self.up {
                    tracing::warn!(%reason, "broker connection ended; the store goes on without");
                }
                self.up = false;
                self.sender.handle_down();
                self.daemon.settle.disconnected(self.daemon.clock.wall_ms(), reason);
            }
            PipeEvent::Message { topic, payload, .. } => self.message(&topic, payload),
        }
    }

    /// Hello: who we are, what we wrote, what we have of HQ's log.
    async fn hello(&mut self) {
        self.hello_ms = self.now();
        let rows = match self.daemon.read(|reader| reader.heads()).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "hello without positions: the ledger cannot be read");
                return;
            }
        };
        let store = self.daemon.store;
        let own = self.daemon.ledger.log();
        let head = rows.iter().find(|row| Some(row.log) == own).map(|row| (row.log, row.head));
        let down = rows
            .iter()
            .filter(|row| row.log.store == store && row.log.direction == Direction::Down)
            .max_by_key(|row| row.log.epoch)
            .map(|row| sync_core::Ack { log: row.log, upto: row.head, link: row.link, gap: None });
        let hello = Hello { store, head, down, software: crate::daemon::software() };
        if let Err(error) = self.publish(Leaf::Up, Message::Hello(hello).encode(), Publish::Live) {
            tracing::debug!(%error, "hello waits");
        }
        // The retained ack may have been lost with the broker's memory.
        if let Some(ack) = down
            && let Err(error) = self.publish(Leaf::DownAck, Message::Ack(ack).encode(), Publish::Retained)
        {
            tracing::debug!(%error, "ack of HQ's log waits");
        }
    }

    async fn tick(&mut self) {
        let now = self.now();
        let silence = self.hq.hello_s.saturating_mul(1_000);
        let waiting = self.sender.status().lag() > 0;
        let due = now.saturating_sub(self.heard_ms.max(self.hello_ms)) >= silence;
        if self.up && waiting && due {
            self.hello().await;
        }
    }

    /// HQ's word on our log.
    fn acked(&mut self, ack: sync_core::Ack) {
        let now = self.now();
        self.heard_ms = now;
        self.daemon.settle.heard(self.daemon.clock.wall_ms());
        match self.sender.handle_ack(now, &ack) {
            AckOutcome::Advanced { .. } => self.record_ack(ack),
            AckOutcome::Stale => {}
            AckOutcome::Regressed { log, upto } => {
                tracing::warn!(%log, %upto, "HQ has less than it had acknowledged: sending again");
            }
            AckOutcome::Ahead { log, upto, head } => {
                if self.daemon.settle.ahead(Ahead { log, upto, head }) {
                    tracing::error!(%log, %upto, %head, "HQ has more of this log than the ledger: it went back in time");
                }
            }
            AckOutcome::Unknown(log) => {
                tracing::debug!(%log, "ack of a log that is not ours");
            }
        }
    }

    /// Publishes what the status page shows.
    fn show(&self) {
        self.daemon.settle.positions(self.sender.status().logs);
    }

    async fn goodbye(self) {
        if self.up
            && let Err(error) = self.publish(Leaf::Presence, b"0".to_vec(), Publish::Retained)
        {
            tracing::debug!(%error, "the will speaks for the store");
        }
        self.pipe.close().await;
    }
}
