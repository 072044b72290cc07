//! The ledger as everybody else holds it: a cheap handle to the worker thread and to the pool of readers.

use crate::job::{Arriving, Check, Evidence, Hearer, Job, Order, Reply};
use crate::lease::{BUCKETS, Claim, bucket_of};
use crate::mail;
use crate::reader::{Pool, PostgresReader};
use crate::worker::{Setup, Shared, Worker};
use std::collections::BTreeSet;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use sync_core::replica::Incoming;
use sync_core::{Ack, Block};
use sync_model::{ClockQuality, Direction, Event, EventId, LogId, Stamp, StoreId, Text, UnixMillis};
use sync_store::{CommitNote, Ingested, LedgerError, Refusal, VerifyReport};

/// How to work on a PostgreSQL ledger.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`, or the keyword form of libpq.
    pub url: String,
    /// Name of the worker: unique among those that run, the same after a restart.
    pub worker: String,
    /// Buckets that are this worker's own (0 to 63).
    pub home: BTreeSet<i16>,
    /// Buckets that it takes over when their worker is dead; those in `home` need not be named.
    pub spare: BTreeSet<i16>,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How often leases are renewed and dead workers are looked for; a third of `lease` is usual.
    pub renew: Duration,
    /// Largest size of the database; `None` is unlimited.
    pub max_bytes: Option<u64>,
    /// Version of the software, written into epochs.
    pub software: Text<32>,
    /// Most jobs waiting for the worker.
    pub queue: usize,
}

impl PostgresConfig {
    /// One worker for everything, with usual times.
    pub fn new(url: impl Into<String>, worker: impl Into<String>) -> Self {
        let all: BTreeSet<i16> = (0..i16::try_from(BUCKETS).unwrap_or(i16::MAX)).collect();
        Self {
            url: url.into(),
            worker: worker.into(),
            home: all.clone(),
            spare: all,
            lease: Duration::from_secs(10),
            renew: Duration::from_secs(3),
            max_bytes: None,
            software: Text::default(),
            queue: 320,
        }
    }
}

struct Inner {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // The last handle may die inside a reply, on the worker itself: it cannot wait for its own end.
            if worker.thread().id() != std::thread::current().id() && worker.join().is_err() {
                tracing::error!("the ledger worker panicked");
            }
        }
    }
}

/// Handle to a PostgreSQL ledger. Clones share the worker; dropping the last one finishes the queue and lets the leases go.
#[derive(Clone)]
pub struct Postgres {
    /// Declared first: the worker ends when the last sender is gone, and `inner` waits for that.
    queue: SyncSender<Job>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("owned", &self.owned()).finish_non_exhaustive()
    }
}

fn io(context: &str, error: &std::io::Error) -> LedgerError {
    LedgerError::Storage { context: context.to_owned(), detail: error.to_string() }
}

