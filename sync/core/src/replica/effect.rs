//! Vocabulary of the replica: where messages go, what drivers are asked for, what they answer.

use super::wire2::Incoming;
use crate::{Ack, Link, Nak, SendRange};
use alloc::string::String;
use alloc::vec::Vec;
use sync_model::{Epoch, EpochReason, EventId, LogId, Seq, StoreId, Text};

/// Which way a message goes and what for. The transport maps it to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// `u`: from the store. Greeting, blocks, refusals.
    Up,
    /// `d`: from HQ. Blocks, refusals.
    Down,
    /// `a`: retained acknowledgement of the up log, by HQ.
    UpAck,
    /// `c`: retained acknowledgement of the down log, by the store.
    DownAck,
    /// `p`: retained presence of the store, `1` or `0`; `0` is its will.
    Presence,
}

impl Leaf {
    /// Every leaf.
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::UpAck, Self::DownAck, Self::Presence];

    /// One letter per leaf.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Up => "u",
            Self::Down => "d",
            Self::UpAck => "a",
            Self::DownAck => "c",
            Self::Presence => "p",
        }
    }
}

/// Names one question to the driver; its answer carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// End of one log as a ledger knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The log.
    pub log: LogId,
    /// Last position.
    pub head: Seq,
    /// Chain link there.
    pub link: Link,
    /// Last position that the peer has durably, as far as it said so.
    pub acked: Seq,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestOutcome {
    /// Stored and folded.
    Applied {
        /// First new position.
        first: Seq,
        /// Last new position.
        last: Seq,
        /// Records that were stored but could not be folded.
        odd: u64,
    },
    /// Every record was known, byte for byte.
    Duplicate,
    /// Records before the block are missing; nothing was stored.
    Gap {
        /// First and last missing position.
        missing: (Seq, Seq),
    },
    /// A record differs from the stored one of the same name. The block is in the quarantine.
    Equivocation {
        /// Where.
        at: Seq,
    },
    /// The block continues another history. The block is in the quarantine.
    ChainBreak {
        /// First position of the other history, as far as it is known.
        at: Seq,
    },
}

impl IngestOutcome {
    /// Stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Duplicate => "duplicate",
            Self::Gap { .. } => "gap",
            Self::Equivocation { .. } => "equivocation",
            Self::ChainBreak { .. } => "chain-break",
        }
    }
}

/// Result of taking in one block, after its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// What was done.
    pub outcome: IngestOutcome,
    /// What this side has durably of the log.
    pub ack: Ack,
}

/// Why a block was not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestFailure {
    /// It does not belong here; saying it again will not help.
    Refused {
        /// Stable word.
        code: &'static str,
        /// For a reader.
        detail: String,
        /// The bytes to keep aside, when the driver has them.
        raw: Vec<u8>,
    },
    /// The ledger is busy, full, failing or closed: not acknowledged, so it comes again.
    Unavailable,
}

/// What a published message is, for counters and for taking it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The store shows itself.
    Presence,
    /// A greeting.
    Hello,
    /// An acknowledgement, or an ask.
    Ack(Ack),
    /// A refusal.
    Nak,
    /// Records.
    Block {
        /// The log.
        log: LogId,
        /// First position.
        first: Seq,
        /// Last position.
        last: Seq,
    },
    /// Records ahead of their turn.
    Live {
        /// The log.
        log: LogId,
        /// First position.
        first: Seq,
        /// Last position.
        last: Seq,
    },
}

/// A message for the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Whose topic.
    pub store: StoreId,
    /// Which of its topics.
    pub leaf: Leaf,
    /// The bytes.
    pub message: Vec<u8>,
    /// Whether the transport keeps it for later subscribers.
    pub retained: bool,
    /// What it is.
    pub what: What,
}

/// Longest message that counts as light: it fits one segment with all its headers.
const LIGHT_BYTES_MAX: usize = 1_024;

impl Publish {
    /// Whether the transport may send it without a confirmation of its own: a small block or an ack, which the peer answers or
    /// which is said again.
    pub fn light(&self) -> bool {
        let answered = matches!(self.what, What::Block { .. } | What::Live { .. } | What::Ack(_));
        answered && self.message.len() <= LIGHT_BYTES_MAX
    }
}

/// Why a message did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// No room now.
    Full,
    /// No connection.
    Down,
    /// The transport takes no message of this size.
    TooLarge,
}

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A store's leaf.
    Leaf(StoreId, Leaf),
    /// A topic of another shape.
    Stray(String),
}

