//! Statements: a worked day by hand, the rules about what counts, sums over any events, and every way to tamper.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{DAY, STORE, any_record, back, books, line, log, record, sale};
use proptest::prelude::*;
use sync_core::{Link, MoneyAccount};
use sync_evidence::{
    Books, BooksError, DayRoot, DayTree, Folds, LogEnd, MoneyTotal, Proof, RowName, SignedError,
    SignedStatement, SigningKey, SkuTotal, Statement, TaxTotal, Tickets,
};
use sync_model::{
    BusinessDay, ClockJumped, Currency, Epoch, FactRef, Kind, Milli, Minor, Seq, Sku, StoreId, TenderKind,
};

const CNY: Currency = Currency::CNY;

fn a_day() -> Vec<Vec<u8>> {
    vec![
        record(sale(
            1,
            DAY,
            TenderKind::Cash,
            vec![line(10, 1_000, 1_130, 1_300), line(20, 250, 1_090, 900)],
        )),
        record(ClockJumped { by_ms: 5 }),
        record(sale(2, DAY, TenderKind::Card, vec![line(10, 2_000, 2_260, 1_300)])),
        record(back(1, DAY, TenderKind::Cash, vec![line(10, 1_000, 1_130, 1_300)])),
        record(sale(3, BusinessDay(DAY.0 + 1), TenderKind::Wallet, vec![line(30, 1_000, 500, 0)])),
        // The same number again, and a ticket whose tenders do not add up: neither counts.
        record(sale(2, DAY, TenderKind::Card, vec![line(10, 9_000, 9_000, 1_300)])),
        record({
            let mut wrong = sale(4, DAY, TenderKind::Card, vec![line(10, 1_000, 100, 0)]);
            wrong.tenders[0].amount = Minor(99);
            wrong
        }),
        vec![0xff, 0xff, 0xff],
    ]
}

fn at(epoch: u32, seq: u64) -> FactRef {
    FactRef { epoch: Epoch(epoch), seq: Seq(seq) }
}

#[test]
fn a_day_by_hand() {
    let records = a_day();
    let books = books([(5, records.as_slice())]);
    assert_eq!(books.days().collect::<Vec<_>>(), [DAY, BusinessDay(DAY.0 + 1)]);
    let mut link = Link::genesis(log(5));
    for (seq, record) in (1..).zip(&records) {
        link = link.next(log(5), Seq(seq), record);
    }
    let money = |account, amount| MoneyTotal { currency: CNY, account, amount: Minor(amount) };
    let expected = Statement {
        store: STORE,
        day: DAY,
        ends: vec![LogEnd { epoch: Epoch(5), upto: Seq(8), link }],
        tally: vec![(Kind(0), 1), (Kind::SALE, 5), (Kind::RETURN, 1), (Kind::CLOCK_JUMPED, 1)],
        tickets: Tickets { sales: 2, returns: 1, lines: 4, span: Some((at(5, 1), at(5, 4))) },
        money: vec![
            money(MoneyAccount::Sales, -3_000),
            money(MoneyAccount::Tax, -350),
            money(MoneyAccount::Tender(TenderKind::Cash), 1_090),
            money(MoneyAccount::Tender(TenderKind::Card), 2_260),
        ],
        taxes: vec![
            TaxTotal { currency: CNY, rate: 900, gross: Minor(1_090), tax: Minor(90) },
            TaxTotal { currency: CNY, rate: 1_300, gross: Minor(2_260), tax: Minor(260) },
        ],
        skus: vec![
            SkuTotal {
                currency: CNY,
                sku: Sku(10),
                sold: Milli(3_000),
                returned: Milli(1_000),
                charged: Minor(3_390),
                refunded: Minor(1_130),
                discount: Minor(6),
            },
            SkuTotal {
                currency: CNY,
                sku: Sku(20),
                sold: Milli(250),
                returned: Milli(0),
                charged: Minor(1_090),
                refunded: Minor(0),
                discount: Minor(3),
            },
        ],
    };
    let statement = books.statement(DAY);
    assert_eq!(statement, expected);
    assert_eq!(Statement::from_bytes(&statement.to_bytes()), Ok(expected));
}

#[test]
fn a_day_without_trade_has_a_statement() {
    let statement = books([(5, a_day().as_slice())]).statement(BusinessDay(-1));
    assert_eq!(statement.tickets, Tickets::default());
    assert!(statement.money.is_empty() && statement.skus.is_empty());
    assert_eq!(Statement::from_bytes(&statement.to_bytes()), Ok(statement));
}

