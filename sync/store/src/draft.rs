//! What a job sees and may do: [`Draft`], on top of the writer's own state, [`Core`].
//!
//! Invariants
//! * Everything in memory (heads, fold rows) has three layers: file, group, job. A refused job drops its layer together with
//!   its savepoint; a failed group drops its layer together with its transaction.
//! * An SQL error inside a job ends the whole group, even if the job swallows the refusal it got: see [`Core::failure`].

use crate::Refusal;
use crate::fold::{FoldError, View, fold};
use crate::item::{Class, Item, ItemKey};
use crate::log::{self, Entry, SEQ_MAX};
use crate::office::check_office;
use crate::quarantine::keep_aside;
use crate::rows::{AlarmRow, BatchRow, DeviceRow, PriceRow, ReservationRow, TagRow};
use crate::schema::Owner;
use crate::state::Core;
use crate::table::{Tables, signed};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use sync_core::{Ack, Link, StockAccount};
use sync_model::{
    Article, DeviceId, Direction, Epoch, EpochOpened, EpochParent, EpochReason, Event, EventId, Fact,
    FactError, FactRef, Kind, LogId, Milli, Seq, Sku, Stamp, StoreId, TillId, UnixMillis,
};

/// Largest value of a state row.
pub const STATE_BYTES_MAX: usize = 4096;
/// Longest key of a state row or an answer.
pub const KEY_BYTES_MAX: usize = 128;
/// Newest answers that are never forgotten: a wall clock that lies far ahead cannot make a retry count twice.
pub const ANSWERS_KEPT: usize = 50_000;
/// Answers looked at in one call of [`Draft::forget_answers`].
const ANSWERS_AT_ONCE: i64 = 4_096;

