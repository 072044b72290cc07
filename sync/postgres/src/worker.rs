//! The worker thread: leases on time, batches in between, everything read again after any doubt.

use crate::apply::{self, Failure};
use crate::batch::{Entry, MOVE_BRANCH, State};
use crate::error::{ledger_error, refused_by_server};
use crate::job::{Answer, Hearer, Job};
use crate::lease::{self, Claim, Held, bucket_of};
use crate::mail;
use crate::recall;
use crate::session::Session;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sync_core::Link;
use sync_model::{Direction, Epoch, LogId, Seq, StoreId, Text};
use sync_store::{CommitNote, LedgerError};
use tokio::runtime::Runtime;

/// Most jobs in one transaction.
const JOBS_MAX: usize = 256;
/// Most times one batch is planned: each further time needs fold rows that the last one did not ask for.
const PLANS_MAX: usize = 16;
/// Shortest and longest wait between connection attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often the size of the database is asked, where it is limited.
const SIZE_EVERY: Duration = Duration::from_secs(1);
/// How long the server may take for an answer. A line that stays open and moves nothing counts as lost then.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How often letters of other workers are looked for.
const MAIL_EVERY: Duration = Duration::from_millis(200);
/// How often letters that nobody came back for are removed.
const CLEAR_EVERY: Duration = Duration::from_secs(300);

pub(crate) type CommitHook = Box<dyn Fn(&CommitNote) + Send>;
pub(crate) type OwnerHook = Box<dyn Fn(&BTreeSet<i16>) + Send>;

/// What the handles and the worker share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) commits: Mutex<Vec<CommitHook>>,
    pub(crate) owners: Mutex<Vec<OwnerHook>>,
    pub(crate) owned: Mutex<BTreeSet<i16>>,
    pub(crate) fault: Mutex<Option<String>>,
}

/// How the worker works.
pub(crate) struct Setup {
    pub(crate) server: tokio_postgres::Config,
    pub(crate) claim: Claim,
    pub(crate) renew: Duration,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) software: Text<32>,
}

pub(crate) struct Worker {
    setup: Setup,
    shared: Arc<Shared>,
    runtime: Runtime,
    session: Option<Session>,
    held: Held,
    state: State,
    tick_at: Instant,
    retry: Duration,
    retry_at: Instant,
    size: Option<(Instant, u64)>,
    mail_at: Instant,
    clear_at: Instant,
}

fn silent() -> LedgerError {
    let detail = format!("no answer within {} s", ANSWER_WAIT.as_secs());
    LedgerError::Storage { context: "PostgreSQL is silent".to_owned(), detail }
}

