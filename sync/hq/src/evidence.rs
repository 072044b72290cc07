//! Evidence at HQ: answers the statements that stores sign, makes day roots, tells every store where its statement is.
//!
//! | A statement is | HQ does | and writes into the store's log |
//! |---|---|---|
//! | signed, HQ's events reach its ends | makes it of its own events, compares digests | countersignature, or a dispute |
//! | signed, HQ lacks events | nothing until they are there | |
//! | disputed, the store sent its bytes | compares row by row | the dispute again, with the rows |
//! | countersigned | puts it into a root, some minutes later with everything else of that day | the place in the root |
//!
//! Rules
//! * Whoever wants evidence needs keys: without an identity folder nothing is answered, and statements can only be read.
//! * A root is never changed. A store that signs again, or late, makes a new root of that day, which names the one before it
//!   in the order of issue. Roots live in HQ's own log, that of store 0.
//! * Everything is found again from the ledger: a crash between two steps repeats the second one, and none twice.
//! * With several workers, each answers the stores of its own buckets; the one that has HQ's own log makes the roots.

use crate::fleet::stamp;
use crate::identity::Registry;
use crate::vault::{Order, Ownership, Vault, VaultReader};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sync_core::replica::Sealer;
use sync_core::{BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Link};
use sync_evidence::{
    Books, BooksError, DayRoot, DayTree, LogEnd, Proof, PublicKey, Seal, SignedStatement, SigningKey,
    Statement,
};
use sync_model::{
    BusinessDay, DayRooted, Direction, Event, Fact, LogId, RootPlace, Seq, StatementAnswer,
    StatementAnswered, StatementSigned, StoreId, Text, UnixMillis,
};
use sync_mqtt::CertificateError;
use sync_store::{DISPUTED_ROWS_MAX, HQ_LOG, HeadRow, LedgerError, RootRow, StatementRow, day_root};
use tokio::sync::{Notify, watch};

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How often what is left from earlier is looked at again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a countersigned statement waits for others of its day.
const ROOT_LINGER_MS: i64 = 10 * 60 * 1000;

/// Signs the logs that HQ writes.
#[derive(Debug)]
struct HqSealer(SigningKey);

impl Sealer for HqSealer {
    fn seal(&self, log: LogId, upto: Seq, link: Link) -> Option<[u8; 64]> {
        Some(Seal::sign(&self.0, log, upto, link).signature)
    }
}

/// HQ's key and where the stores' keys are.
pub(crate) struct Keys {
    hq: SigningKey,
    folder: PathBuf,
}

impl Keys {
    /// Reads HQ's key from an identity folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, CertificateError> {
        let seed = sync_mqtt::read_seed(&folder.join("hq.key"))?;
        Ok(Self { hq: SigningKey::from_seed(&seed), folder: folder.to_owned() })
    }

    /// What seals HQ's blocks; `None` when there is no key that can.
    pub(crate) fn sealer(folder: &Path) -> Option<Arc<dyn Sealer>> {
        match Self::open(folder) {
            Ok(keys) => Some(Arc::new(HqSealer(keys.hq))),
            Err(error) => {
                tracing::error!(%error, "HQ's key cannot sign: its blocks travel unsealed");
                None
            }
        }
    }

    /// Every key that a store ever had.
    fn stores(&self) -> BTreeMap<StoreId, Vec<PublicKey>> {
        let registry = match Registry::load(&self.folder.join("registry.json")) {
            Ok(registry) => registry,
            Err(error) => {
                tracing::error!(%error, "statements wait: the registry of certificates cannot be read");
                return BTreeMap::new();
            }
        };
        let stores: BTreeSet<StoreId> =
            registry.rows.iter().filter_map(|row| row.store.map(StoreId)).collect();
        let keys = |store: StoreId| {
            let keys = registry.keys(store).into_iter();
            keys.filter_map(|key| PublicKey::from_bytes(&key.public).ok()).collect()
        };
        stores.into_iter().map(|store| (store, keys(store))).collect()
    }
}

