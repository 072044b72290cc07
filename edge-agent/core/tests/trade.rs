//! Tickets, prices, offers: every refusal code, promise 5 under any order of events, no overflow.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a test fails by panicking")]

use edge_core::offer::{ReservationRefusal, Standing, check_reservation, offer};
use edge_core::price::{Shown, TillPrice, decide};
use edge_core::ticket::{Line, Paid, Request, Today, check, check_return, parse_day};
use edge_core::{Catalogue, Listing};
use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_model::{
    Article, BusinessDay, Currency, DeviceId, Milli, Minor, Sku, StockUnit, TenderKind, Text, UnixMillis,
};

fn article(sku: u64, version: u64, price: i64) -> Article {
    Article {
        sku: Sku(sku),
        version,
        name: Text::lossy("bun"),
        unit: StockUnit::Kilogram,
        price: Minor(price),
        tax_rate: 900,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    }
}

fn catalogue() -> BTreeMap<Sku, Listing> {
    let listing = |sku, price: Option<i64>, active| {
        let article = Article { active, ..article(sku, 1, price.unwrap_or(500)) };
        (Sku(sku), Listing { article, price: price.map(Minor) })
    };
    [
        listing(1001, Some(500), true),
        listing(1002, Some(i64::MAX), true),
        listing(1003, Some(500), false),
        listing(1004, None, true),
    ]
    .into()
}

fn line(quantity: i64, unit_price: i64, discount: i64, amount: i64) -> Line {
    Line { sku: 1001, lot: None, quantity, unit_price, discount, amount, weighing: None, batch: None }
}

fn cash(amount: i64) -> Paid {
    Paid { kind: "cash".into(), amount }
}

fn request(lines: Vec<Line>) -> Request {
    let total = lines.iter().fold(0_i64, |sum, line| sum.wrapping_add(line.amount));
    Request {
        till: 1,
        number: 7,
        day: None,
        currency: "CNY".into(),
        lines,
        tenders: vec![cash(total)],
        total,
    }
}

fn today() -> Today {
    Today { day: parse_day("2026-11-20").unwrap(), clock_trusted: true, currency: Currency::CNY }
}

#[test]
fn a_good_ticket_becomes_a_sale() {
    let mut ticket = request(vec![
        Line { lot: Some("L7".into()), weighing: Some("3.14".into()), ..line(333, 500, 0, 167) },
        line(2_000, 400, 50, 750),
    ]);
    ticket.tenders = vec![cash(900), Paid { kind: "wallet".into(), amount: 17 }];
    ticket.day = Some("2026-11-21".into());
    let sale = check(&ticket, &today(), &catalogue()).unwrap();
    assert_eq!(sale.day.to_string(), "2026-11-21");
    assert_eq!(sale.lines[0].weighing.unwrap().to_string(), "3.14");
    assert_eq!((sale.lines[1].amount, sale.lines[1].tax_rate), (Minor(750), 900));
    assert_eq!(sale.tenders[1].kind, TenderKind::Wallet);
}

