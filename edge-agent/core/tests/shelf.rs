//! Promise 5 in every interleaving: the till never charges more than any tag may show, whatever fails in which order.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

use edge_core::Moment;
use edge_core::price::TillPrice;
use edge_core::shelf::Shelf;
use edge_core::tagplan::{AdapterNo, Job, Limits, Outcome, TagNo, Work};
use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_model::{Article, DeviceId, Milli, Minor, PriceChanged, Sku, StockUnit, Text, UnixMillis};

const SKUS: u64 = 2;
const TAGS: u32 = 5;
const SETTLE_MS: u64 = 300;

fn limits() -> Limits {
    Limits {
        attempts: 3,
        retry_min_ms: 20,
        retry_max_ms: 100,
        rest_ms: 200,
        silent_ms: u64::MAX,
        lost_ms: 2_000,
        settle_ms: SETTLE_MS,
        check_every_ms: 500,
        check_permille: 1_000,
        assumed_ms: 1,
        ..Limits::default()
    }
}

fn sku(tag: u32) -> Sku {
    Sku(u64::from(tag) % SKUS)
}

fn name(tag: u32) -> DeviceId {
    DeviceId::new(&format!("tag-{tag}")).unwrap()
}

/// The price book's entry of an article as it begins.
fn article(number: u64) -> Article {
    Article {
        sku: Sku(number),
        version: 1,
        name: Text::lossy("bun"),
        unit: StockUnit::Piece,
        price: Minor(10),
        tax_rate: 900,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    }
}

/// What is durable: all that a restart finds.
struct Ledger {
    articles: BTreeMap<Sku, Article>,
    tills: BTreeMap<Sku, TillPrice>,
    confirmed: BTreeMap<u32, TillPrice>,
}

/// A tag as customers see it: every image that it may show now, and what is on its way to it.
#[derive(Clone, Debug, Default)]
struct Glass {
    may_show: Vec<TillPrice>,
    /// When which of them was accepted: from `SETTLE_MS` later on nothing older is left.
    accepted: Option<(u64, usize)>,
}

struct World {
    ledger: Ledger,
    glass: Vec<Glass>,
    shelf: Shelf,
    running: BTreeMap<u64, Job>,
    /// A change of a till price that is being committed.
    committing: Vec<PriceChanged>,
    confirming: Vec<(TagNo, TillPrice)>,
    now: u64,
    job: u64,
}

fn build(ledger: &Ledger, now: u64, job: u64) -> Shelf {
    let mut shelf = Shelf::new(limits(), 1_000, job);
    shelf.add_adapter(2, now).unwrap();
    for tag in 0..TAGS {
        let number = shelf.add_tag(name(tag), sku(tag), false, now).unwrap();
        shelf.handle_heard(number, AdapterNo(0), Some(-60), None, now);
    }
    for (tag, show) in &ledger.confirmed {
        shelf.handle_confirmed(TagNo(*tag), sku(*tag), *show, now);
    }
    for (sku, article) in &ledger.articles {
        shelf.handle_article(article.clone(), ledger.tills.get(sku).copied());
    }
    shelf
}

impl World {
    fn new() -> Self {
        let first = TillPrice { price: Minor(10), version: 1 };
        let ledger = Ledger {
            articles: (0..SKUS).map(|number| (Sku(number), article(number))).collect(),
            tills: (0..SKUS).map(|number| (Sku(number), first)).collect(),
            confirmed: (0..TAGS).map(|tag| (tag, first)).collect(),
        };
        let glass = vec![Glass { may_show: vec![first], accepted: None }; TAGS as usize];
        let shelf = build(&ledger, 0, 0);
        let (running, committing, confirming) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { ledger, glass, shelf, running, committing, confirming, now: 0, job: 0 }
    }

    fn act(&mut self, act: u8, which: u8, number: u16) {
        let which_sku = Sku(u64::from(which) % SKUS);
        match act {
            0 => {
                let article = self.ledger.articles.get_mut(&which_sku).unwrap();
                article.version += 1;
                article.price = Minor(i64::from(number % 20) + 1);
                article.effective = UnixMillis(self.now as i64 + i64::from(number % 300) - 150);
                let (article, till) = (article.clone(), self.ledger.tills.get(&which_sku).copied());
                self.shelf.handle_article(article, till);
            }
            1 => self.now += u64::from(number % 400),
            2 => {
                let moment = Moment::new(self.now, self.now as i64);
                self.committing.extend(self.shelf.poll_changes(moment, 1 + usize::from(which) % 3));
            }
            3 => self.commit(which, number),
            4 => {
                while let Some(job) = self.shelf.poll_lost(self.now) {
                    self.running.remove(&job.number);
                }
                if let Some(job) = self.shelf.poll_job(self.now) {
                    self.job = job.number;
                    if let Work::Image(show) = job.work {
                        // From now on, until something is confirmed, it may show that as well.
                        self.glass[job.tag.0 as usize].may_show.push(show);
                    }
                    self.running.insert(job.number, job);
                }
            }
            5 | 6 => self.end(which, number),
            7 => self.confirming.extend(self.shelf.poll_shown(self.now)),
            8 => self.confirm(which, number),
            _ => self.restart(which),
        }
    }

