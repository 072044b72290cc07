//! What tills and people say to the daemon: request and answer types, and a client for its Unix socket.
//!
//! Contract
//! * Every answer is one JSON object whose `schema` is `steelyard.<name>/1`: an [`Answer`] around a [`Named`] body.
//! * Quantities are integers with the unit in the key: `net_g`, `amount_minor`, `quantity_milli`, `temperature_mc`, `at_ms`.
//! * Facts are named `epoch.seq`, exactly as they are printed everywhere else.
//! * Within version 1 fields are only added. A reader ignores fields it does not know; a request with an unknown field
//!   is refused, so that a misspelled `discount_minor` cannot be booked as no discount.
//! * Refusals are an HTTP status with an [`ErrorBody`].
//!
//! Deliberately not here: the vocabulary of facts (`sync-model`). These are shapes of their own, so that the record
//! format and the programming interface can change apart from each other.

mod client;
mod people;
mod preview;
mod probe;
mod samples;
mod schema;
mod shared;
mod tags;
mod trade;

pub use client::{ANSWER_BYTES_MAX, Client, ClientError, Reply};
pub use people::*;
pub use preview::{Pixel, Preview, PreviewRequest};
pub use probe::*;
pub use samples::*;
pub use schema::{Answer, ErrorBody, Named};
pub use shared::*;
pub use tags::*;
pub use trade::*;

/// Where the daemon listens for people unless told otherwise.
pub const SOCKET_DEFAULT: &str = "/run/steelyard/edge.sock";
/// Header that makes a posting repeatable: 1-64 characters, unique per posting.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key in bytes.
pub const IDEMPOTENCY_KEY_MAX: usize = 64;
/// Largest request body in bytes that the daemon reads.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