#[test]
fn every_refusal_has_its_code_and_field() {
    type Spoil = fn(&mut Request);
    let cases: &[(&str, &str, Spoil)] = &[
        ("bad-till", "till", |r| r.till = 0),
        ("bad-number", "number", |r| r.number = 0),
        ("bad-currency", "currency", |r| r.currency = "EUR".into()),
        ("bad-day", "day", |r| r.day = Some("2026-02-29".into())),
        ("bad-day", "day", |r| r.day = Some("2026-11-22".into())),
        ("bad-day", "day", |r| r.day = Some("2025-10-01".into())),
        ("no-lines", "lines", |r| r.lines.clear()),
        ("too-many-lines", "lines", |r| r.lines = vec![line(1000, 500, 0, 500); 201]),
        ("no-tenders", "tenders", |r| r.tenders.clear()),
        ("too-many-tenders", "tenders", |r| r.tenders = vec![cash(1); 9]),
        ("unknown-sku", "lines[0].sku", |r| r.lines[0].sku = 9),
        ("inactive-sku", "lines[0].sku", |r| r.lines[0].sku = 1003),
        ("no-price", "lines[0].sku", |r| r.lines[0].sku = 1004),
        ("bad-quantity", "lines[0].quantity_milli", |r| r.lines[0].quantity = 0),
        ("bad-quantity", "lines[0].quantity_milli", |r| r.lines[0].quantity = -1),
        ("bad-quantity", "lines[0].quantity_milli", |r| r.lines[0].quantity = i64::MAX),
        ("bad-amount", "lines[0].unit_price_minor", |r| r.lines[0].unit_price = -1),
        ("price-above-current", "lines[0].unit_price_minor", |r| r.lines[0].unit_price = 501),
        ("bad-amount", "lines[0].discount_minor", |r| r.lines[0].discount = -1),
        ("bad-amount", "lines[0].discount_minor", |r| r.lines[0].discount = 501),
        ("bad-amount", "lines[0].amount_minor", |r| r.lines[0].amount = 499),
        ("bad-lot", "lines[0].lot", |r| r.lines[0].lot = Some("a line\nbreak".into())),
        ("bad-lot", "lines[0].lot", |r| r.lines[0].lot = Some("x".repeat(25))),
        ("bad-reference", "lines[0].weighing", |r| r.lines[0].weighing = Some("3-14".into())),
        ("bad-reference", "lines[0].batch", |r| r.lines[0].batch = Some(String::new())),
        ("wrong-total", "total_minor", |r| r.total = 501),
        ("bad-tender", "tenders[0].kind", |r| r.tenders[0].kind = "gold".into()),
        ("bad-amount", "tenders[1].amount_minor", |r| r.tenders.push(cash(-1))),
        ("wrong-total", "tenders", |r| r.tenders[0].amount = 499),
        ("overflow", "tenders", |r| r.tenders = vec![cash(i64::MAX), cash(1)]),
    ];
    for (code, field, spoil) in cases {
        let mut ticket = request(vec![line(1000, 500, 0, 500)]);
        spoil(&mut ticket);
        let refusal = check(&ticket, &today(), &catalogue()).unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_str()), (*code, *field), "{refusal}");
    }
}

#[test]
fn sums_and_products_beyond_the_range_are_refused() {
    let big = Line { sku: 1002, ..line(1000, i64::MAX, 0, i64::MAX) };
    let refusal = check(&request(vec![big.clone(), big.clone()]), &today(), &catalogue()).unwrap_err();
    assert_eq!((refusal.code, refusal.field.as_str()), ("overflow", "lines"));
    let refusal = check(&request(vec![Line { quantity: 1001, ..big }]), &today(), &catalogue()).unwrap_err();
    assert_eq!((refusal.code, refusal.field.as_str()), ("overflow", "lines[0].amount_minor"));
}

#[test]
fn an_untrusted_clock_does_not_judge_days() {
    let mut ticket = request(vec![line(1000, 500, 0, 500)]);
    ticket.day = Some("2031-01-01".into());
    let today = Today { clock_trusted: false, ..today() };
    assert!(check(&ticket, &today, &catalogue()).is_ok());
}

#[test]
fn returns_pay_back_what_was_paid() {
    let above = request(vec![line(1000, 700, 0, 700)]);
    assert_eq!(check(&above, &today(), &catalogue()).unwrap_err().code, "price-above-current");
    assert_eq!(check_return(&above, Some("1.2"), &today(), &catalogue()).unwrap().lines.len(), 1);
    let inactive = request(vec![Line { sku: 1003, ..line(1000, 500, 0, 500) }]);
    assert!(check_return(&inactive, None, &today(), &catalogue()).is_ok());
    assert_eq!(check_return(&above, Some("x"), &today(), &catalogue()).unwrap_err().field, "of");
}

