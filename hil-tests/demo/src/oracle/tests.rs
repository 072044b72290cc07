//! Negative tests of the oracle: each kind of disagreement is found. An oracle that cannot fail proves nothing.

use super::*;
use crate::books::Batch;
use sync_model::*;

const EPOCH: Epoch = Epoch(9);

fn at(seq: u64) -> FactRef {
    FactRef { epoch: EPOCH, seq: Seq(seq) }
}

fn event(fact: impl Into<Fact>) -> Event {
    Event::new(Stamp { at: UnixMillis(1), clock: ClockQuality::Synced }, fact)
}

fn sale(number: u64, amount: i64) -> Sale {
    Sale {
        till: TillId(1),
        number,
        day: BusinessDay(20_000),
        currency: Currency::CNY,
        lines: vec![SaleLine {
            sku: Sku(5),
            lot: LotId::default(),
            quantity: Milli(1000),
            unit_price: Minor(amount),
            discount: Minor(0),
            amount: Minor(amount),
            tax_rate: 0,
            weighing: None,
            batch: None,
        }],
        tenders: vec![Tender { kind: TenderKind::Cash, amount: Minor(amount) }],
    }
}

fn weighing(grams: i64) -> Weighing {
    Weighing {
        scale: DeviceId::new("scale-1").unwrap(),
        net: Grams(grams),
        tare: Grams(0),
        interval: Grams(5),
        frame_hash: [0; 8],
    }
}

fn too_warm() -> AlarmRaised {
    AlarmRaised {
        device: DeviceId::new("cold-1").unwrap(),
        kind: AlarmKind::TooWarm,
        since: UnixMillis(1),
        value: None,
        limit: None,
    }
}

fn queued() -> BatchQueued {
    BatchQueued {
        device: DeviceId::new("steam-1").unwrap(),
        sku: Sku(5),
        quantity: Milli(3000),
        program: 1,
        set_point: MilliCelsius(100_000),
        core_min: MilliCelsius(75_000),
        steam_s: 5,
        hold_limit_s: 3600,
    }
}

/// A day on which everything went well: one ticket, two weighings, one excursion, one batch.
fn good() -> (Books, View) {
    let mut books = Books::default();
    let line =
        Line { sku: 5, quantity: 1000, price: 300, discount: 0, amount: 300, weighing: None, batch: None };
    books.ticket(
        1,
        1,
        Ticket { id: at(1).to_string(), lines: vec![line], tenders: vec![("cash".into(), 300)] },
    );
    books.weighings.insert("scale-1".into(), vec![250, 500]);
    books.excursions.insert("cold-1".into(), 1);
    let batch = Batch { device: "steam-1".into(), sku: 5, quantity: 3000, end: "hold" };
    books.batches.insert(at(6).to_string(), batch);
    let held = BatchMoved {
        batch: at(6),
        from: BatchState::CoreCheck,
        to: BatchState::Hold,
        temperature: None,
        reason: Text::lossy("core-reached"),
    };
    let facts: Vec<Fact> = vec![
        sale(1, 300).into(),
        weighing(250).into(),
        weighing(500).into(),
        too_warm().into(),
        AlarmReturned { alarm: at(4), value: None, worst: None }.into(),
        queued().into(),
        held.into(),
    ];
    let events = (1..).zip(facts).map(|(seq, fact)| (at(seq), event(fact))).collect();
    let store = Side {
        name: "store",
        events,
        stock: BTreeMap::from([(5, -1000)]),
        cash: BTreeMap::from([("cash".into(), 300)]),
    };
    let hq = Side { name: "HQ", ..store.clone() };
    (books, View { store, hq })
}

fn judge(books: &Books, view: &View) -> (Found, Vec<String>) {
    let mut problems = Vec::new();
    let found = compare(books, view, &mut problems);
    (found, problems)
}

#[test]
fn a_good_day_has_no_findings() {
    let (books, view) = good();
    let (found, problems) = judge(&books, &view);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(found, Found { tickets_in_store: 1, tickets_in_hq: 1, ..Found::default() });
}

#[test]
fn anything_missing_at_hq_is_lost() {
    for index in 0..7 {
        let (books, mut view) = good();
        view.hq.events.remove(index);
        let (found, problems) = judge(&books, &view);
        assert!(found.lost >= 1, "event {index}: {problems:?}");
    }
}

#[test]
fn a_ticket_missing_in_the_store_is_lost() {
    let (books, mut view) = good();
    view.store.events.remove(0);
    assert!(judge(&books, &view).0.lost >= 1);
}

#[test]
fn anything_twice_is_duplicated() {
    let (books, view) = good();
    for (index, (_, event)) in view.store.events.iter().enumerate() {
        // A second "hold" of the same batch and a second return of the same alarm are further down.
        let mut view = view.clone();
        for side in [&mut view.store, &mut view.hq] {
            side.events.push((at(8), event.clone()));
        }
        let (found, problems) = judge(&books, &view);
        let again = matches!(event.fact, Fact::BatchMoved(_));
        assert!(found.duplicated >= 1 || again, "event {index}: {problems:?}");
    }
}

#[test]
fn another_content_or_another_id_is_found() {
    let (books, mut view) = good();
    for side in [&mut view.store, &mut view.hq] {
        side.events[0].1 = event(sale(1, 299));
    }
    let (found, problems) = judge(&books, &view);
    assert_eq!(found.lost, 2, "{problems:?}");

    let (mut books, view) = good();
    books.tickets.get_mut(&(1, 1)).unwrap().id = at(99).to_string();
    assert_eq!(judge(&books, &view).0.lost, 2);
}

#[test]
fn weighings_in_another_order_are_found() {
    let (books, mut view) = good();
    for side in [&mut view.store, &mut view.hq] {
        side.events.swap(1, 2);
    }
    let (_, problems) = judge(&books, &view);
    assert!(problems.iter().any(|problem| problem.contains("differ from place 0")), "{problems:?}");
}

#[test]
fn a_batch_that_ended_otherwise_is_found() {
    let (mut books, view) = good();
    books.batches.get_mut(&at(6).to_string()).unwrap().end = "discarded";
    assert_eq!(judge(&books, &view).0.lost, 2);
}

#[test]
fn folds_that_disagree_are_found() {
    let (books, mut view) = good();
    view.hq.stock.insert(5, -2000);
    view.store.stock.insert(6, 1);
    view.store.cash.insert("card".into(), 1);
    let (found, _) = judge(&books, &view);
    assert_eq!((found.stock_mismatches, found.cash_mismatches), (2, 1));
}

#[test]
fn hq_holding_other_bytes_or_more_than_the_store_is_found() {
    let (books, mut view) = good();
    view.hq.events[1].1.stamp.at = UnixMillis(2);
    view.hq.events.push((
        at(8),
        event(Audit { actor: Text::lossy("x"), action: Text::lossy("y"), detail: Text::lossy("") }),
    ));
    let (found, problems) = judge(&books, &view);
    assert_eq!(found.duplicated, 1);
    assert!(problems.iter().any(|problem| problem.contains("another content")), "{problems:?}");
}
