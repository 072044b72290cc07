//! A store's books from the ledger: what its events say, and what the folds beside them say. Evidence compares the two.

use crate::fold::Base as _;
use crate::log::{self, Entry};
use crate::rows::Answer;
use crate::table::Tables;
use crate::{LedgerError, Reader, Refusal, image, truncate};
use rusqlite::Connection;
use sync_core::{MoneyAccount, StockAccount};
use sync_evidence::{Base, Books, BooksError, Folds, LogEnd, MoneyTotal};
use sync_model::{BusinessDay, Direction, LogId, Milli, Minor, Seq, StoreId, TillId};

fn refused(error: BooksError) -> LedgerError {
    let code = match error {
        BooksError::Overflow { .. } => "overflow",
        BooksError::Log(_) | BooksError::Position { .. } => "incomplete-log",
    };
    LedgerError::Refused(Refusal::new(code, error.to_string()))
}

impl Reader {
    /// Answers several questions from one state of the ledger, whatever is committed meanwhile. Inside another one it is part
    /// of that one.
    pub fn frozen<T>(&self, questions: impl FnOnce(&Self) -> Answer<T>) -> Answer<T> {
        if !self.conn.is_autocommit() {
            return questions(self);
        }
        let failed = |error: rusqlite::Error| LedgerError::sql("read ledger", &error);
        let snapshot = self.conn.unchecked_transaction().map_err(failed)?;
        let answer = questions(self)?;
        snapshot.finish().map_err(failed)?;
        Ok(answer)
    }

    /// A store's books from its events, up to the ends of its logs as they are now. Reads every record.
    pub fn books(&self, store: StoreId) -> Answer<Books> {
        self.frozen(|reader| {
            let mut books = reader.books_begin(store)?;
            let heads = reader.heads()?;
            for row in heads.iter().filter(|row| is_up_log_of(row.log, store)) {
                reader.book(&mut books, row.log, row.head)?;
            }
            Ok(books)
        })
    }

    /// A store's books as they were at these ends. Refused with `unknown-end` when the ledger does not reach one of them, or
    /// has other records there.
    pub fn books_at(&self, store: StoreId, ends: &[LogEnd]) -> Answer<Books> {
        self.frozen(|reader| {
            let mut books = reader.books_begin(store)?;
            for end in ends {
                let log = LogId { store, direction: Direction::Up, epoch: end.epoch };
                if reader.link(log, end.upto)? != Some(end.link) {
                    let detail = format!("log {log} has no position {} with link {}", end.upto, end.link);
                    return Err(LedgerError::Refused(Refusal::new("unknown-end", detail)));
                }
                reader.book(&mut books, log, end.upto)?;
            }
            Ok(books)
        })
    }

    /// A store's books at the floors of its logs.
    fn books_begin(&self, store: StoreId) -> Answer<Books> {
        let failed = |error: rusqlite::Error| LedgerError::sql("read ledger", &error);
        let logs = truncate::logs_of(&self.conn, store).map_err(failed)?;
        let cut = |(log, entry): &(LogId, Entry)| is_up_log_of(*log, store) && entry.floor > Seq::ZERO;
        let ends: Vec<LogEnd> = logs
            .iter()
            .filter(|pair| cut(pair))
            .map(|(log, entry)| LogEnd { epoch: log.epoch, upto: entry.floor, link: entry.floor_link })
            .collect();
        if ends.is_empty() {
            return Ok(Books::new(store));
        }
        let (set, _) = image::load(&self.conn, store).map_err(failed)?;
        let tally = set.tally.iter().filter(|((_, direction, _), _)| *direction == Direction::Up);
        let money = set.money.iter().filter_map(|((_, day, currency, account), amount)| {
            let (currency, account) = (*currency, MoneyAccount::from_code(*account)?);
            Some((BusinessDay(*day), MoneyTotal { currency, account, amount: Minor(*amount) }))
        });
        let sold = set.stock.iter().filter(|((_, _, _, account), _)| *account == StockAccount::Sold.code());
        let base = Base {
            ends,
            tally: tally.map(|((_, _, kind), count)| (*kind, *count)).collect(),
            money: money.collect(),
            sold: sold.map(|((_, sku, _, _), quantity)| (*sku, Milli(*quantity))).collect(),
        };
        Ok(Books::from_base(store, &base))
    }

    /// Whether a ticket number belongs to a record that is gone.
    fn taken_below(&self, store: StoreId, form: u8, till: TillId, number: u64) -> bool {
        let below = || -> rusqlite::Result<bool> {
            let Some(pos) = Tables(&self.conn).ticket(&(store, form, till, number))? else {
                return Ok(false);
            };
            let (of, seq) = log::split(pos);
            let Some(log) = log::by_number(&self.conn, of)? else { return Ok(false) };
            Ok(log::find(&self.conn, log)?.is_some_and(|entry| seq <= entry.floor))
        };
        below().unwrap_or(false)
    }

    fn book(&self, books: &mut Books, log: LogId, upto: Seq) -> Answer<()> {
        let failed = |error: rusqlite::Error| LedgerError::sql("read ledger", &error);
        let Some(entry) = log::find(&self.conn, log).map_err(failed)? else { return Ok(()) };
        let (first, last) = (log::pos(entry.number, Seq::ZERO), log::pos(entry.number, upto));
        books.skip(log.epoch);
        let below = truncate::tickets_below(&self.conn, log.store).map_err(failed)? > 0;
        records(&self.conn, [first, last], |seq, record| {
            let taken = |form: u8, till: TillId, number: u64| {
                below && self.taken_below(log.store, form, till, number)
            };
            books.add_unless(log, seq, record, taken).map_err(refused)
        })
    }

    /// What the folds say about a store.
    pub fn folds(&self, store: StoreId) -> Answer<Folds> {
        self.frozen(|reader| {
            let heads = reader.heads()?;
            let ends = heads
                .iter()
                .filter(|row| is_up_log_of(row.log, store) && row.head > Seq::ZERO)
                .map(|row| LogEnd { epoch: row.log.epoch, upto: row.head, link: row.link })
                .collect();
            let money = reader.money(store)?.into_iter().map(|row| {
                let (currency, account, amount) = (row.currency, row.account, row.amount);
                (row.day, MoneyTotal { currency, account, amount })
            });
            let stock = reader.balances(store)?.into_iter();
            let sold =
                stock.filter(|row| row.account == StockAccount::Sold).map(|row| (row.sku, row.quantity));
            let tally = reader.counts()?.into_iter();
            let tally = tally.filter(|row| row.store == store && row.direction == Direction::Up);
            let tally = tally.map(|row| (row.kind, row.count)).collect();
            Ok(Folds { ends, money: money.collect(), sold: sold.collect(), tally })
        })
    }
}

fn is_up_log_of(log: LogId, store: StoreId) -> bool {
    log.store == store && log.direction == Direction::Up
}

fn records(conn: &Connection, range: [i64; 2], mut each: impl FnMut(Seq, &[u8]) -> Answer<()>) -> Answer<()> {
    let failed = |error: rusqlite::Error| LedgerError::sql("read ledger", &error);
    let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(range).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let pos: i64 = row.get(0).map_err(failed)?;
        let record = row.get_ref(1).map_err(failed)?.as_blob().unwrap_or_default();
        each(log::split(pos).1, record)?;
    }
    Ok(())
}
