//! Frozen bytes of every kind of event, and the round trip of everything else. A change here breaks every stored log.
#![allow(clippy::too_many_lines, reason = "tables of samples are one list each")]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;
use sync_model::{
    AlarmAcknowledged, AlarmKind, AlarmRaised, AlarmReturned, AlarmShelved, Article, ArticlesSet, Audit,
    BatchMoved, BatchQueued, BatchState, BusinessDay, CheckpointEnd, Checkpointed, ClockJumped, ClockQuality,
    Command, ConflictSettled, Count, Currency, DayRooted, DeviceClass, DeviceEntry, DeviceId, DeviceLost,
    DeviceSeen, Direction, Epoch, EpochFenced, EpochOpened, EpochParent, EpochReason, Event, EventId, Fact,
    FactError, FactRef, FencedLine, Grams, HqConflictSettled, HqRegisterWritten, HqRegistryChanged, Kind,
    LogId, LotId, Milli, MilliCelsius, Minor, PriceChanged, PromiseClosed, PromiseOpened, RECORD_BYTES_MAX,
    Receipt, ReceiptLine, RegisterValue, RegisterWritten, RegistryChanged, ReservationClosed,
    ReservationOpened, ReservationOutcome, Return, RightsGranted, RightsIssued, RightsReturned, RightsTaken,
    RootPlace, Sale, SaleLine, Seq, SignatureBytes, Sku, Stamp, StatedEnd, StatementAnswer,
    StatementAnswered, StatementPart, StatementSigned, StockUnit, StoreId, TagConfirmed, TemperatureMinute,
    Tender, TenderKind, Text, TillId, TransferClosed, TransferIn, TransferLine, TransferOut, UnixMillis,
    Verdict, Waste, WasteReason, Weighing, WriteContext,
};

const STAMP: Stamp = Stamp { at: UnixMillis(1_790_000_000_123), clock: ClockQuality::Unsynced };
const REF: FactRef = FactRef { epoch: Epoch(1_790_000_000), seq: Seq(300) };

fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).unwrap()
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn lot() -> LotId {
    LotId::new("L-9").unwrap()
}

fn line() -> SaleLine {
    SaleLine {
        sku: Sku(6_901_234_567_892),
        lot: lot(),
        quantity: Milli(250),
        unit_price: Minor(3_980),
        discount: Minor(5),
        amount: Minor(990),
        tax_rate: 900,
        weighing: Some(REF),
        batch: None,
    }
}

fn tenders() -> Vec<Tender> {
    vec![
        Tender { kind: TenderKind::Wallet, amount: Minor(990) },
        Tender { kind: TenderKind::Voucher, amount: Minor(0) },
    ]
}

fn moved() -> Vec<TransferLine> {
    vec![TransferLine { sku: Sku(1001), lot: LotId::default(), quantity: Milli(2_000) }]
}

