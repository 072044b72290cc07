//! Evidence kept with the log: the writers' newest seals, statements with HQ's answers, day roots.
//!
//! Rules
//! * A seal is kept only if its link is the log's own at that position; of several the one furthest on. Whether its
//!   signature is good is judged by who has the keys: HQ before it takes a block, `sync-verify` whenever somebody asks.
//! * A statement row is a fold like any other: the newest signed one of the store's log, HQ's newest answer, the newest root
//!   that holds it. It is *open* while HQ still has something to do.
//! * Day roots without a place live in HQ's own log, that of store 0; with one they tell a store where its statement is.

use crate::draft::Draft;
use crate::fold::{FoldError, View};
use crate::inbox::Inbox;
use crate::item::{Class, Item, ItemKey, Latest};
use crate::log;
use crate::rows::Answer;
use crate::table::{signed, unsigned};
use crate::{LedgerError, Reader, Refusal};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sync_core::Link;
use sync_core::replica::{Incoming, IngestOutcome};
use sync_evidence::{DayRoot, Proof, Seal};
use sync_model::{
    BusinessDay, DayRooted, Direction, Event, EventId, Fact, FactRef, LogId, Seq, StatementAnswer,
    StatementAnswered, StatementPart, StatementSigned, StoreId, UnixMillis,
};

/// HQ's own log: nobody's store, so that day roots have one writer and one place.
pub const HQ_LOG: StoreId = StoreId(0);
/// Epochs that a statement names.
const ENDS_MAX: usize = 256;
/// Bytes of one piece of a statement.
pub const PART_BYTES_MAX: usize = 12_288;
/// Pieces of a statement.
pub const PARTS_MAX: u16 = 64;
/// Rows that HQ names in a dispute.
pub const DISPUTED_ROWS_MAX: usize = 32;
/// Hashes of an audit path: more than stores can be counted.
const PATH_MAX: usize = 32;

/// A piece of a statement: digest of the whole, number of pieces, bytes.
type Piece = ([u8; 32], u16, Vec<u8>);

/// What is known of a store's statement of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatementItem {
    signed: Latest<(UnixMillis, StatementSigned)>,
    answered: Latest<(UnixMillis, StatementAnswered)>,
    rooted: Latest<DayRooted>,
    pieces: BTreeMap<u16, Latest<Piece>>,
}

/// One of HQ's day roots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootItem {
    root: Latest<(UnixMillis, DayRooted)>,
}

/// A store's statement of a day, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRow {
    /// The store.
    pub store: StoreId,
    /// The day.
    pub day: BusinessDay,
    /// What the store signed last, and when.
    pub signed: Option<(UnixMillis, StatementSigned)>,
    /// HQ's answer to it, and when; none while HQ has not answered that one.
    pub answered: Option<(UnixMillis, StatementAnswered)>,
    /// The newest root that holds it.
    pub rooted: Option<DayRooted>,
    /// The store's statement in bytes, when HQ asked for it and has all of it.
    pub bytes: Option<Vec<u8>>,
}

impl StatementRow {
    /// Whether HQ countersigned what the store signed last.
    pub fn countersigned(&self) -> bool {
        matches!(&self.answered, Some((_, answered)) if matches!(answered.answer, StatementAnswer::Countersigned(_)))
    }

    /// One word: `unsigned`, `signed`, `disputed`, `countersigned`, `rooted`.
    pub fn state(&self) -> &'static str {
        match (&self.signed, &self.answered) {
            (None, _) => "unsigned",
            (Some(_), None) => "signed",
            (Some(_), Some(_)) if !self.countersigned() => "disputed",
            _ if self.rooted.is_some() => "rooted",
            _ => "countersigned",
        }
    }

    /// Whether HQ disputes it and wants to see its bytes.
    pub fn wanted(&self) -> bool {
        let Some((_, answered)) = &self.answered else { return false };
        match &answered.answer {
            StatementAnswer::Disputed { reason, rows, .. } => reason.as_str() == "rows" && rows.is_empty(),
            StatementAnswer::Countersigned(_) => false,
        }
    }

    /// Whether HQ has to do something about it.
    pub fn open(&self) -> bool {
        let unanswered = self.signed.is_some() && self.answered.is_none();
        let unnamed = self.wanted() && self.bytes.is_some();
        unanswered || unnamed || (self.countersigned() && self.rooted.is_none())
    }
}

/// One of HQ's day roots, in the order of issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRow {
    /// When it was made.
    pub at: UnixMillis,
    /// The fact.
    pub rooted: DayRooted,
}

