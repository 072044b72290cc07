//! Fold rows of one store computed again from its records, for [`crate::verify`].
//!
//! The same folds as the writer's, over rows in memory that begin with the store's base rows (what truncated records left
//! behind). Only the tickets are asked of the table: whose number counts is decided by which fact came first, and only the
//! table knows. They are read ahead in runs, because a till counts up.

use crate::fold::{Base, FoldError, FoldSet, MoneyKey, StockKey, TallyKey, TicketKey, View, fold};
use crate::image;
use crate::ingest::counted_kind;
use crate::item::{Item, ItemKey};
use crate::rows::PriceRow;
use crate::sums::Sums;
use crate::table::signed;
use rusqlite::{Connection, params};
use std::cell::RefCell;
use std::collections::BTreeMap;
use sync_model::{Article, Event, EventId, Sku, StoreId, TillId};

/// Ticket rows read ahead.
const RUN: i64 = 256;

/// Consecutive ticket rows of one till and form, from the number that was asked for on.
#[derive(Default)]
struct Run {
    rows: Vec<(i64, i64)>,
    /// Where the next number is expected.
    next: usize,
}

impl Run {
    /// `None`: the run does not say whether the number is there.
    fn find(&mut self, number: i64) -> Option<Option<i64>> {
        if let Some((_, pos)) = self.rows.get(self.next).filter(|(found, _)| *found == number) {
            self.next += 1;
            return Some(Some(*pos));
        }
        let (first, last) = (self.rows.first()?.0, self.rows.last()?.0);
        if !(first..=last).contains(&number) {
            return None;
        }
        Some(self.rows.binary_search_by_key(&number, |(found, _)| *found).ok().map(|at| {
            self.next = at + 1;
            self.rows.get(at).map_or(0, |(_, pos)| *pos)
        }))
    }
}

/// What lies under the records: base rows, and the tickets of the table.
struct Below<'a> {
    conn: &'a Connection,
    base: FoldSet,
    runs: RefCell<BTreeMap<(u8, TillId), Run>>,
}

impl Base for Below<'_> {
    fn stock(&self, key: &StockKey) -> rusqlite::Result<i64> {
        Ok(self.base.stock.get(key).copied().unwrap_or(0))
    }
    fn money(&self, key: &MoneyKey) -> rusqlite::Result<i64> {
        Ok(self.base.money.get(key).copied().unwrap_or(0))
    }
    fn tally(&self, key: &TallyKey) -> rusqlite::Result<u64> {
        Ok(self.base.tally.get(key).copied().unwrap_or(0))
    }
    fn ticket(&self, key: &TicketKey) -> rusqlite::Result<Option<i64>> {
        let (store, form, till, number) = *key;
        let mut runs = self.runs.borrow_mut();
        let run = runs.entry((form, till)).or_default();
        if let Some(known) = run.find(signed(number)) {
            return Ok(known);
        }
        let sql =
            "SELECT number, pos FROM ticket WHERE store = ?1 AND form = ?2 AND till = ?3 AND number >= ?4
                   ORDER BY number LIMIT ?5";
        let from = params![store.0, form, till.0, signed(number), RUN];
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map(from, |row| Ok((row.get(0)?, row.get(1)?)))?;
        *run = Run { rows: rows.collect::<Result<_, _>>()?, next: 0 };
        // The run begins at the number, or the number is not there.
        Ok(run.find(signed(number)).flatten())
    }
    fn article(&self, _: StoreId, _: Sku) -> rusqlite::Result<Option<Article>> {
        Ok(None)
    }
    fn price(&self, _: StoreId, _: Sku) -> rusqlite::Result<Option<PriceRow>> {
        Ok(None)
    }
    fn item(&self, _: &ItemKey) -> rusqlite::Result<Option<Item>> {
        Ok(None)
    }
}

/// The rows of one store on their way.
pub(crate) struct Recomputed<'a> {
    /// Rows that tickets do not touch, base rows included.
    set: FoldSet,
    sums: Sums,
    below: Below<'a>,
}

impl<'a> Recomputed<'a> {
    /// Begins with the base rows; `ticket_hits` tickets lie below the floors.
    pub(crate) fn new(conn: &'a Connection, store: StoreId, ticket_hits: u64) -> rusqlite::Result<Self> {
        let (mut set, _) = image::load(conn, store)?;
        set.ticket_hits = ticket_hits;
        let base = FoldSet {
            stock: std::mem::take(&mut set.stock),
            money: std::mem::take(&mut set.money),
            tally: std::mem::take(&mut set.tally),
            ..FoldSet::default()
        };
        Ok(Self { set, sums: Sums::default(), below: Below { conn, base, runs: RefCell::default() } })
    }

    /// Folds the next record.
    pub(crate) fn fold(&mut self, id: EventId, pos: i64, record: &[u8]) -> rusqlite::Result<()> {
        let event = Event::from_record(record);
        let empty = FoldSet::default();
        let mut view = View {
            job: &mut self.set,
            group: &empty,
            cache: &empty,
            base: &self.below,
            sums: Some(&mut self.sums),
        };
        view.count((id.log.store, id.log.direction, counted_kind(&event)))?;
        match event.map(|event| fold(&mut view, id, pos, &event)) {
            Ok(Err(FoldError::Storage(error))) => Err(error),
            // A record that folds as nothing did so when it was stored, too.
            _ => Ok(()),
        }
    }

    /// Every row as it should be; tickets are those that the table does not have.
    pub(crate) fn finish(self) -> FoldSet {
        let Self { mut set, sums, below } = self;
        set.stock = below.base.stock;
        set.money = below.base.money;
        set.tally = below.base.tally;
        set.stock.extend(sums.stock.sorted().into_iter().map(|(row, value)| (row.key(), value)));
        set.money.extend(sums.money.sorted().into_iter().map(|(key, value)| (*key, value)));
        set.tally.extend(sums.tally.sorted().into_iter().map(|(key, value)| (*key, value)));
        set.tickets.extend(sums.tickets.sorted().into_iter().map(|(key, pos)| (*key, pos)));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Tables;
    use proptest::prelude::*;

    fn table(numbers: &[u64]) -> Connection {
        let conn = Connection::open_in_memory().expect("memory");
        crate::schema::create(&conn, crate::Owner::Hq).expect("schema");
        for number in numbers {
            let sql =
                "INSERT OR IGNORE INTO ticket (store, form, till, number, pos) VALUES (7, 0, 1, ?1, ?2)";
            conn.execute(sql, params![signed(*number), signed(*number) ^ 5]).expect("insert");
        }
        conn
    }

    proptest! {
        #[test]
        fn tickets_read_ahead_are_the_ones_that_a_look_up_finds(
            stored in proptest::collection::vec(0_u64..2_000, 0..700),
            asked in proptest::collection::vec(prop_oneof![0_u64..2_000, any::<u64>()], 1..400),
            ascending in any::<bool>(),
        ) {
            let conn = table(&stored);
            let below = Below { conn: &conn, base: FoldSet::default(), runs: RefCell::default() };
            let mut asked = asked;
            if ascending {
                asked.sort_unstable();
            }
            for number in asked {
                let key = (StoreId(7), 0, TillId(1), number);
                let expected = Tables(&conn).ticket(&key).expect("look-up");
                prop_assert_eq!(below.ticket(&key).expect("run"), expected);
            }
        }
    }
}