fn written_by_stores() -> Vec<(Fact, &'static str)> {
    let parent = EpochParent { epoch: Epoch(5), last: Seq(700), link: [7; 32] };
    let (sku, quantity) = (Sku(1001), Milli(2_000));
    vec![
        (
            EpochOpened {
                direction: Direction::Up,
                reason: EpochReason::Restored,
                parent: Some(parent),
                software: text("0.1.0"),
            }
            .into(),
            "01f6b183c59868012c00020105bc05070707070707070707070707070707070707070707070707070707070707070705302e312e30",
        ),
        (
            Weighing {
                scale: device("scale-1"),
                net: Grams(1_234),
                tare: Grams(0),
                interval: Grams(5),
                frame_hash: [1, 2, 3, 4, 5, 6, 7, 8],
            }
            .into(),
            "02f6b183c598680114077363616c652d31a413000a0102030405060708",
        ),
        (
            Sale {
                till: TillId(3),
                number: 1_000,
                day: BusinessDay(20_717),
                currency: Currency::CNY,
                lines: vec![line()],
                tenders: tenders(),
            }
            .into(),
            "03f6b183c59868012e03e807dac30203434e5901d4958a8dedc801034c2d39f403983e0abc0f84070180f7c4d506ac02000202bc0f0300",
        ),
        (
            Return {
                till: TillId(3),
                number: 7,
                day: BusinessDay(-1),
                of: Some(REF),
                currency: Currency::CNY,
                lines: vec![line()],
                tenders: tenders(),
            }
            .into(),
            "04f6b183c5986801330307010180f7c4d506ac0203434e5901d4958a8dedc801034c2d39f403983e0abc0f84070180f7c4d506ac02000202bc0f0300",
        ),
        (
            Receipt {
                reference: text("DN-42"),
                lines: vec![ReceiptLine { sku, lot: lot(), quantity, unit_cost: Minor(150) }],
            }
            .into(),
            "05f6b183c59868011105444e2d343201e907034c2d39a01fac02",
        ),
        (
            Waste { sku, lot: lot(), quantity, reason: WasteReason::TimeUnknown, batch: Some(REF) }.into(),
            "06f6b183c598680111e907034c2d39a01f020180f7c4d506ac02",
        ),
        (
            Count {
                sku,
                lot: lot(),
                section: text("A3"),
                counted: Milli(5_000),
                book: Milli(-1),
                by: text("李"),
            }
            .into(),
            "07f6b183c598680110e907034c2d39024133904e0103e69d8e",
        ),
        (TransferOut { to: StoreId(8), lines: moved() }.into(), "08f6b183c5986801070801e90700a01f"),
        (
            TransferIn { from: StoreId(7), of: REF, lines: moved() }.into(),
            "09f6b183c59868010e0780f7c4d506ac0201e90700a01f",
        ),
    ]
}

fn from_devices() -> Vec<(Fact, &'static str)> {
    let minute = TemperatureMinute {
        device: device("cabinet-12"),
        minute: UnixMillis(1_790_000_040_000),
        low: Some(MilliCelsius(-18_500)),
        mean: None,
        high: Some(MilliCelsius(4_000)),
        good: 6,
        bad: 1,
    };
    let raised = AlarmRaised {
        device: device("cabinet-12"),
        kind: AlarmKind::DefrostTooLong,
        since: UnixMillis(1_790_000_000_000),
        value: Some(MilliCelsius(9_000)),
        limit: Some(MilliCelsius(5_000)),
    };
    let queued = BatchQueued {
        device: device("steamer-1"),
        sku: Sku(3_001),
        quantity: Milli(24_000),
        program: 4,
        set_point: MilliCelsius(100_000),
        core_min: MilliCelsius(75_000),
        steam_s: 900,
        hold_limit_s: 14_400,
    };
    let batch = BatchMoved {
        batch: REF,
        from: BatchState::CoreCheck,
        to: BatchState::Hold,
        temperature: Some(MilliCelsius(76_000)),
        reason: text("core-ok"),
    };
    vec![
        (minute.into(), "0af6b183c59868011b0a636162696e65742d313280a188c598680187a1020001c03e0601"),
        (raised.into(), "0bf6b183c5986801190a636162696e65742d31320480b083c5986801d08c0101904e"),
        (AlarmAcknowledged { alarm: REF, by: text("li") }.into(), "0cf6b183c59868010a80f7c4d506ac02026c69"),
        (
            AlarmReturned { alarm: REF, value: Some(MilliCelsius(4_900)), worst: Some(MilliCelsius(9_900)) }
                .into(),
            "0df6b183c59868010e80f7c4d506ac0201c84c01d89a01",
        ),
        (
            AlarmShelved { alarm: REF, until: UnixMillis(1_790_003_600_000), by: text("li") }.into(),
            "0ef6b183c59868011080f7c4d506ac0280eabac89868026c69",
        ),
        (queued.into(), "0ff6b183c59868011a09737465616d65722d31b91780f70204c09a0cf093098407c070"),
        (batch.into(), "10f6b183c59868011580f7c4d506ac02030401c0a30907636f72652d6f6b"),
        (
            PriceChanged { sku: Sku(1001), from: None, to: Minor(990), version: 12 }.into(),
            "11f6b183c598680106e90700bc0f0c",
        ),
        (
            TagConfirmed {
                tag: device("tag-1"),
                sku: Sku(1001),
                price: Minor(990),
                version: 12,
                image_hash: [8; 8],
            }
            .into(),
            "12f6b183c598680113057461672d31e907bc0f0c0808080808080808",
        ),
        (
            DeviceSeen { device: device("tag-1"), class: DeviceClass::Tag, identity: text("EPD 2.1") }.into(),
            "13f6b183c59868010f057461672d31020745504420322e31",
        ),
        (
            DeviceLost { device: device("tag-1"), class: DeviceClass::Steamer, reason: text("no answer") }
                .into(),
            "14f6b183c598680111057461672d3103096e6f20616e73776572",
        ),
        (
            Audit { actor: text("edge-agent"), action: text("config-reload"), detail: text("ok") }.into(),
            "15f6b183c59868011c0a656467652d6167656e740d636f6e6669672d72656c6f6164026f6b",
        ),
        (
            ReservationOpened {
                sku: Sku(1001),
                quantity: Milli(2_000),
                channel: text("web"),
                reference: text("o-1"),
                expires: UnixMillis(1_790_003_600_000),
            }
            .into(),
            "16f6b183c598680112e907a01f03776562036f2d3180eabac89868",
        ),
        (
            ReservationClosed {
                reservation: REF,
                sku: Sku(1001),
                quantity: Milli(2_000),
                outcome: ReservationOutcome::Voided,
            }
            .into(),
            "17f6b183c59868010c80f7c4d506ac02e907a01f01",
        ),
        (ClockJumped { by_ms: -3_600_000 }.into(), "18f6b183c598680104ffb9b703"),
    ]
}