/// The root as `sync-evidence` checks it.
pub fn day_root(rooted: &DayRooted) -> DayRoot {
    DayRoot {
        day: rooted.day,
        size: rooted.size,
        root: rooted.root,
        prev: rooted.prev,
        signature: rooted.signature.into(),
    }
}

/// The place of a store's statement as `sync-evidence` checks it.
pub fn root_proof(store: StoreId, rooted: &DayRooted) -> Option<Proof> {
    let place = rooted.place.as_ref()?;
    Some(Proof { store, index: place.index, size: rooted.size, path: place.path.clone() })
}

/// Key of a day: ascending in bytes as in time.
fn day_bytes(day: BusinessDay) -> Vec<u8> {
    (day.0.cast_unsigned() ^ (1 << 31)).to_be_bytes().to_vec()
}

fn day_of(key: &[u8]) -> Option<BusinessDay> {
    Some(BusinessDay((u32::from_be_bytes(key.try_into().ok()?) ^ (1 << 31)).cast_signed()))
}

fn statement_key(store: StoreId, day: BusinessDay) -> ItemKey {
    ItemKey { store, class: Class::Statement, key: day_bytes(day) }
}

impl StatementItem {
    fn row(&self, key: &ItemKey) -> Option<StatementRow> {
        let day = day_of(&key.key)?;
        let signed = self.signed.get().cloned();
        let digest = signed.as_ref().map(|(_, signed)| signed.digest);
        let same = |other: [u8; 32]| digest == Some(other);
        let answered = self.answered.get().filter(|(_, answered)| same(answered.digest)).cloned();
        let placed = |rooted: &&DayRooted| rooted.place.as_ref().is_some_and(|place| same(place.digest));
        let rooted = self.rooted.get().filter(placed).cloned();
        let bytes = digest.and_then(|digest| self.whole(digest));
        Some(StatementRow { store: key.store, day, signed, answered, rooted, bytes })
    }

    /// The statement of which the pieces are, when there are all.
    fn whole(&self, digest: [u8; 32]) -> Option<Vec<u8>> {
        let (_, of, _) = self.pieces.get(&0)?.get()?;
        let mut bytes = Vec::new();
        for part in 0..*of {
            let (whole, count, piece) = self.pieces.get(&part)?.get()?;
            if (*whole, count) != (digest, of) {
                return None;
            }
            bytes.extend(piece);
        }
        Some(bytes)
    }

    pub(crate) fn open(&self) -> bool {
        // The name matters to nobody here.
        self.row(&statement_key(HQ_LOG, BusinessDay(0))).is_some_and(|row| row.open())
    }
}

/// Reads a statement's item.
fn read_statement(store: StoreId, key: &[u8], body: &[u8]) -> Option<StatementRow> {
    let Some(Item::Statement(item)) = Item::from_body(Class::Statement, body) else { return None };
    item.row(&ItemKey { store, class: Class::Statement, key: key.to_vec() })
}

/// Reads a root's item.
fn read_root(body: &[u8]) -> Option<RootRow> {
    let Some(Item::Root(item)) = Item::from_body(Class::Root, body) else { return None };
    let (at, rooted) = item.root.get().cloned()?;
    Some(RootRow { at, rooted })
}

