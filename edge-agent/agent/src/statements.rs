//! Settlement statements: the store signs one for every business day that is over, and the newest end of its own log.
//!
//! | State of a day | What makes it so | What is done |
//! |---|---|---|
//! | running | it is today | nothing |
//! | over | it is [`GRACE_MS`] past midnight, the clock is trusted | signed, with the ends of the logs as they are |
//! | late | a ticket of a day that was signed is booked | signed again, later ends; the old statement stays true |
//! | wanted | HQ makes another statement of the same events | its bytes are sent, so that HQ can name the rows |
//!
//! Rules
//! * The key is that of the store's certificate (`[hq.tls]`); without one nothing is signed and statements can only be read.
//! * All due days are signed in one commit, before what was read for them is forgotten: a crash between signs again, and
//!   signing twice is harmless.
//! * Tills never wait for it: the log is read on another connection, a record at a time.

use crate::daemon::Daemon;
use edge_core::ticket::Today;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::Link;
use sync_evidence::{LogEnd, PublicKey, Seal, SignedStatement, SigningKey, Statement};
use sync_model::{
    BusinessDay, ClockQuality, Currency, Direction, Epoch, Event, Fact, LogId, Seq, StatedEnd,
    StatementAnswer, StatementPart, StatementSigned, StoreId,
};
use sync_store::{HeadRow, LedgerError, PART_BYTES_MAX, PARTS_MAX, Reader, StatementRow};
use tokio::sync::watch;

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(30);
/// How long after midnight a day is over: tickets of the last minutes are booked by then.
const GRACE_MS: i64 = 15 * 60 * 1000;
/// Events read at once.
const PAGE: usize = 500;

/// How far the logs were searched for tickets, and the days found since they were last signed.
#[derive(Clone, Debug, Default)]
struct Search {
    upto: BTreeMap<LogId, Seq>,
    days: BTreeSet<BusinessDay>,
}

/// The desk at which statements are signed.
#[derive(Debug, Default)]
pub struct Desk {
    key: Option<SigningKey>,
    search: Mutex<Search>,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Why nothing was signed.
#[derive(Debug)]
pub(crate) enum Unsigned {
    /// There is no key.
    NoKey,
    /// That day is not over yet.
    Running(BusinessDay),
    /// The ledger.
    Ledger(LedgerError),
}

impl From<LedgerError> for Unsigned {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// What a look wants written.
struct Work {
    facts: Vec<Fact>,
    seal: Option<Seal>,
    search: Search,
    signed: Vec<BusinessDay>,
}

impl Desk {
    /// A desk with the key of the store's certificate, if there is one.
    pub fn open(tls: Option<&crate::config::HqTlsSection>) -> Self {
        let seed = tls.map(|tls| sync_mqtt::read_seed(&tls.key)).transpose();
        let key = match seed {
            Ok(seed) => seed.map(|seed| SigningKey::from_seed(&seed)),
            Err(error) => {
                tracing::error!(%error, "the key of the store's certificate cannot sign: statements stay unsigned");
                None
            }
        };
        Self { key, ..Self::default() }
    }

    /// The public half of the key.
    pub fn public(&self) -> Option<PublicKey> {
        self.key.as_ref().map(SigningKey::public)
    }