    fn commit(&mut self, which: u8, number: u16) {
        if self.committing.is_empty() {
            return;
        }
        let change = self.committing.remove(usize::from(which) % self.committing.len());
        if number.is_multiple_of(4) {
            self.shelf.handle_unstored(change.sku);
            return;
        }
        let price = TillPrice { price: change.to, version: change.version };
        self.ledger.tills.insert(change.sku, price);
        self.shelf.handle_till(&change);
    }

    fn end(&mut self, which: u8, number: u16) {
        let numbers: Vec<u64> = self.running.keys().copied().collect();
        let Some(found) = numbers.get(usize::from(which) % numbers.len().max(1)) else { return };
        let job = self.running.remove(found).unwrap();
        let outcome = match number % 8 {
            0..=4 => Outcome::Done,
            5 => Outcome::NotStarted,
            _ => Outcome::Failed,
        };
        self.shelf.handle_ended(job.number, outcome, self.now).unwrap();
        let glass = &mut self.glass[job.tag.0 as usize];
        match (job.work, outcome) {
            (Work::Image(_), Outcome::Done) => glass.accepted = Some((self.now, glass.may_show.len() - 1)),
            // It never left the gateway.
            (Work::Image(_), Outcome::NotStarted) => drop(glass.may_show.pop()),
            _ => {}
        }
    }

    fn confirm(&mut self, which: u8, number: u16) {
        if self.confirming.is_empty() {
            return;
        }
        let (tag, show) = self.confirming.remove(usize::from(which) % self.confirming.len());
        if number.is_multiple_of(5) {
            self.shelf.handle_unconfirmed(tag, self.now);
            return;
        }
        self.ledger.confirmed.insert(tag.0, show);
        self.shelf.handle_confirmed(tag, sku(tag.0), show, self.now);
    }

    /// Power cut: what is not durable is gone; a commit under way may have made it or not.
    fn restart(&mut self, which: u8) {
        let committing = std::mem::take(&mut self.committing);
        for change in committing.iter().filter(|_| which.is_multiple_of(2)) {
            self.ledger.tills.insert(change.sku, TillPrice { price: change.to, version: change.version });
        }
        let confirming = std::mem::take(&mut self.confirming);
        for (tag, show) in confirming.iter().filter(|_| which.is_multiple_of(3)) {
            self.ledger.confirmed.insert(tag.0, *show);
        }
        self.running.clear();
        self.shelf = build(&self.ledger, self.now, self.job + 1_000);
    }

    /// Time passes on the glass; then nobody may be charged more than any tag may show.
    fn check(&mut self) {
        for (number, glass) in (0_u32..).zip(&mut self.glass) {
            if let Some((_, place)) = glass.accepted.filter(|(at, _)| self.now >= at + SETTLE_MS) {
                // A newer attempt may have added to it.
                glass.may_show.drain(..place);
                glass.accepted = None;
            }
            let till = self.ledger.tills[&sku(number)];
            let lowest = glass.may_show.iter().map(|show| show.price).min().unwrap();
            assert!(
                till.price <= lowest,
                "tag {number} may show {lowest}, the till charges {}: {glass:?}",
                till.price
            );
        }
    }

    /// Once everything works again, till and tags agree with the price book.
    fn settle(&mut self) {
        self.restart(0);
        let newest = self.ledger.articles.values().map(|article| article.effective.0).max().unwrap();
        self.now = self.now.max(u64::try_from(newest).unwrap_or(0)) + 1;
        for round in 0.. {
            assert!(round < 2_000, "never settled");
            self.act(2, 2, 0);
            while !self.committing.is_empty() {
                self.commit(0, 1);
            }
            self.act(4, 0, 0);
            self.end(0, 0);
            self.check();
            self.act(7, 0, 0);
            while !self.confirming.is_empty() {
                self.confirm(0, 1);
            }
            self.check();
            self.now += 10;
            let agreed = (0..TAGS).all(|tag| {
                let article = &self.ledger.articles[&sku(tag)];
                let next = TillPrice { price: article.price, version: article.version };
                self.ledger.confirmed[&tag] == next && self.ledger.tills[&sku(tag)] == next
            });
            if agreed && self.shelf.plan().report(self.now).images == 0 {
                assert_eq!(self.shelf.held().count(), 0);
                return;
            }
        }
    }
}