/// Refuses what no reader of a statement would take. Called before anything is folded.
pub(crate) fn check(fact: &Fact) -> Result<(), FoldError> {
    let bad = |detail: String| Err(FoldError::Gate { code: "bad-statement", detail });
    match fact {
        Fact::StatementSigned(fact) if fact.ends.len() > ENDS_MAX => {
            bad(format!("{} ends, at most {ENDS_MAX} are taken", fact.ends.len()))
        }
        Fact::StatementPart(fact) if fact.bytes.len() > PART_BYTES_MAX => {
            bad(format!("{} bytes, at most {PART_BYTES_MAX} are taken", fact.bytes.len()))
        }
        Fact::StatementPart(fact) if fact.of > PARTS_MAX || fact.part >= fact.of => {
            bad(format!("piece {} of {}, at most {PARTS_MAX} are taken", fact.part, fact.of))
        }
        Fact::StatementAnswered(fact) => match &fact.answer {
            StatementAnswer::Disputed { rows, .. } if rows.len() > DISPUTED_ROWS_MAX => {
                bad(format!("{} rows, at most {DISPUTED_ROWS_MAX} are taken", rows.len()))
            }
            _ => Ok(()),
        },
        Fact::DayRooted(fact) => match &fact.place {
            Some(place) if place.path.len() > PATH_MAX => {
                bad(format!("a path of {} hashes, at most {PATH_MAX} are taken", place.path.len()))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Folds one event; what is no evidence changes nothing.
pub(crate) fn fold(view: &mut View<'_>, id: EventId, event: &Event) -> Result<(), FoldError> {
    let (store, by, at) = (id.log.store, FactRef::from(id), event.stamp.at);
    let mut change = |day: BusinessDay, change: &dyn Fn(&mut StatementItem)| {
        view.change(statement_key(store, day), |item| {
            if let Item::Statement(item) = item {
                change(item);
            }
        })
    };
    match &event.fact {
        Fact::StatementSigned(fact) => change(fact.day, &|item| item.signed.set(by, (at, fact.clone())))?,
        Fact::StatementAnswered(fact) => change(fact.day, &|item| item.answered.set(by, (at, fact.clone())))?,
        Fact::StatementPart(fact) => fold_part(&mut change, by, fact)?,
        Fact::DayRooted(fact) if fact.place.is_some() => {
            change(fact.day, &|item| item.rooted.set(by, fact.clone()))?;
        }
        Fact::DayRooted(fact) => {
            let key = ItemKey { store, class: Class::Root, key: fact.number.to_be_bytes().to_vec() };
            view.change(key, |item| {
                if let Item::Root(item) = item {
                    item.root.set(by, (at, fact.clone()));
                }
            })?;
        }
        _ => {}
    }
    Ok(())
}

type Change<'a> = dyn FnMut(BusinessDay, &dyn Fn(&mut StatementItem)) -> rusqlite::Result<()> + 'a;

fn fold_part(change: &mut Change<'_>, by: FactRef, fact: &StatementPart) -> rusqlite::Result<()> {
    change(fact.day, &|item| {
        let piece = (fact.digest, fact.of, fact.bytes.clone());
        item.pieces.entry(fact.part).or_default().set(by, piece);
    })
}

impl Draft<'_> {
    /// Keeps the seal of a block that was taken in.
    pub(crate) fn keep_block_seal(
        &mut self,
        block: &Incoming,
        outcome: IngestOutcome,
    ) -> Result<(), Refusal> {
        let taken = matches!(outcome, IngestOutcome::Applied { .. } | IngestOutcome::Duplicate);
        let Some(signature) = block.seal.filter(|_| taken) else { return Ok(()) };
        self.keep(block.log, block.last(), None, &signature).map(drop)
    }

    /// Keeps a seal as its log's newest. `false`, and nothing changes, when the log has another link there, does not reach
    /// that far, or has a newer seal.
    pub fn keep_seal(&mut self, seal: &Seal) -> Result<bool, Refusal> {
        self.keep(seal.log, seal.upto, Some(seal.link), &seal.signature)
    }

    fn keep(
        &mut self,
        log: LogId,
        upto: Seq,
        link: Option<Link>,
        signature: &[u8; 64],
    ) -> Result<bool, Refusal> {
        let Some(entry) = self.entry(log).filter(|_| upto > Seq::ZERO) else { return Ok(false) };
        let kept = self.conn().prepare_cached("SELECT seq FROM signed_end WHERE log = ?1").and_then(
            |mut statement| statement.query_row([entry.number], |row| row.get::<_, i64>(0)).optional(),
        );
        if self.sql(kept)?.is_some_and(|kept| unsigned(kept) >= upto.0) {
            return Ok(false);
        }
        let found = log::link_at(self.conn(), log, &entry, upto);
        let Some(own) = self.sql(found)? else { return Ok(false) };
        if link.is_some_and(|link| link != own) {
            return Ok(false);
        }
        let sql = "INSERT OR REPLACE INTO signed_end (log, seq, link, signature) VALUES (?1, ?2, ?3, ?4)";
        let row = params![entry.number, signed(upto.0), own.0, signature.as_slice()];
        let done = self.conn().prepare_cached(sql).and_then(|mut statement| statement.execute(row));
        self.sql(done).map(|_| true)
    }

    /// Forgets the seal of a log that ends before it from now on.
    pub(crate) fn forget_seal(&mut self, number: i64, from: Seq) -> Result<(), Refusal> {
        let sql = "DELETE FROM signed_end WHERE log = ?1 AND seq >= ?2";
        let gone = self.conn().execute(sql, params![number, signed(from.0)]);
        self.sql(gone).map(|_| ())
    }

    /// A statement of the store whose ledger this is, or at HQ of any.
    pub fn statement(&mut self, store: StoreId, day: BusinessDay) -> Result<Option<StatementRow>, Refusal> {
        let key = statement_key(store, day);
        Ok(match self.view(|view| view.item(&key))? {
            Some(Item::Statement(item)) => item.row(&key),
            _ => None,
        })
    }
}

impl Reader {
    /// The newest seal of every log that has one.
    pub fn seals(&self) -> Answer<Vec<Seal>> {
        let failed = |error: rusqlite::Error| LedgerError::sql("read seals", &error);
        let read = || -> rusqlite::Result<Vec<Seal>> {
            let sql = "SELECT log.store, log.direction, log.epoch, s.seq, s.link, s.signature
                       FROM signed_end AS s JOIN log ON log.id = s.log ORDER BY log.store, log.direction, log.epoch";
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let (store, direction, epoch) = (row.get(0)?, row.get::<_, u8>(1)?, row.get(2)?);
                let direction = Direction::from_code(direction);
                let signature: [u8; 64] = row.get(5)?;
                let (upto, link) = (Seq(unsigned(row.get(3)?)), Link(row.get(4)?));
                Ok(direction.map(|direction| {
                    let log = LogId { store: StoreId(store), direction, epoch: sync_model::Epoch(epoch) };
                    Seal { log, upto, link, signature }
                }))
            })?;
            rows.filter_map(Result::transpose).collect()
        };
        read().map_err(failed)
    }

    /// Statements of a store, newest day first.
    pub fn statements(&self, store: StoreId, count: usize) -> Answer<Vec<StatementRow>> {
        Inbox(self).statements(store, count)
    }

    /// Statements of a store about which HQ still has something to do, oldest day first.
    pub fn open_statements(&self, store: StoreId) -> Answer<Vec<StatementRow>> {
        Inbox(self).open_statements(store)
    }

    /// One statement.
    pub fn statement(&self, store: StoreId, day: BusinessDay) -> Answer<Option<StatementRow>> {
        Inbox(self).statement(store, day)
    }

    /// HQ's day roots, newest first.
    pub fn roots(&self, count: usize) -> Answer<Vec<RootRow>> {
        Inbox(self).roots(count)
    }

    /// One day root by its number.
    pub fn root(&self, number: u64) -> Answer<Option<RootRow>> {
        Inbox(self).root(number)
    }
}

impl Inbox<'_> {
    /// See [`Reader::statements`].
    pub fn statements(&self, store: StoreId, count: usize) -> Answer<Vec<StatementRow>> {
        let items = self.0.items(store, Class::Statement.code())?;
        let rows = items.iter().rev().filter_map(|(key, body)| read_statement(store, key, body));
        Ok(rows.take(count).collect())
    }

    /// See [`Reader::open_statements`].
    pub fn open_statements(&self, store: StoreId) -> Answer<Vec<StatementRow>> {
        let items = self.0.open_items(store, Class::Statement.code())?;
        let rows = items.iter().filter_map(|(key, body)| read_statement(store, key, body));
        Ok(rows.filter(StatementRow::open).collect())
    }

    /// See [`Reader::statement`].
    pub fn statement(&self, store: StoreId, day: BusinessDay) -> Answer<Option<StatementRow>> {
        let key = day_bytes(day);
        let body = self.0.item(store, Class::Statement.code(), &key)?;
        Ok(body.and_then(|body| read_statement(store, &key, &body)))
    }

    /// See [`Reader::roots`].
    pub fn roots(&self, count: usize) -> Answer<Vec<RootRow>> {
        let items = self.0.items(HQ_LOG, Class::Root.code())?;
        Ok(items.iter().rev().filter_map(|(_, body)| read_root(body)).take(count).collect())
    }

    /// See [`Reader::root`].
    pub fn root(&self, number: u64) -> Answer<Option<RootRow>> {
        let body = self.0.item(HQ_LOG, Class::Root.code(), &number.to_be_bytes())?;
        Ok(body.as_deref().and_then(read_root))
    }
}

/// Seals whose link is not the one that the records hash to.
pub(crate) fn odd_seals(conn: &rusqlite::Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT log, seq, link, length(signature) FROM signed_end")?;
    let rows = statement.query_map([], |row| {
        let (number, seq, link): (i64, i64, [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((number, Seq(unsigned(seq)), Link(link), row.get::<_, i64>(3)?))
    })?;
    let mut odd = Vec::new();
    for row in rows {
        let (number, seq, link, length) = row?;
        let Some(log) = log::by_number(conn, number)? else {
            odd.push(format!("a seal of log number {number}, which does not exist"));
            continue;
        };
        let Some(entry) = log::find(conn, log)? else { continue };
        let own = log::link_at(conn, log, &entry, seq)?;
        if own != Some(link) || length != 64 {
            let own = own.map_or_else(|| "nothing".to_owned(), |own| own.to_string());
            odd.push(format!("{log} at {seq}: records hash to {own}, the seal says {link}"));
        }
    }
    Ok(odd)
}
