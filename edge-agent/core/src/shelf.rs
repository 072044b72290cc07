//! Till prices and shelf tags of a store, joined: the price book decides what each tag has to show ([`crate::price`]), the
//! plan decides when ([`crate::tagplan`]), and the till follows in the order of promise 5.
//!
//! The caller tells facts and carries out what it is given:
//!
//! | Call | Then |
//! |---|---|
//! | [`Shelf::handle_article`], [`Shelf::handle_till`] | the price book and the tills' prices, as the ledger has them |
//! | [`Shelf::poll_changes`] | commit these; [`Shelf::handle_till`] or [`Shelf::handle_unstored`] |
//! | [`Shelf::poll_job`] | start it; [`Shelf::handle_ended`] |
//! | [`Shelf::poll_shown`] | commit `TagConfirmed`; [`Shelf::handle_confirmed`] or [`Shelf::handle_unconfirmed`] |
//!
//! A till price leaves [`Shelf::poll_changes`] only when it may be charged from the commit on: a lower one at once, a
//! higher one when every tag of the article has confirmed it and had `settle_ms` to refresh its panel. An image is started
//! for a lower price only after the till's change is durable.
//!
//! Nothing here must survive a restart: [`Shelf`] is rebuilt from articles, till prices and confirmations. What was under
//! way then is written again, because its version is not confirmed.
//!
//! Failure cases: those of the plan; a tag of an unknown article waits for the article; an article without tags changes at
//! the till alone.

use crate::Moment;
use crate::price::{self, Shown, TillPrice};
use crate::tagplan::{
    AdapterNo, Flash, FlashRefusal, Job, Limits, Outcome, Planner, PlannerFull, TagNo, Urgency, Want, Work,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use sync_model::{Article, DeviceId, PriceChanged, Sku, UnixMillis};

/// One article with what the till charges.
#[derive(Clone, Debug)]
struct Entry {
    article: Article,
    till: Option<TillPrice>,
    /// Tags that hold a rise back.
    held_by: Vec<DeviceId>,
    /// A change of the till price is being committed: until that is known nothing else is decided, or a tag could be sent
    /// a price below the one that is about to be charged.
    pending: bool,
}

/// A tag of the shelf.
#[derive(Clone, Debug)]
struct ShelfTag {
    id: DeviceId,
    sku: Sku,
}

/// A rise that waits for tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The article.
    pub sku: Sku,
    /// What the tills still charge.
    pub till: TillPrice,
    /// What they will charge.
    pub next: TillPrice,
    /// Tags without a confirmation.
    pub by: Vec<DeviceId>,
}

/// Till prices and tags.
#[derive(Debug)]
pub struct Shelf {
    plan: Planner,
    /// Time from a new price until its tag should show it.
    price_due_ms: u64,
    entries: BTreeMap<Sku, Entry>,
    tags: Vec<ShelfTag>,
    /// Their numbers in the order of their names.
    by_id: Vec<TagNo>,
    /// Their numbers in the order of their articles.
    by_sku: Vec<TagNo>,
    /// Tags whose picture is not the one of today's template.
    old_pictures: BTreeSet<TagNo>,
    /// Articles to decide.
    dirty: BTreeSet<Sku>,
    /// Articles to decide at a time.
    wakes: BTreeSet<(UnixMillis, Sku)>,
    /// Tags of articles that were decided.
    touched: BTreeSet<TagNo>,
}

/// Time until a tag should show today's picture of an unchanged price.
const LAYOUT_DUE_MS: u64 = 86_400_000;

