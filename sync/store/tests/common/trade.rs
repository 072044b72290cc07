//! A store's and HQ's seeded days: every kind of fact that a fold keeps something of.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "one module shared by several test binaries")]

use super::{STORE, receipt, sale};
use std::path::Path;
use sync_core::replica::Incoming;
use sync_model::{
    AlarmAcknowledged, AlarmKind, AlarmRaised, AlarmReturned, Article, ArticlesSet, BatchMoved, BatchQueued,
    BatchState, ClockQuality, DeviceClass, DeviceEntry, DeviceId, Direction, Event, EventId, Fact, FactRef,
    Kind, LogId, LotId, Milli, MilliCelsius, Minor, PriceChanged, RegisterValue, ReservationOpened,
    ReservationOutcome, Return, RightsIssued, Seq, Sku, Stamp, StockUnit, StoreId, TagConfirmed, Text,
    TransferLine, TransferOut, UnixMillis, Waste, WasteReason,
};
use sync_store::{Ledger, Retention};

/// First moment of day 0.
pub const BEGIN: i64 = 1_790_000_000_000;
/// One day.
pub const DAY: i64 = 86_400_000;

pub fn at(day: i64, ms: i64) -> Stamp {
    Stamp { at: UnixMillis(BEGIN + day * DAY + ms), clock: ClockQuality::Synced }
}

/// Keeps records of the last `days` before `now`, and no others.
pub fn retention(now: i64, days: i64) -> Retention {
    Retention { before: at(now - days, 0).at, kept: 0, least: 1, most: u64::MAX }
}

/// A seeded trader.
pub struct Trade {
    seed: u64,
    numbers: u64,
    refs: Vec<(u8, FactRef)>,
}

