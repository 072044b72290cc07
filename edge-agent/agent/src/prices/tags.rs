//! Tags of the price pump: what each confirmed, what it should show, the image under way, the pause after a failure.

use crate::config::Config;
use crate::daemon::Daemon;
use crate::devices::TagNews;
use crate::labels::Labels;
use drv_host::TagJob;
use drv_protocol::gicisky::Model;
use edge_api::DeviceReading;
use edge_core::price::{Shown, TagTarget, TillPrice};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use sync_model::{Article, DeviceId, Sku, TagConfirmed};

/// An image without an answer for this long was lost with a driver's restart.
const ANSWER_MS: u64 = 300_000;

struct Tag {
    sku: Sku,
    model: Model,
    confirmed: Option<TillPrice>,
    wanted: Option<TillPrice>,
    flight: Option<Flight>,
    /// Not before this moment.
    pause_until: u64,
    pause_ms: u64,
}

#[derive(Clone, Copy)]
struct Flight {
    job: u64,
    show: TillPrice,
    hash: [u8; 8],
    since_ms: u64,
}

/// Every configured tag.
pub(super) struct Tags {
    tags: BTreeMap<DeviceId, Tag>,
    by_sku: BTreeMap<Sku, Vec<DeviceId>>,
    in_flight_max: usize,
    retry_min_ms: u64,
    retry_max_ms: u64,
    next_job: u64,
    labels: Labels,
}

impl Tags {
    pub(super) fn new(daemon: &Daemon, config: &Arc<Config>) -> Self {
        let mut tags = BTreeMap::new();
        let mut by_sku: BTreeMap<Sku, Vec<DeviceId>> = BTreeMap::new();
        let retry_min_ms = config.prices.retry_min_s.saturating_mul(1_000);
        for entry in &config.host.tag {
            // Both were checked with the configuration.
            let (Ok(id), Some(model)) = (DeviceId::new(&entry.id), Model::find(entry.model)) else {
                continue;
            };
            by_sku.entry(Sku(entry.sku)).or_default().push(id.clone());
            let tag = Tag {
                sku: Sku(entry.sku),
                model,
                confirmed: None,
                wanted: None,
                flight: None,
                pause_until: 0,
                pause_ms: retry_min_ms,
            };
            tags.insert(id, tag);
        }
        Self {
            tags,
            by_sku,
            in_flight_max: config.prices.tags_in_flight,
            retry_min_ms,
            retry_max_ms: config.prices.retry_max_s.saturating_mul(1_000),
            // Numbers of an earlier run must not be taken for ours.
            next_job: daemon.clock.mono_ms() << 16,
            labels: Labels::new(Arc::clone(config)),
        }
    }

    /// Tags of an article with what they show.
    pub(super) fn shown(&self, sku: Sku) -> Vec<Shown> {
        let ids = self.by_sku.get(&sku).map(Vec::as_slice).unwrap_or_default();
        ids.iter()
            .filter_map(|id| Some(Shown { tag: id.clone(), confirmed: self.tags.get(id)?.confirmed }))
            .collect()
    }

    /// Sets what the article's tags should show; those not named are fine as they are.
    pub(super) fn want(&mut self, daemon: &Daemon, sku: Sku, targets: &[TagTarget]) {
        let ids = self.by_sku.get(&sku).cloned().unwrap_or_default();
        for id in ids {
            let wanted = targets.iter().find(|target| target.tag == id).map(|target| target.show);
            if let Some(tag) = self.tags.get_mut(&id) {
                if tag.wanted != wanted {
                    tag.wanted = wanted;
                    tag.pause_until = 0;
                    tag.pause_ms = self.retry_min_ms;
                }
                self.publish(daemon, &id);
            }
        }
    }

    /// Articles with labels to write.
    pub(super) fn wanted_skus(&self) -> BTreeSet<Sku> {
        self.tags
            .values()
            .filter(|tag| tag.wanted.is_some() && tag.flight.is_none())
            .map(|tag| tag.sku)
            .collect()
    }