fn written_by_hq() -> Vec<(Fact, &'static str)> {
    let article = Article {
        sku: Sku(1001),
        version: 12,
        name: text("烤红薯"),
        unit: StockUnit::Kilogram,
        price: Minor(1_980),
        tax_rate: 900,
        effective: UnixMillis(1_790_000_000_000),
        safety: Milli(500),
        active: true,
    };
    let log = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) };
    let of = Some(EventId { log, seq: Seq(9) });
    vec![
        (
            ArticlesSet { articles: vec![article] }.into(),
            "8002f6b183c59868011c01e9070c09e783a4e7baa2e896af01f81e840780b083c59868e80701",
        ),
        (
            Verdict { of, code: text("equivocation"), detail: text("twice") }.into(),
            "8102f6b183c59868011c01070080f7c4d506090c65717569766f636174696f6e057477696365",
        ),
        (Command::Note(text("hello")).into(), "8202f6b183c598680107010568656c6c6f"),
    ]
}

fn shared_by_stores() -> Vec<(Fact, &'static str)> {
    let (sku, quantity) = (Sku(1001), Milli(2_000));
    vec![
        (
            PromiseOpened {
                sku,
                quantity,
                channel: text("web"),
                reference: text("o-1"),
                expires: UnixMillis(1_790_003_600_000),
            }
            .into(),
            "19f6b183c598680112e907a01f03776562036f2d3180eabac89868",
        ),
        (
            PromiseClosed { promise: REF, sku, quantity, outcome: ReservationOutcome::Posted }.into(),
            "1af6b183c59868010c80f7c4d506ac02e907a01f00",
        ),
        (
            RightsTaken { sku, of: REF, posted: Milli(1_000), rights: Milli(0), shortfall: Milli(500) }
                .into(),
            "1bf6b183c59868010ee90780f7c4d506ac02d00f00e807",
        ),
        (RightsReturned { sku, quantity }.into(), "1cf6b183c598680104e907a01f"),
        (
            register(RegisterValue::Number(-4_500)).into(),
            "1df6b183c598680130187468726573686f6c642f636162696e65742d312f6869676801a746028180ece3868ab1d0010205018980808070ac02",
        ),
        (
            registry().into(),
            "1ef6b183c59868012a09636162696e65742d3101010932382d303030303061028180ece3868ab1d0010205018980808070ac02",
        ),
        (
            ConflictSettled { conflict: text("0123456789abcdef"), by: text("li") }.into(),
            "1ff6b183c5986801141030313233343536373839616263646566026c69",
        ),
    ]
}

fn context() -> WriteContext {
    WriteContext { count: 2, hlc: 1_790_000_000_123 << 16 | 1, seen: vec![(5, 1), (7 << 32 | 9, 300)] }
}

