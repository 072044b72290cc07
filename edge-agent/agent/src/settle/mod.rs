//! Settlement with headquarters, store side: drives [`sync_core::replica::store::Replica`] between the ledger and the MQTT pipe.
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
//! What to send, when, and what a message means is decided by the replica; this task moves bytes and runs ledger jobs.

mod inbound;
mod sealer;
mod view;

pub use view::{Ahead, Outdated, SettleState, SettleView};

use crate::config::HqSection;
use crate::daemon::Daemon;
use crate::logging::Throttle;
use inbound::Committed;
use std::sync::Arc;
use std::time::Duration;
use sync_core::SenderConfig;
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{Effect, Position, Unsent, wire2};
use sync_model::LogId;
use sync_mqtt::topic::{self, Leaf};
use sync_mqtt::{Pipe, PipeConfig, PipeError, PipeEvent, Publish, Will};
use sync_store::{HeadRow, LedgerError};
use tokio::sync::{mpsc, watch};

/// Effects run before events are looked at again.
const EFFECTS_PER_TURN: usize = 64;
/// Ledger jobs of this task that may be under way.
const JOBS_MAX: usize = 64;
/// Publishes in flight at the pipe.
const INFLIGHT: u16 = 16;

/// The pump's own state.
struct Pump {
    daemon: Arc<Daemon>,
    hq: HqSection,
    pipe: Pipe,
    replica: Replica,
    /// Results of ledger jobs, from the writer thread.
    committed: mpsc::Sender<Committed>,
    jobs: usize,
    up: bool,
    /// Bounds the lines about bad messages.
    throttle: Throttle,
}

/// Runs until `stop` turns true.
pub async fn run(daemon: Arc<Daemon>, hq: HqSection, mut stop: watch::Receiver<bool>) {
    let (pipe, mut events) = sync_mqtt::open(pipe_config(&daemon, &hq));
    let (committed, mut results) = mpsc::channel(JOBS_MAX);
    let replica = Replica::new(replica_config(&daemon, &hq));
    let throttle = Throttle::default();
    let mut pump =
        Pump { daemon: daemon.clone(), hq, pipe, replica, committed, jobs: 0, up: false, throttle };
    pump.announce().await;
    let mut heads = daemon.heads();
    while !*stop.borrow() {
        let more = pump.drive().await;
        pump.show();
        let wait = if more { Duration::ZERO } else { pump.wait() };
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => pump.event(event),
                None => break,
            },
            Some(result) = results.recv() => pump.result(result),
            changed = heads.changed() => {
                if changed.is_err() { break }
                pump.heads(&mut heads);
            }
            () = daemon.urgent.notified() => {
                let now = pump.now();
                pump.replica.hurry(now);
            }
            () = tokio::time::sleep(wait) => {}
            _ = stop.changed() => {}
        }
    }
    pump.goodbye().await;
}