#[test]
fn days_are_read_and_written_alike() {
    assert_eq!(parse_day("2000-01-01"), Some(BusinessDay(10_957)));
    for day in (10_957..84_000).step_by(13) {
        assert_eq!(parse_day(&BusinessDay(day).to_string()), Some(BusinessDay(day)));
    }
    for text in [
        "",
        "2026-1-01",
        "2026-00-10",
        "2026-13-01",
        "2026-04-31",
        "1999-12-31",
        "2200-01-01",
        "２026-01-1",
        "2026/01/01",
    ] {
        assert_eq!(parse_day(text), None, "{text}");
    }
    let late = Today::at(1_800_000_000_000, 480, true, Currency::CNY);
    assert_eq!(late.day.to_string(), "2027-01-15");
}

proptest! {
    #[test]
    fn no_ticket_panics_and_sums_agree(
        quantity in any::<i64>(), price in any::<i64>(), discount in any::<i64>(), amount in any::<i64>(),
        total in any::<i64>(), paid in any::<i64>(), day in "\\PC{0,12}",
    ) {
        let mut ticket = request(vec![line(quantity, price, discount, amount); 2]);
        ticket.total = total;
        ticket.tenders = vec![cash(paid); 2];
        ticket.day = Some(day);
        if let Ok(sale) = check(&ticket, &today(), &catalogue()) {
            let lines: i64 = sale.lines.iter().map(|line| line.amount.0).sum();
            let tenders: i64 = sale.tenders.iter().map(|tender| tender.amount.0).sum();
            prop_assert_eq!(lines, tenders);
        }
    }

    /// No channel is offered more than what is free, and nothing overflows.
    #[test]
    fn offers_stay_within_what_is_free(on_hand in any::<i64>(), reserved in any::<i64>(), safety in any::<i64>(), share in any::<u16>()) {
        let standing = Standing { on_hand: Milli(on_hand), reserved: Milli(reserved), safety: Milli(safety), unit: StockUnit::Piece };
        let offered = offer(&standing, share);
        let free = i128::from(on_hand) - i128::from(reserved.max(0)) - i128::from(safety.max(0));
        prop_assert!(i128::from(offered.0) <= free.max(0) && offered.0 >= 0 && offered.0 % 1000 == 0);
    }
}

#[test]
fn an_offer_is_a_share_of_what_is_free() {
    let standing = Standing {
        on_hand: Milli(10_500),
        reserved: Milli(2_000),
        safety: Milli(1_500),
        unit: StockUnit::Kilogram,
    };
    assert_eq!(offer(&standing, 333), Milli(2_331));
    assert_eq!(offer(&standing, 5_000), Milli(7_000));
    assert_eq!(offer(&Standing { unit: StockUnit::Piece, ..standing }, 333), Milli(2_000));
    assert_eq!(offer(&Standing { on_hand: Milli(-5), ..standing }, 1000), Milli(0));
    assert_eq!(check_reservation(Milli(2_331), &standing, 333), Ok(()));
    let short = check_reservation(Milli(2_332), &standing, 333).unwrap_err();
    assert_eq!(
        (short.code(), short),
        ("not-available", ReservationRefusal::Short { wanted: Milli(2_332), offered: Milli(2_331) })
    );
    for wanted in [0, -1, i64::MIN] {
        assert_eq!(check_reservation(Milli(wanted), &standing, 333).unwrap_err().code(), "bad-quantity");
    }
    let pieces = Standing { unit: StockUnit::Piece, ..standing };
    assert_eq!(check_reservation(Milli(500), &pieces, 1000).unwrap_err().code(), "bad-quantity");
}

fn tag(name: &str, confirmed: Option<(i64, u64)>) -> Shown {
    let confirmed = confirmed.map(|(price, version)| TillPrice { price: Minor(price), version });
    Shown { tag: DeviceId::new(name).unwrap(), confirmed }
}

fn till(price: i64, version: u64) -> Option<TillPrice> {
    Some(TillPrice { price: Minor(price), version })
}