    /// Hands images to the radio, as many as may be under way.
    pub(super) fn send(&mut self, daemon: &Daemon, articles: &BTreeMap<Sku, Article>) {
        let now = daemon.clock.mono_ms();
        self.drop_stale(now);
        let mut room =
            self.in_flight_max.saturating_sub(self.tags.values().filter(|tag| tag.flight.is_some()).count());
        let retry_max_ms = self.retry_max_ms;
        for (id, tag) in &mut self.tags {
            let Some(show) = tag.wanted.filter(|_| tag.flight.is_none() && now >= tag.pause_until) else {
                continue;
            };
            let Some(article) = articles.get(&tag.sku) else { continue };
            if room == 0 {
                return;
            }
            let Some(planes) = self.labels.planes(id, article, show.price, tag.model) else {
                pause(tag, now, retry_max_ms);
                continue;
            };
            self.next_job = self.next_job.wrapping_add(1);
            let flight = Flight { job: self.next_job, show, hash: planes.hash(), since_ms: now };
            let job = TagJob { job: flight.job, tag: id.as_str().into(), planes };
            match daemon.host(|host| host.write_tag(job)) {
                Some(Ok(())) => {
                    tag.flight = Some(flight);
                    room -= 1;
                }
                Some(Err(error)) => {
                    tracing::debug!(tag = %id, %error, "image waits");
                    pause(tag, now, retry_max_ms);
                }
                None => return,
            }
        }
    }

    fn drop_stale(&mut self, now: u64) {
        let retry_max_ms = self.retry_max_ms;
        for (id, tag) in &mut self.tags {
            if tag.flight.is_some_and(|flight| now.saturating_sub(flight.since_ms) >= ANSWER_MS) {
                tracing::warn!(tag = %id, "no answer to an image; tried again");
                tag.flight = None;
                pause(tag, now, retry_max_ms);
            }
        }
    }

    /// The radio's answer. Gives the fact to commit when the tag shows what it was sent.
    pub(super) fn written(&mut self, daemon: &Daemon, news: TagNews) -> Option<TagConfirmed> {
        let (id, tag) =
            self.tags.iter_mut().find(|(_, tag)| tag.flight.is_some_and(|flight| flight.job == news.job))?;
        let flight = tag.flight.take()?;
        match news.result {
            Ok(hash) if hash == flight.hash => Some(TagConfirmed {
                tag: id.clone(),
                sku: tag.sku,
                price: flight.show.price,
                version: flight.show.version,
                image_hash: hash,
            }),
            Ok(_) => {
                tracing::error!(tag = %id, "tag confirmed another image than the one it was sent");
                pause(tag, daemon.clock.mono_ms(), self.retry_max_ms);
                None
            }
            Err(reason) => {
                tracing::warn!(tag = %id, %reason, wait_ms = tag.pause_ms, "tag was not written");
                pause(tag, daemon.clock.mono_ms(), self.retry_max_ms);
                None
            }
        }
    }

    /// The ledger knows what a tag shows.
    pub(super) fn confirmed(&mut self, id: &DeviceId, sku: Sku, show: TillPrice) {
        // A confirmation for another article says nothing about this one: the tag was moved.
        if let Some(tag) = self.tags.get_mut(id).filter(|tag| tag.sku == sku) {
            tag.confirmed = Some(show);
            tag.pause_until = 0;
            tag.pause_ms = self.retry_min_ms;
            if tag.wanted == Some(show) {
                tag.wanted = None;
            }
        }
    }

    /// The tag has to be written again, later.
    pub(super) fn failed(&mut self, daemon: &Daemon, id: &DeviceId) {
        if let Some(tag) = self.tags.get_mut(id) {
            pause(tag, daemon.clock.mono_ms(), self.retry_max_ms);
        }
    }

    /// What people see of a tag.
    pub(super) fn publish(&self, daemon: &Daemon, id: &DeviceId) {
        let Some(tag) = self.tags.get(id) else { return };
        let (shown, wanted) = (tag.confirmed, tag.wanted);
        daemon.registry.update(id, |view| {
            if let Some(DeviceReading::Tag { shown_minor, wanted_minor, .. }) = &mut view.reading {
                *shown_minor = shown.map(|show| show.price.0);
                *wanted_minor = wanted.map(|show| show.price.0);
            }
        });
    }
}

fn pause(tag: &mut Tag, now: u64, retry_max_ms: u64) {
    tag.pause_until = now.saturating_add(tag.pause_ms);
    tag.pause_ms = tag.pause_ms.saturating_mul(2).min(retry_max_ms);
}
