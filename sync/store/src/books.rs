//! A store's books from the ledger: what its events say, and what the folds beside them say. Evidence compares the two.

use crate::log;
use crate::rows::Answer;
use crate::{LedgerError, Reader, Refusal};
use rusqlite::Connection;
use sync_core::StockAccount;
use sync_evidence::{Books, BooksError, Folds, LogEnd, MoneyTotal};
use sync_model::{Direction, LogId, Seq, StoreId};

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
            let mut books = Books::new(store);
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
            let mut books = Books::new(store);
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

    fn book(&self, books: &mut Books, log: LogId, upto: Seq) -> Answer<()> {
        let failed = |error: rusqlite::Error| LedgerError::sql("read ledger", &error);
        let Some(entry) = log::find(&self.conn, log).map_err(failed)? else { return Ok(()) };
        let (first, last) = (log::pos(entry.number, Seq::ZERO), log::pos(entry.number, upto));
        records(&self.conn, [first, last], |seq, record| books.add(log, seq, record).map_err(refused))
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
