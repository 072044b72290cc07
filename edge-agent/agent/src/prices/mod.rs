//! Till prices and shelf tags: HQ's price book -> what the tills charge and what the tags show, in the order that never lets a
//! customer pay more than the label shows.
//!
//! The decision is [`edge_core::price::decide`], which has no memory; this task keeps a copy of its inputs (articles, till
//! prices, confirmations) and calls it again for every article that something durable changed, or whose time has come.
//! Everything it decides is a fact first: `PriceChanged` before a tag follows it down, `TagConfirmed` before the till follows
//! a tag up. So a kill at any point leaves a state from which the same task goes on.
//!
//! Bounds: [`CHUNK`] price facts per job, `tags_in_flight` images at the radio, one try per tag at a time with a doubling
//! pause, articles per turn [`TURN_MAX`].

mod tags;

use crate::daemon::Daemon;
use crate::devices::TagNews;
use edge_core::price::{self, Shown, TillPrice};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use sync_model::{Article, DeviceId, Direction, Event, LogId, PriceChanged, Seq, Sku, UnixMillis};
use tags::Tags;
use tokio::sync::{mpsc, watch};

/// Price facts of one ledger job.
const CHUNK: usize = 200;
/// Articles decided in one turn.
const TURN_MAX: usize = 4_000;
/// Answers of tags that wait for this task.
pub const NEWS_MAX: usize = 1_024;

/// One article with what the till charges.
struct Entry {
    article: Article,
    till: Option<TillPrice>,
}

/// The task's state.
struct Pump {
    daemon: Arc<Daemon>,
    entries: BTreeMap<Sku, Entry>,
    tags: Tags,
    /// Articles to decide.
    dirty: BTreeSet<Sku>,
    /// Articles to decide at a time.
    wakes: BTreeSet<(UnixMillis, Sku)>,
    /// End of HQ's log that the entries know.
    known: Option<(LogId, Seq)>,
    /// Whether the articles were read at all.
    loaded: bool,
}

/// Runs until `stop` turns true; gives the channel back for the next run.
pub(crate) async fn run(
    daemon: Arc<Daemon>,
    mut news: mpsc::Receiver<TagNews>,
    mut stop: watch::Receiver<bool>,
) -> mpsc::Receiver<TagNews> {
    let config = daemon.config();
    let tags = Tags::new(&daemon, &config);
    let mut pump = Pump {
        daemon: daemon.clone(),
        entries: BTreeMap::new(),
        tags,
        dirty: BTreeSet::new(),
        wakes: BTreeSet::new(),
        known: None,
        loaded: false,
    };
    let mut tick = tokio::time::interval(Duration::from_millis(config.prices.tick_ms));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut loaded = false;
    while !*stop.borrow() {
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            Some(answer) = news.recv() => pump.written(answer).await,
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

impl Pump {
    /// What the tags confirmed, from the ledger.
    async fn load_confirmed(&mut self) -> bool {
        let store = self.daemon.store;
        match self.daemon.read(move |reader| reader.tags(store, None)).await {
            Ok(rows) => {
                for row in rows {
                    self.tags.confirmed(
                        &row.tag,
                        row.sku,
                        TillPrice { price: row.price, version: row.version },
                    );
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "prices wait: the ledger cannot be read");
                false
            }
        }
    }

    async fn turn(&mut self) {
        self.load_articles().await;
        let now = UnixMillis(self.daemon.clock.wall_ms());
        while let Some((at, sku)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, sku));
            self.dirty.insert(sku);
        }
        self.decide(now).await;
        self.tags.send(&self.daemon, &self.entries_for_labels());
    }

    /// Articles for the labels that are wanted now.
    fn entries_for_labels(&self) -> BTreeMap<Sku, Article> {
        let wanted = self.tags.wanted_skus();
        wanted.into_iter().filter_map(|sku| Some((sku, self.entries.get(&sku)?.article.clone()))).collect()
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
            let sku = article.sku;
            let till = prices.get(&sku).copied();
            let same = self
                .entries
                .get(&sku)
                .is_some_and(|entry| entry.article.version == article.version && entry.till == till);
            if !same {
                self.entries.insert(sku, Entry { article, till });
                self.dirty.insert(sku);
            }
        }
    }

    /// Decides what is dirty and commits the till's changes.
    async fn decide(&mut self, now: UnixMillis) {
        let mut changes: Vec<PriceChanged> = Vec::new();
        let turn: Vec<Sku> = self.dirty.iter().copied().take(TURN_MAX).collect();
        for sku in turn {
            self.dirty.remove(&sku);
            let Some(entry) = self.entries.get(&sku) else { continue };
            let shown: Vec<Shown> = self.tags.shown(sku);
            let plan = price::decide(&entry.article, entry.till, &shown, now);
            if let Some(at) = plan.wake {
                self.wakes.insert((at, sku));
            }
            self.tags.want(&self.daemon, sku, &plan.tags);
            changes.extend(plan.till);
        }
        for chunk in changes.chunks(CHUNK) {
            self.commit_prices(chunk.to_vec()).await;
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
        // Durable or not, the articles are looked at again: the decision has no memory.
        self.dirty.extend(chunk.iter().map(|change| change.sku));
        match committed {
            Ok(()) => {
                tracing::info!(prices = chunk.len(), "till prices changed");
                for change in chunk {
                    if let Some(entry) = self.entries.get_mut(&change.sku) {
                        entry.till = Some(TillPrice { price: change.to, version: change.version });
                    }
                }
            }
            Err(error) => tracing::warn!(%error, prices = chunk.len(), "till prices wait for the ledger"),
        }
    }

    /// A tag answered.
    async fn written(&mut self, news: TagNews) {
        let Some(confirmed) = self.tags.written(&self.daemon, news) else { return };
        let stamp = self.daemon.clock.stamp();
        let (tag, sku) = (confirmed.tag.clone(), confirmed.sku);
        let show = TillPrice { price: confirmed.price, version: confirmed.version };
        let event = Event::new(stamp, confirmed);
        match self.daemon.commit(move |draft| draft.append(&event)).await {
            Ok(_) => self.tags.confirmed(&tag, sku, show),
            // The tag shows it, the ledger does not know: it is written again, which does no harm.
            Err(error) => {
                tracing::warn!(%tag, %error, "confirmation was not stored; the tag is written again");
                self.tags.failed(&self.daemon, &tag);
            }
        }
        self.show_tag(&tag);
        self.dirty.insert(sku);
        let now = UnixMillis(self.daemon.clock.wall_ms());
        self.decide(now).await;
    }

    fn show_tag(&self, tag: &DeviceId) {
        self.tags.publish(&self.daemon, tag);
    }
}