fn replica_config(daemon: &Daemon, hq: &HqSection) -> ReplicaConfig {
    ReplicaConfig {
        store: daemon.store,
        sender: SenderConfig {
            window_bytes: hq.window_bytes,
            block_bytes: hq.block_bytes,
            linger_ms: hq.linger_ms,
            retry_min_ms: hq.retry_min_ms,
            retry_max_ms: hq.retry_max_ms,
        },
        hello_ms: hq.hello_s.saturating_mul(1_000),
        software: crate::daemon::software(),
        codec: sync_codec::PACKED,
        speaks: wire2::CURRENT,
    }
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

impl Pump {
    fn now(&self) -> u64 {
        self.daemon.clock.mono_ms()
    }

    /// Tells the replica what was written and acknowledged before this start.
    async fn announce(&mut self) {
        let now = self.now();
        let rows = match self.daemon.read(|reader| reader.heads()).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "the log's heads cannot be read; settlement starts with the next commit");
                return;
            }
        };
        let position =
            |row: &HeadRow| Position { log: row.log, head: row.head, link: row.link, acked: row.acked };
        let positions: Vec<Position> = rows.iter().map(position).collect();
        self.replica.load(now, &positions, self.daemon.ledger.log());
    }

    fn heads(&mut self, heads: &mut watch::Receiver<crate::daemon::Heads>) {
        let now = self.now();
        for (log, head) in heads.borrow_and_update().iter() {
            self.replica.handle_head(now, *log, *head);
        }
    }

    /// How long nothing has to be done.
    fn wait(&self) -> Duration {
        let wake = self.replica.next_wake().unwrap_or(u64::MAX);
        // Half a second bounds the wait for a queue that became free.
        Duration::from_millis(wake.saturating_sub(self.now()).clamp(1, 500))
    }

    /// Does what the replica asks for. `true`: there is more.
    async fn drive(&mut self) -> bool {
        let now = self.now();
        self.replica.tick(now);
        for _ in 0..EFFECTS_PER_TURN {
            let now = self.now();
            let Some(effect) = self.replica.poll_effect(now) else { return false };
            match effect {
                Effect::Publish(publish) => {
                    let name = topic::name(publish.store, publish.leaf);
                    let mode = Publish::of(publish.retained, publish.light());
                    if let Err(error) = self.pipe.try_publish(&name, publish.message.clone(), mode) {
                        tracing::debug!(topic = name, %error, "message waits");
                        let why = match error {
                            PipeError::Down => Unsent::Down,
                            PipeError::Full => Unsent::Full,
                            PipeError::TooLarge { .. } | PipeError::BadTopic(_) => Unsent::TooLarge,
                        };
                        self.replica.handle_unsent(now, publish, why);
                    }
                }
                Effect::ReadBlock { token, range } => {
                    let (log, first) = (range.log, range.first);
                    let (records, bytes) = (range.max_records, range.max_bytes);
                    let read = self.daemon.read(move |reader| reader.block(log, first, records, bytes)).await;
                    let now = self.now();
                    if let Err(LedgerError::Truncated { floor, .. }) = read {
                        self.replica.handle_truncated(now, token, floor);
                    } else {
                        let block = read.unwrap_or_else(|error| unreadable(log, &error));
                        self.replica.handle_block(now, token, block);
                    }
                }
                Effect::CompareLink { token, log, at } => {
                    let read = self.daemon.read(move |reader| reader.link(log, at)).await;
                    let link = read.unwrap_or_else(|error| unreadable(log, &error));
                    let now = self.now();
                    self.replica.handle_link(now, token, link);
                }
                other => self.effect(other),
            }
        }
        true
    }

    fn event(&mut self, event: PipeEvent) {
        let now = self.now();
        match event {
            PipeEvent::Up => {
                self.up = true;
                self.replica.set_sealer(sealer::open(self.hq.tls.as_ref()));
                self.replica.handle_up(now);
                self.daemon.settle.connected(self.daemon.clock.wall_ms());
                tracing::info!(host = %self.hq.host, port = self.hq.port, "connected to the broker");
            }
            PipeEvent::Down { reason } => {
                if self.up {
                    tracing::warn!(%reason, "broker connection ended; the store goes on without");
                }
                self.up = false;
                self.replica.handle_down(now);
                self.daemon.settle.disconnected(self.daemon.clock.wall_ms(), reason);
            }
            PipeEvent::Message { topic, payload, .. } => self.message(&topic, &payload),
        }
    }

    /// Publishes what the status page shows.
    fn show(&self) {
        self.daemon.settle.positions(self.daemon.clock.wall_ms(), self.replica.status().logs);
    }

    async fn goodbye(self) {
        let name = topic::name(self.daemon.store, Leaf::Presence);
        if self.up
            && let Err(error) = self.pipe.try_publish(&name, b"0".to_vec(), Publish::Retained)
        {
            tracing::debug!(%error, "the will speaks for the store");
        }
        self.pipe.close().await;
    }
}

fn unreadable<T>(log: LogId, error: &LedgerError) -> Option<T> {
    tracing::error!(%log, %error, "the log cannot be read");
    None
}