/// Waits for the server, but not for ever.
fn wait<T, E>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, E>>,
    silent: impl FnOnce() -> E,
) -> Result<T, E> {
    let answer = runtime.block_on(async { tokio::time::timeout(ANSWER_WAIT, work).await });
    answer.unwrap_or_else(|_| Err(silent()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    pub(crate) fn new(setup: Setup, shared: Arc<Shared>, runtime: Runtime) -> Self {
        let state = State::new(setup.software.clone());
        let now = Instant::now();
        Self {
            setup,
            shared,
            runtime,
            session: None,
            held: Held::new(),
            state,
            tick_at: now,
            retry: RETRY.0,
            retry_at: now,
            size: None,
            mail_at: now,
            clear_at: now,
        }
    }

    /// Runs until every handle is gone.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let wake = if self.held.is_empty() { self.tick_at } else { self.tick_at.min(self.mail_at) };
            let mut jobs = Vec::new();
            match queue.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(job) => jobs.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= self.tick_at {
                self.tick();
            }
            if Instant::now() >= self.mail_at {
                jobs.extend(self.mail());
            }
            if jobs.is_empty() {
                continue;
            }
            while jobs.len() < JOBS_MAX
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            self.batch(jobs);
        }
        if let Some(session) = &self.session
            && let Err(error) = wait(
                &self.runtime,
                async {
                    let released = lease::release(session, &self.held).await;
                    released.map_err(|error| ledger_error("release leases", &error))
                },
                silent,
            )
        {
            tracing::warn!(%error, "leases not released: they expire");
        }
    }

    fn fault(&self, fault: Option<String>) {
        *lock(&self.shared.fault) = fault;
    }

    /// Connects where needed, renews leases, takes what may be taken.
    fn tick(&mut self) {
        if self.session.is_none() && Instant::now() < self.retry_at {
            self.tick_at = self.retry_at;
            return;
        }
        match self.try_tick() {
            Ok(()) => {
                self.fault(None);
                self.retry = RETRY.0;
                self.tick_at = Instant::now() + self.setup.renew;
            }
            Err(error) => {
                tracing::debug!(%error, "no session with PostgreSQL");
                self.lose(&error);
            }
        }
    }

    /// The session is gone or in doubt, and with it everything known.
    fn lose(&mut self, error: &LedgerError) {
        self.fault(Some(error.to_string()));
        self.session = None;
        self.held.clear();
        self.state.forget();
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY.1);
        self.tick_at = self.retry_at;
    }

    fn try_tick(&mut self) -> Result<(), LedgerError> {
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => {
                self.held.clear();
                self.state.forget();
                wait(&self.runtime, Session::open(&self.setup.server), silent)?
            }
        };
        let (claim, before) = (&self.setup.claim, &self.held);
        let leases = async {
            let mut held = match before.is_empty() {
                true => Held::new(),
                false => lease::renew(&session, claim, before).await?,
            };
            held.append(&mut lease::acquire(&session, claim, &held).await?);
            Ok::<_, tokio_postgres::Error>(held)
        };
        let leases = async { leases.await.map_err(|error| ledger_error("leases", &error)) };
        let held = wait(&self.runtime, leases, silent)?;
        if held != self.held {
            tracing::info!(buckets = ?held.keys().collect::<Vec<_>>(), "leases changed");
            self.state.forget();
            self.held = held;
            let logs = async {
                let loaded = load(&session, &self.held, &mut self.state).await;
                loaded.map_err(|error| ledger_error("read logs", &error))
            };
            wait(&self.runtime, logs, silent)?;
        }
        self.session = Some(session);
        let owned: BTreeSet<i16> = self.held.keys().copied().collect();
        let changed = std::mem::replace(&mut *lock(&self.shared.owned), owned.clone()) != owned;
        if changed {
            lock(&self.shared.owners).iter().for_each(|hook| hook(&owned));
        }
        Ok(())
    }

    /// Orders that other workers left for the held buckets.
    fn mail(&mut self) -> Vec<Job> {
        self.mail_at = Instant::now() + MAIL_EVERY;
        let Some(session) = self.session.as_ref().filter(|_| !self.held.is_empty()) else {
            return Vec::new();
        };
        let mut jobs = Vec::new();
        let mut unreadable = Vec::new();
        let fetched = wait(&self.runtime, mail::fetch(session, &self.held), silent).map(|letters| {
            for (letter, order) in letters {
                match order {
                    Ok(order) => jobs.push(Job::Order { order, hearer: Hearer::Letter(letter) }),
                    Err(error) => unreadable.push((letter, mail::answer(&Err(error)))),
                }
            }
        });
        let clear = Instant::now() >= self.clear_at;
        let done = fetched.and_then(|()| match clear || !unreadable.is_empty() {
            true => wait(&self.runtime, mail::clear(session, &unreadable), silent),
            false => Ok(()),
        });
        if clear {
            self.clear_at = Instant::now() + CLEAR_EVERY;
        }
        if let Err(error) = done {
            tracing::warn!(%error, "letters cannot be read");
            self.lose(&error);
        }
        jobs
    }

    /// One transaction over the jobs of owned buckets; the others are told at once.
    fn batch(&mut self, jobs: Vec<Job>) {
        if self.session.is_none() {
            self.tick();
        }
        if self.session.is_none() {
            let detail = lock(&self.shared.fault).clone().unwrap_or_default();
            let error = LedgerError::Storage { context: "PostgreSQL is away".to_owned(), detail };
            return jobs.into_iter().for_each(|job| reply(job, Err(error.clone())));
        }
        let (jobs, foreign): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| job.store().is_none_or(|store| self.held.contains_key(&bucket_of(store))));
        for job in foreign {
            let bucket = job.store().map(bucket_of).unwrap_or_default();
            let detail = format!("bucket {bucket} belongs to another worker");
            reply(job, Err(LedgerError::Elsewhere { detail }));
        }
        let (back, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.returned().is_some());
        self.book(jobs);
        for job in back {
            self.take_back(job);
        }
    }

    /// Books jobs as one batch, and answers them.
    fn book(&mut self, mut jobs: Vec<Job>) {
        // Each round takes letters away that were withdrawn meanwhile, so there is an end.
        while !jobs.is_empty() {
            match self.try_batch(&mut jobs) {
                Ok(answers) => return self.keep(jobs, answers),
                Err(Failure::Withdrawn(gone)) => {
                    self.roll_back();
                    self.state.drop_batch();
                    jobs.retain(|job| job.letter().is_none_or(|letter| !gone.contains(&letter.id)));
                }
                Err(failure) => {
                    let error = self.recover(failure);
                    tracing::error!(%error, jobs = jobs.len(), "ledger batch not committed");
                    return jobs.into_iter().for_each(|job| reply(job, Err(error.clone())));
                }
            }
        }
    }

    /// The batch is durable.
    fn keep(&mut self, jobs: Vec<Job>, answers: Vec<Result<Answer, LedgerError>>) {
        let note = CommitNote { heads: self.state.keep_batch() };
        jobs.into_iter().zip(answers).for_each(|(job, answer)| reply(job, answer));
        self.tell(&note);
    }

    fn tell(&self, note: &CommitNote) {
        if !note.heads.is_empty() {
            lock(&self.shared.commits).iter().for_each(|hook| hook(note));
        }
    }

    /// Books returned history of a log of HQ's own; its own branch moves out of the way first.
    fn take_back(&mut self, job: Job) {
        let returned = job.returned();
        let mut jobs = vec![job];
        let done = self.try_batch(&mut jobs).and_then(|answers| {
            let at = match answers.first() {
                Some(Err(LedgerError::Refused(refusal))) if refusal.code == MOVE_BRANCH => {
                    refusal.detail.parse().map(Seq).ok()
                }
                _ => None,
            };
            let (Some((log, stamp)), Some(at), Some(session)) = (returned, at, &self.session) else {
                return Ok(Some(answers));
            };
            self.state.drop_batch();
            let work = recall::move_branch(session, &self.state, &self.held, (log, at, stamp));
            wait(&self.runtime, work, || Failure::Silent).map(|()| None)
        });
        match done {
            Ok(Some(answers)) => self.keep(jobs, answers),
            Ok(None) => {
                // The logs are other ones now: everything is read again.
                self.held.clear();
                self.state.forget();
                self.tick();
                if let Some((log, _)) = returned {
                    self.tell(&CommitNote { heads: self.state.ends(log.store) });
                }
                self.book(jobs);
            }
            Err(failure) => {
                let error = self.recover(failure);
                jobs.into_iter().for_each(|job| reply(job, Err(error.clone())));
            }
        }
    }

    /// Ends the session's transaction, if it has one.
    fn roll_back(&self) {
        if let Some(session) = &self.session
            && let Err(error) = wait(
                &self.runtime,
                async {
                    let done = session.client.batch_execute("ROLLBACK").await;
                    done.map_err(|error| ledger_error("roll back", &error))
                },
                silent,
            )
        {
            tracing::debug!(%error, "not rolled back: the connection is gone");
        }
    }

    fn try_batch(&mut self, jobs: &mut [Job]) -> Result<Vec<Result<Answer, LedgerError>>, Failure> {
        let session = self.session.as_ref().ok_or(Failure::Ledger(LedgerError::Closed))?;
        if let Some(limit) = self.setup.max_bytes {
            let bytes = match self.size {
                Some((at, bytes)) if at.elapsed() < SIZE_EVERY => bytes,
                _ => wait(&self.runtime, async { Ok(size(session).await?) }, || Failure::Silent)?,
            };
            self.size = Some((Instant::now(), bytes));
            if bytes > limit {
                let detail = format!("the database has {bytes} bytes, {limit} are allowed");
                return Err(Failure::Ledger(LedgerError::Full { detail }));
            }
        }
        let wants = self.state.wants(jobs);
        let state = &mut self.state;
        let begin = async {
            session.client.batch_execute("BEGIN").await?;
            Ok(apply::fetch_wants(session, &wants, state).await?)
        };
        wait(&self.runtime, begin, || Failure::Silent)?;
        for _ in 0..PLANS_MAX {
            let answers: Vec<_> = jobs.iter_mut().map(|job| self.state.run(job)).collect();
            let state = &mut self.state;
            let missing = async { Ok(apply::fetch_missing(session, state).await?) };
            if wait(&self.runtime, missing, || Failure::Silent)? {
                self.state.drop_batch();
                continue;
            }
            wait(&self.runtime, apply::commit(session, &self.state, &self.held), || Failure::Silent)?;
            return Ok(answers);
        }
        let detail = format!("fold rows still missing after {PLANS_MAX} plans");
        Err(Failure::Ledger(LedgerError::Storage { context: "PostgreSQL: plan".to_owned(), detail }))
    }

    /// Brings the worker back to what is certain; answers what the jobs are told.
    fn recover(&mut self, failure: Failure) -> LedgerError {
        if matches!(failure, Failure::Silent) {
            let error = silent();
            self.lose(&error);
            return error;
        }
        self.roll_back();
        match failure {
            Failure::Silent => silent(),
            Failure::Ledger(error) => {
                self.state.drop_batch();
                error
            }
            Failure::Withdrawn(_) => {
                self.state.drop_batch();
                LedgerError::Elsewhere { detail: "the order was withdrawn".to_owned() }
            }
            Failure::Fenced(reason) => {
                self.state.forget();
                // Reads logs and leases again, whether or not the leases changed.
                self.held.clear();
                self.tick();
                apply::fenced(&reason)
            }
            Failure::Server(error) => {
                let fatal = error.as_db_error().is_some_and(|said| said.severity() != "ERROR");
                let said = ledger_error("commit", &error);
                if refused_by_server(&error) && !fatal {
                    self.state.drop_batch();
                } else {
                    self.lose(&said);
                }
                said
            }
        }
    }
}