impl Postgres {
    /// Starts the worker. The server may come later: until then every job is answered with the reason.
    pub fn open(config: PostgresConfig) -> Result<Self, LedgerError> {
        let server: tokio_postgres::Config = config.url.parse().map_err(|error| LedgerError::Storage {
            context: "PostgreSQL address".to_owned(),
            detail: format!("{error}"),
        })?;
        let bad = config.home.iter().chain(&config.spare).find(|bucket| !(0..64).contains(*bucket));
        if let Some(bucket) = bad {
            let detail = format!("bucket {bucket} does not exist, buckets are 0 to 63");
            return Err(LedgerError::Storage { context: "PostgreSQL buckets".to_owned(), detail });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| io("PostgreSQL worker runtime", &error))?;
        let shared = Arc::new(Shared::default());
        let setup = Setup {
            server: server.clone(),
            claim: Claim {
                worker: config.worker,
                spare: config.spare.difference(&config.home).copied().collect(),
                home: config.home,
                ttl_ms: i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX),
            },
            renew: config.renew,
            max_bytes: config.max_bytes,
            software: config.software,
        };
        let worker = Worker::new(setup, Arc::clone(&shared), runtime);
        let (queue, jobs) = sync_channel(config.queue.max(1));
        let thread = std::thread::Builder::new()
            .name("ledger-worker".to_owned())
            .spawn(move || worker.run(&jobs))
            .map_err(|error| io("PostgreSQL worker thread", &error))?;
        let pool = Arc::new(Pool::new(server));
        Ok(Self { queue, inner: Arc::new(Inner { shared, pool, worker: Mutex::new(Some(thread)) }) })
    }

    fn submit(&self, job: Job) -> Result<(), LedgerError> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => LedgerError::Busy,
            TrySendError::Disconnected(_) => LedgerError::Closed,
        })
    }

    /// Takes in one block of a store's log. [`LedgerError::Busy`] when the queue is full: then `reply` does not run.
    pub fn ingest(
        &self,
        block: Arc<Block>,
        received: UnixMillis,
        reply: Reply<Ingested>,
    ) -> Result<(), LedgerError> {
        if block.log.direction != Direction::Up {
            let detail = format!("HQ writes log {} itself, or may not", block.log);
            return Err(Refusal::new("wrong-owner", detail).into());
        }
        let incoming = Incoming::from(Arc::unwrap_or_clone(block));
        let stamp = Stamp { at: received, clock: ClockQuality::Unsynced };
        self.take_in(&incoming, stamp, None, reply)
    }

    /// Takes in a block in any wire version; `stamp` is now. `check` judges the end it leads to, before it is committed.
    /// [`LedgerError::Busy`] when the queue is full: then `reply` does not run.
    pub fn take_in(
        &self,
        block: &Incoming,
        stamp: Stamp,
        check: Option<Check>,
        reply: Reply<Ingested>,
    ) -> Result<(), LedgerError> {
        self.submit(Job::TakeIn { arriving: Arriving::new(block, check), stamp, reply })
    }

    /// Nothing more is written to this down log; the next event for its store opens a new epoch.
    pub fn close_down(&self, log: LogId, reply: Reply<()>) -> Result<(), LedgerError> {
        self.submit(Job::CloseDown { log, reply })
    }

    /// Carries out an order and waits for its commit, wherever its bucket is owned. Not on a thread that serves others.
    pub fn order(&self, order: Order) -> Result<Vec<EventId>, LedgerError> {
        if self.owned().contains(&bucket_of(order.store())) {
            let (answer, wait) = sync_channel(1);
            // Nobody listens any more only when this very thread is gone.
            let reply = Box::new(move |outcome| drop(answer.send(outcome)));
            let job = Job::Order { order: order.clone(), hearer: Hearer::Here(reply) };
            self.queue.send(job).map_err(|_| LedgerError::Closed)?;
            match wait.recv().map_err(|_| LedgerError::Closed)? {
                Err(LedgerError::Elsewhere { .. }) => {}
                outcome => return outcome,
            }
        }
        mail::send(&self.reader()?, &order)
    }

    /// Appends to HQ's log for a store, all events or none; opens the log when there is none yet.
    pub fn append_down(
        &self,
        store: StoreId,
        events: Vec<Event>,
        reply: Reply<Vec<EventId>>,
    ) -> Result<(), LedgerError> {
        self.submit(Job::Order { order: Order::Append { store, events }, hearer: Hearer::Here(reply) })
    }

    /// Remembers what a store has of HQ's log.
    pub fn acked(&self, ack: Ack, reply: Reply<()>) -> Result<(), LedgerError> {
        self.submit(Job::Acked { ack, reply })
    }

    /// Keeps bytes that could not be accepted.
    pub fn quarantine(&self, evidence: Evidence, reply: Reply<()>) -> Result<(), LedgerError> {
        self.submit(Job::Quarantine { evidence, reply })
    }

    /// Tries whether the ledger takes writes: writes a little and removes it.
    pub fn probe(&self, reply: Reply<()>) -> Result<(), LedgerError> {
        self.submit(Job::Probe { reply })
    }

    /// A reader on a connection of its own, from a small pool.
    pub fn reader(&self) -> Result<PostgresReader, LedgerError> {
        PostgresReader::open(&self.inner.pool)
    }

    /// Recomputes chain and folds of every log, of all buckets, as of now.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        crate::verify::verify(&self.reader()?)
    }

    /// Runs `hook` on the worker's thread after every commit that moved a log.
    pub fn on_commit(&self, hook: impl Fn(&CommitNote) + Send + 'static) {
        self.inner.shared.commits.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// Runs `hook` on the worker's thread whenever the set of owned buckets changes.
    pub fn on_ownership(&self, hook: impl Fn(&BTreeSet<i16>) + Send + 'static) {
        self.inner.shared.owners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// Buckets that this worker owned when it last asked.
    pub fn owned(&self) -> BTreeSet<i16> {
        self.inner.shared.owned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why there is no session with the server, if there is none.
    pub fn fault(&self) -> Option<String> {
        self.inner.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