#[test]
fn epochs_follow_each_other_and_gaps_are_refused() {
    let records = a_day();
    let mut two = books([(5, records.as_slice()), (9, &records[..2])]);
    let statement = two.statement(DAY);
    let ends: Vec<(u32, u64)> = statement.ends.iter().map(|end| (end.epoch.0, end.upto.0)).collect();
    assert_eq!(ends, [(5, 8), (9, 2)]);
    // The ticket number was used in the first epoch.
    assert_eq!(statement.tickets.sales, 2);
    let found = Seq(4);
    let refused = two.add(log(9), found, &records[0]);
    assert_eq!(refused, Err(BooksError::Position { log: log(9), after: Seq(2), found }));
    assert_eq!(
        two.add(log(9), Seq(0), &records[0]).map_err(|e| matches!(e, BooksError::Position { .. })),
        Err(true)
    );
    assert_eq!(two.add(log(5), Seq(9), &records[0]), Err(BooksError::Log(log(5))));
    let other = sync_model::LogId { store: StoreId(8), ..log(10) };
    assert_eq!(two.add(other, Seq(1), &records[0]), Err(BooksError::Log(other)));
}

#[test]
fn a_mismatch_names_the_rows() {
    let mut records = a_day();
    let left = books([(5, records.as_slice())]).statement(DAY);
    assert!(left.differences(&left).is_empty());
    records[2] = record(sale(2, DAY, TenderKind::Card, vec![line(20, 2_000, 2_260, 1_300)]));
    let right = books([(5, records.as_slice())]).statement(DAY);
    let found = left.differences(&right);
    let rows: Vec<RowName> = found.iter().map(|difference| difference.row).collect();
    assert_eq!(rows, [RowName::End(Epoch(5)), RowName::Sku(CNY, Sku(10)), RowName::Sku(CNY, Sku(20))]);
    assert_eq!(
        found[1].to_string(),
        "sku 10 CNY: sold 3.000, returned 1.000, charged 33.90, refunded 11.30, discount 0.06 \
         against sold 1.000, returned 1.000, charged 11.30, refunded 11.30, discount 0.03"
    );
    let fewer = books([(5, &records[..1])]).statement(DAY);
    let found = left.differences(&fewer);
    let tax = found.iter().find(|difference| difference.row == RowName::Tickets("returns")).unwrap();
    assert_eq!(tax.to_string(), "tickets: returns: 1 against 0");
    let gone =
        found.iter().find(|d| matches!(d.row, RowName::Money(_, _, MoneyAccount::Tender(TenderKind::Card))));
    assert_eq!(gone.unwrap().to_string(), format!("money {DAY} CNY tender-card: 22.60 against nothing"));
}

fn signed() -> (SignedStatement, SigningKey, SigningKey) {
    let (store, hq) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let mut signed = SignedStatement::sign(books([(5, a_day().as_slice())]).statement(DAY), &store);
    signed.countersign(&hq).unwrap();
    (signed, store, hq)
}

