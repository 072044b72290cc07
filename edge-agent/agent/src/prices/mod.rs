//! Till prices and shelf tags: HQ's price book -> what the tills charge and what the tags show, in the order that never lets a
//! customer pay more than the label shows.
//!
//! What to do and when is decided by [`edge_core::shelf::Shelf`]; this task tells it what is durable and what the radio
//! said, commits what it gives and starts its jobs. Everything is a fact first: `PriceChanged` before a tag follows it
//! down, `TagConfirmed` before the till follows a tag up, and that only when the panel had `refresh_s` to show it. So a
//! kill at any point leaves a state from which the same task goes on.
//!
//! Drift: once after each start every confirmed image is compared, hash by hash, with the one that would be drawn today,
//! [`SCAN`] tags a turn; what differs is drawn again when nothing else is urgent. Over `check_days` every label is written
//! again, within a share of the radio's time: this family of tags cannot be asked what it shows.
//!
//! Bounds: [`CHUNK`] facts per job, `tags_in_flight` images at the radio, articles per turn [`TURN_MAX`], [`NEWS_MAX`]
//! answers and questions.

mod air;
mod ask;

pub use ask::{Ask, NoFlash};

use crate::daemon::Daemon;
use crate::devices::TagNews;
use air::Air;
use edge_core::Moment;
use edge_core::price::TillPrice;
use edge_core::shelf::Shelf;
use edge_core::tagplan::{AdapterNo, Limits, TagNo};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use sync_model::{Direction, Event, LogId, PriceChanged, Seq, Sku, TagConfirmed};
use tokio::sync::{mpsc, watch};

/// Facts of one ledger job.
const CHUNK: usize = 200;
/// Articles decided in one turn.
const TURN_MAX: usize = 4_000;
/// Answers of tags, and questions of people, that wait for this task.
pub const NEWS_MAX: usize = 1_024;
/// Images compared with today's template in one turn.
const SCAN: usize = 50;
/// An image without an answer for this long was lost with a driver's restart.
const ANSWER_MS: u64 = 300_000;
/// The one adapter that the drivers own.
const ADAPTER: AdapterNo = AdapterNo(0);

/// The task's state.
struct Pump {
    daemon: Arc<Daemon>,
    shelf: Shelf,
    air: Air,
    /// End of HQ's log that the articles know.
    known: Option<(LogId, Seq)>,
    /// Whether the articles were read at all.
    loaded: bool,
    /// Tags whose image is still to be compared with today's template.
    scan: std::ops::Range<u32>,
}

/// Runs until `stop` turns true; gives the channel back for the next run.
pub(crate) async fn run(
    daemon: Arc<Daemon>,
    mut news: mpsc::Receiver<TagNews>,
    mut stop: watch::Receiver<bool>,
) -> mpsc::Receiver<TagNews> {
    let config = daemon.config();
    let mut pump = Pump::new(daemon.clone());
    let mut tick = tokio::time::interval(Duration::from_millis(config.prices.tick_ms));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut loaded = false;
    while !*stop.borrow() {
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            Some(told) = news.recv() => {
                // A free slot does not wait for the tick, unless more answers are there already.
                if pump.told(told) && news.is_empty() && loaded {
                    pump.turn().await;
                }
            }
            _ = tick.tick() => {
                loaded = loaded || pump.load_confirmed().await;
                if loaded {
                    pump.turn().await;
                }
            }
        }
    }
    news
}

fn limits(config: &crate::config::Config) -> Limits {
    let prices = &config.prices;
    Limits {
        attempts: prices.attempts,
        retry_min_ms: prices.retry_min_s.saturating_mul(1_000),
        retry_max_ms: prices.retry_max_s.saturating_mul(1_000),
        rest_ms: prices.rest_s.saturating_mul(1_000),
        starve_ms: prices.starve_s.saturating_mul(1_000),
        silent_ms: config.host.ble.clone().unwrap_or_default().lost_after_ms.into(),
        lost_ms: ANSWER_MS,
        settle_ms: prices.refresh_s.saturating_mul(1_000),
        weak_mv: prices.weak_mv,
        check_every_ms: u64::from(prices.check_days).saturating_mul(86_400_000),
        ..Limits::default()
    }
}

