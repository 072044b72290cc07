//! Facts: what happened. Bodies are postcard-encoded structs whose layout is frozen by `tests/golden.rs`.

mod checkpoint;
mod device;
mod evidence;
mod hq;
mod shared;
mod stock;
mod trade;

pub use checkpoint::*;
pub use device::*;
pub use evidence::*;
pub use hq::*;
pub use shared::*;
pub use stock::*;
pub use trade::*;

use crate::{Direction, Epoch, FactRef, Kind, RECORD_BYTES_MAX, Seq, Stamp, Text};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

macro_rules! facts {
    ($($variant:ident($kind:ident)),* $(,)?) => {
        /// Everything that can happen. One variant per kind this build knows, plus [`Fact::Unknown`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Fact {
            $(#[allow(missing_docs, reason = "the body type of the same name is documented")]
              $variant($variant),)*
            /// A kind from a newer build: carried, hashed and stored as it came.
            Unknown {
                /// Its number.
                kind: Kind,
                /// Its body, not interpreted.
                body: Vec<u8>,
            },
        }

        impl Fact {
            /// The kind number.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$kind,)*
                    Self::Unknown { kind, .. } => *kind,
                }
            }

            /// Body bytes.
            fn body(&self) -> Result<Vec<u8>, FactError> {
                let kind = self.kind();
                match self {
                    $(Self::$variant(body) => postcard::to_allocvec(body)
                        .map_err(|source| FactError::Body { kind, source }),)*
                    Self::Unknown { body, .. } => Ok(body.clone()),
                }
            }

            /// Reads a body. Known kinds must use every byte; unknown kinds are kept as they are.
            fn from_body(kind: Kind, body: &[u8]) -> Result<Self, FactError> {
                match kind {
                    $(Kind::$kind => {
                        let (fact, rest) = postcard::take_from_bytes(body)
                            .map_err(|source| FactError::Body { kind, source })?;
                        if !rest.is_empty() {
                            return Err(FactError::Trailing { kind, bytes: rest.len() });
                        }
                        Ok(Self::$variant(fact))
                    })*
                    _ => Ok(Self::Unknown { kind, body: body.to_vec() }),
                }
            }
        }

        $(impl From<$variant> for Fact {
            fn from(body: $variant) -> Self {
                Self::$variant(body)
            }
        })*
    };
}

facts! {
    EpochOpened(EPOCH_OPENED), Weighing(WEIGHING), Sale(SALE), Return(RETURN), Receipt(RECEIPT), Waste(WASTE),
    Count(COUNT), TransferOut(TRANSFER_OUT), TransferIn(TRANSFER_IN), TemperatureMinute(TEMPERATURE_MINUTE),
    AlarmRaised(ALARM_RAISED), AlarmAcknowledged(ALARM_ACKNOWLEDGED), AlarmReturned(ALARM_RETURNED),
    AlarmShelved(ALARM_SHELVED), BatchQueued(BATCH_QUEUED), BatchMoved(BATCH_MOVED), PriceChanged(PRICE_CHANGED),
    TagConfirmed(TAG_CONFIRMED), DeviceSeen(DEVICE_SEEN), DeviceLost(DEVICE_LOST), Audit(AUDIT),
    ReservationOpened(RESERVATION_OPENED), ReservationClosed(RESERVATION_CLOSED), ClockJumped(CLOCK_JUMPED),
    PromiseOpened(PROMISE_OPENED), PromiseClosed(PROMISE_CLOSED), RightsTaken(RIGHTS_TAKEN),
    RightsReturned(RIGHTS_RETURNED), RegisterWritten(REGISTER_WRITTEN), RegistryChanged(REGISTRY_CHANGED),
    ConflictSettled(CONFLICT_SETTLED), Checkpointed(CHECKPOINTED), StatementSigned(STATEMENT_SIGNED), StatementPart(STATEMENT_PART),
    ArticlesSet(ARTICLES_SET), Verdict(VERDICT), Command(COMMAND),
    RightsIssued(RIGHTS_ISSUED), RightsGranted(RIGHTS_GRANTED), EpochFenced(EPOCH_FENCED),
    TransferClosed(TRANSFER_CLOSED), HqRegisterWritten(HQ_REGISTER_WRITTEN),
    HqRegistryChanged(HQ_REGISTRY_CHANGED), HqConflictSettled(HQ_CONFLICT_SETTLED),
    StatementAnswered(STATEMENT_ANSWERED), DayRooted(DAY_ROOTED),
}