/// What was done since start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Statements that HQ still has to do something about.
    pub(crate) open: u64,
    /// Statements countersigned.
    pub(crate) countersigned: u64,
    /// Statements disputed.
    pub(crate) disputed: u64,
    /// Day roots made.
    pub(crate) roots: u64,
    /// Number of the newest root that was seen.
    pub(crate) newest_root: u64,
}

/// What happened in one look, and what is left.
struct State {
    /// Last position of all up logs of a store together, when it was looked at.
    seen: BTreeMap<StoreId, u64>,
    /// Stores with something left to do.
    again: BTreeSet<StoreId>,
    /// When that was looked at.
    again_at: Option<Instant>,
    tally: Tally,
}

/// The office: one per process.
pub(crate) struct Office {
    vault: Vault,
    keys: Option<Keys>,
    /// Held for a whole look: a root is made by one hand.
    state: Mutex<State>,
    /// The buckets whose stores are this worker's.
    owned: watch::Receiver<Ownership>,
    /// Numbers for people, readable during a look.
    shown: Mutex<Tally>,
    newest_root: AtomicU64,
    nudge: Notify,
}

/// Why no root was made.
#[derive(Debug)]
pub(crate) enum NoRoot {
    /// HQ has no key.
    NoIdentity,
    /// No countersigned statement of that day that is not in a root yet.
    Nothing,
    /// The ledger.
    Ledger(LedgerError),
}