impl Pump {
    fn new(daemon: Arc<Daemon>) -> Self {
        let config = daemon.config();
        let now = daemon.clock.mono_ms();
        // Numbers of an earlier run must not be taken for ours.
        let due_ms = config.prices.due_s.saturating_mul(1_000);
        let mut shelf = Shelf::new(limits(&config), due_ms, now << 16);
        if let Err(error) = shelf.add_adapter(config.prices.tags_in_flight, now) {
            tracing::error!(%error, "tags have no adapter");
        }
        let air = Air::new(&config, &daemon.registry, &mut shelf, now);
        if daemon.host(|_| ()).is_none() {
            shelf.handle_adapter(ADAPTER, false, now);
        }
        let scan = 0..u32::try_from(shelf.tags().count()).unwrap_or(u32::MAX);
        Self { daemon, shelf, air, known: None, loaded: false, scan }
    }

    fn now(&self) -> Moment {
        Moment::new(self.daemon.clock.mono_ms(), self.daemon.clock.wall_ms())
    }

    /// What the tags confirmed, from the ledger.
    async fn load_confirmed(&mut self) -> bool {
        let store = self.daemon.store;
        let rows = match self.daemon.read(move |reader| reader.tags(store, None)).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "prices wait: the ledger cannot be read");
                return false;
            }
        };
        let now = self.now().mono_ms;
        for row in rows {
            let Some(tag) = self.shelf.tag(&row.tag) else { continue };
            let show = TillPrice { price: row.price, version: row.version };
            if self.shelf.sku(tag) == Some(row.sku) {
                self.air.confirmed(tag, row.image_hash);
            }
            self.shelf.handle_confirmed(tag, row.sku, show, now);
        }
        true
    }

    /// Takes news in; whether a slot of the radio is free.
    fn told(&mut self, news: TagNews) -> bool {
        let moment = self.now();
        let now = moment.mono_ms;
        match news {
            TagNews::Written { job, result } => {
                self.air.ended(&mut self.shelf, job, result, now);
                return true;
            }
            TagNews::Seen { tag, battery_mv, rssi } => {
                self.shelf.handle_adapter(ADAPTER, true, now);
                if let Some(tag) = self.shelf.tag(&tag) {
                    self.shelf.handle_heard(tag, ADAPTER, rssi, Some(battery_mv), now);
                }
            }
            TagNews::Adapter { running } => self.shelf.handle_adapter(ADAPTER, running, now),
            TagNews::Ask(ask) => ask::answer(&mut self.shelf, ask, moment),
        }
        false
    }

    async fn turn(&mut self) {
        self.load_articles().await;
        while let Some(job) = self.shelf.poll_lost(self.now().mono_ms) {
            tracing::warn!(tag = ?self.shelf.id(job.tag), "no answer to a tag's job; tried again");
            self.air.forget(job.number);
        }
        self.confirm().await;
        self.decide().await;
        self.scan();
        self.start();
        while let Some(tag) = self.shelf.poll_touched() {
            air::publish(&self.daemon, &self.shelf, tag);
        }
    }

    /// Takes over articles when HQ's log has grown.
    async fn load_articles(&mut self) {
        let store = self.daemon.store;
        let newest = self
            .daemon
            .heads()
            .borrow()
            .iter()
            .filter(|(log, _)| log.store == store && log.direction == Direction::Down)
            .map(|(log, seq)| (*log, *seq))
            .next_back();
        if self.loaded && newest == self.known {
            return;
        }
        let rows = self.daemon.read(move |reader| Ok((reader.articles(store)?, reader.prices(store)?))).await;
        let (articles, prices) = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "price book cannot be read; tried again");
                return;
            }
        };
        self.known = newest;
        self.loaded = true;
        let prices: BTreeMap<Sku, TillPrice> = prices
            .into_iter()
            .map(|row| (row.sku, TillPrice { price: row.price, version: row.version }))
            .collect();
        for article in articles {
            let till = prices.get(&article.sku).copied();
            self.shelf.handle_article(article, till);
        }
    }

    /// Decides what changed and commits the till's changes.
    async fn decide(&mut self) {
        let now = self.now();
        let changes = self.shelf.poll_changes(now, TURN_MAX);
        for chunk in changes.chunks(CHUNK) {
            self.commit_prices(chunk.to_vec()).await;
        }
        if !changes.is_empty() {
            // What the tills charge now sends the tags after them.
            let now = self.now();
            let more = self.shelf.poll_changes(now, TURN_MAX);
            for chunk in more.chunks(CHUNK) {
                self.commit_prices(chunk.to_vec()).await;
            }
        }
    }

    async fn commit_prices(&mut self, chunk: Vec<PriceChanged>) {
        let stamp = self.daemon.clock.stamp();
        let facts = chunk.clone();
        let committed = self
            .daemon
            .commit(move |draft| {
                for change in facts {
                    draft.append(&Event::new(stamp, change))?;
                }
                Ok(())
            })
            .await;
        match committed {
            Ok(()) => {
                tracing::info!(prices = chunk.len(), "till prices changed");
                chunk.iter().for_each(|change| self.shelf.handle_till(change));
            }
            Err(error) => {
                tracing::warn!(%error, prices = chunk.len(), "till prices wait for the ledger");
                chunk.iter().for_each(|change| self.shelf.handle_unstored(change.sku));
            }
        }
    }

    /// Commits what tags surely show by now.
    async fn confirm(&mut self) {
        let now = self.now().mono_ms;
        let mut shown = Vec::new();
        while let Some((tag, show)) = self.shelf.poll_shown(now) {
            match self.confirmation(tag, show) {
                Some(fact) => shown.push((tag, fact)),
                None => self.shelf.handle_unconfirmed(tag, now),
            }
        }
        for chunk in shown.chunks(CHUNK) {
            let stamp = self.daemon.clock.stamp();
            let facts: Vec<TagConfirmed> = chunk.iter().map(|(_, fact)| fact.clone()).collect();
            let committed = self
                .daemon
                .commit(move |draft| {
                    for fact in facts {
                        draft.append(&Event::new(stamp, fact))?;
                    }
                    Ok(())
                })
                .await;
            let now = self.now().mono_ms;
            if let Err(error) = &committed {
                tracing::warn!(%error, tags = chunk.len(), "confirmations were not stored; the tags are written again");
            }
            for (tag, fact) in chunk {
                let show = TillPrice { price: fact.price, version: fact.version };
                match committed {
                    Ok(()) => self.shelf.handle_confirmed(*tag, fact.sku, show, now),
                    Err(_) => self.shelf.handle_unconfirmed(*tag, now),
                }
            }
        }
    }

    fn confirmation(&self, tag: TagNo, show: TillPrice) -> Option<TagConfirmed> {
        Some(TagConfirmed {
            tag: self.shelf.id(tag)?.clone(),
            sku: self.shelf.sku(tag)?,
            price: show.price,
            version: show.version,
            image_hash: self.air.hash(tag)?,
        })
    }

    /// Compares some more confirmed images with what would be drawn today.
    fn scan(&mut self) {
        for number in self.scan.by_ref().take(SCAN) {
            let tag = TagNo(number);
            if self.air.old_picture(&self.shelf, tag) {
                self.shelf.handle_old_picture(tag);
            }
        }
    }

    /// Hands jobs to the radio, as many as may be under way.
    fn start(&mut self) {
        let now = self.now().mono_ms;
        while let Some(job) = self.shelf.poll_job(now) {
            if !self.air.start(&self.daemon, &mut self.shelf, job, now) {
                break;
            }
        }
    }
}