fn register(value: RegisterValue) -> RegisterWritten {
    RegisterWritten { name: text("threshold/cabinet-1/high"), value, write: context() }
}

fn registry() -> RegistryChanged {
    let entry = Some(DeviceEntry { class: DeviceClass::Cabinet, label: text("28-00000a") });
    RegistryChanged { device: device("cabinet-1"), entry, write: context() }
}

fn shared_by_hq() -> Vec<(Fact, &'static str)> {
    let (sku, quantity) = (Sku(1001), Milli(2_000));
    let lines = vec![FencedLine { sku, quantity }];
    let shrink = vec![TransferLine { sku, lot: lot(), quantity: Milli(-1) }];
    let removed = RegistryChanged { entry: None, ..registry() };
    vec![
        (RightsIssued { sku, quantity: Milli(-2_000) }.into(), "8302f6b183c598680104e9079f1f"),
        (RightsGranted { epoch: Epoch(5), sku, quantity }.into(), "8402f6b183c59868010505e907a01f"),
        (
            EpochFenced { epoch: Epoch(5), upto: Seq(300), lines }.into(),
            "8502f6b183c59868010805ac0201e907a01f",
        ),
        (
            TransferClosed { of: REF, to: StoreId(8), lines: shrink }.into(),
            "8602f6b183c59868011080f7c4d506ac020801e907034c2d3901",
        ),
        (
            HqRegisterWritten(register(RegisterValue::Note(text("door seal")))).into(),
            "8702f6b183c598680138187468726573686f6c642f636162696e65742d312f686967680209646f6f72207365616c028180ece3868ab1d0010205018980808070ac02",
        ),
        (
            HqRegistryChanged(removed).into(),
            "8802f6b183c59868011f09636162696e65742d3100028180ece3868ab1d0010205018980808070ac02",
        ),
        (
            HqConflictSettled(ConflictSettled { conflict: text("0123456789abcdef"), by: text("hq") }).into(),
            "8902f6b183c5986801141030313233343536373839616263646566026871",
        ),
    ]
}

fn signature() -> SignatureBytes {
    SignatureBytes { r: [0x11; 32], s: [0x22; 32] }
}

fn checkpoints() -> Vec<(Fact, &'static str)> {
    let end =
        |direction, epoch| CheckpointEnd { direction, epoch: Epoch(epoch), upto: Seq(300), link: [7; 32] };
    let ends = vec![end(Direction::Up, 5), end(Direction::Down, 6)];
    vec![(
        Checkpointed { ends, balances: [8; 32], folds: [9; 32], rows: 1_000 }.into(),
        "20f6b183c59868018b01020005ac0207070707070707070707070707070707070707070707070707070707070707070106ac02070707070707070707070707070707070707070707070707070707070707070708080808080808080808080808080808080808080808080808080808080808080909090909090909090909090909090909090909090909090909090909090909e807",
    )]
}

fn statements_of_stores() -> Vec<(Fact, &'static str)> {
    let (day, digest) = (BusinessDay(20_717), [0x33; 32]);
    let ends = vec![StatedEnd { epoch: Epoch(5), upto: Seq(300), link: [0x44; 32] }];
    vec![
        (
            StatementSigned { day, ends, digest, signature: signature() }.into(),
            "24f6b183c59868018701dac3020105ac024444444444444444444444444444444444444444444444444444444444444444333333333333333333333333333333333333333333333333333333333333333311111111111111111111111111111111111111111111111111111111111111112222222222222222222222222222222222222222222222222222222222222222",
        ),
        (
            StatementPart { day, digest, part: 1, of: 2, bytes: vec![7, 8, 9] }.into(),
            "25f6b183c598680129dac3023333333333333333333333333333333333333333333333333333333333333333010203070809",
        ),
    ]
}

