//! Errors and reports of the ledger.

use std::path::PathBuf;
use sync_model::{LogId, Seq};

/// Why one job was refused. Nothing of it was kept; other jobs of its group are not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable word, for example `idempotency-conflict`, `duplicate-ticket`, `overflow`.
    pub code: &'static str,
    /// For a reader.
    pub detail: String,
}

impl Refusal {
    /// A refusal with a stable code.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Why the ledger did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The job itself refused, or what it asked for is not allowed. Nothing was booked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The file may not grow, or the disk is full. Nothing of the group was booked; works again when there is space.
    #[error("ledger is full: {detail}")]
    Full {
        /// What SQLite said.
        detail: String,
    },
    /// The bounded queue of the writer is full. Nothing was booked.
    #[error("ledger queue is full, try again")]
    Busy,
    /// The writer has stopped.
    #[error("ledger is closed")]
    Closed,
    /// Another process, or another handle of this one, has the ledger open.
    #[error("{path}: ledger is in use by another process")]
    Locked {
        /// The ledger file.
        path: PathBuf,
    },
    /// The file was written by newer software.
    #[error(
        "{path}: schema version {found} is newer than {known}, which this build knows; install newer software"
    )]
    NewerSchema {
        /// The ledger file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version this build knows.
        known: i64,
    },
    /// The file belongs to another store, or to HQ.
    #[error("{path}: ledger belongs to {found}, expected {expected}")]
    WrongOwner {
        /// The ledger file.
        path: PathBuf,
        /// Owner in the file.
        found: String,
        /// Owner in the configuration.
        expected: String,
    },
    /// A healthy SQLite file that is not a ledger.
    #[error("{path}: not a ledger (application id {found:#x}); it is left as it is")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its application id.
        found: i64,
    },
    /// Another worker writes this store's logs. Nothing was booked; the work is the other's.
    #[error("{detail}")]
    Elsewhere {
        /// Which bucket, and whose it is.
        detail: String,
    },
    /// The records asked for are gone: they were acknowledged, are older than the retention, and folded into a checkpoint.
    #[error("{log}: records up to {floor} are truncated")]
    Truncated {
        /// The log.
        log: LogId,
        /// Last record that is gone.
        floor: Seq,
    },
    /// Stored records do not hash to their stored links.
    #[error("{log}: records up to {upto} do not hash to the stored link; run verify")]
    Damaged {
        /// The log.
        log: LogId,
        /// First stored link that does not fit.
        upto: Seq,
    },
    /// The file or the file system failed.
    #[error("{context}: {detail}")]
    Storage {
        /// What was being done, with the path where there is one.
        context: String,
        /// What SQLite or the system said.
        detail: String,
    },
}

impl LedgerError {
    /// An IO error with its context.
    pub(crate) fn io(context: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Storage { context: context.into(), detail: error.to_string() }
    }

    /// An SQLite error with its context; "disk full" is told apart.
    pub(crate) fn sql(context: impl Into<String>, error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { detail: error.to_string() },
            _ => Self::Storage { context: context.into(), detail: error.to_string() },
        }
    }
}

/// What was found and done when the ledger was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The file did not exist.
    pub created: bool,
    /// The file was damaged: what was saved.
    pub salvaged: Option<Salvage>,
    /// The file was a restored backup: a new epoch was opened.
    pub restored: bool,
    /// Schema version before migrations, and after.
    pub schema: (i64, i64),
    /// The store's own log; `None` at HQ.
    pub log: Option<LogId>,
    /// Its last position.
    pub head: Seq,
}

/// What became of a damaged ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// Where the damaged file was set aside.
    pub evidence: PathBuf,
    /// Events carried over into the fresh file.
    pub kept: u64,
    /// What could not be carried over, as far as it is known.
    pub lost_hint: String,
}

/// Result of recomputing chain and folds from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Logs checked.
    pub logs: u64,
    /// Events checked.
    pub events: u64,
    /// What is wrong, at most [`VerifyReport::PROBLEMS_MAX`] entries.
    pub problems: Vec<Problem>,
    /// Problems found in all.
    pub problem_count: u64,
}

impl VerifyReport {
    /// Longest list of problems.
    pub const PROBLEMS_MAX: usize = 100;

    /// Whether everything fits.
    pub fn ok(&self) -> bool {
        self.problem_count == 0
    }

    /// Whether the chain of every log fits, whatever the folds are.
    pub fn chain_ok(&self) -> bool {
        !self.problems.iter().any(|problem| problem.name.starts_with("chain-"))
    }

    /// Adds a problem; the list is bounded, the count is not.
    pub fn add(&mut self, name: &'static str, detail: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < Self::PROBLEMS_MAX {
            self.problems.push(Problem { name, detail: detail.into() });
        }
    }
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable name: `chain-link`, `chain-gap`, `chain-head`, `fold-stock`, `fold-money`, `fold-article`, `fold-price`,
    /// `fold-ticket`, `fold-count`, `fold-item`, `checkpoint`, `seal-link`, `file`.
    pub name: &'static str,
    /// Where, expected and found.
    pub detail: String,
}
