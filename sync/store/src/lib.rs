//! SQLite event store and folds: one code for store and HQ.
//!
//! Purpose: append events durably, keep what they add up to in the same transaction, take in a peer's blocks exactly
//! once, and prove all of it again from the log.
//!
//! Invariants
//! * One file, WAL, `synchronous=FULL`, one writer thread, one process (lock file beside it).
//! * A reply to a job comes after the fsync of the transaction that holds it. No reply, no promise.
//! * Per log: seq 1, 2, 3, … without gaps, each committed to by the chain ([`sync_core::Link`]); head, link, events and
//!   folds change together or not at all.
//! * Every fold row equals what the log says, whenever [`Ledger::verify`] looks.
//! * A name (store, direction, epoch, seq) never gets a second content: salvage and restore begin a new epoch.
//! * Queue, group, quarantine, state values and problem lists are bounded.
//!
//! Layout of the file: `migrations/*.sql`, in words and SQL; record bytes are those of `sync-model`.
//!
//! Deliberately not here: when to send what (`sync-core`), sockets (`sync-mqtt`), what a fact means (`edge-core`).

mod books;
mod branch;
mod draft;
mod error;
mod evidence;
mod fold;
mod folder;
mod generation;
mod image;
mod import;
mod inbox;
mod ingest;
mod item;
mod ledger;
mod log;
mod office;
mod open;
mod overrides;
mod quarantine;
mod reader;
mod recompute;
mod rows;
mod salvage;
mod schema;
mod shared;
mod snapshot;
mod state;
mod sums;
mod table;
pub mod telemetry;
mod truncate;
mod verify;
mod writer;

pub use branch::TakenIn;
pub use draft::{ANSWERS_KEPT, Draft, KEY_BYTES_MAX, STATE_BYTES_MAX};
pub use error::{LedgerError, OpenReport, Problem, Refusal, Salvage, VerifyReport};
pub use evidence::{
    DISPUTED_ROWS_MAX, HQ_LOG, PART_BYTES_MAX, PARTS_MAX, RootRow, StatementRow, day_root, root_proof,
};
pub use folder::{
    Cell, Column, FOLD_TABLES, FoldRow, FoldTable, Folder, POSITION_NUMBER_MAX, POSITION_SEQ_MAX,
    SEAL_DISTANCE, TICKET_TABLE, Till, position, position_parts, read_article,
};
pub use generation::Identity;
pub use import::{Imported, ImportedLog};
pub use inbox::{ConflictRow, ConflictSide, Inbox, RegisterRow, RightsRow, Shelf, TransferRow};
pub use ledger::{Ledger, LedgerConfig};
pub use office::{
    ClockReading, Office, StoredRights, check_office, draws_on, fence_facts, grant_fact, rights_class,
    rights_keys,
};
pub use overrides::{Bound, Override, Thresholds, thresholds};
pub use reader::Reader;
pub use rows::{
    AlarmRow, BatchRow, DeviceRow, HeadRow, IngestOutcome, Ingested, KindCount, MoneyRow, PriceRow,
    QuarantineCounts, QuarantineRow, ReservationRow, StockBalance, StockRow, StoredEvent, TagRow,
};
pub use schema::{Owner, SCHEMA, pragmas};
pub use shared::RightsItem;
pub use snapshot::{CHUNK_BYTES, Loaded, SnapshotNote};
pub use truncate::{CheckpointPlan, Retention, Truncated};
pub use verify::verify_file;
pub use writer::CommitNote;