proptest! {
    #[test]
    fn the_till_never_charges_more_than_any_tag_may_show(
        acts in proptest::collection::vec((0..40_u8, any::<u8>(), any::<u16>()), 1..400),
    ) {
        let mut world = World::new();
        for (act, which, number) in acts {
            // A restart is rare, the rest is equally likely.
            let act = if act == 39 { 9 } else { act % 9 };
            world.act(act, which, number);
            world.check();
        }
        world.settle();
    }
}

/// The road of one rise: held by the tag that is not there, visibly.
#[test]
fn a_rise_waits_for_the_last_tag_and_names_it() {
    let mut world = World::new();
    world.act(0, 0, 151 + 19);
    world.ledger.articles.get_mut(&Sku(0)).unwrap().price = Minor(18);
    let article = Article {
        version: 3,
        price: Minor(18),
        effective: UnixMillis(0),
        ..world.ledger.articles[&Sku(0)].clone()
    };
    world.ledger.articles.insert(Sku(0), article.clone());
    world.shelf.handle_article(article, world.ledger.tills.get(&Sku(0)).copied());
    let changes = world.shelf.poll_changes(Moment::new(0, 1), 10);
    assert_eq!(changes, []);
    let held: Vec<_> = world.shelf.held().collect();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].by, [name(0), name(2), name(4)]);
    assert_eq!((held[0].till.price, held[0].next.price), (Minor(10), Minor(18)));
    // Two confirm, the third does not.
    for _ in 0..2 {
        let job = world.shelf.poll_job(0).unwrap();
        world.shelf.handle_ended(job.number, Outcome::Done, 0).unwrap();
    }
    assert_eq!(world.shelf.poll_shown(SETTLE_MS - 1), None, "the panel still refreshes");
    while let Some((tag, show)) = world.shelf.poll_shown(SETTLE_MS) {
        world.shelf.handle_confirmed(tag, Sku(0), show, SETTLE_MS);
    }
    assert_eq!(world.shelf.poll_changes(Moment::new(400, 400), 10), []);
    assert_eq!(world.shelf.held().next().unwrap().by, [name(4)]);
}

proptest! {
    /// In whatever order tags are added: each is found by its name, keeps its first article, and is decided with that article.
    #[test]
    fn tags_are_found_whatever_their_order(order in Just((0..40_u32).collect::<Vec<_>>()).prop_shuffle()) {
        let mut shelf = Shelf::new(limits(), 1_000, 1);
        for tag in &order {
            let number = shelf.add_tag(name(*tag), sku(*tag), false, 0).unwrap();
            prop_assert_eq!(shelf.add_tag(name(*tag), Sku(99), false, 0).unwrap(), number);
        }
        for tag in 0..40 {
            let number = shelf.tag(&name(tag)).unwrap();
            prop_assert_eq!((shelf.id(number), shelf.sku(number)), (Some(&name(tag)), Some(sku(tag))));
        }
        prop_assert_eq!(shelf.tag(&name(40)), None);
        let names: Vec<DeviceId> = shelf.tags().map(|(id, _)| id.clone()).collect();
        prop_assert!(names.len() == 40 && names.is_sorted());
        shelf.handle_article(article(1), None);
        shelf.poll_changes(Moment::new(0, 1), 10);
        let mut touched: Vec<TagNo> = std::iter::from_fn(|| shelf.poll_touched()).collect();
        touched.sort();
        let mut of_one: Vec<TagNo> = (0..40).filter(|tag| sku(*tag) == Sku(1)).map(|tag| shelf.tag(&name(tag)).unwrap()).collect();
        of_one.sort();
        prop_assert_eq!(touched, of_one);
    }
}

/// A picture that is not today's is drawn again without touching the till.
#[test]
fn an_old_picture_is_drawn_again() {
    let mut world = World::new();
    world.shelf.handle_old_picture(TagNo(1));
    assert_eq!(world.shelf.poll_changes(Moment::new(0, 1), 10), []);
    let job = world.shelf.poll_job(0).unwrap();
    assert_eq!((job.tag, job.work), (TagNo(1), Work::Image(TillPrice { price: Minor(10), version: 1 })));
    world.shelf.handle_ended(job.number, Outcome::NotStarted, 0).unwrap();
    world.shelf.poll_changes(Moment::new(0, 1), 10);
    let job = world.shelf.poll_job(50).unwrap();
    world.shelf.handle_ended(job.number, Outcome::Done, 60).unwrap();
    let (tag, show) = world.shelf.poll_shown(60 + SETTLE_MS).unwrap();
    world.shelf.handle_confirmed(tag, sku(1), show, 400);
    assert_eq!(world.shelf.poll_changes(Moment::new(400, 400), 10), []);
    assert_eq!(world.shelf.plan().report(400).images, 0);
}