impl From<LedgerError> for NoRoot {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// Runs until told to stop.
pub(crate) async fn run(office: Arc<Office>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let busy = Arc::clone(&office);
        // Reading and hashing a store's whole log takes a while: not on a thread that serves others.
        if let Err(error) = tokio::task::spawn_blocking(move || busy.look()).await {
            tracing::error!(%error, "a look at the statements failed");
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = office.nudge.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Office {
    pub(crate) fn new(vault: Vault, keys: Option<Keys>) -> Self {
        let state =
            State { seen: BTreeMap::new(), again: BTreeSet::new(), again_at: None, tally: Tally::default() };
        let (state, shown) = (Mutex::new(state), Mutex::new(Tally::default()));
        let owned = vault.ownership();
        Self { vault, keys, state, owned, shown, newest_root: AtomicU64::new(0), nudge: Notify::new() }
    }

    /// Whether this worker writes HQ's log for a store.
    fn owns(&self, store: StoreId) -> bool {
        let owned = self.owned.borrow();
        crate::engine::owns(&owned, store)
    }

    /// What was done since start.
    pub(crate) fn tally(&self) -> Tally {
        Tally { newest_root: self.newest_root.load(Ordering::Relaxed), ..*lock(&self.shown) }
    }

    /// HQ's public key.
    pub(crate) fn public(&self) -> Option<PublicKey> {
        self.keys.as_ref().map(|keys| keys.hq.public())
    }

    /// Every store's keys.
    pub(crate) fn store_keys(&self) -> BTreeMap<StoreId, Vec<PublicKey>> {
        self.keys.as_ref().map(Keys::stores).unwrap_or_default()
    }

    /// Looks at every store whose log moved, and at what is left from earlier.
    fn look(&self) {
        let Some(keys) = &self.keys else { return };
        let mut state = lock(&self.state);
        if let Err(error) = self.look_at(keys, &mut state) {
            tracing::warn!(%error, "statements wait: the ledger cannot be read");
        }
        *lock(&self.shown) = state.tally;
    }

    fn look_at(&self, keys: &Keys, state: &mut State) -> Result<(), LedgerError> {
        let reader = self.vault.reader()?;
        let heads = reader.heads()?;
        let mut ends: BTreeMap<StoreId, u64> = BTreeMap::new();
        for row in heads.iter().filter(|row| row.log.direction == Direction::Up) {
            let end = ends.entry(row.log.store).or_default();
            *end = end.saturating_add(row.head.0);
        }
        let moved = ends.iter().filter(|(store, end)| state.seen.get(store) != Some(end));
        let mut stores: BTreeSet<StoreId> = moved.map(|(store, _)| *store).collect();
        if state.again_at.is_none_or(|at| at.elapsed() >= AGAIN) {
            state.again_at = Some(Instant::now());
            stores.append(&mut state.again);
        }
        if stores.is_empty() {
            return Ok(());
        }
        let mut of_stores = None;
        let (mut days, mut open) = (BTreeSet::new(), 0_u64);
        for store in stores {
            let rows = reader.open_statements(store)?;
            if let Some(end) = ends.get(&store) {
                state.seen.insert(store, *end);
            }
            if rows.is_empty() {
                continue;
            }
            state.again.insert(store);
            let of_stores = of_stores.get_or_insert_with(|| keys.stores());
            let own = of_stores.get(&store).map_or(&[][..], Vec::as_slice);
            for row in rows {
                open += 1;
                if row.countersigned() {
                    days.insert(row.day);
                } else if !self.owns(store) {
                    continue;
                } else if let Err(error) = self.answer(&reader, (keys, own), &row, &heads, &mut state.tally) {
                    tracing::warn!(%store, day = %row.day, %error, "statement waits");
                }
            }
        }
        state.tally.open = open;
        // One worker makes the roots: whoever writes HQ's own log.
        for day in days.into_iter().filter(|_| self.owns(HQ_LOG)) {
            match self.settle_day(&reader, keys, day, ROOT_LINGER_MS) {
                Ok(made) => state.tally.roots += u64::from(made.is_some()),
                Err(error) => tracing::warn!(%day, %error, "day root waits"),
            }
        }
        Ok(())
    }

    fn say(&self, store: StoreId, fact: impl Into<Fact>) -> Result<(), LedgerError> {
        let events = vec![Event::new(stamp(), fact)];
        self.vault.order(Order::Append { store, events }).map(drop)
    }

    /// Answers one statement, if HQ's events reach its ends.
    fn answer(
        &self,
        reader: &VaultReader,
        (keys, own): (&Keys, &[PublicKey]),
        row: &StatementRow,
        heads: &[HeadRow],
        tally: &mut Tally,
    ) -> Result<(), LedgerError> {
        let Some((_, signed)) = &row.signed else { return Ok(()) };
        let Some(answer) = judge(reader, (&keys.hq, own), row, signed, heads)? else { return Ok(()) };
        match &answer {
            StatementAnswer::Countersigned(_) => tally.countersigned += 1,
            StatementAnswer::Disputed { reason, rows, .. } => {
                tally.disputed += 1;
                tracing::error!(store = %row.store, day = %row.day, %reason, rows = rows.len(), "a statement is disputed");
            }
        }
        self.say(row.store, StatementAnswered { day: row.day, digest: signed.digest, answer })
    }

    /// Makes a root of a day now. For people; the office does it by itself a little later.
    pub(crate) fn make_root(&self, day: BusinessDay) -> Result<DayRooted, NoRoot> {
        let Some(keys) = &self.keys else { return Err(NoRoot::NoIdentity) };
        let mut state = lock(&self.state);
        let reader = self.vault.reader()?;
        let made = self.settle_day(&reader, keys, day, 0)?;
        if let Some(rooted) = made {
            state.tally.roots += 1;
            *lock(&self.shown) = state.tally;
            self.nudge.notify_one();
            return Ok(rooted);
        }
        Err(NoRoot::Nothing)
    }

    /// Puts the countersigned statements of a day into a root, if one of them is in none and has waited for `linger_ms`; and
    /// tells the stores their places. Gives the root that was made.
    fn settle_day(
        &self,
        reader: &VaultReader,
        keys: &Keys,
        day: BusinessDay,
        linger_ms: i64,
    ) -> Result<Option<DayRooted>, LedgerError> {
        let (tree, rows) = day_tree(reader, day)?;
        let mut roots = reader.roots(usize::MAX)?;
        let number = |rooted: &DayRooted| self.newest_root.fetch_max(rooted.number, Ordering::Relaxed);
        roots.first().map(|row| number(&row.rooted));
        let newest = roots.iter().find(|row| row.rooted.day == day).map(|row| row.rooted.clone());
        let current = newest.filter(|rooted| rooted.root == tree.root());
        let (rooted, made) = match current {
            Some(rooted) => (rooted, None),
            None => {
                let before = stamp().at.0.saturating_sub(linger_ms);
                let waited = |row: &&StatementRow| {
                    row.rooted.is_none() && row.answered.as_ref().is_some_and(|(at, _)| at.0 <= before)
                };
                if !rows.iter().any(|row| waited(&row)) {
                    return Ok(None);
                }
                let last = (!roots.is_empty()).then(|| roots.swap_remove(0));
                let rooted = sign_root(&tree, keys, last.as_ref());
                self.say(HQ_LOG, rooted.clone())?;
                number(&rooted);
                tracing::info!(%day, number = rooted.number, stores = rooted.size, "day root made");
                (rooted.clone(), Some(rooted))
            }
        };
        for row in rows.iter().filter(|row| row.rooted.is_none()) {
            if let Some(place) = place(&tree, row)
                && let Err(error) = self.say(row.store, DayRooted { place: Some(place), ..rooted.clone() })
            {
                // A full ledger, or a store between two workers: found again at the next look.
                tracing::debug!(store = %row.store, %day, %error, "place in the day root waits");
            }
        }
        Ok(made)
    }
}

/// HQ's word about a statement; `None` while it has to wait.
fn judge(
    reader: &VaultReader,
    (hq, own): (&SigningKey, &[PublicKey]),
    row: &StatementRow,
    signed: &StatementSigned,
    heads: &[HeadRow],
) -> Result<Option<StatementAnswer>, LedgerError> {
    let dispute = |reason: &str, digest: [u8; 32], rows: Vec<Text<120>>| {
        Some(StatementAnswer::Disputed { digest, reason: Text::lossy(reason), rows })
    };
    let signature = signed.signature.into();
    if own.is_empty() {
        // Enrolled elsewhere, or the registry cannot be read: nothing is said about what cannot be judged.
        return Ok(None);
    }
    if !own.iter().any(|key| SignedStatement::verify_digest(&signed.digest, &signature, *key).is_ok()) {
        return Ok(dispute("signature", [0; 32], Vec::new()));
    }
    let reached = signed.ends.iter().all(|end| {
        let log = LogId { store: row.store, direction: Direction::Up, epoch: end.epoch };
        heads.iter().any(|row| row.log == log && row.head >= end.upto)
    });
    if !reached {
        return Ok(None);
    }
    let ends: Vec<LogEnd> = signed.ends.iter().map(log_end).collect();
    let Some(books) = books_at(reader, row.store, &ends)? else {
        return Ok(dispute("ends", [0; 32], Vec::new()));
    };
    let statement = books.statement(row.day);
    let digest = statement.digest();
    if digest == signed.digest {
        let signature = SignedStatement::countersignature(&digest, &signature, hq);
        return Ok(Some(StatementAnswer::Countersigned(signature.into())));
    }
    let rows = row.bytes.as_deref().map(|bytes| differing_rows(bytes, signed.digest, &statement));
    Ok(dispute("rows", digest, rows.unwrap_or_default()))
}

/// Names of the rows on which a store's bytes and HQ's statement do not agree.
fn differing_rows(bytes: &[u8], digest: [u8; 32], own: &Statement) -> Vec<Text<120>> {
    let theirs = match Statement::from_bytes(bytes) {
        Ok(theirs) if theirs.digest() == digest => theirs,
        Ok(_) => return vec![Text::lossy("the bytes sent are not those that were signed")],
        Err(error) => return vec![Text::lossy(&error.to_string())],
    };
    let all = theirs.differences(own);
    let more = all.len().saturating_sub(DISPUTED_ROWS_MAX - 1);
    let mut rows: Vec<Text<120>> =
        all.iter().take(DISPUTED_ROWS_MAX - 1).map(|row| Text::lossy(&row.to_string())).collect();
    if more > 0 {
        rows.push(Text::lossy(&format!("and {more} more")));
    }
    rows
}

fn log_end(end: &sync_model::StatedEnd) -> LogEnd {
    LogEnd { epoch: end.epoch, upto: end.upto, link: Link(end.link) }
}

/// A store's books at these ends; `None` when HQ has other records there, or not so many.
pub(crate) fn books_at(
    reader: &VaultReader,
    store: StoreId,
    ends: &[LogEnd],
) -> Result<Option<Books>, LedgerError> {
    let mut books = Books::new(store);
    for end in ends {
        let log = LogId { store, direction: Direction::Up, epoch: end.epoch };
        let (mut next, mut reached) = (Seq(1), None);
        while next <= end.upto {
            let Some(block) = reader.block(log, next, BLOCK_RECORDS_MAX, BLOCK_BYTES_MAX)? else { break };
            for record in &block.records {
                if next > end.upto {
                    break;
                }
                match books.add(log, next, record) {
                    Ok(()) => next = next.next(),
                    Err(error) => return Err(LedgerError::Refused(refusal(error))),
                }
            }
            reached = Some(next.0 - 1);
        }
        let whole = reached == Some(end.upto.0);
        if !whole || reader.link(log, end.upto)? != Some(end.link) {
            return Ok(None);
        }
    }
    Ok(Some(books))
}

fn refusal(error: BooksError) -> sync_store::Refusal {
    let code = match error {
        BooksError::Overflow { .. } => "overflow",
        BooksError::Log(_) | BooksError::Position { .. } => "incomplete-log",
    };
    sync_store::Refusal::new(code, error.to_string())
}

/// Ends of a store's logs as they are now.
pub(crate) fn ends_now(heads: &[HeadRow], store: StoreId) -> Vec<LogEnd> {
    let own = heads.iter().filter(|row| row.log.store == store && row.log.direction == Direction::Up);
    let started = own.filter(|row| row.head > Seq::ZERO);
    started.map(|row| LogEnd { epoch: row.log.epoch, upto: row.head, link: row.link }).collect()
}

/// The countersigned statements of a day, as a tree and as rows.
fn day_tree(reader: &VaultReader, day: BusinessDay) -> Result<(DayTree, Vec<StatementRow>), LedgerError> {
    let mut tree = DayTree::new(day);
    let mut rows = Vec::new();
    for store in reader.stores()? {
        let Some(row) = reader.statement(store, day)?.filter(StatementRow::countersigned) else { continue };
        if let Some((_, signed)) = &row.signed {
            tree.add_leaf(store, &signed.digest, &signed.signature.into());
            rows.push(row);
        }
    }
    Ok((tree, rows))
}

fn sign_root(tree: &DayTree, keys: &Keys, last: Option<&RootRow>) -> DayRooted {
    let before = last.map(|row| day_root(&row.rooted));
    let DayRoot { day, size, root, prev, signature } = tree.sign(&keys.hq, before.as_ref());
    let number = last.map_or(1, |row| row.rooted.number.saturating_add(1));
    DayRooted { number, day, size, root, prev, signature: signature.into(), place: None }
}

fn place(tree: &DayTree, row: &StatementRow) -> Option<RootPlace> {
    let Proof { index, path, .. } = tree.proof(row.store)?;
    let (_, signed) = row.signed.as_ref()?;
    Some(RootPlace { digest: signed.digest, index, path })
}

/// The statement file of a row: HQ's own statement at the signed ends, with the signatures that are there. `None` when HQ's
/// events do not give the statement that was signed.
pub(crate) fn statement_file(row: &StatementRow, own: &Statement) -> Option<SignedStatement> {
    let (_, signed) = row.signed.as_ref()?;
    if own.digest() != signed.digest {
        return None;
    }
    let hq = row.answered.as_ref().and_then(|(_, answered)| match &answered.answer {
        StatementAnswer::Countersigned(signature) => Some((*signature).into()),
        StatementAnswer::Disputed { .. } => None,
    });
    Some(SignedStatement { statement: own.clone(), store: Some(signed.signature.into()), hq })
}

/// The moment a root was made and its name in the chain of roots.
pub(crate) fn root_name(row: &RootRow) -> (UnixMillis, [u8; 32]) {
    (row.at, day_root(&row.rooted).digest())
}

/// The ends a statement names.
pub(crate) fn signed_ends(signed: &StatementSigned) -> Vec<LogEnd> {
    signed.ends.iter().map(log_end).collect()
}