/// A sign of life of a peer, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It greeted.
    Hello {
        /// End of its own log.
        head: Option<(LogId, Seq)>,
        /// Its software.
        software: Text<32>,
        /// Newest wire version it speaks.
        version: u8,
    },
    /// It is there, or left.
    Present(bool),
    /// Records came.
    Block,
    /// It acknowledged this side's log.
    Ack(Ack),
    /// It refused something of this side's log.
    Nak(Nak),
    /// Something of it was refused here.
    Refused {
        /// The message itself was not acceptable (rather than in contradiction to what is stored).
        bad: bool,
    },
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The peer has more of a log that this side writes: this side's ledger went back in time.
    RolledBack {
        /// The log.
        log: LogId,
        /// Durable at the peer.
        upto: Seq,
        /// Own end.
        head: Seq,
    },
    /// The peer has another history of a log that this side writes: rollback and new writes, or a clone.
    Forked {
        /// The log.
        log: LogId,
        /// Where the histories are known to differ.
        at: Seq,
    },
    /// The peer's log contradicts what is stored; the block is in quarantine.
    Contradiction {
        /// The log.
        log: LogId,
        /// Where.
        at: Seq,
        /// `equivocation` or `chain-break`.
        code: &'static str,
    },
    /// The peer lacks what it once acknowledged; it is sent again.
    PeerRegressed {
        /// The log.
        log: LogId,
        /// Durable at the peer now.
        upto: Seq,
    },
    /// The peer lacks records that are no longer here: it is older than the retention. Nothing more of the log goes out until
    /// the peer has it up to `floor` from elsewhere: a newer backup.
    Truncated {
        /// The log.
        log: LogId,
        /// First record that the peer lacks.
        wanted: Seq,
        /// Last record that is gone.
        floor: Seq,
    },
    /// Lost history of a log that this side writes came back completely.
    Returned {
        /// The log.
        log: LogId,
        /// End.
        upto: Seq,
    },
    /// No common wire version.
    Versions {
        /// What the peer's message was.
        found: u8,
    },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand a message to the transport; give it back with `handle_unsent` when it does not take it.
    Publish(Publish),
    /// Read the log, answer with `handle_block`.
    ReadBlock {
        /// Names the question.
        token: Token,
        /// What to read.
        range: SendRange,
    },
    /// Read the link of this side's own log at a position, answer with `handle_link` (`None`: beyond the end).
    CompareLink {
        /// Names the question.
        token: Token,
        /// The log.
        log: LogId,
        /// The position.
        at: Seq,
    },
    /// Take in a block in one ledger transaction, answer with `handle_ingested` after its commit. A block of a log that
    /// this side writes is returned history.
    Ingest {
        /// Names the question.
        token: Token,
        /// The store whose topic it came on.
        store: StoreId,
        /// The block.
        block: Incoming,
    },
    /// Records that came ahead of their turn (HQ): show them; they are booked later.
    Preview {
        /// The store.
        store: StoreId,
        /// The block.
        block: Incoming,
    },
    /// Remember durably what the peer has of this side's log.
    RecordAck(Ack),
    /// Keep bytes aside.
    Quarantine {
        /// Where they came from.
        origin: Origin,
        /// Stable word.
        code: &'static str,
        /// For a reader.
        detail: String,
        /// The bytes.
        raw: Vec<u8>,
    },
    /// HQ: put a verdict into the store's down log.
    Verdict {
        /// The store.
        store: StoreId,
        /// Stable word.
        code: &'static str,
        /// For a reader.
        detail: String,
        /// The event, when it can be named.
        of: Option<EventId>,
    },
    /// HQ: put the command to open a new epoch into the store's down log.
    OrderEpoch {
        /// The store.
        store: StoreId,
        /// The log that is contradictory.
        log: LogId,
    },
    /// End this side's own log and begin a new epoch (a store: its up log; HQ: the down log of this store).
    OpenEpoch {
        /// The log to end.
        log: LogId,
        /// Why.
        reason: EpochReason,
        /// The new epoch is greater than this one, whatever the clock says.
        above: Epoch,
    },
    /// A peer showed itself.
    Seen {
        /// The store.
        store: StoreId,
        /// How.
        sign: Sign,
        /// Whether the message was an old one kept by the transport.
        retained: bool,
    },
    /// Tell people.
    Alarm(Alarm),
}