/// One job's view of the ledger. Every change is in the job's savepoint.
pub struct Draft<'a> {
    core: &'a mut Core,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(core: &'a mut Core) -> Self {
        Self { core }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.core.owner
    }

    pub(crate) fn conn(&self) -> &Connection {
        &self.core.conn
    }

    /// Keeps an SQL error for the writer and turns it into the refusal that the job sees.
    pub(crate) fn sql<T>(&mut self, result: rusqlite::Result<T>) -> Result<T, Refusal> {
        result.map_err(|error| {
            let refusal = Refusal::new("storage", error.to_string());
            self.core.failure.get_or_insert(error);
            refusal
        })
    }

    pub(crate) fn view<T>(
        &mut self,
        read: impl FnOnce(&mut View<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Refusal> {
        let core = &mut *self.core;
        let base = Tables(&core.conn);
        let mut view = View {
            job: &mut core.job,
            group: &core.group,
            cache: &core.under,
            base: &base,
            sums: Some(&mut core.sums),
        };
        let result = read(&mut view);
        self.sql(result)
    }

    /// Folds and counts an event. `Ok(Err(..))` says why it changed nothing.
    pub(crate) fn fold(
        &mut self,
        id: EventId,
        pos: i64,
        event: &Event,
    ) -> Result<Result<(), (&'static str, String)>, Refusal> {
        let folded = self.view(|view| match fold(view, id, pos, event) {
            Ok(()) => Ok(Ok(())),
            Err(FoldError::Storage(error)) => Err(error),
            Err(odd) => Ok(Err(odd.reason().unwrap_or(("odd", String::new())))),
        })?;
        Ok(folded)
    }

    pub(crate) fn count(&mut self, log: LogId, kind: Kind) -> Result<(), Refusal> {
        self.view(|view| view.count((log.store, log.direction, kind)))
    }

    pub(crate) fn entry(&self, log: LogId) -> Option<Entry> {
        self.core.entry(log)
    }

    pub(crate) fn set_entry(&mut self, log: LogId, entry: Entry) {
        self.core.job_heads.insert(log, entry);
    }

    /// Adds a log and returns its entry, or refuses when the file can hold no more logs.
    pub(crate) fn new_log(&mut self, log: LogId) -> Result<Entry, Refusal> {
        let next: rusqlite::Result<i64> = self
            .core
            .conn
            .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM log")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)));
        let number = self.sql(next)?;
        if number >= 1 << 22 {
            return Err(Refusal::new("too-many-logs", format!("log number {number} is out of range")));
        }
        let entry = Entry::empty(log, number);
        let inserted = log::insert(&self.core.conn, log, &entry);
        self.sql(inserted)?;
        self.set_entry(log, entry);
        Ok(entry)
    }

    /// Stores a record at the end of a log.
    pub(crate) fn push(&mut self, log: LogId, mut entry: Entry, record: &[u8]) -> Result<Entry, Refusal> {
        let pushed = log::push(&self.core.conn, log, &mut entry, record);
        self.sql(pushed)?;
        self.set_entry(log, entry);
        Ok(entry)
    }

    /// End of the newest log of a store and direction.
    pub(crate) fn newest_log(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        self.core.newest(store, direction)
    }

    pub(crate) fn write(&mut self, log: LogId, event: &Event) -> Result<EventId, Refusal> {
        let entry =
            self.entry(log).ok_or_else(|| Refusal::new("no-log", format!("log {log} does not exist")))?;
        if entry.head.0 >= SEQ_MAX {
            return Err(Refusal::new("log-full", format!("log {log} has no more positions")));
        }
        let record = event.to_record().map_err(|error| match error {
            FactError::TooLong(_) => Refusal::new("record-too-long", error.to_string()),
            other => Refusal::new("bad-record", other.to_string()),
        })?;
        let id = EventId { log, seq: entry.head.next() };
        self.fold(id, log::pos(entry.number, id.seq), event)?
            .map_err(|(code, detail)| Refusal::new(code, detail))?;
        self.count(log, event.fact.kind())?;
        self.push(log, entry, &record)?;
        Ok(id)
    }

    /// Appends to the store's own log. Goods under shared rights that leave by it take rights in the same job.
    pub fn append(&mut self, event: &Event) -> Result<EventId, Refusal> {
        let log = self.core.own().ok_or_else(|| Refusal::new("no-log", "HQ has no log of its own"))?;
        self.check_shared(&event.fact)?;
        if let Fact::ReservationClosed(closed) = &event.fact {
            let row = self.reservation(closed.reservation)?.ok_or_else(|| {
                Refusal::new(
                    "unknown-reservation",
                    format!("reservation {} does not exist", closed.reservation),
                )
            })?;
            if row.closed.is_some() {
                let detail = format!("reservation {} has ended already", closed.reservation);
                return Err(Refusal::new("reservation-closed", detail));
            }
            if (row.opened.sku, row.opened.quantity) != (closed.sku, closed.quantity) {
                let detail = format!("reservation {} is for other goods", closed.reservation);
                return Err(Refusal::new("reservation-mismatch", detail));
            }
        }
        self.write_taking(log, event)
    }

    /// Appends to HQ's log for a store; opens the log when there is none yet.
    pub fn append_down(&mut self, store: StoreId, event: &Event) -> Result<EventId, Refusal> {
        if self.core.owner != Owner::Hq {
            return Err(Refusal::new("wrong-owner", "only HQ writes down logs"));
        }
        check_office(self, store, &event.fact)?;
        let newest = self.core.newest(store, Direction::Down);
        let open = self.core.open_log(store, Direction::Down);
        let log = match open {
            Some(log) => log,
            None if newest.is_some() => {
                self.new_epoch(store, Direction::Down, EpochReason::Salvaged, event.stamp, Epoch(0))?
            }
            None => {
                self.new_epoch(store, Direction::Down, EpochReason::Provisioned, event.stamp, Epoch(0))?
            }
        };
        self.write(log, event)
    }

    /// Ends the store's own log and begins a new epoch, which names the old one as its parent.
    pub fn open_epoch(&mut self, reason: EpochReason, stamp: Stamp) -> Result<LogId, Refusal> {
        let Owner::Store(store) = self.core.owner else {
            return Err(Refusal::new("wrong-owner", "HQ has no log of its own"));
        };
        self.new_epoch(store, Direction::Up, reason, stamp, Epoch(0))
    }

    /// Ends the open logs of a store and direction and begins a new epoch, greater than every known one and than `above`.
    pub(crate) fn new_epoch(
        &mut self,
        store: StoreId,
        direction: Direction,
        reason: EpochReason,
        stamp: Stamp,
        above: Epoch,
    ) -> Result<LogId, Refusal> {
        let newest = self.core.newest(store, direction);
        let parent = self.core.open_log(store, direction).or(newest);
        let seconds = u32::try_from(stamp.at.0.max(0) / 1000).unwrap_or(u32::MAX);
        let after = newest.map_or(Epoch(0), |log| log.epoch).max(above);
        let after = after.0.checked_add(1).ok_or_else(|| Refusal::new("epochs", "no more epochs"))?;
        let contested = matches!(reason, EpochReason::Ordered | EpochReason::RolledBack);
        let salt = self.core.generation.as_ref().map_or(0, crate::generation::Generation::salt) % 64;
        let base = after.max(seconds);
        // Clones that are ordered at the same moment must not meet under the same new name.
        let epoch = Epoch(if contested { base.saturating_add(salt) } else { base });
        let log = LogId { store, direction, epoch };
        let parent = parent.and_then(|log| self.entry(log).map(|entry| (log, entry)));
        for open in self.core.logs_of(store, direction) {
            if let Some(entry) = self.entry(open).filter(|entry| !entry.closed) {
                self.set_entry(open, Entry { closed: true, ..entry });
            }
        }
        self.new_log(log)?;
        let opened = EpochOpened {
            direction,
            reason,
            parent: parent.map(|(log, entry)| EpochParent {
                epoch: log.epoch,
                last: entry.head,
                link: entry.link.0,
            }),
            software: self.core.software.clone(),
        };
        self.write(log, &Event::new(stamp, opened))?;
        Ok(log)
    }

    /// The log that this side writes for a store.
    pub(crate) fn open_log(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        self.core.open_log(store, direction)
    }

    pub(crate) fn first_of_group(&self) -> bool {
        self.core.first_of_group()
    }

    /// Forgets every fold row in memory; only before the group changed any.
    pub(crate) fn clear_folds(&mut self) {
        self.core.sums.clear();
        self.core.job.clear();
    }

    /// Every log of a store with its number and end, in the order of `verify`.
    pub(crate) fn logs_of(&self, store: StoreId) -> Vec<(LogId, i64, Seq)> {
        let logs = [Direction::Up, Direction::Down].map(|direction| self.core.logs_of(store, direction));
        let with = |log: LogId| self.entry(log).map(|entry| (log, entry.number, entry.head));
        logs.into_iter().flatten().filter_map(with).collect()
    }

    /// End of a log and the chain link there.
    pub fn head(&mut self, log: LogId) -> Result<Option<(Seq, Link)>, Refusal> {
        Ok(self.entry(log).map(|entry| (entry.head, entry.link)))
    }

    /// The answer given to this key before, if any. Refused with `idempotency-conflict` when it was another request.
    pub fn first_answer(&mut self, key: &str, digest: &[u8; 32]) -> Result<Option<EventId>, Refusal> {
        let sql = "SELECT digest, pos FROM answer WHERE key = ?1";
        let found = self.core.conn.prepare_cached(sql).and_then(|mut statement| {
            statement
                .query_row([key], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))
                .optional()
        });
        let Some((stored, pos)) = self.sql(found)? else { return Ok(None) };
        if !digest.starts_with(&stored) || stored.is_empty() {
            return Err(Refusal::new(
                "idempotency-conflict",
                format!("key '{key}' was used for another request"),
            ));
        }
        self.name_of(pos).map(Some)
    }

    /// Remembers the answer to a key. Half of the digest is kept: it only has to tell requests apart.
    pub fn remember(&mut self, key: &str, digest: &[u8; 32], id: EventId) -> Result<(), Refusal> {
        check_key(key)?;
        let entry = self.entry(id.log).ok_or_else(|| Refusal::new("no-log", format!("no log {}", id.log)))?;
        let (half, _) = digest.split_at(16);
        let sql = "INSERT OR REPLACE INTO answer (key, digest, pos) VALUES (?1, ?2, ?3)";
        let row = params![key, half, log::pos(entry.number, id.seq)];
        let done = self.core.conn.prepare_cached(sql).and_then(|mut statement| statement.execute(row));
        self.sql(done).map(|_| ())
    }

    /// Forgets answers whose fact is stamped before `before` and acknowledged by the peer, but never the newest `kept`
    /// ([`ANSWERS_KEPT`], or fewer in tests). Gives their number; a part of a long list per call.
    pub fn forget_answers(&mut self, before: UnixMillis, kept: usize) -> Result<usize, Refusal> {
        let old = old_answers(&self.core.conn, before, kept);
        let old = self.sql(old)?;
        for key in &old {
            let done = self
                .core
                .conn
                .prepare_cached("DELETE FROM answer WHERE key = ?1")
                .and_then(|mut statement| statement.execute([key]));
            self.sql(done)?;
        }
        Ok(old.len())
    }

    fn name_of(&mut self, pos: i64) -> Result<EventId, Refusal> {
        let (number, seq) = log::split(pos);
        let found = log::by_number(&self.core.conn, number);
        let log =
            self.sql(found)?.ok_or_else(|| Refusal::new("no-log", format!("no log number {number}")))?;
        Ok(EventId { log, seq })
    }

    /// Sets or removes a local value: not replicated, at most [`STATE_BYTES_MAX`].
    pub fn put_state(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Refusal> {
        check_key(key)?;
        let done = match value {
            Some(value) if value.len() > STATE_BYTES_MAX => {
                let detail =
                    format!("state '{key}' has {} bytes, at most {STATE_BYTES_MAX} are kept", value.len());
                return Err(Refusal::new("state-too-long", detail));
            }
            Some(value) => {
                let sql = "INSERT INTO state (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
                self.core
                    .conn
                    .prepare_cached(sql)
                    .and_then(|mut statement| statement.execute(params![key, value]))
            }
            None => self
                .core
                .conn
                .prepare_cached("DELETE FROM state WHERE key = ?1")
                .and_then(|mut statement| statement.execute([key])),
        };
        self.sql(done).map(|_| ())
    }

    /// A local value.
    pub fn state(&mut self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let found = self
            .core
            .conn
            .prepare_cached("SELECT value FROM state WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional());
        self.sql(found)
    }

    fn store(&self) -> Result<StoreId, Refusal> {
        match self.core.owner {
            Owner::Store(store) => Ok(store),
            Owner::Hq => Err(Refusal::new("wrong-store", "this question is for a store's ledger")),
        }
    }

    /// Physical stock of an article over all lots, and the promised part of it.
    pub fn on_hand(&mut self, sku: Sku) -> Result<(Milli, Milli), Refusal> {
        let store = self.store()?;
        let stored = on_hand_rows(&self.core.conn, store, sku);
        let mut rows: BTreeMap<(String, u8), i64> = self.sql(stored)?;
        let changed = self.core.sums.stock.changed();
        for (row, value) in changed.filter(|(row, _)| (row.store, row.sku) == (store, sku)) {
            rows.insert((row.lot().to_owned(), row.account), value);
        }
        Ok(sum_on_hand(&rows))
    }

    /// HQ's article as the store knows it.
    pub fn article(&mut self, sku: Sku) -> Result<Option<Article>, Refusal> {
        let store = self.store()?;
        self.view(|view| view.article(store, sku))
    }

    /// What the tills charge.
    pub fn price(&mut self, sku: Sku) -> Result<Option<PriceRow>, Refusal> {
        let store = self.store()?;
        self.view(|view| view.price(store, sku))
    }

    /// The sale with this ticket number.
    pub fn ticket(&mut self, till: TillId, number: u64) -> Result<Option<EventId>, Refusal> {
        self.ticket_of(0, till, number)
    }

    /// The return with this number.
    pub fn return_ticket(&mut self, till: TillId, number: u64) -> Result<Option<EventId>, Refusal> {
        self.ticket_of(1, till, number)
    }

    fn ticket_of(&mut self, form: u8, till: TillId, number: u64) -> Result<Option<EventId>, Refusal> {
        let store = self.store()?;
        let pos = self.view(|view| view.ticket(&(store, form, till, number)))?;
        pos.map(|pos| self.name_of(pos)).transpose()
    }

    fn item(&mut self, key: &ItemKey) -> Result<Option<Item>, Refusal> {
        self.view(|view| view.item(key))
    }

    /// An alarm.
    pub fn alarm(&mut self, alarm: FactRef) -> Result<Option<AlarmRow>, Refusal> {
        let key = ItemKey::fact(self.store()?, Class::Alarm, alarm);
        Ok(self.item(&key)?.and_then(|item| item.alarm(&key)))
    }

    /// A steam batch.
    pub fn batch(&mut self, batch: FactRef) -> Result<Option<BatchRow>, Refusal> {
        let key = ItemKey::fact(self.store()?, Class::Batch, batch);
        Ok(self.item(&key)?.and_then(|item| item.batch(&key)))
    }

    /// A reservation.
    pub fn reservation(&mut self, reservation: FactRef) -> Result<Option<ReservationRow>, Refusal> {
        let key = ItemKey::fact(self.store()?, Class::Reservation, reservation);
        Ok(self.item(&key)?.and_then(|item| item.reservation(&key)))
    }

    /// What a shelf tag shows.
    pub fn tag(&mut self, tag: &DeviceId) -> Result<Option<TagRow>, Refusal> {
        let key = ItemKey::device(self.store()?, Class::Tag, tag);
        Ok(self.item(&key)?.and_then(|item| item.tag(&key)))
    }

    /// Presence of a device.
    pub fn device(&mut self, device: &DeviceId) -> Result<Option<DeviceRow>, Refusal> {
        let key = ItemKey::device(self.store()?, Class::Device, device);
        Ok(self.item(&key)?.and_then(|item| item.device(&key)))
    }

    /// Remembers what the peer has durably of a log that this side writes. Only ever moves forward, at most to the head.
    pub fn acked(&mut self, ack: &Ack) -> Result<(), Refusal> {
        let Some(entry) = self.entry(ack.log) else { return Ok(()) };
        if ack.upto <= entry.acked || ack.upto > entry.head {
            return Ok(());
        }
        let sql = "UPDATE log SET acked = ?2, acked_link = ?3 WHERE id = ?1";
        let row = params![entry.number, signed(ack.upto.0), ack.link.0];
        let done = self.core.conn.prepare_cached(sql).and_then(|mut statement| statement.execute(row));
        self.sql(done)?;
        self.set_entry(ack.log, Entry { acked: ack.upto, ..entry });
        Ok(())
    }

    /// Keeps bytes that could not be accepted. The same bytes for the same reason are counted, not kept twice.
    pub fn quarantine(
        &mut self,
        source: &str,
        code: &str,
        detail: &str,
        raw: &[u8],
        received: UnixMillis,
    ) -> Result<(), Refusal> {
        let done = keep_aside(&self.core.conn, source, code, detail, raw, received);
        self.sql(done)
    }
}

/// Keys of the oldest answers that may be forgotten.
fn old_answers(conn: &Connection, before: UnixMillis, kept: usize) -> rusqlite::Result<Vec<String>> {
    let kept = i64::try_from(kept).unwrap_or(i64::MAX);
    let newest: Option<i64> = conn
        .prepare_cached("SELECT pos FROM answer ORDER BY pos DESC LIMIT 1 OFFSET ?1")?
        .query_row([kept], |row| row.get(0))
        .optional()?;
    let Some(newest) = newest else { return Ok(Vec::new()) };
    // Of a record that is gone, the floor of its log knows a stamp that is not smaller.
    let sql = "SELECT answer.key, event.record, floor.at FROM answer JOIN log ON log.id = answer.pos >> 40
               LEFT JOIN event ON event.pos = answer.pos LEFT JOIN floor ON floor.log = log.id
               WHERE answer.pos <= ?1 AND answer.pos - (log.id << 40) <= log.acked ORDER BY answer.pos LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![newest, ANSWERS_AT_ONCE], |row| {
        let (key, record, floor): (String, Option<Vec<u8>>, Option<i64>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let old = match record {
            Some(record) => Event::from_record(&record).is_ok_and(|event| event.stamp.at < before),
            None => floor.is_some_and(|at| at < before.0),
        };
        Ok(old.then_some(key))
    })?;
    rows.filter_map(Result::transpose).collect()
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Refusal::new(
            "bad-key",
            format!("keys have 1 to {KEY_BYTES_MAX} bytes, found {}", key.len()),
        ));
    }
    Ok(())
}

/// Free and promised stock rows of an article.
pub(crate) fn on_hand_rows(
    conn: &Connection,
    store: StoreId,
    sku: Sku,
) -> rusqlite::Result<BTreeMap<(String, u8), i64>> {
    let sql = "SELECT lot, account, quantity FROM stock WHERE store = ?1 AND sku = ?2 AND account IN (0, 1)";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![store.0, signed(sku.0)], |row| {
        Ok(((row.get::<_, String>(0)?, row.get::<_, u8>(1)?), row.get::<_, i64>(2)?))
    })?;
    rows.collect()
}

/// Physical stock and the promised part of it.
pub(crate) fn sum_on_hand(rows: &BTreeMap<(String, u8), i64>) -> (Milli, Milli) {
    let sum = |account: StockAccount| {
        let of_account = rows.iter().filter(|((_, code), _)| *code == account.code());
        of_account.fold(0_i64, |sum, (_, value)| sum.saturating_add(*value))
    };
    let reserved = sum(StockAccount::Reserved);
    (Milli(sum(StockAccount::OnHand).saturating_add(reserved)), Milli(reserved))
}
