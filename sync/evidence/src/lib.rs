//! Evidence: what lets someone else check the record, without our database and without trusting us.
//!
//! Purpose: signatures over the event chain, HQ's daily Merkle root over stores, the settlement statement of a store and
//! a business day, and the file form of a captured stream. Pure: keys, bytes and events are arguments.
//!
//! Invariants
//! * Every signature is Ed25519 (RFC 8032) over a message that begins with a context of its own, so that no signature
//!   can be taken for one of another kind. Verification is strict: no small-order keys, no malleable signatures.
//! * Every file form has exactly one encoding: what decodes encodes to the same bytes.
//! * A statement is a function of the events up to a stated position of each log, and of nothing else.
//! * Decoding never panics, is bounded by its input, and refuses trailing bytes.
//!
//! Byte layouts: `sync/WIRE.md`. Deliberately not here: key files and certificates, SQL, sockets.
#![no_std]

extern crate alloc;

mod books;
mod bytes;
mod capture;
mod compare;
mod day;
mod key;
mod merkle;
mod seal;
mod signed;
mod statement;
mod view;

pub use books::{Base, Books, BooksError, Folds};
pub use bytes::FormError;
pub use capture::{CAPTURE_MAGIC, Capture, CaptureError, CaptureWriter, Frame, Leaf};
pub use compare::{Difference, RowName};
pub use day::{DAY_ROOT_MAGIC, DayRoot, DayTree, PROOF_MAGIC, Proof, day_leaf};
pub use key::{KeyError, PublicKey, SignatureError, SigningKey};
pub use merkle::{inclusion_path, leaf_hash, node_hash, root, root_from_path};
pub use seal::{SEAL_BYTES, Seal};
pub use signed::{SignedError, SignedStatement};
pub use statement::{LogEnd, MoneyTotal, STATEMENT_MAGIC, SkuTotal, Statement, TaxTotal, Tickets};
pub use view::{EndView, MoneyView, RecordsView, SkuView, StatementView, TaxView};

/// A SHA-256 digest.
pub type Digest = [u8; 32];
/// An Ed25519 signature.
pub type Signature = [u8; 64];