impl Trade {
    pub fn new(seed: u64) -> Self {
        Self { seed, numbers: 0, refs: Vec::new() }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn named(&mut self, class: u8) -> Option<FactRef> {
        let of: Vec<FactRef> =
            self.refs.iter().filter(|(known, _)| *known == class).map(|(_, by)| *by).collect();
        let at = usize::try_from(self.draw(of.len().max(1) as u64)).unwrap();
        of.get(at).copied()
    }

    fn append(ledger: &Ledger, stamp: Stamp, fact: impl Into<Fact>) -> EventId {
        let event = Event::new(stamp, fact);
        ledger.call(move |draft| draft.append(&event)).unwrap()
    }

    /// One day at the store.
    pub fn day(&mut self, store: &Ledger, day: i64, facts: u64) {
        for turn in 0..facts {
            self.fact(store, at(day, i64::try_from(turn).unwrap() * 1_000));
        }
    }

    #[allow(clippy::too_many_lines, reason = "one arm per kind of fact")]
    fn fact(&mut self, store: &Ledger, stamp: Stamp) {
        let kind = self.draw(24);
        let sku = Sku(1_000 + self.draw(7));
        let device = DeviceId::new(&format!("device-{}", self.draw(3))).unwrap();
        let (class, id) = match kind {
            0 => (0, Self::append(store, stamp, receipt(sku.0, 5_000))),
            1 => {
                let body = AlarmRaised {
                    device,
                    kind: AlarmKind::TooWarm,
                    since: stamp.at,
                    value: None,
                    limit: None,
                };
                (1, Self::append(store, stamp, body))
            }
            2 => {
                let body = BatchQueued {
                    device,
                    sku,
                    quantity: Milli(9_000),
                    program: 1,
                    set_point: MilliCelsius(100_000),
                    core_min: MilliCelsius(75_000),
                    steam_s: 60,
                    hold_limit_s: 600,
                };
                (2, Self::append(store, stamp, body))
            }
            3 => {
                let wish = ReservationOpened {
                    sku,
                    quantity: Milli(1_000),
                    channel: Text::new("web").unwrap(),
                    reference: Text::new("o").unwrap(),
                    expires: stamp.at,
                };
                let done = store.call(move |draft| draft.promise(stamp, wish));
                let Ok(id) = done else { return };
                (3, id)
            }
            4..=8 => return self.follow(store, stamp, kind),
            9 => {
                let body = PriceChanged { sku, from: None, to: Minor(100), version: self.numbers };
                (0, Self::append(store, stamp, body))
            }
            10 => {
                let body =
                    TagConfirmed { tag: device, sku, price: Minor(100), version: 1, image_hash: [1; 8] };
                (0, Self::append(store, stamp, body))
            }
            11 => {
                let (name, value) = (Text::new("note/door").unwrap(), RegisterValue::Number(stamp.at.0));
                (0, store.call(move |draft| draft.write_register(stamp, STORE, name, value)).unwrap())
            }
            12 => {
                let entry = DeviceEntry { class: DeviceClass::Cabinet, label: Text::new("28-1").unwrap() };
                let entry = (self.draw(3) > 0).then_some(entry);
                (0, store.call(move |draft| draft.change_registry(stamp, STORE, device, entry)).unwrap())
            }
            13 => {
                let lines = vec![TransferLine { sku, lot: LotId::default(), quantity: Milli(10) }];
                (0, Self::append(store, stamp, TransferOut { to: StoreId(9), lines }))
            }
            14 => {
                let body = Fact::Unknown { kind: Kind(200), body: vec![1, 2, 3] };
                (0, Self::append(store, stamp, body))
            }
            _ => {
                self.numbers += 1;
                (4, Self::append(store, stamp, sale(self.numbers)))
            }
        };
        if class > 0 {
            self.refs.push((class, FactRef::from(id)));
        }
    }

    /// A fact that refers to an earlier one.
    fn follow(&mut self, store: &Ledger, stamp: Stamp, kind: u64) {
        let class = match kind {
            4 | 5 => 1,
            6 => 2,
            7 => 3,
            _ => 4,
        };
        let Some(of) = self.named(class) else { return };
        let by = Text::new("li").unwrap();
        let fact: Fact = match kind {
            4 => AlarmAcknowledged { alarm: of, by }.into(),
            5 => AlarmReturned { alarm: of, value: None, worst: None }.into(),
            6 if self.draw(2) == 0 => {
                let (lot, reason) = (LotId::default(), WasteReason::Expired);
                Waste { sku: Sku(1_001), lot, quantity: Milli(100), reason, batch: Some(of) }.into()
            }
            6 => BatchMoved {
                batch: of,
                from: BatchState::Hold,
                to: BatchState::SoldOut,
                temperature: None,
                reason: Text::new("sold").unwrap(),
            }
            .into(),
            7 => {
                let ended = store.call(move |draft| draft.end_promise(stamp, of, ReservationOutcome::Voided));
                assert!(ended.is_ok() || ended.is_err());
                return;
            }
            _ => {
                self.numbers += 1;
                let sold = sale(self.numbers);
                let (till, number, day, currency) = (sold.till, sold.number, sold.day, sold.currency);
                let (lines, tenders) = (sold.lines, sold.tenders);
                Return { till, number, day, of: Some(of), currency, lines, tenders }.into()
            }
        };
        Self::append(store, stamp, fact);
    }

    /// One day at HQ.
    pub fn office(&mut self, hq: &Ledger, day: i64) {
        let stamp = at(day, 500);
        let version = u64::try_from(day).unwrap() + 1;
        let article = Article {
            sku: Sku(1_000 + self.draw(7)),
            version,
            name: Text::new("apples").unwrap(),
            unit: StockUnit::Kilogram,
            price: Minor(500),
            tax_rate: 900,
            effective: stamp.at,
            safety: Milli(0),
            active: true,
        };
        let sku = Sku(1_000 + self.draw(7));
        let facts: [Fact; 2] = [
            ArticlesSet { articles: vec![article] }.into(),
            RightsIssued { sku, quantity: Milli(10) }.into(),
        ];
        for fact in facts {
            let event = Event::new(stamp, fact);
            hq.call(move |draft| draft.append_down(STORE, &event)).unwrap();
        }
        let (name, value) = (Text::new("note/door").unwrap(), RegisterValue::Number(day));
        hq.call(move |draft| draft.write_register(stamp, STORE, name, value)).unwrap();
    }
}

/// Moves what is missing of every log in a direction, and the acks back.
pub fn carry(from: &Ledger, to: &Ledger, direction: Direction, day: i64) {
    let heads = from.reader().unwrap().heads().unwrap();
    for head in heads.into_iter().filter(|row| row.log.direction == direction) {
        send(from, to, head.log, day);
        let known = to.reader().unwrap().head(head.log).unwrap().unwrap();
        let ack = sync_core::Ack { log: head.log, upto: known.head, link: known.link, gap: None };
        from.call(move |draft| draft.acked(&ack)).unwrap();
    }
}

/// Moves what is missing of one log.
pub fn send(from: &Ledger, to: &Ledger, log: LogId, day: i64) {
    loop {
        let known = to.reader().unwrap().head(log).unwrap().map_or(Seq::ZERO, |row| row.head);
        let Some(block) = from.reader().unwrap().block(log, known.next(), 512, 48 * 1024).unwrap() else {
            return;
        };
        let block = Incoming::from(block);
        to.call(move |draft| draft.take_in(&block, at(day, 900))).unwrap();
    }
}

/// Settles both directions.
pub fn settle(store: &Ledger, hq: &Ledger, day: i64) {
    carry(store, hq, Direction::Up, day);
    carry(hq, store, Direction::Down, day);
}

/// Every fold row of a store, tables and columns by name, tickets by the name of their fact.
pub fn folds(path: &Path, store: StoreId) -> Vec<String> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut all = Vec::new();
    for table in sync_store::FOLD_TABLES {
        let columns: Vec<&str> = table.keys.iter().chain(table.values).map(|(name, _)| *name).collect();
        let (mut select, mut from) = (columns.join(", "), table.name.to_owned());
        if table.name == "ticket" {
            select = "ticket.store, form, till, number, log.direction, log.epoch, ticket.pos & 1099511627775"
                .into();
            from = "ticket JOIN log ON log.id = ticket.pos >> 40".into();
        }
        let sql = format!(
            "SELECT {select} FROM {from} WHERE {}.store = {} ORDER BY 1, 2, 3, 4",
            table.name, store.0
        );
        let mut statement = conn.prepare(&sql).unwrap();
        let count = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells: Vec<String> = (0..count).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
            Ok(format!("{}: {}", table.name, cells.join(", ")))
        });
        all.extend(rows.unwrap().map(Result::unwrap));
    }
    all
}