#[test]
fn prices_follow_the_table() {
    let now = UnixMillis(1_000);
    let later = Article { effective: UnixMillis(2_000), ..article(1, 2, 600) };
    // (article, till, tags) -> (till changes, tags to write, waits for, wakes)
    let cases = [
        ("new article", article(1, 1, 500), None, vec![tag("t", None)], (true, 0, 0, false)),
        ("new article, later", later.clone(), None, vec![], (false, 0, 0, true)),
        ("settled", article(1, 1, 500), till(500, 1), vec![tag("t", Some((500, 1)))], (false, 0, 0, false)),
        ("new tag", article(1, 1, 500), till(500, 1), vec![tag("t", None)], (false, 1, 0, false)),
        ("down", article(1, 2, 400), till(500, 1), vec![tag("t", Some((500, 1)))], (true, 0, 0, false)),
        (
            "down, till done",
            article(1, 2, 400),
            till(400, 2),
            vec![tag("t", Some((500, 1)))],
            (false, 1, 0, false),
        ),
        ("equal", article(1, 2, 500), till(500, 1), vec![tag("t", Some((500, 1)))], (true, 0, 0, false)),
        ("up", article(1, 2, 600), till(500, 1), vec![tag("t", Some((500, 1)))], (false, 1, 1, false)),
        (
            "up, half",
            article(1, 2, 600),
            till(500, 1),
            vec![tag("t", Some((600, 2))), tag("u", None)],
            (false, 1, 1, false),
        ),
        (
            "up, confirmed",
            article(1, 2, 600),
            till(500, 1),
            vec![tag("t", Some((600, 2)))],
            (true, 0, 0, false),
        ),
        (
            "up, same price of an older version",
            article(1, 3, 600),
            till(500, 1),
            vec![tag("t", Some((600, 2)))],
            (false, 1, 1, false),
        ),
        ("up, no tags", article(1, 2, 600), till(500, 1), vec![], (true, 0, 0, false)),
        ("up, later", later, till(500, 1), vec![tag("t", Some((500, 1)))], (false, 0, 0, true)),
        (
            "old version",
            article(1, 1, 900),
            till(500, 2),
            vec![tag("t", Some((500, 2)))],
            (false, 0, 0, false),
        ),
    ];
    for (name, article, till, tags, expected) in cases {
        let plan = decide(&article, till, &tags, now);
        let found = (plan.till.is_some(), plan.tags.len(), plan.waiting_for.len(), plan.wake.is_some());
        assert_eq!(found, expected, "{name}: {plan:?}");
    }
}

proptest! {
    /// Promise 5 over any sequence of new prices, confirmations and restarts: for tags that have shown this article, the
    /// till never charges more than any of them shows.
    #[test]
    fn the_customer_never_pays_more_than_the_label(
        acts in proptest::collection::vec((0..4_u8, 1..20_i64, 0..3_usize), 1..200),
    ) {
        let mut book = article(1, 1, 10);
        let mut charged = till(10, 1);
        let mut tags = vec![tag("t1", Some((10, 1))), tag("t2", Some((10, 1))), tag("t3", Some((10, 1)))];
        let mut now = UnixMillis(1_000);
        for (act, price, which) in acts {
            match act {
                0 => book = Article { effective: now.plus(price * 10 - 50), ..article(1, book.version + 1, price) },
                1 => now = now.plus(40),
                2 => {
                    // A tag finishes what it was last told to show.
                    let plan = decide(&book, charged, &tags, now);
                    if let Some(target) = plan.tags.iter().find(|target| target.tag == tags[which].tag) {
                        tags[which].confirmed = Some(target.show);
                    }
                }
                _ => if let Some(change) = decide(&book, charged, &tags, now).till {
                    prop_assert!(now >= book.effective);
                    charged = till(change.to.0, change.version);
                },
            }
            let lowest = tags.iter().filter_map(|tag| tag.confirmed).map(|shown| shown.price).min();
            prop_assert!(charged.map(|till| till.price) <= lowest);
        }
    }
}

#[test]
fn a_map_of_listings_is_a_catalogue() {
    let map = catalogue();
    assert_eq!(Catalogue::price(&map, Sku(1001)), Some(Minor(500)));
    assert_eq!(Catalogue::article(&map, Sku(9)), None);
}
