//! Identifiers. An event is named by (store, direction, epoch, seq) for ever; a restore starts a new epoch, so that no
//! name is ever used for two facts.

use crate::text::{Text, TextError};
use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl FromStr for $name {
            type Err = core::num::ParseIntError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

number_id!(
    /// A store. Stores count from 1.
    StoreId(u32)
);
number_id!(
    /// One incarnation of a log's writer. A new one is minted on provisioning, restore, salvage and detected rollback.
    Epoch(u32)
);
number_id!(
    /// Position of an event in its log: 1, 2, 3, … without gaps. 0 means "before the first".
    Seq(u64)
);
number_id!(
    /// Article number (up to a GTIN-14, no leading-zero significance).
    Sku(u64)
);
number_id!(
    /// A till of this store.
    TillId(u16)
);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Who wrote a log: the store itself, or HQ for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Written by the store, settled with HQ.
    Up,
    /// Written by HQ, addressed to the store.
    Down,
}

impl Direction {
    /// The number used in canonical bytes and SQL: 0 up, 1 down.
    pub fn code(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }

    /// Inverse of [`Direction::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Up),
            1 => Some(Self::Down),
            _ => None,
        }
    }
}

/// One append-only log with exactly one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The store the log belongs to.
    pub store: StoreId,
    /// Up: written by the store. Down: written by HQ for it.
    pub direction: Direction,
    /// The writer's incarnation.
    pub epoch: Epoch,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Up => "up",
            Direction::Down => "dn",
        };
        write!(f, "{}-{}-{}", self.store, direction, self.epoch)
    }
}

/// The name of one event, unique for ever. Shown as `store-up-epoch-seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// The log.
    pub log: LogId,
    /// The position in it.
    pub seq: Seq,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.log, self.seq)
    }
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not of the form `store-up|dn-epoch-seq`.
    #[error("expected store-up|dn-epoch-seq, found '{0}'")]
    Event(Text<80>),
    /// Not a device name.
    #[error("device names are 1-32 of a-z 0-9 -, found '{0}'")]
    Device(Text<80>),
    /// Not of the form `epoch.seq`.
    #[error("expected epoch.seq, found '{0}'")]
    FactRef(Text<80>),
}

impl FromStr for EventId {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let parse = || {
            let mut parts = s.split('-');
            let store = StoreId(parts.next()?.parse().ok()?);
            let direction = match parts.next()? {
                "up" => Direction::Up,
                "dn" => Direction::Down,
                _ => return None,
            };
            let epoch = Epoch(parts.next()?.parse().ok()?);
            let seq = Seq(parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { log: LogId { store, direction, epoch }, seq })
        };
        parse().ok_or_else(|| ParseIdError::Event(Text::lossy(s)))
    }
}

/// A fact referred to from another fact of the same store and direction. Shown as `epoch.seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FactRef {
    /// Epoch of the fact.
    pub epoch: Epoch,
    /// Position of the fact.
    pub seq: Seq,
}

impl fmt::Display for FactRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for FactRef {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let parse = || {
            let (epoch, seq) = s.split_once('.')?;
            Some(Self { epoch: Epoch(epoch.parse().ok()?), seq: Seq(seq.parse().ok()?) })
        };
        parse().ok_or_else(|| ParseIdError::FactRef(Text::lossy(s)))
    }
}

impl From<EventId> for FactRef {
    fn from(id: EventId) -> Self {
        Self { epoch: id.log.epoch, seq: id.seq }
    }
}

/// Longest name of a device.
const DEVICE_ID_BYTES_MAX: usize = 32;

/// A device's stable name in this store: 1-32 characters of `a-z 0-9 -`, given by the configuration.
///
/// Copies share one allocation: everything that knows a store's thousands of tags knows them by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, ParseIdError> {
        Self::check(name).map(|()| Self(name.into()))
    }

    fn check(name: &str) -> Result<(), ParseIdError> {
        let fits = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && name.len() <= DEVICE_ID_BYTES_MAX {
            Ok(())
        } else {
            Err(ParseIdError::Device(Text::lossy(name)))
        }
    }

    /// Checks a name and shares it.
    pub fn share(name: &Arc<str>) -> Result<Self, ParseIdError> {
        Self::check(name).map(|()| Self(Arc::clone(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Borrow<str> for DeviceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceId {
    type Error = ParseIdError;
    fn try_from(name: String) -> Result<Self, ParseIdError> {
        Self::new(&name)
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        String::from(&*id.0)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A lot (batch of goods) as printed by supplier or store; empty means "no lot kept".
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LotId(pub Text<24>);

impl LotId {
    /// Checks and wraps a lot number.
    pub fn new(lot: &str) -> Result<Self, TextError> {
        Text::new(lot).map(Self)
    }

    /// The lot number, empty when no lot is kept.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}
