//! The writer thread: many waiting callers share one transaction and one fsync.
//!
//! Contract
//! * A group is at most [`GROUP_JOBS_MAX`] jobs: BEGIN IMMEDIATE, each job in a savepoint, folds flushed once, COMMIT (WAL
//!   with synchronous=FULL: the commit is durable when it returns), then the replies, then the commit hooks.
//! * A refused or panicking job loses its savepoint and nothing else. Its reply also waits for the commit, because what it
//!   was refused for may be a job of the same group.
//! * When the file is full or fails, the group is rolled back, every job in it is told, and the writer goes on with the
//!   next: it works again as soon as the file does.

use crate::draft::Draft;
use crate::state::Core;
use crate::{LedgerError, Refusal};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use sync_model::{LogId, Seq};

/// Most jobs in one group.
const GROUP_JOBS_MAX: usize = 256;

/// The ends of the logs that one commit moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitNote {
    /// Log and last position.
    pub heads: Vec<(LogId, Seq)>,
}

/// A queued job with its reply.
pub(crate) trait Job: Send {
    /// Runs in the savepoint and keeps its result.
    fn run(&mut self, draft: &mut Draft<'_>) -> Result<(), Refusal>;
    /// Runs after the commit, or with the error.
    fn reply(self: Box<Self>, outcome: Result<(), LedgerError>);
}

/// A job of any result type.
pub(crate) struct Typed<T, F, R> {
    pub(crate) job: Option<F>,
    pub(crate) result: Option<T>,
    pub(crate) reply: R,
}

impl<T, F, R> Job for Typed<T, F, R>
where
    T: Send,
    F: FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send,
    R: FnOnce(Result<T, LedgerError>) + Send,
{
    fn run(&mut self, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        if let Some(job) = self.job.take() {
            self.result = Some(job(draft)?);
        }
        Ok(())
    }

    fn reply(self: Box<Self>, outcome: Result<(), LedgerError>) {
        let this = *self;
        let outcome = outcome.and_then(|()| this.result.ok_or(LedgerError::Closed));
        (this.reply)(outcome);
    }
}

/// What the writer can be asked for.
pub(crate) enum Work {
    Job(Box<dyn Job>),
    /// A new limit of the file's size in bytes.
    Limit(Option<u64>, SyncSender<Result<(), LedgerError>>),
}

pub(crate) type Hook = Box<dyn Fn(&CommitNote) + Send>;

/// What the handles and the writer share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) hooks: Mutex<Vec<Hook>>,
    pub(crate) own: Mutex<Option<LogId>>,
}

/// Runs until every handle is gone.
pub(crate) fn run(mut core: Core, queue: &Receiver<Work>, shared: &Arc<Shared>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = VecDeque::new();
        let mut work = Some(first);
        let mut limits = Vec::new();
        while let Some(item) = work {
            match item {
                Work::Job(job) => jobs.push_back(job),
                Work::Limit(bytes, answer) => limits.push((bytes, answer)),
            }
            work = if jobs.len() < GROUP_JOBS_MAX { queue.try_recv().ok() } else { None };
        }
        while !jobs.is_empty() {
            group(&mut core, &mut jobs, shared);
        }
        for (bytes, answer) in limits {
            let done = set_limit(&core.conn, bytes).map_err(|error| LedgerError::sql("size limit", &error));
            if answer.send(done).is_err() {
                tracing::debug!("nobody waits for the new size limit");
            }
        }
    }
    tracing::debug!("ledger writer stopped");
}

/// Limits the file to `bytes`, or to nothing but SQLite's own limit.
pub(crate) fn set_limit(conn: &rusqlite::Connection, bytes: Option<u64>) -> rusqlite::Result<()> {
    let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = bytes
        .map_or(i64::from(u32::MAX - 1), |bytes| i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(512));
    // Answers with the limit in force: never less than the pages there are.
    conn.pragma_update_and_check(None, "max_page_count", pages.clamp(1, i64::from(u32::MAX - 1)), |row| {
        row.get::<_, i64>(0)
    })
    .map(|_| ())
}

fn execute(core: &Core, sql: &str) -> rusqlite::Result<()> {
    core.conn.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// One transaction over as many jobs as it can hold; failed ones included, every job it took has its reply afterwards.
fn group(core: &mut Core, jobs: &mut VecDeque<Box<dyn Job>>, shared: &Arc<Shared>) {
    let mut done = Vec::new();
    let mut fatal = execute(core, "BEGIN IMMEDIATE").err();
    while let Some(mut job) = jobs.pop_front() {
        if fatal.is_none() {
            let outcome = run_job(core, job.as_mut());
            fatal = core.failure.take();
            done.push((job, outcome));
        } else {
            // The transaction is lost: jobs that did not run yet get one of their own, unless none can even begin.
            if done.is_empty() {
                done.push((job, Ok(())));
            } else {
                jobs.push_front(job);
            }
            break;
        }
    }
    if fatal.is_none() {
        fatal = core.flush().and_then(|()| execute(core, "COMMIT")).err();
    }
    if let Some(error) = fatal {
        tracing::error!(%error, jobs = done.len(), "ledger group rolled back");
        roll_back(core);
        let error = LedgerError::sql("ledger commit", &error);
        for (job, _) in done {
            reply(job, Err(error.clone()));
        }
        return;
    }
    let note = CommitNote { heads: core.keep_group() };
    let own = core.own();
    *shared.own.lock().unwrap_or_else(PoisonError::into_inner) = own;
    if note.heads.iter().any(|(log, _)| Some(*log) == own) {
        // After the commit and before anybody hears of it.
        core.witness(false);
    }
    for (job, outcome) in done {
        reply(job, outcome.map_err(LedgerError::Refused));
    }
    if !note.heads.is_empty() {
        for hook in shared.hooks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if catch_unwind(AssertUnwindSafe(|| hook(&note))).is_err() {
                tracing::error!("a commit hook panicked");
            }
        }
    }
}

fn roll_back(core: &mut Core) {
    core.drop_group();
    // SQLite may have rolled back by itself.
    if !core.conn.is_autocommit()
        && let Err(error) = core.conn.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "rollback failed");
    }
}

fn run_job(core: &mut Core, job: &mut dyn Job) -> Result<(), Refusal> {
    if let Err(error) = execute(core, "SAVEPOINT job") {
        core.failure.get_or_insert(error);
        return Ok(());
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| job.run(&mut Draft::new(core)))).unwrap_or_else(|_| {
        tracing::error!("a ledger job panicked");
        Err(Refusal::new("panic", "the job panicked; nothing of it was kept"))
    });
    if core.failure.is_some() {
        return outcome;
    }
    let ended = if outcome.is_ok() {
        core.keep_job();
        execute(core, "RELEASE job")
    } else {
        core.drop_job();
        execute(core, "ROLLBACK TO job").and_then(|()| execute(core, "RELEASE job"))
    };
    if let Err(error) = ended {
        core.failure.get_or_insert(error);
    }
    outcome
}

fn reply(job: Box<dyn Job>, outcome: Result<(), LedgerError>) {
    if catch_unwind(AssertUnwindSafe(|| job.reply(outcome))).is_err() {
        tracing::error!("the reply of a ledger job panicked");
    }
}