fn reply(job: Job, outcome: Result<Answer, LedgerError>) {
    if catch_unwind(AssertUnwindSafe(|| job.answer(outcome))).is_err() {
        tracing::error!("the reply of a ledger job panicked");
    }
}

async fn size(session: &Session) -> Result<u64, tokio_postgres::Error> {
    let row = session.client.query_one("SELECT pg_database_size(current_database())", &[]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// Reads the logs of the held buckets.
async fn load(session: &Session, held: &Held, state: &mut State) -> Result<(), tokio_postgres::Error> {
    let buckets: Vec<i16> = held.keys().copied().collect();
    let sql = "SELECT store, direction, epoch, id, head, link, acked, closed FROM log WHERE bucket = ANY($1)";
    for row in session.client.query(sql, &[&buckets]).await? {
        if let Some(log) = log_of(row.get(0), row.get(1), row.get(2)) {
            let link = link_of(row.get(5));
            let (head, acked): (i64, i64) = (row.get(4), row.get(6));
            let entry = Entry {
                number: row.get(3),
                head: Seq(head.cast_unsigned()),
                link,
                acked: Seq(acked.cast_unsigned()),
                acked_link: None,
                closed: row.get(7),
            };
            state.heads.insert(log, entry);
        }
    }
    Ok(())
}

/// A log's name from its columns; `None` for impossible values.
pub(crate) fn log_of(store: i64, direction: i64, epoch: i64) -> Option<LogId> {
    Some(LogId {
        store: StoreId(u32::try_from(store).ok()?),
        direction: Direction::from_code(u8::try_from(direction).ok()?)?,
        epoch: Epoch(u32::try_from(epoch).ok()?),
    })
}

/// A link column; a damaged one is a link that nothing hashes to.
pub(crate) fn link_of(bytes: &[u8]) -> Link {
    Link(bytes.try_into().unwrap_or_default())
}