fn statements_of_hq() -> Vec<(Fact, &'static str)> {
    let (day, digest) = (BusinessDay(20_717), [0x33; 32]);
    let answer = StatementAnswer::Disputed {
        digest: [0x55; 32],
        reason: text("rows"),
        rows: vec![text("sku 1001 CNY")],
    };
    let place = Some(RootPlace { digest, index: 1, path: vec![[0x66; 32]] });
    let rooted = DayRooted {
        number: 4,
        day,
        size: 2,
        root: [0x77; 32],
        prev: [0x88; 32],
        signature: signature(),
        place,
    };
    vec![
        (
            StatementAnswered { day, digest, answer }.into(),
            "8a02f6b183c598680157dac302333333333333333333333333333333333333333333333333333333333333333301555555555555555555555555555555555555555555555555555555555555555504726f7773010c736b75203130303120434e59",
        ),
        (
            rooted.into(),
            "8b02f6b183c5986801c80104dac30202777777777777777777777777777777777777777777777777777777777777777788888888888888888888888888888888888888888888888888888888888888881111111111111111111111111111111111111111111111111111111111111111222222222222222222222222222222222222222222222222222222222222222201333333333333333333333333333333333333333333333333333333333333333301016666666666666666666666666666666666666666666666666666666666666666",
        ),
    ]
}

fn golden() -> Vec<(Fact, &'static str)> {
    let stores =
        [written_by_stores(), from_devices(), shared_by_stores(), checkpoints(), statements_of_stores()]
            .concat();
    [stores, written_by_hq(), shared_by_hq(), statements_of_hq()].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_kind_keeps_its_bytes() {
    let golden = golden();
    let kinds: Vec<Kind> = golden.iter().map(|(fact, _)| fact.kind()).collect();
    assert_eq!(kinds, Kind::KNOWN, "one frozen record per known kind, in order");
    for (fact, bytes) in golden {
        let event = Event::new(STAMP, fact);
        let record = event.to_record().unwrap();
        assert_eq!(hex(&record), bytes, "{:?}", event.fact);
        assert_eq!(Event::from_record(&record).unwrap(), event);
    }
}

#[test]
fn a_known_kind_refuses_bytes_it_does_not_use() {
    let (fact, _) = golden().remove(1);
    let mut record = Event::new(STAMP, fact).to_record().unwrap();
    record.push(0);
    assert!(matches!(Event::from_record(&record), Err(FactError::Trailing { bytes: 1, .. })));
    let body = Fact::Unknown { kind: Kind(300), body: vec![0; RECORD_BYTES_MAX] };
    assert!(matches!(Event::new(STAMP, body).to_record(), Err(FactError::TooLong(_))));
    assert!(matches!(Event::from_record(&vec![0; RECORD_BYTES_MAX + 1]), Err(FactError::TooLong(_))));
}

proptest! {
    #[test]
    fn unknown_kinds_are_carried_byte_for_byte(
        kind in 512_u16..,
        at in any::<i64>(),
        body in prop::collection::vec(any::<u8>(), 0..500),
    ) {
        let stamp = Stamp { at: UnixMillis(at), clock: ClockQuality::Suspect };
        let event = Event::new(stamp, Fact::Unknown { kind: Kind(kind), body: body.clone() });
        let record = event.to_record().unwrap();
        prop_assert!(record.ends_with(&body));
        let again = Event::from_record(&record).unwrap();
        prop_assert_eq!(again.to_record().unwrap(), record);
        prop_assert_eq!(again, event);
    }

    #[test]
    fn weighings_round_trip(net in any::<i64>(), name in "[a-z0-9-]{1,32}", frame_hash in any::<[u8; 8]>()) {
        let (tare, interval) = (Grams(0), Grams(5));
        let fact = Weighing { scale: device(&name), net: Grams(net), tare, interval, frame_hash };
        let event = Event::new(STAMP, fact);
        prop_assert_eq!(Event::from_record(&event.to_record().unwrap()).unwrap(), event);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // A refusal and an event are both fine: the point is that there is an answer.
        drop(Event::from_record(&bytes));
    }

    #[test]
    fn changed_records_never_panic(which in 0_usize..golden().len(), at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let (fact, _) = golden().swap_remove(which);
        let mut record = Event::new(STAMP, fact).to_record().unwrap();
        let at = at.index(record.len());
        record[at] ^= mask;
        if let Ok(event) = Event::from_record(&record) {
            prop_assert!(event.to_record().is_ok());
        }
    }
}
