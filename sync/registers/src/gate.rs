//! The gate: operations of one actor pass in the order they were made, each once, or not at all.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use sync_model::{Direction, Epoch, LogId, StoreId};

/// A writer: (store, epoch) in one number. Store 0 is HQ, writing for the store that the object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub u64);

impl Actor {
    /// A store in one of its epochs.
    pub fn store(store: StoreId, epoch: Epoch) -> Self {
        Self((u64::from(store.0) << 32) | u64::from(epoch.0))
    }

    /// HQ in one epoch of its log for the store.
    pub fn hq(epoch: Epoch) -> Self {
        Self::store(StoreId(0), epoch)
    }

    /// The writer of a log.
    pub fn of(log: LogId) -> Self {
        match log.direction {
            Direction::Up => Self::store(log.store, log.epoch),
            Direction::Down => Self::hq(log.epoch),
        }
    }

    /// Whether it is HQ.
    pub fn is_hq(self) -> bool {
        self.0 >> 32 == 0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.0 & u64::from(u32::MAX);
        match self.0 >> 32 {
            0 => write!(f, "hq.{epoch}"),
            store => write!(f, "{store}.{epoch}"),
        }
    }
}

/// Name of an operation on one object: its actor and the actor's running number there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who.
    pub actor: Actor,
    /// The actor's how-manieth on this object.
    pub count: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.actor, self.count)
    }
}

/// First bytes of a hash over an operation: tells two operations of one name apart.
pub type Digest = [u8; 8];

/// What the gate says to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It is the actor's next: apply it.
    Next,
    /// It was applied before: do nothing.
    Duplicate,
}

/// Why an operation may not be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Operations of the actor are missing before this one.
    #[error("operation {found} came after a gap: expected count {expected}")]
    Gap {
        /// The operation.
        found: Dot,
        /// The count that is next.
        expected: u64,
    },
    /// The name was used before for something else: a restored or cloned writer.
    #[error("name {0} was used for two operations")]
    Reused(Dot),
    /// The operation says that it has seen itself, or more writers than an object may have.
    #[error("operation {0} has an impossible context")]
    Context(Dot),
    /// The waiting room is full.
    #[error("{0} operations wait behind gaps already")]
    Full(usize),
}

impl GateError {
    /// Stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "register-gap",
            Self::Reused(_) => "register-reused",
            Self::Context(_) => "register-context",
            Self::Full(_) => "register-full",
        }
    }
}

/// How far each actor's operations on one object are applied. Without a waiting room: the caller has an order already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contiguity {
    last: BTreeMap<Actor, (u64, Digest)>,
}

impl Contiguity {
    /// Judges an operation; changes nothing.
    pub fn judge(&self, dot: Dot, digest: Digest) -> Result<Admit, GateError> {
        let (last, known) = self.last.get(&dot.actor).copied().unwrap_or_default();
        if dot.count == last && last > 0 && digest != known {
            return Err(GateError::Reused(dot));
        }
        if dot.count <= last {
            return Ok(Admit::Duplicate);
        }
        if dot.count - last > 1 {
            return Err(GateError::Gap { found: dot, expected: last + 1 });
        }
        Ok(Admit::Next)
    }

    /// Judges an operation and, when it is the next, remembers it.
    pub fn admit(&mut self, dot: Dot, digest: Digest) -> Result<Admit, GateError> {
        let admit = self.judge(dot, digest)?;
        if admit == Admit::Next {
            self.last.insert(dot.actor, (dot.count, digest));
        }
        Ok(admit)
    }

    /// Count of the actor's last operation.
    pub fn last(&self, actor: Actor) -> u64 {
        self.last.get(&actor).map_or(0, |(count, _)| *count)
    }

    /// Every actor with the count of its last operation.
    pub fn vector(&self) -> BTreeMap<Actor, u64> {
        self.last.iter().map(|(actor, (count, _))| (*actor, *count)).collect()
    }
}

/// A gate with a bounded waiting room, for transports that reorder.
#[derive(Clone, Debug)]
pub struct Gate<O> {
    passed: Contiguity,
    waiting: BTreeMap<Dot, (Digest, O)>,
    room: usize,
}

impl<O> Gate<O> {
    /// A gate that holds back at most `room` operations.
    pub fn new(room: usize) -> Self {
        Self { passed: Contiguity::default(), waiting: BTreeMap::new(), room }
    }

    /// Takes an operation and gives every operation that may be applied now, in order.
    pub fn offer(&mut self, dot: Dot, digest: Digest, operation: O) -> Result<Vec<O>, GateError> {
        match self.passed.admit(dot, digest) {
            Ok(Admit::Duplicate) => return Ok(Vec::new()),
            Ok(Admit::Next) => {}
            Err(GateError::Gap { .. }) => {
                if let Some((known, _)) = self.waiting.get(&dot) {
                    return if *known == digest { Ok(Vec::new()) } else { Err(GateError::Reused(dot)) };
                }
                if self.waiting.len() >= self.room {
                    return Err(GateError::Full(self.room));
                }
                self.waiting.insert(dot, (digest, operation));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        }
        let mut free = vec![operation];
        let mut next = Dot { count: dot.count + 1, ..dot };
        while let Some((digest, operation)) = self.waiting.remove(&next) {
            self.passed.admit(next, digest)?;
            free.push(operation);
            next.count += 1;
        }
        Ok(free)
    }

    /// Operations held back.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What has passed.
    pub fn passed(&self) -> &Contiguity {
        &self.passed
    }
}
