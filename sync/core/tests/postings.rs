//! Postings sum to zero, or say why there are none.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_core::{AMOUNT_MAX, PostingError, QUANTITY_MAX, postings, tax_contained};
use sync_model::{
    BusinessDay, Count, Currency, Fact, FactRef, LotId, Milli, Minor, Receipt, ReceiptLine,
    ReservationClosed, ReservationOpened, ReservationOutcome, Return, Sale, SaleLine, Sku, StoreId, Tender,
    TenderKind, Text, TillId, TransferIn, TransferLine, TransferOut, UnixMillis, Waste, WasteReason,
};

const REF: FactRef = FactRef { epoch: sync_model::Epoch(1), seq: sync_model::Seq(1) };

fn lot() -> BoxedStrategy<LotId> {
    prop_oneof![Just(""), Just("A"), Just("B7")].prop_map(|lot| LotId::new(lot).unwrap()).boxed()
}

fn line() -> BoxedStrategy<SaleLine> {
    (1_u64..5, lot(), -10_i64..1_000_000, -10_i64..1_000_000, 0_u16..5_000)
        .prop_map(|(sku, lot, quantity, amount, tax_rate)| SaleLine {
            sku: Sku(sku),
            lot,
            quantity: Milli(quantity),
            unit_price: Minor(0),
            discount: Minor(0),
            amount: Minor(amount),
            tax_rate,
            weighing: None,
            batch: None,
        })
        .boxed()
}

fn sale(lines: Vec<SaleLine>, shift: i64) -> Sale {
    let total = lines.iter().map(|line| line.amount.0).sum::<i64>() + shift;
    let tenders = vec![
        Tender { kind: TenderKind::Cash, amount: Minor(total / 2) },
        Tender { kind: TenderKind::Wallet, amount: Minor(total - total / 2) },
    ];
    Sale { till: TillId(1), number: 1, day: BusinessDay(1), currency: Currency::CNY, lines, tenders }
}

fn fact() -> impl Strategy<Value = Fact> {
    let lines = prop::collection::vec(line(), 1..6).boxed();
    let moves = prop::collection::vec((1_u64..5, lot(), any::<i64>()), 0..5).prop_map(|lines| {
        let line = |(sku, lot, quantity)| TransferLine { sku: Sku(sku), lot, quantity: Milli(quantity) };
        lines.into_iter().map(line).collect::<Vec<_>>()
    });
    let moves = moves.boxed();
    let single = (1_u64..5, lot(), any::<i64>(), any::<i64>()).boxed();
    prop_oneof![
        (lines.clone(), -1_i64..2).prop_map(|(lines, shift)| sale(lines, shift).into()),
        lines.prop_map(|lines| {
            let Sale { till, number, day, currency, lines, tenders } = sale(lines, 0);
            Return { till, number, day, of: None, currency, lines, tenders }.into()
        }),
        moves.clone().prop_map(|lines| TransferOut { to: StoreId(2), lines }.into()),
        moves.clone().prop_map(|lines| TransferIn { from: StoreId(2), of: REF, lines }.into()),
        moves.prop_map(|lines| {
            let line = |line: TransferLine| ReceiptLine {
                sku: line.sku,
                lot: line.lot,
                quantity: line.quantity,
                unit_cost: Minor(1),
            };
            Receipt { reference: Text::default(), lines: lines.into_iter().map(line).collect() }.into()
        }),
        single.clone().prop_map(|(sku, lot, counted, book)| {
            let (section, by) = (Text::default(), Text::default());
            Count { sku: Sku(sku), lot, section, counted: Milli(counted), book: Milli(book), by }.into()
        }),
        single.clone().prop_map(|(sku, lot, quantity, _)| {
            let reason = WasteReason::Expired;
            Waste { sku: Sku(sku), lot, quantity: Milli(quantity), reason, batch: None }.into()
        }),
        single.clone().prop_map(|(sku, _, quantity, _)| {
            let (channel, reference) = (Text::default(), Text::default());
            let expires = UnixMillis(0);
            ReservationOpened { sku: Sku(sku), quantity: Milli(quantity), channel, reference, expires }.into()
        }),
        single.prop_map(|(sku, _, quantity, _)| {
            let outcome = ReservationOutcome::Posted;
            ReservationClosed { reservation: REF, sku: Sku(sku), quantity: Milli(quantity), outcome }.into()
        }),
    ]
}

proptest! {
    #[test]
    fn sums_are_zero(fact in fact()) {
        let Ok(postings) = postings(&fact) else { return Ok(()) };
        let mut stock: BTreeMap<(Sku, LotId), i128> = BTreeMap::new();
        for posting in &postings.stock {
            *stock.entry((posting.sku, posting.lot.clone())).or_default() += i128::from(posting.quantity.0);
        }
        let mut money: BTreeMap<(BusinessDay, Currency), i128> = BTreeMap::new();
        for posting in &postings.money {
            *money.entry((posting.day, posting.currency)).or_default() += i128::from(posting.amount.0);
        }
        prop_assert!(stock.values().all(|sum| *sum == 0), "{stock:?}");
        prop_assert!(money.values().all(|sum| *sum == 0), "{money:?}");
    }

    #[test]
    fn contained_tax_is_between_nothing_and_the_amount(amount in any::<i64>(), rate in any::<u16>()) {
        let tax = tax_contained(Minor(amount), rate);
        prop_assert!(tax.0.unsigned_abs() <= amount.unsigned_abs());
        prop_assert!(tax.0 == 0 || (tax.0 < 0) == (amount < 0));
    }
}

#[test]
fn tax_is_rounded_half_away_from_zero() {
    assert_eq!(tax_contained(Minor(11_300), 1_300), Minor(1_300));
    assert_eq!(tax_contained(Minor(100), 1_300), Minor(12));
    assert_eq!(tax_contained(Minor(3), 10_000), Minor(2));
    assert_eq!(tax_contained(Minor(-3), 10_000), Minor(-2));
    assert_eq!(tax_contained(Minor(i64::MAX), 0), Minor(0));
}

#[test]
fn refusals_have_names() {
    let mut unbalanced = sale(Vec::new(), 0);
    unbalanced.tenders[0].amount = Minor(1);
    assert_eq!(
        postings(&unbalanced.into()),
        Err(PostingError::Unbalanced { tenders: Minor(1), lines: Minor(0) })
    );
    let waste = |quantity| {
        let (sku, lot, reason) = (Sku(1), LotId::default(), WasteReason::Process);
        postings(&Waste { sku, lot, quantity, reason, batch: None }.into())
    };
    assert!(waste(QUANTITY_MAX).is_ok());
    assert!(matches!(waste(Milli(QUANTITY_MAX.0 + 1)), Err(PostingError::Quantity { .. })));
    let large = sale(
        vec![SaleLine {
            sku: Sku(1),
            lot: LotId::default(),
            quantity: Milli(1),
            unit_price: Minor(0),
            discount: Minor(0),
            amount: Minor(AMOUNT_MAX.0 + 1),
            tax_rate: 0,
            weighing: None,
            batch: None,
        }],
        0,
    );
    assert!(matches!(postings(&large.into()), Err(PostingError::Amount(_))));
}