impl Fact {
    /// The fact with every reference to a fact of the same log family replaced. References to other stores' facts stay.
    #[must_use]
    pub fn renamed(mut self, name: &dyn Fn(FactRef) -> FactRef) -> Self {
        let lines = |lines: &mut Vec<SaleLine>| {
            for line in lines {
                line.weighing = line.weighing.map(name);
                line.batch = line.batch.map(name);
            }
        };
        match &mut self {
            Self::Sale(sale) => lines(&mut sale.lines),
            Self::Return(back) => {
                back.of = back.of.map(name);
                lines(&mut back.lines);
            }
            Self::AlarmAcknowledged(fact) => fact.alarm = name(fact.alarm),
            Self::AlarmReturned(fact) => fact.alarm = name(fact.alarm),
            Self::AlarmShelved(fact) => fact.alarm = name(fact.alarm),
            Self::BatchMoved(fact) => fact.batch = name(fact.batch),
            Self::ReservationClosed(fact) => fact.reservation = name(fact.reservation),
            Self::PromiseClosed(fact) => fact.promise = name(fact.promise),
            Self::RightsTaken(fact) => fact.of = name(fact.of),
            _ => {}
        }
        self
    }
}

/// Why bytes are not a record, or a fact has no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// The body does not follow the layout of its kind.
    #[error("body of {kind} does not decode: {source}")]
    Body {
        /// Kind of the body.
        kind: Kind,
        /// What postcard found.
        source: postcard::Error,
    },
    /// A known kind with more bytes than its layout has.
    #[error("body of {kind} has {bytes} bytes too many")]
    Trailing {
        /// Kind of the body.
        kind: Kind,
        /// Bytes left over.
        bytes: usize,
    },
    /// The frame around the body is damaged.
    #[error("record frame does not decode: {0}")]
    Frame(postcard::Error),
    /// The record exceeds [`RECORD_BYTES_MAX`].
    #[error("record has {0} bytes, at most {RECORD_BYTES_MAX} are allowed")]
    TooLong(usize),
}

/// A fact with its stamp: the unit that is stored, hashed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by whose clock.
    pub stamp: Stamp,
    /// What.
    pub fact: Fact,
}

/// Canonical frame: postcard of (kind, unix ms, clock quality, body bytes).
#[derive(Serialize, Deserialize)]
struct Frame<'a> {
    kind: Kind,
    stamp: Stamp,
    #[serde(borrow)]
    body: &'a [u8],
}

impl Event {
    /// A fact at a moment.
    pub fn new(stamp: Stamp, fact: impl Into<Fact>) -> Self {
        Self { stamp, fact: fact.into() }
    }

    /// The canonical bytes. Equal events have equal bytes; the chain hashes exactly these.
    pub fn to_record(&self) -> Result<Vec<u8>, FactError> {
        let body = self.fact.body()?;
        let frame = Frame { kind: self.fact.kind(), stamp: self.stamp, body: &body };
        let bytes = postcard::to_allocvec(&frame).map_err(FactError::Frame)?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(FactError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads canonical bytes. Never panics, refuses anything that would not encode to the same bytes' meaning.
    pub fn from_record(bytes: &[u8]) -> Result<Self, FactError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(FactError::TooLong(bytes.len()));
        }
        let (frame, rest): (Frame<'_>, _) = postcard::take_from_bytes(bytes).map_err(FactError::Frame)?;
        if !rest.is_empty() {
            return Err(FactError::Trailing { kind: frame.kind, bytes: rest.len() });
        }
        Ok(Self { stamp: frame.stamp, fact: Fact::from_body(frame.kind, frame.body)? })
    }
}

/// First event of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochOpened {
    /// Store or HQ.
    pub direction: Direction,
    /// Why a new epoch.
    pub reason: EpochReason,
    /// What it continues, if anything is known.
    pub parent: Option<EpochParent>,
    /// Version of the software that opened it.
    pub software: Text<32>,
}

/// The end of the epoch before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochParent {
    /// Its number.
    pub epoch: Epoch,
    /// Its last position known to this writer.
    pub last: Seq,
    /// Chain link at that position.
    pub link: [u8; 32],
}

/// Why an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochReason {
    /// A new ledger.
    Provisioned,
    /// Part of a damaged ledger was saved.
    Salvaged,
    /// A backup was restored.
    Restored,
    /// The ledger went back in time.
    RolledBack,
    /// HQ asked for it.
    Ordered,
}

/// Something a person or the daemon did that must stay on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Who: a login, a role, or `edge-agent`.
    pub actor: Text<32>,
    /// What, as a stable word such as `config-reload`.
    pub action: Text<32>,
    /// Details for a reader.
    pub detail: Text<200>,
}

/// The wall clock moved against the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockJumped {
    /// Milliseconds the wall clock moved beyond the elapsed time; negative means back.
    pub by_ms: i64,
}

/// Reference helper for facts that close or follow another fact.
pub type AlarmRef = FactRef;
/// A batch is named by its queueing fact.
pub type BatchRef = FactRef;
/// A reservation is named by its opening fact.
pub type ReservationRef = FactRef;