#[test]
fn every_flipped_bit_of_a_statement_file_is_detected() {
    let (signed, store, hq) = signed();
    let bytes = signed.to_bytes();
    assert_eq!(SignedStatement::from_bytes(&bytes).as_ref(), Ok(&signed));
    signed.verify_store(store.public()).unwrap();
    signed.verify_hq(hq.public()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let proven = SignedStatement::from_bytes(&other)
            .is_ok_and(|s| s.verify_store(store.public()).is_ok() && s.verify_hq(hq.public()).is_ok());
        assert!(!proven, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(SignedStatement::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(SignedStatement::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn signatures_do_not_stand_for_each_other() {
    let (mut signed, store, hq) = signed();
    assert!(matches!(signed.verify_store(hq.public()), Err(SignedError::Store(_))));
    assert!(matches!(signed.verify_hq(store.public()), Err(SignedError::Hq(_))));
    std::mem::swap(&mut signed.store, &mut signed.hq);
    assert!(signed.verify_store(hq.public()).is_err() && signed.verify_hq(store.public()).is_err());
    signed.hq = None;
    assert_eq!(signed.verify_hq(hq.public()), Err(SignedError::NoHq));
    signed.store = None;
    assert_eq!(signed.verify_store(store.public()), Err(SignedError::NoStore));
    assert_eq!(signed.countersign(&hq), Err(SignedError::NoStore));
    assert_eq!(SignedStatement::from_bytes(&signed.to_bytes()), Ok(signed));
}

#[test]
fn a_day_root_proves_each_store_and_chains() {
    let hq = SigningKey::from_seed(&[2; 32]);
    let statements: Vec<SignedStatement> = (1..=11)
        .map(|store| {
            let mut statement = books([(5, a_day().as_slice())]).statement(DAY);
            statement.store = StoreId(store * 3);
            SignedStatement::sign(statement, &SigningKey::from_seed(&[u8::try_from(store).unwrap(); 32]))
        })
        .collect();
    let mut tree = DayTree::new(DAY);
    // The order of arrival is no matter.
    assert!(statements.iter().rev().all(|signed| tree.add(signed)));
    let first = tree.sign(&hq, None);
    first.verify(hq.public()).unwrap();
    assert_eq!((first.size, first.prev), (11, [0; 32]));
    for signed in &statements {
        let proof = tree.proof(signed.statement.store).unwrap();
        assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(&proof));
        assert!(first.contains(signed, &proof));
        let mut other = signed.clone();
        other.statement.tickets.lines += 1;
        assert!(!first.contains(&other, &proof));
        let neighbor = tree.proof(StoreId(3)).unwrap();
        assert_eq!(first.contains(signed, &neighbor), signed.statement.store == StoreId(3));
    }
    assert_eq!(tree.proof(StoreId(4)), None);
    let mut unsigned = statements[0].clone();
    unsigned.store = None;
    assert!(!tree.add(&unsigned));
    let bytes = first.to_bytes();
    assert_eq!(bytes.len(), 144);
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!DayRoot::from_bytes(&other).is_ok_and(|root| root.verify(hq.public()).is_ok()), "bit {bit}");
    }
    let next = DayTree::new(BusinessDay(DAY.0 + 1)).sign(&hq, Some(&first));
    assert_eq!(next.prev, first.digest());
    next.verify(hq.public()).unwrap();
}

/// What the folds of these books would be.
fn folds(books: &Books) -> Folds {
    let mut folds = Folds::default();
    for day in books.days() {
        let statement = books.statement(day);
        folds.ends = statement.ends;
        folds.tally = statement.tally;
        folds.money.extend(statement.money.into_iter().map(|row| (day, row)));
        folds.sold.extend(statement.skus.iter().map(|row| (row.sku, Milli(row.sold.0 - row.returned.0))));
    }
    folds
}

#[test]
fn folds_that_say_something_else_are_named() {
    let books = books([(5, a_day().as_slice())]);
    let right = folds(&books);
    assert_eq!(books.check(&right), []);
    let mut wrong = right.clone();
    wrong.money[2].1.amount.0 += 1;
    wrong.sold[0].1.0 -= 1;
    wrong.tally.pop();
    wrong.ends[0].upto = Seq(7);
    let rows: Vec<String> = books.check(&wrong).iter().map(|difference| difference.row.to_string()).collect();
    assert_eq!(
        rows,
        [
            "end of epoch 5".to_owned(),
            "records of kind clock-jumped".to_owned(),
            format!("money {DAY} CNY tender-cash"),
            "sold stock of sku 10".to_owned()
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn totals_of_any_day_fit_together(records in prop::collection::vec(any_record(), 0..60), cut in any::<prop::sample::Index>()) {
        let books = books([(5, records.as_slice())]);
        prop_assert_eq!(books.check(&folds(&books)).len(), if books.days().next().is_none() { books.statement(DAY).ends.len() + books.statement(DAY).tally.len() } else { 0 });
        for day in books.days() {
            let statement = books.statement(day);
            let bytes = statement.to_bytes();
            prop_assert_eq!(Statement::from_bytes(&bytes), Ok(statement.clone()));
            let sum: i64 = statement.money.iter().map(|row| row.amount.0).sum();
            prop_assert_eq!(sum, 0, "double entry");
            let gross: i64 = statement.taxes.iter().map(|row| row.gross.0).sum();
            let articles: i64 = statement.skus.iter().map(|row| row.charged.0 - row.refunded.0).sum();
            let tenders: i64 = statement.money.iter().filter(|row| matches!(row.account, MoneyAccount::Tender(_))).map(|row| row.amount.0).sum();
            prop_assert_eq!((gross, gross), (articles, tenders));
            let tax: i64 = statement.taxes.iter().map(|row| row.tax.0).sum();
            let booked: i64 = statement.money.iter().filter(|row| row.account == MoneyAccount::Tax).map(|row| row.amount.0).sum();
            prop_assert_eq!(tax, -booked);
        }
        // The same events up to the same ends give the same bytes; other ends give others.
        let upto = cut.index(records.len() + 1);
        let (part, again) = (common::books([(5, &records[..upto])]), common::books([(5, &records[..upto])]));
        prop_assert_eq!(part.statement(DAY).to_bytes(), again.statement(DAY).to_bytes());
        prop_assert_eq!(part.statement(DAY) == books.statement(DAY), upto == records.len());
    }

    #[test]
    fn any_change_of_a_record_changes_the_statement(records in prop::collection::vec(any_record(), 1..12), which in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), mask in 1_u8..) {
        let left = books([(5, records.as_slice())]).statement(DAY);
        let mut records = records;
        let record = which.get(&records).len();
        prop_assume!(record > 0);
        let which = which.index(records.len());
        records[which][byte.index(record)] ^= mask;
        let right = books([(5, records.as_slice())]).statement(DAY);
        prop_assert_ne!(left.digest(), right.digest());
        prop_assert!(left.differences(&right).iter().any(|difference| difference.row == RowName::End(Epoch(5))));
    }
}
