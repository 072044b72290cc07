//! Jobs of the plan at the radio: the image of a label, what the drivers answer, what people see of a tag.

use crate::config::Config;
use crate::daemon::Daemon;
use crate::devices::{Reading, Registry};
use crate::labels::Labels;
use drv_host::TagJob;
use drv_protocol::gicisky::{Model, Planes};
use edge_core::price::TillPrice;
use edge_core::shelf::Shelf;
use edge_core::tagplan::{Job, Outcome, TagNo, Urgency, Work};
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_model::Sku;

/// What the radio needs of every configured tag.
pub(super) struct Air {
    /// By the plan's numbers.
    models: Vec<Model>,
    labels: Labels,
    /// Hashes of the images under way, by job.
    flights: BTreeMap<u64, [u8; 8]>,
    /// Hash of the image that a tag accepted or confirmed last.
    hashes: BTreeMap<TagNo, [u8; 8]>,
}

/// Whether the family of a configured tag has an LED that its public protocol drives. Gicisky has none.
const LED: bool = false;

impl Air {
    /// Puts the configured tags on the shelf.
    pub(super) fn new(config: &Arc<Config>, registry: &Registry, shelf: &mut Shelf, now_ms: u64) -> Self {
        let count = config.host.tag.len();
        let mut models = Vec::with_capacity(count);
        shelf.reserve(count);
        for entry in &config.host.tag {
            // Both were checked with the configuration.
            let (Some(id), Some(model)) = (registry.named(&entry.id), entry.panel()) else {
                continue;
            };
            match shelf.add_tag(id, Sku(entry.sku), LED, now_ms) {
                Ok(_) => models.push(model),
                Err(error) => {
                    tracing::error!(tag = &*entry.id, %error, "tag is not served");
                    break;
                }
            }
        }
        let labels = Labels::new(Arc::clone(config));
        Self { models, labels, flights: BTreeMap::new(), hashes: BTreeMap::new() }
    }

    /// The image of a price on a tag; `None` when the article is not known or the label cannot be drawn, which is logged.
    ///
    /// The one place in which labels are drawn.
    fn draw(&mut self, shelf: &Shelf, tag: TagNo, show: TillPrice) -> Option<Planes> {
        let model = *self.models.get(usize::try_from(tag.0).ok()?)?;
        let article = shelf.article(shelf.sku(tag)?)?;
        self.labels.planes(shelf.id(tag)?, article, show.price, model)
    }

    /// The ledger knows the image of a tag.
    pub(super) fn confirmed(&mut self, tag: TagNo, hash: [u8; 8]) {
        self.hashes.insert(tag, hash);
    }

    /// Hash of the image that a tag accepted last.
    pub(super) fn hash(&self, tag: TagNo) -> Option<[u8; 8]> {
        self.hashes.get(&tag).copied()
    }

    /// Whether a tag's confirmed image is another than would be drawn today for the same entry of the price book.
    pub(super) fn old_picture(&mut self, shelf: &Shelf, tag: TagNo) -> bool {
        let same_entry = |show: &TillPrice| {
            let article = shelf.sku(tag).and_then(|sku| shelf.article(sku));
            article.is_some_and(|article| article.version == show.version)
        };
        let Some(show) = shelf.plan().shown(tag).filter(same_entry) else { return false };
        let drawn = self.draw(shelf, tag, show);
        drawn.zip(self.hash(tag)).is_some_and(|(planes, confirmed)| planes.hash() != confirmed)
    }

    /// Starts a job. False: the drivers take no more now.
    pub(super) fn start(&mut self, daemon: &Daemon, shelf: &mut Shelf, job: Job, now_ms: u64) -> bool {
        let (Work::Image(show) | Work::Check(show)) = job.work else {
            // No family that is configured has an LED, so the plan admits no flash.
            shelf.handle_ended(job.number, Outcome::Failed, now_ms);
            return true;
        };
        let Some(id) = shelf.id(job.tag).cloned() else { return true };
        let Some(planes) = self.draw(shelf, job.tag, show) else {
            shelf.handle_ended(job.number, Outcome::NotStarted, now_ms);
            return true;
        };
        let hash = planes.hash();
        let order = TagJob { job: job.number, tag: id.as_str().into(), planes };
        match daemon.host(|host| host.write_tag(order)) {
            Some(Ok(())) => {
                self.flights.insert(job.number, hash);
                return true;
            }
            Some(Err(error)) => tracing::debug!(tag = %id, %error, "image waits"),
            None => {}
        }
        shelf.handle_ended(job.number, Outcome::NotStarted, now_ms);
        false
    }

    /// A job was given up.
    pub(super) fn forget(&mut self, job: u64) {
        self.flights.remove(&job);
    }

    /// The radio's answer.
    pub(super) fn ended(
        &mut self,
        shelf: &mut Shelf,
        number: u64,
        result: Result<[u8; 8], String>,
        now_ms: u64,
    ) {
        let Some(sent) = self.flights.remove(&number) else { return };
        let (outcome, why) = match result {
            Ok(hash) if hash == sent => (Outcome::Done, None),
            Ok(_) => (Outcome::Failed, Some("it confirmed another image than it was sent".to_owned())),
            Err(reason) => (Outcome::Failed, Some(reason)),
        };
        let Some(job) = shelf.handle_ended(number, outcome, now_ms) else { return };
        if let Some(reason) = why {
            let failed = shelf.plan().report_tag(job.tag, now_ms).map_or(0, |report| report.failed);
            tracing::warn!(tag = ?shelf.id(job.tag), %reason, failed, "tag was not written");
            return;
        }
        let known = self.hashes.insert(job.tag, sent);
        if matches!(job.work, Work::Check(_)) && known != Some(sent) {
            // A check wrote a picture that no confirmation knows: it is written as an image, and confirmed.
            shelf.handle_old_picture(job.tag);
        }
    }
}

/// What people see of a tag.
pub(super) fn publish(daemon: &Daemon, shelf: &Shelf, tag: TagNo) {
    let Some(id) = shelf.id(tag) else { return };
    let shown = shelf.plan().confirmed(tag);
    // A picture of the same price is no price to wait for.
    let wanted = shelf.plan().want(tag).filter(|want| want.urgency == Urgency::Price);
    daemon.registry.update(id, |view| {
        if let Reading::Tag(tag) = &mut view.reading {
            tag.shown_minor = shown.map(|show| show.price.0).into();
            tag.wanted_minor = wanted.map(|want| want.show.price.0).into();
        }
    });
}
