//! Tickets, weighings, price changes and tags.

use crate::catalogue::Article;
use crate::random::Random;
use crate::{DAY_MS, Mix, Task, Workload, store};
use sync_model::{
    BusinessDay, Currency, FactRef, Grams, LotId, Milli, Minor, PriceChanged, Sale, SaleLine, Sku,
    TagConfirmed, Tender, TenderKind, TillId, Weighing, extend_price,
};

const OPEN_MS: i64 = 7 * 3_600_000;
const CLOSE_MS: i64 = 22 * 3_600_000;

/// The opening that follows.
pub(crate) fn next_opening(at: i64) -> i64 {
    let day = at - at.rem_euclid(DAY_MS);
    if at.rem_euclid(DAY_MS) < OPEN_MS { day + OPEN_MS } else { day + DAY_MS + OPEN_MS }
}

/// `at` when the store is open then, else the next opening.
fn when_open(at: i64) -> i64 {
    if (OPEN_MS..CLOSE_MS).contains(&at.rem_euclid(DAY_MS)) { at } else { next_opening(at) }
}

impl Workload {
    pub(crate) fn ticket(&mut self, at: i64) {
        let hour = at.rem_euclid(DAY_MS) / 3_600_000;
        // 15 hours, four of them double: 19 shares.
        let busy = u64::from(matches!(hour, 11 | 12 | 17 | 18)) + 1;
        let mean = 15 * 3_600_000 * 15 / 19 / self.profile.tickets / busy;
        let count = 1 + self.random.below(2 * self.profile.lines - 1);
        let till = self.random.below(self.profile.tills.into());
        let lines: Vec<SaleLine> = (0..count).map(|_| self.line(at)).collect();
        self.lines += count;
        let total: i64 = lines.iter().map(|line| line.amount.0).sum();
        let number = self.numbers.get_mut(usize::try_from(till).unwrap_or(0)).map_or(1, |number| {
            *number += 1;
            *number
        });
        let tenders = tenders(&mut self.random, total);
        let sale = Sale {
            till: TillId(u16::try_from(till + 1).unwrap_or(1)),
            number,
            day: BusinessDay(i32::try_from(at.div_euclid(DAY_MS)).unwrap_or(0)),
            currency: Currency::CNY,
            lines,
            tenders,
        };
        self.write(at, sale);
        let next = at + 1 + self.random.wait(mean);
        self.plan(when_open(next), Task::Ticket);
    }

    fn line(&mut self, at: i64) -> SaleLine {
        let rank = self.random.weighted(&self.catalogue.sums);
        let Article { sku, price, tax_rate, weighed, lot } = self.catalogue.articles[rank];
        let price = if self.random.chance(970) { price } else { price * self.random.between(50, 95) / 100 };
        let quantity = if weighed { weight(&mut self.random) } else { pieces(&mut self.random) };
        let full = extend_price(Minor(price), Milli(quantity)).map_or(0, |amount| amount.0);
        let discount = if self.random.chance(20) {
            full * [10, 20, 30, 50][usize::try_from(self.random.below(4)).unwrap_or(0)] / 100
        } else {
            0
        };
        let weighing = (self.mix == Mix::Store && weighed && self.random.chance(500))
            .then(|| FactRef { epoch: self.epoch, seq: self.weighing(at, quantity) });
        let day = at.div_euclid(DAY_MS);
        let lot = if lot { format!("{}{:02}", day % 100_000, sku % 50) } else { String::new() };
        SaleLine {
            sku: Sku(sku),
            lot: LotId::new(&lot).unwrap_or_default(),
            quantity: Milli(quantity),
            unit_price: Minor(price),
            discount: Minor(discount),
            amount: Minor(full - discount),
            tax_rate,
            weighing,
            batch: None,
        }
    }

    fn weighing(&mut self, at: i64, net: i64) -> sync_model::Seq {
        let scale = 1 + self.random.below(self.profile.scales.into());
        let frame_hash = self.random.below(u64::MAX).to_be_bytes();
        let weighing = Weighing {
            scale: store::device("scale", scale),
            net: Grams(net),
            tare: Grams(0),
            interval: Grams(5),
            frame_hash,
        };
        self.write(at, weighing)
    }

    pub(crate) fn price_change(&mut self, at: i64) {
        let count = u64::try_from(self.catalogue.articles.len()).unwrap_or(1);
        let rank = usize::try_from(self.random.below(count)).unwrap_or(0);
        let from = self.catalogue.articles[rank].price;
        let to = (from + 10 * self.random.between(-20, 20)).max(10);
        self.version += 1;
        self.catalogue.articles[rank].price = to;
        let sku = Sku(self.catalogue.articles[rank].sku);
        let change = PriceChanged { sku, from: Some(Minor(from)), to: Minor(to), version: self.version };
        self.write(at, change);
        let seen = at + 2_000 + self.random.wait(15_000);
        self.plan(seen, Task::Tag { article: rank, price: to, version: self.version });
        let early = at.rem_euclid(DAY_MS) < OPEN_MS + 600_000;
        let span = if early { 600_000 } else { 14 * 3_600_000 };
        let next = at + 1 + self.random.wait(span / (self.profile.price_changes / 2));
        self.plan(when_open(next), Task::PriceChange);
    }

    pub(crate) fn tag(&mut self, at: i64, article: usize, price: i64, version: u64) {
        let sku = self.catalogue.articles[article].sku;
        let image_hash = self.random.below(u64::MAX).to_be_bytes();
        let tag = store::device("tag", sku);
        self.write(at, TagConfirmed { tag, sku: Sku(sku), price: Minor(price), version, image_hash });
    }
}

fn weight(random: &mut Random) -> i64 {
    5 * (2 + i64::try_from(random.middling(149)).unwrap_or(0))
}

fn pieces(random: &mut Random) -> i64 {
    let count = match random.weighted(&[860, 950, 980, 1_000]) {
        0 => 1,
        1 => 2,
        2 => 3,
        _ => random.between(4, 12),
    };
    1_000 * count
}

fn tenders(random: &mut Random, total: i64) -> Vec<Tender> {
    let kinds = [TenderKind::Wallet, TenderKind::Card, TenderKind::Cash, TenderKind::Voucher];
    let first = kinds[random.weighted(&[55, 80, 97, 100]).min(3)];
    if total > 2 && random.chance(20) {
        let second = kinds[random.weighted(&[55, 80, 97, 100]).min(3)];
        let part = random.between(1, total - 1);
        return vec![
            Tender { kind: first, amount: Minor(part) },
            Tender { kind: second, amount: Minor(total - part) },
        ];
    }
    vec![Tender { kind: first, amount: Minor(total) }]
}
