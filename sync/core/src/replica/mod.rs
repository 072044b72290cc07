//! The replica protocol as two sans-IO objects: [`store::Replica`] in every store, [`hq::Hub`] at HQ.
//!
//! # Shape
//! `handle_*` takes an input (time is an argument, monotonic milliseconds), `poll_effect` gives what the driver must do next;
//! an effect with a [`Token`] is answered with the `handle_*` of the same name. The driver decides nothing: it moves bytes,
//! runs ledger jobs and reads the log. The simulator drives the very same objects.
//!
//! ```text
//! input                                     effects that may follow
//! handle_up / handle_down                   Publish(presence, hello, acks), ReadBlock
//! handle_message(leaf, bytes)               Ingest, CompareLink, Quarantine, Verdict, Alarm, Seen, Publish(nak)
//! handle_head(log, head)       (committed)  ReadBlock
//! handle_block(token, block)   (was read)   Publish(block)
//! handle_link(token, link)     (was read)   RecordAck, Alarm, Publish(ask), OpenEpoch
//! handle_ingested(token, ..)   (committed)  Publish(ack), Publish(nak), Verdict, OrderEpoch
//! handle_unsent(publish, why)  (pipe full)  the same Publish again later
//! tick                                      Publish(hello), asks again, ReadBlock after a retry time
//! ```
//!
//! # Rules
//! 1. Only `handle_ingested` makes an ack due, so an ack names committed events only. Acks are cumulative and carry the
//!    chain link at their position.
//! 2. The log is the outbox. Nothing unacknowledged is held here but positions; at most one block per log is in memory.
//! 3. A store believes an ack after comparing its link with its own at that position. An ack beyond its end, of another
//!    link, or of a log that it does not have, says that its ledger went back in time, was forked or cloned. Then nothing
//!    more is published of that log, and the store *asks* for HQ's copy.
//! 4. Asking is an [`crate::Ack`] of the log on the asker's own ack leaf, not retained, with a gap: "of your copy I have up to
//!    here, with this link; I lack the rest". The peer sends that log from there on as ordinary blocks. When the first block
//!    does not fit the link, the asker steps back, twice as far each time: genesis fits always. Ingesting the returned
//!    blocks finds the first record that differs; the ledger moves its own branch from there into a new epoch and takes the
//!    returned history in its place, in one transaction. HQ asks stores for its own logs by the same rule.
//! 5. Other bytes under a name (equivocation), or another history (chain break), at HQ: kept aside by the ledger, refused,
//!    judged, and the store is ordered to open a new epoch, once per log. A live clone is found so, or by its acks.
//! 6. Live first: while a backlog waits, events written since the link came up go ahead of it once as a preview
//!    ([`wire2::Letter::Live`], wire 2). HQ holds them in bounded memory, shows them, and books them as soon as the backlog
//!    reaches them. Losing a preview is harmless: the backlog's own blocks carry the same events.
//! 7. Versions: a message's first byte is its wire version, [`wire2::MIN`] to [`wire2::CURRENT`]. A greeting goes out in the
//!    newest version, and one version lower each time it is refused or unanswered; answers to a peer of unknown version are
//!    in `MIN`. From the peer's greeting or ack on, both use the highest version that both speak.
//!
//! 8. A writer with a key signs: a seal travels with every block of a backlog and every [`SEAL_MS`] of live traffic, in version
//!    2; the signature is made by the driver's [`Sealer`], and vouches for the log up to the block's end.
//!
//! # What fails and what follows
//! * Message lost, repeated, reordered, held back: gaps rewind, retries resend, ingest is idempotent, acks are cumulative.
//! * Broker forgets retained messages: every up makes HQ repeat its acks and the store greet.
//! * Ledger busy, full, failing: no ack; the sender's retry brings the block again.
//! * Pipe full: the driver gives the publish back, it goes first after a pause. Pipe down: dropped, `handle_up` rewinds.
//! * Crash between any two effects: nothing here is needed again; everything is rebuilt from the ledger's ends.
//! * Undecodable, oversize, foreign messages: `Quarantine`, a refusal and a verdict, each within a rate.
//! * A store that returns after any time greets, is told where HQ stands, and goes on from there.

mod acks;
mod down;
pub mod effect;
pub mod hq;
mod policy;
mod recall;
mod seal;
pub mod store;
pub mod wire2;

pub use effect::{
    Alarm, Effect, IngestFailure, IngestOutcome, Ingested, Leaf, Origin, Position, Publish, Sign, Token,
    Unsent, What,
};
pub use seal::{SEAL_MS, Sealer};
pub use wire2::{BlockCodec, Incoming, Letter, Prev, Versions};
