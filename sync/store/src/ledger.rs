//! The ledger as everybody else holds it: a cheap handle to the writer thread and to the file.

use crate::draft::Draft;
use crate::generation::Identity;
use crate::open;
use crate::reader::Reader;
use crate::schema::{self, Owner};
use crate::state::Core;
use crate::writer::{self, CommitNote, Shared, Typed, Work};
use crate::{LedgerError, OpenReport, Refusal, VerifyReport};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use sync_model::{LogId, Stamp, Text};

/// How to open a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The file. `-wal`, `-shm` and `.lock` stand beside it.
    pub path: PathBuf,
    /// Whose ledger it is.
    pub owner: Owner,
    /// Largest size of the file; `None` is unlimited.
    pub max_bytes: Option<u64>,
    /// Version of the software, written into epochs.
    pub software: Text<32>,
    /// Most jobs waiting for the writer.
    pub queue: usize,
}

/// Everything that lives as long as the last handle.
struct Inner {
    path: PathBuf,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    thread: ThreadId,
    /// Keeps other processes out. Declared last: released after the writer is gone.
    _lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may die inside a reply, on the writer itself: it cannot wait for its own end.
        if std::thread::current().id() != self.thread
            && let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the ledger writer panicked");
        }
    }
}

/// Handle to an open ledger. Clones share the writer; dropping the last one finishes the queue and closes the file.
#[derive(Clone)]
pub struct Ledger {
    /// A sender of its own. Declared first: the writer ends when the last sender is gone, and `inner` waits for that.
    queue: SyncSender<Work>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens, checks, migrates, and where needed salvages, then starts the writer.
    pub fn open(config: LedgerConfig, stamp: Stamp) -> Result<(Self, OpenReport), LedgerError> {
        Self::open_as(config, stamp, Identity::of_this_machine())
    }

    /// [`Ledger::open`] on a named machine.
    pub fn open_as(
        config: LedgerConfig,
        stamp: Stamp,
        identity: Identity,
    ) -> Result<(Self, OpenReport), LedgerError> {
        let lock = open::lock(&config.path)?;
        let (core, report) = open::open(&config, stamp, identity)?;
        let shared = Arc::new(Shared::default());
        *shared.own.lock().unwrap_or_else(PoisonError::into_inner) = core.own();
        let (queue, jobs) = sync_channel(config.queue.max(1));
        let for_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || writer::run(core, &jobs, &for_writer))
            .map_err(|error| LedgerError::io("ledger writer thread", &error))?;
        let thread = writer.thread().id();
        let inner =
            Inner { path: config.path, shared, writer: Mutex::new(Some(writer)), thread, _lock: lock };
        Ok((Self { inner: Arc::new(inner), queue }, report))
    }

    /// Queues a job. `reply` runs on the writer thread after the fsync of the group that holds the job, or with the error.
    /// [`LedgerError::Busy`] when the bounded queue is full: nothing was queued and `reply` will not run.
    pub fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send + 'static,
        reply: impl FnOnce(Result<T, LedgerError>) + Send + 'static,
    ) -> Result<(), LedgerError> {
        let work = Work::Job(Box::new(Typed { job: Some(job), result: None, reply }));
        self.queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => LedgerError::Busy,
            TrySendError::Disconnected(_) => LedgerError::Closed,
        })
    }

    /// Queues a job, waits for room and for its group, and returns its answer. Not from inside a job, reply or hook.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.check_thread()?;
        let (answer, wait) = sync_channel(1);
        let reply = move |outcome| {
            if answer.send(outcome).is_err() {
                tracing::debug!("a ledger caller went away");
            }
        };
        let work = Work::Job(Box::new(Typed { job: Some(job), result: None, reply }));
        self.queue.send(work).map_err(|_| LedgerError::Closed)?;
        wait.recv().map_err(|_| LedgerError::Closed)?
    }

    /// The writer cannot wait for itself.
    fn check_thread(&self) -> Result<(), LedgerError> {
        if std::thread::current().id() == self.inner.thread {
            return Err(Refusal::new("reentrant", "the ledger writer cannot wait for itself").into());
        }
        Ok(())
    }

    /// A read-only connection of its own.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Reader::open(&self.inner.path)
    }

    /// Runs `hook` on the writer thread after every commit that moved a log.
    pub fn on_commit(&self, hook: impl Fn(&CommitNote) + Send + 'static) {
        self.inner.shared.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    /// The store's own log; `None` at HQ.
    pub fn log(&self) -> Option<LogId> {
        *self.inner.shared.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Changes the largest size of the file. A limit below the present size keeps the present size.
    pub fn set_max_bytes(&self, max_bytes: Option<u64>) -> Result<(), LedgerError> {
        self.check_thread()?;
        let (answer, wait) = sync_channel(1);
        self.queue.send(Work::Limit(max_bytes, answer)).map_err(|_| LedgerError::Closed)?;
        wait.recv().map_err(|_| LedgerError::Closed)?
    }

    /// Copies the ledger as of now into a new file, while it is in use. The copy is marked: whoever opens it as a store
    /// begins a new epoch, so that no name gets a second content.
    pub fn backup(&self, to: &Path) -> Result<(), LedgerError> {
        if to.exists() {
            let context = format!("backup to {}", to.display());
            return Err(LedgerError::Storage { context, detail: "the file exists already".to_owned() });
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        open::remove(&partial)?;
        let context = || format!("backup to {}", to.display());
        let copy = || -> rusqlite::Result<()> {
            let from = schema::connect_read_only(&self.inner.path)?;
            let mut target = rusqlite::Connection::open(&partial)?;
            rusqlite::backup::Backup::new(&from, &mut target)?.step(-1)?;
            // One self-contained file: no -wal beside it until somebody opens it.
            target.pragma_update(None, "journal_mode", "DELETE")?;
            target.pragma_update(None, "synchronous", "FULL")?;
            schema::put_meta(&target, "reopen", b"backup")
        };
        if let Err(error) = copy() {
            // Half a copy is of no use, and it may be what fills the disk.
            open::remove(&partial)?;
            return Err(LedgerError::sql(context(), &error));
        }
        let durable = || -> std::io::Result<()> {
            File::open(&partial)?.sync_all()?;
            std::fs::rename(&partial, to)?;
            open::sync_parent(to)
        };
        durable().map_err(|error| LedgerError::io(context(), &error))
    }

    /// Recomputes chain and folds from the log, as of now, while the ledger is in use.
    pub fn verify(&self) -> Result<VerifyReport, LedgerError> {
        crate::verify::verify_file(&self.inner.path)
    }
}

/// Builds the writer's state for an open file.
pub(crate) fn core(config: &LedgerConfig, conn: rusqlite::Connection) -> rusqlite::Result<Core> {
    writer::set_limit(&conn, config.max_bytes)?;
    Core::new(conn, config.owner, config.software.clone())
}
