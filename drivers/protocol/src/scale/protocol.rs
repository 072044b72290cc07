//! One face for every scale protocol: orders in, bytes out; bytes in, answers out.
//!
//! Contract of [`ScaleProtocol`]
//! * [`ScaleProtocol::begin`] gives the bytes of an order, or refuses by name what the protocol does not have. An order
//!   begun drops what an earlier one left unfinished. Nothing is begun by itself.
//! * [`ScaleProtocol::push`] takes one byte and holds a bounded number of them. It answers with the next bytes to send
//!   ([`Step::Send`]: the dialog goes on), with an [`Answer`], or with a named error that carries the bytes. Behind an
//!   error the next frame is read as if nothing had been.
//! * Stability, zero, range and overload come from the scale's own flags. A protocol without them never yields a usable
//!   weight.

use alloc::vec::Vec;

use super::{MassUnit, Weight};
use crate::evidence::Evidence;
use crate::unit::Grams;

/// What a host may want of a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The weight.
    Weight,
    /// Set zero.
    Zero,
    /// Take the platform's load as tare.
    Tare,
    /// Use this tare.
    KeyedTare(Grams),
    /// Forget the tare.
    ClearTare,
}

impl Order {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Zero => "zero",
            Self::Tare => "tare",
            Self::KeyedTare(_) => "keyed tare",
            Self::ClearTare => "clear tare",
        }
    }
}

/// The bytes that begin an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to send now; empty for a scale that sends by itself.
    pub bytes: Vec<u8>,
    /// Whether an answer to this order will come; without one the order is sent and never confirmed.
    pub answered: bool,
}

impl Request {
    /// A request that will be answered.
    pub(crate) fn answered(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), answered: true }
    }

    /// A request that the protocol never confirms.
    pub(crate) fn unanswered(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), answered: false }
    }
}

/// What a byte of the scale led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The dialog goes on: send these bytes and keep listening.
    Send(Vec<u8>),
    /// Something was said that neither ends the order nor needs a reply (an echo, an intermediate acknowledgement).
    Heard,
    /// The order has ended, or a scale that sends by itself has sent.
    Answer {
        /// The answer.
        answer: Answer,
        /// The bytes that it was read from, without what the line added: the evidence.
        frame: Vec<u8>,
        /// What the host has to send to end the dialog; usually nothing.
        send: Vec<u8>,
    },
}

impl Step {
    /// An answer that ends the dialog by itself.
    pub(crate) fn answer(answer: Answer, frame: &[u8]) -> Self {
        Self::Answer { answer, frame: frame.to_vec(), send: Vec::new() }
    }
}

/// A well-formed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The weight or the state that prevents one.
    Weight(Weight),
    /// The order was carried out.
    Accepted {
        /// The tare now in force, where the scale says it.
        tare: Option<Grams>,
    },
    /// The scale said no.
    Refused(Refusal),
}

/// Why a scale said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Busy with something else, or no rest in time; ask again.
    #[error("the scale is not ready; ask again")]
    NotReady,
    /// The platform is in motion.
    #[error("the platform is in motion")]
    Motion,
    /// Above the range in which this is possible.
    #[error("above the range in which the scale allows it")]
    Above,
    /// Below the range in which this is possible.
    #[error("below the range in which the scale allows it")]
    Below,
    /// Outside the range in which the scale can be zeroed, or not carried out for a reason that it does not tell.
    #[error("the scale's status shows that it was not carried out")]
    NotDone,
    /// The scale does not allow this value.
    #[error("the scale does not allow this value")]
    Value,
    /// The scale does not know the command.
    #[error("the scale does not know the command")]
    Command,
    /// The scale found a transmission error in what it received.
    #[error("the scale reports a transmission error")]
    Transmission,
    /// The scale wants a proof of the host's program before it weighs, and the key for it is not configured.
    #[error(
        "the scale wants checksums of the host's program; their polynomial is not public: set checksum_polynomial"
    )]
    ChecksumKey,
    /// The scale refused the proof of the host's program.
    #[error("the scale refused the checksums: checksum_polynomial is not the right one")]
    ChecksumWrong,
    /// Another reason, as the scale's own code.
    #[error("the scale reports status {:?}", .0.escape_ascii())]
    Code([u8; 2]),
}

/// Why an order was not begun. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The protocol has no such command.
    #[error("protocol {protocol} has no command for {order}")]
    Unsupported {
        /// Name of the protocol.
        protocol: &'static str,
        /// Name of the order.
        order: &'static str,
    },
    /// The value does not fit the command.
    #[error("{order} of {found} does not fit protocol {protocol}: expected {expected}")]
    Value {
        /// Name of the protocol.
        protocol: &'static str,
        /// Name of the order.
        order: &'static str,
        /// What fits.
        expected: &'static str,
        /// The value.
        found: Grams,
    },
}

/// Why bytes of a scale were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// Bytes arrived outside any frame.
    #[error("expected the start of a frame, found bytes outside one: {0}")]
    Noise(Evidence),
    /// A frame did not end within its bound.
    #[error("frame longer than its bound: {0}")]
    Endless(Evidence),
    /// A frame ended or was followed by another before it was complete.
    #[error("frame cut short: {0}")]
    Truncated(Evidence),
    /// The checksum is wrong.
    #[error("checksum {found:#04x}, expected {expected:#04x}: {bytes}")]
    Checksum {
        /// Computed over the bytes.
        expected: u8,
        /// Found in the frame.
        found: u8,
        /// The frame.
        bytes: Evidence,
    },
    /// A part of the frame is not what it has to be.
    #[error("expected {expected}: {bytes}")]
    Content {
        /// What belongs there.
        expected: &'static str,
        /// The frame.
        bytes: Evidence,
    },
    /// The frame carries a unit that is no mass or not known.
    #[error("expected a unit of mass (kg, g, lb, oz): {0}")]
    Unit(Evidence),
    /// The frame carries another unit than the configuration says.
    #[error("expected the configured unit {expected}, found {found}: {bytes}")]
    OtherUnit {
        /// As configured.
        expected: MassUnit,
        /// As found.
        found: MassUnit,
        /// The frame.
        bytes: Evidence,
    },
    /// Two parts of one frame contradict each other.
    #[error("contradiction in one frame, {what}: {bytes}")]
    Contradiction {
        /// What contradicts what.
        what: &'static str,
        /// The frame.
        bytes: Evidence,
    },
    /// A well-formed reply that belongs to no order under way.
    #[error("reply to something that was not asked: {0}")]
    Unasked(Evidence),
    /// An error of the 8217 decoder.
    #[error(transparent)]
    Toledo8217(#[from] crate::toledo8217::FrameError),
}

/// A scale protocol as a state machine; see the module for the contract.
pub trait ScaleProtocol {
    /// Begins an order.
    ///
    /// # Errors
    /// [`OrderError`] when the protocol has no such command or the value does not fit it; nothing is to be sent then.
    fn begin(&mut self, order: Order) -> Result<Request, OrderError>;

    /// Takes one received byte.
    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>>;

    /// Ends the order under way, as after a timeout, and drops a partial frame; answers what was dropped.
    fn reset(&mut self) -> Option<Evidence>;

    /// The scale sends weights by itself: [`Order::Weight`] needs no request and listening is enough.
    fn streams(&self) -> bool {
        false
    }

    /// Takes any number of bytes; answers everything that they complete.
    fn feed(&mut self, bytes: &[u8]) -> Vec<Result<Step, ScaleError>> {
        bytes.iter().filter_map(|byte| self.push(*byte)).collect()
    }
}