    /// Whether there is a key to sign with.
    pub fn signs(&self) -> bool {
        self.key.is_some()
    }
}

/// Runs until `stop` turns true.
pub(crate) async fn run(daemon: Arc<Daemon>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(Unsigned::Ledger(error)) = look(&daemon, None).await {
            tracing::warn!(%error, "statements wait");
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Signs a day now, on demand; gives the statement.
pub(crate) async fn sign_now(daemon: &Arc<Daemon>, day: BusinessDay) -> Result<(), Unsigned> {
    look(daemon, Some(day)).await
}

/// Signs what is over, and `wanted` if it is not in the future.
async fn look(daemon: &Arc<Daemon>, wanted: Option<BusinessDay>) -> Result<(), Unsigned> {
    let desk = &daemon.statements;
    if !desk.signs() {
        return Err(Unsigned::NoKey);
    }
    let _turn = desk.turn.lock().await;
    let now = daemon.clock.wall_ms();
    let today = today(daemon, now);
    if let Some(day) = wanted.filter(|day| *day > today) {
        return Err(Unsigned::Running(day));
    }
    // A clock that cannot be trusted must not say that a day is over.
    let trusted = daemon.clock.quality() != ClockQuality::Suspect;
    let over = trusted.then(|| self::today(daemon, now.saturating_sub(GRACE_MS)));
    let search = desk.search.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let reading = daemon.clone();
    let store = daemon.store;
    let work = daemon
        .read(move |reader| match &reading.statements.key {
            Some(key) => reader.frozen(|reader| plan(reader, store, key, search, (over, wanted))),
            None => Ok(None),
        })
        .await?;
    let Some(Work { facts, seal, search, signed }) = work else { return Ok(()) };
    let stamp = daemon.clock.stamp();
    if !facts.is_empty() || seal.is_some() {
        daemon
            .commit(move |draft| {
                facts.into_iter().try_for_each(|fact| draft.append(&Event::new(stamp, fact)).map(drop))?;
                seal.map_or(Ok(()), |seal| draft.keep_seal(&seal).map(drop))
            })
            .await?;
    }
    *desk.search.lock().unwrap_or_else(PoisonError::into_inner) = search;
    for day in signed {
        tracing::info!(%day, "statement signed");
    }
    Ok(())
}

/// The trading day at a moment.
fn today(daemon: &Daemon, wall_ms: i64) -> BusinessDay {
    let config = daemon.config();
    Today::at(wall_ms, i32::from(config.store.utc_offset_minutes), true, Currency::CNY).day
}

/// Own logs with something in them.
fn own_logs(reader: &Reader, store: StoreId) -> Result<Vec<HeadRow>, LedgerError> {
    let mut rows = reader.heads()?;
    rows.retain(|row| row.log.store == store && row.log.direction == Direction::Up && row.head > Seq::ZERO);
    Ok(rows)
}

/// What has to be signed and sent; `None` when nothing moved.
fn plan(
    reader: &Reader,
    store: StoreId,
    key: &SigningKey,
    mut search: Search,
    (over, wanted): (Option<BusinessDay>, Option<BusinessDay>),
) -> Result<Option<Work>, LedgerError> {
    let logs = own_logs(reader, store)?;
    let rows = reader.statements(store, usize::MAX)?;
    let first = search.upto.is_empty();
    if first {
        adopt(&mut search, reader, store, &rows)?;
    }
    let moved = logs.iter().any(|row| search.upto.get(&row.log) != Some(&row.head));
    let unsent = rows.iter().any(|row| row.wanted() && row.bytes.is_none());
    if !first && !moved && !unsent && wanted.is_none() && search.days.is_empty() {
        return Ok(None);
    }
    for row in &logs {
        let from = search.upto.get(&row.log).map_or(Seq(1), |seq| seq.next());
        collect(reader, row, from, &mut search.days)?;
        search.upto.insert(row.log, row.head);
    }
    let mut due: BTreeSet<BusinessDay> =
        search.days.iter().copied().filter(|day| over.is_some_and(|over| *day < over)).collect();
    due.extend(wanted);
    let mut facts = Vec::new();
    if !due.is_empty() {
        let books = reader.books(store)?;
        // A day with records that were truncated was signed long ago, or never will be.
        for day in due.iter().filter(|day| books.whole(**day)) {
            facts.push(sign(&books.statement(*day), key).into());
        }
    }
    for row in rows.iter().filter(|row| row.wanted() && row.bytes.is_none() && !due.contains(&row.day)) {
        facts.extend(parts(reader, store, row)?.into_iter().map(Fact::from));
    }
    search.days.retain(|day| !due.contains(day));
    let open = logs.iter().filter(|_| moved).max_by_key(|row| row.log.epoch);
    let seal = open.map(|row| Seal::sign(key, row.log, row.head, row.link));
    Ok(Some(Work { facts, seal, search, signed: due.into_iter().collect() }))
}

/// Where the search goes on after a start: the ends of the newest statement, if they are the logs' own. Days with money and
/// without a statement are due in any case: their tickets may lie before those ends.
fn adopt(
    search: &mut Search,
    reader: &Reader,
    store: StoreId,
    rows: &[StatementRow],
) -> Result<(), LedgerError> {
    let newest = rows.iter().filter_map(|row| row.signed.as_ref()).max_by_key(|(at, _)| *at);
    if let Some((_, signed)) = newest {
        for end in &signed.ends {
            let log = LogId { store, direction: Direction::Up, epoch: end.epoch };
            if reader.link(log, end.upto)? == Some(Link(end.link)) {
                search.upto.insert(log, end.upto);
            }
        }
    }
    let stated: BTreeSet<BusinessDay> =
        rows.iter().filter(|row| row.signed.is_some()).map(|row| row.day).collect();
    let traded = reader.money(store)?;
    search.days.extend(traded.iter().map(|row| row.day).filter(|day| !stated.contains(day)));
    Ok(())
}

/// Days of the tickets of a log from a position on.
fn collect(
    reader: &Reader,
    row: &HeadRow,
    mut from: Seq,
    days: &mut BTreeSet<BusinessDay>,
) -> Result<(), LedgerError> {
    while from <= row.head {
        let events = reader.events(row.log, from, PAGE)?;
        let Some(last) = events.last() else { break };
        from = last.id.seq.next();
        for event in events.iter().filter_map(|stored| stored.event.as_ref().ok()) {
            match &event.fact {
                Fact::Sale(sale) => drop(days.insert(sale.day)),
                Fact::Return(back) => drop(days.insert(back.day)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn sign(statement: &Statement, key: &SigningKey) -> StatementSigned {
    let end = |end: &LogEnd| StatedEnd { epoch: end.epoch, upto: end.upto, link: end.link.0 };
    let signed = SignedStatement::sign(statement.clone(), key);
    StatementSigned {
        day: statement.day,
        ends: statement.ends.iter().map(end).collect(),
        digest: statement.digest(),
        signature: signed.store.unwrap_or([0; 64]).into(),
    }
}

/// The ends that a signed statement names.
fn ends(signed: &StatementSigned) -> Vec<LogEnd> {
    let end = |end: &StatedEnd| LogEnd { epoch: Epoch(end.epoch.0), upto: end.upto, link: Link(end.link) };
    signed.ends.iter().map(end).collect()
}

/// The bytes of a disputed statement, in pieces. None when they are too long: HQ then has the digest only.
fn parts(reader: &Reader, store: StoreId, row: &StatementRow) -> Result<Vec<StatementPart>, LedgerError> {
    let Some((_, signed)) = &row.signed else { return Ok(Vec::new()) };
    let books = reader.books_at(store, &ends(signed))?;
    if !books.whole(row.day) {
        tracing::warn!(day = %row.day, "a disputed statement cannot be sent: records of that day are truncated");
        return Ok(Vec::new());
    }
    let statement = books.statement(row.day);
    let bytes = statement.to_bytes();
    let of = u16::try_from(bytes.len().div_ceil(PART_BYTES_MAX)).unwrap_or(u16::MAX);
    if of > PARTS_MAX {
        tracing::error!(day = %row.day, bytes = bytes.len(), "a disputed statement is too long to be sent");
        return Ok(Vec::new());
    }
    let (day, digest) = (row.day, signed.digest);
    let pieces = (0..of).zip(bytes.chunks(PART_BYTES_MAX));
    Ok(pieces.map(|(part, bytes)| StatementPart { day, digest, part, of, bytes: bytes.to_vec() }).collect())
}

/// A statement as people see it.
pub(crate) struct Shown {
    /// What became of it; `None` when it was never signed.
    pub(crate) row: Option<StatementRow>,
    /// The statement at the ends that were signed, or of now.
    pub(crate) statement: Statement,
    /// With its signatures, if it was signed and the events give the same.
    pub(crate) signed: Option<SignedStatement>,
}

/// Makes the statement of a day for people.
pub(crate) fn show(reader: &Reader, store: StoreId, day: BusinessDay) -> Result<Shown, LedgerError> {
    let row = reader.statement(store, day)?;
    let signed = row.as_ref().and_then(|row| row.signed.as_ref());
    let books = match signed {
        Some((_, signed)) => reader.books_at(store, &ends(signed))?,
        None => reader.books(store)?,
    };
    if !books.whole(day) {
        let detail = format!("records of day {day} are truncated here; headquarters has them");
        return Err(LedgerError::Refused(sync_store::Refusal::new("truncated", detail)));
    }
    let statement = books.statement(day);
    let signed = signed.filter(|(_, signed)| signed.digest == statement.digest()).map(|(_, signed)| {
        let answer = row.as_ref().and_then(|row| row.answered.as_ref());
        let hq = answer.and_then(|(_, answered)| match &answered.answer {
            StatementAnswer::Countersigned(signature) => Some((*signature).into()),
            StatementAnswer::Disputed { .. } => None,
        });
        SignedStatement { statement: statement.clone(), store: Some(signed.signature.into()), hq }
    });
    Ok(Shown { row, statement, signed })
}