impl Shelf {
    /// An empty shelf. `price_due_ms`: from a new price until its tag should show it. `first_job`: see [`Planner::new`].
    pub fn new(limits: Limits, price_due_ms: u64, first_job: u64) -> Self {
        Self {
            plan: Planner::new(limits, first_job),
            price_due_ms,
            entries: BTreeMap::new(),
            tags: Vec::new(),
            by_id: Vec::new(),
            by_sku: Vec::new(),
            old_pictures: BTreeSet::new(),
            dirty: BTreeSet::new(),
            wakes: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Adds an adapter, see [`Planner::add_adapter`].
    ///
    /// # Errors
    /// Too many.
    pub fn add_adapter(&mut self, slots: u16, now_ms: u64) -> Result<AdapterNo, PlannerFull> {
        self.plan.add_adapter(slots, now_ms)
    }

    /// Makes room for so many tags, see [`Planner::reserve`].
    pub fn reserve(&mut self, tags: usize) {
        self.plan.reserve(tags);
        self.tags.reserve_exact(tags);
        self.by_id.reserve_exact(tags);
        self.by_sku.reserve_exact(tags);
    }

    /// Adds a tag of an article; a name that is there already keeps its first article.
    ///
    /// # Errors
    /// Too many.
    pub fn add_tag(&mut self, id: DeviceId, sku: Sku, led: bool, now_ms: u64) -> Result<TagNo, PlannerFull> {
        let place = match self.find(&id) {
            Ok(tag) => return Ok(tag),
            Err(place) => place,
        };
        let tag = self.plan.add_tag(led, now_ms)?;
        self.by_id.insert(place, tag);
        // Behind those of the same article: numbers grow.
        let place = self.by_sku.partition_point(|other| self.sku(*other).is_some_and(|other| other <= sku));
        self.by_sku.insert(place, tag);
        self.tags.push(ShelfTag { id, sku });
        self.dirty.insert(sku);
        Ok(tag)
    }

    /// The plan, for its reports and for what happens at the radio.
    pub fn plan(&self) -> &Planner {
        &self.plan
    }

    /// The number of a tag.
    pub fn tag(&self, id: &DeviceId) -> Option<TagNo> {
        self.find(id).ok()
    }

    /// The number of a tag, or where it belongs among the names.
    fn find(&self, id: &DeviceId) -> Result<TagNo, usize> {
        let place = self.by_id.partition_point(|tag| self.id(*tag).is_some_and(|before| before < id));
        let found = self.by_id.get(place).copied().filter(|tag| self.id(*tag) == Some(id));
        found.ok_or(place)
    }

    fn entry_of(&self, tag: TagNo) -> Option<&ShelfTag> {
        self.tags.get(usize::try_from(tag.0).ok()?)
    }

    /// The name of a tag.
    pub fn id(&self, tag: TagNo) -> Option<&DeviceId> {
        self.entry_of(tag).map(|tag| &tag.id)
    }

    /// The article of a tag.
    pub fn sku(&self, tag: TagNo) -> Option<Sku> {
        self.entry_of(tag).map(|tag| tag.sku)
    }

    /// Every tag by name.
    pub fn tags(&self) -> impl Iterator<Item = (&DeviceId, TagNo)> {
        self.by_id.iter().filter_map(|tag| Some((self.id(*tag)?, *tag)))
    }

    /// An article in its highest version.
    pub fn article(&self, sku: Sku) -> Option<&Article> {
        self.entries.get(&sku).map(|entry| &entry.article)
    }

    /// Rises that wait for tags.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        self.entries.iter().filter(|(_, entry)| !entry.held_by.is_empty()).filter_map(|(sku, entry)| {
            let next = TillPrice { price: entry.article.price, version: entry.article.version };
            Some(Held { sku: *sku, till: entry.till?, next, by: entry.held_by.clone() })
        })
    }

    /// An article and what the tills charge for it, as the ledger has them.
    pub fn handle_article(&mut self, article: Article, till: Option<TillPrice>) {
        let sku = article.sku;
        if let Some(entry) = self.entries.get(&sku) {
            let same = entry.article == article && entry.till == till;
            if same || article.version < entry.article.version {
                return;
            }
        }
        let pending = self.entries.get(&sku).is_some_and(|entry| entry.pending);
        self.entries.insert(sku, Entry { article, till, held_by: Vec::new(), pending });
        self.dirty.insert(sku);
    }

    /// The confirmed image of a tag is not the one that would be drawn today.
    pub fn handle_old_picture(&mut self, tag: TagNo) {
        self.set_layout(tag, true);
        self.touch(tag);
    }

    /// The tills charge this from now on: it is durable.
    pub fn handle_till(&mut self, change: &PriceChanged) {
        if let Some(entry) = self.entries.get_mut(&change.sku) {
            entry.till = Some(TillPrice { price: change.to, version: change.version });
            entry.pending = false;
        }
        self.dirty.insert(change.sku);
    }

    /// A change of a till price could not be stored; it is decided again.
    pub fn handle_unstored(&mut self, sku: Sku) {
        if let Some(entry) = self.entries.get_mut(&sku) {
            entry.pending = false;
        }
        self.dirty.insert(sku);
    }

    /// What the till charges.
    pub fn till(&self, sku: Sku) -> Option<TillPrice> {
        self.entries.get(&sku)?.till
    }

    /// Decides up to `most` articles that something durable changed or whose time has come. Gives till prices to commit.
    pub fn poll_changes(&mut self, now: Moment, most: usize) -> Vec<PriceChanged> {
        while let Some((at, sku)) = self.wakes.first().copied().filter(|(at, _)| *at <= now.wall) {
            self.wakes.remove(&(at, sku));
            self.dirty.insert(sku);
        }
        let mut changes = Vec::new();
        for _ in 0..most {
            let Some(sku) = self.dirty.pop_first() else { break };
            changes.extend(self.decide(sku, now));
        }
        changes
    }

    /// A tag whose article was decided since: what people see of it may have changed. Call until `None`.
    pub fn poll_touched(&mut self) -> Option<TagNo> {
        self.touched.pop_first()
    }

    /// Whether an article waits to be decided.
    pub fn undecided(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn decide(&mut self, sku: Sku, now: Moment) -> Option<PriceChanged> {
        let Self { entries, by_sku, tags, old_pictures, plan, wakes, touched, .. } = self;
        // Decided again when the commit has ended.
        let entry = entries.get_mut(&sku).filter(|entry| !entry.pending)?;
        let of = |number: &TagNo| tags.get(usize::try_from(number.0).ok()?).map(|tag| tag.sku);
        let first = by_sku.partition_point(|number| of(number).is_some_and(|other| other < sku));
        let numbers = || by_sku.iter().skip(first).copied().take_while(|number| of(number) == Some(sku));
        let shown = |number: TagNo| {
            let tag = tags.get(usize::try_from(number.0).ok()?)?;
            Some(Shown { tag: tag.id.clone(), confirmed: plan.shown(number) })
        };
        let decided = price::decide(
            &entry.article,
            entry.till,
            &numbers().filter_map(shown).collect::<Vec<_>>(),
            now.wall,
        );
        if let Some(at) = decided.wake {
            wakes.insert((at, sku));
        }
        entry.held_by = decided.waiting_for;
        entry.pending = decided.till.is_some();
        for number in numbers() {
            let index = usize::try_from(number.0).unwrap_or(usize::MAX);
            let Some(tag) = tags.get(index) else { continue };
            let target = decided.tags.iter().find(|target| target.tag == tag.id).map(|target| target.show);
            let price = target.map(|show| Want {
                show,
                urgency: Urgency::Price,
                due_ms: now.mono_ms.saturating_add(self.price_due_ms),
            });
            let layout = || {
                let show = plan.shown(number).filter(|_| old_pictures.contains(&number))?;
                let due_ms = now.mono_ms.saturating_add(LAYOUT_DUE_MS);
                Some(Want { show, urgency: Urgency::Layout, due_ms })
            };
            let want = price.or_else(layout);
            plan.handle_want(number, want, now.mono_ms);
            touched.insert(number);
        }
        decided.till
    }

    /// See [`Planner::handle_heard`].
    pub fn handle_heard(
        &mut self,
        tag: TagNo,
        adapter: AdapterNo,
        rssi: Option<i16>,
        battery_mv: Option<u16>,
        now_ms: u64,
    ) {
        self.plan.handle_heard(tag, adapter, rssi, battery_mv, now_ms);
    }

    /// See [`Planner::handle_adapter`].
    pub fn handle_adapter(&mut self, adapter: AdapterNo, up: bool, now_ms: u64) {
        self.plan.handle_adapter(adapter, up, now_ms);
    }

    /// See [`Planner::handle_flash`].
    ///
    /// # Errors
    /// Named refusals; then no tag of the call flashes.
    pub fn handle_flash(&mut self, flash: Flash, tags: &[TagNo], now_ms: u64) -> Result<(), FlashRefusal> {
        self.plan.handle_flash(flash, tags, now_ms)
    }

    /// See [`Planner::handle_order_done`].
    pub fn handle_order_done(&mut self, order: u64, now_ms: u64) -> Vec<TagNo> {
        self.plan.handle_order_done(order, now_ms)
    }

    /// A job to start now. Call until `None`.
    pub fn poll_job(&mut self, now_ms: u64) -> Option<Job> {
        let job = self.plan.poll_job(now_ms)?;
        if matches!(job.work, Work::Image(_)) {
            // It is drawn with today's template; if it fails the tag is uncertain and is written again anyway.
            self.set_layout(job.tag, false);
        }
        Some(job)
    }

    fn set_layout(&mut self, tag: TagNo, old: bool) {
        if old && self.entry_of(tag).is_some() {
            self.old_pictures.insert(tag);
        } else {
            self.old_pictures.remove(&tag);
        }
    }

    /// A job that is given up, because nobody said how it ended. Call until `None`.
    pub fn poll_lost(&mut self, now_ms: u64) -> Option<Job> {
        let job = self.plan.poll_lost(now_ms)?;
        self.touch(job.tag);
        Some(job)
    }

    /// A job ended, see [`Planner::handle_ended`].
    pub fn handle_ended(&mut self, number: u64, outcome: Outcome, now_ms: u64) -> Option<Job> {
        let job = self.plan.handle_ended(number, outcome, now_ms)?;
        let layout = self.plan.want(job.tag).is_some_and(|want| want.urgency == Urgency::Layout);
        if outcome == Outcome::NotStarted && layout {
            self.set_layout(job.tag, true);
        }
        self.touch(job.tag);
        Some(job)
    }

    fn touch(&mut self, tag: TagNo) {
        if let Some(sku) = self.sku(tag) {
            self.dirty.insert(sku);
        }
    }

    /// A tag that surely shows a new image: commit the confirmation. Call until `None`.
    pub fn poll_shown(&mut self, now_ms: u64) -> Option<(TagNo, TillPrice)> {
        self.plan.poll_settled(now_ms)
    }

    /// The ledger has it that the tag shows this price of this article. A confirmation for another article says nothing
    /// about this one: the tag was moved.
    pub fn handle_confirmed(&mut self, tag: TagNo, sku: Sku, show: TillPrice, now_ms: u64) {
        if self.sku(tag) == Some(sku) {
            self.plan.handle_confirmed(tag, show, now_ms);
            self.dirty.insert(sku);
        }
    }

    /// The confirmation could not be stored.
    pub fn handle_unconfirmed(&mut self, tag: TagNo, now_ms: u64) {
        self.plan.handle_unconfirmed(tag, now_ms);
        self.touch(tag);
    }
}
