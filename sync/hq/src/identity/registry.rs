//! The registry: every certificate that the CA ever issued, in one JSON file beside it. Holds nothing secret.
//!
//! Contract: written whole and atomically; rows are never removed, serial numbers never reused.

use super::folder::write_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use sync_model::StoreId;
use sync_mqtt::day;

/// What the file begins with.
const SCHEMA: &str = "steelyard.ca/1";

/// Largest registry that is read: some fifty thousand certificates.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The CA itself.
    Ca,
    /// The broker's server certificate.
    Broker,
    /// HQ as a client of the broker.
    Hq,
    /// A store.
    Store,
}

/// A certificate's end by decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When, unix seconds.
    pub at_s: i64,
    /// Why, for a reader.
    pub reason: String,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Serial number.
    pub serial: u64,
    /// What it is for.
    pub role: Role,
    /// Common name.
    pub name: String,
    /// The store, for a store's certificate.
    pub store: Option<u32>,
    /// Ed25519 public key in hexadecimal.
    pub public_key: String,
    /// When it was issued, unix seconds.
    pub issued_s: i64,
    /// First valid second.
    pub not_before_s: i64,
    /// Last valid second.
    pub not_after_s: i64,
    /// Its end by decision.
    pub revoked: Option<Revocation>,
    /// The certificate itself.
    pub pem: String,
}

impl Row {
    /// Whether half of its life is over: time for a new one.
    pub fn renewal_due(&self, now_s: i64) -> bool {
        now_s >= self.not_before_s + (self.not_after_s - self.not_before_s) / 2
    }

    /// A word for its state.
    pub fn state(&self, now_s: i64) -> &'static str {
        match &self.revoked {
            Some(_) => "revoked",
            None if now_s > self.not_after_s => "expired",
            None if self.renewal_due(now_s) => "renewal-due",
            None => "valid",
        }
    }

    /// The public key.
    pub fn key(&self) -> Option<[u8; 32]> {
        let digits = self.public_key.as_bytes();
        let mut key = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(key)
    }
}

/// How a store stands with the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has a valid certificate.
    Valid {
        /// Last valid second of the one that lasts longest.
        until_s: i64,
        /// Half of that one's life is over.
        renewal_due: bool,
    },
    /// It was enrolled and never revoked, and every certificate of it is past its time.
    Expired {
        /// Last valid second.
        since_s: i64,
    },
    /// Every certificate of it is revoked: fenced.
    Revoked(Revocation),
    /// It was never enrolled.
    Unknown,
}

impl Standing {
    /// Why its messages are refused: code and text; `None` when they are not.
    pub fn refusal(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Valid { .. } | Self::Expired { .. } => None,
            Self::Revoked(Revocation { at_s, reason }) => {
                Some(("revoked", format!("store was revoked on {}: {reason}", day(*at_s))))
            }
            Self::Unknown => Some(("not-enrolled", "store has no certificate of this CA".to_owned())),
        }
    }

    /// A word for its state.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Valid { renewal_due: false, .. } => "valid",
            Self::Valid { renewal_due: true, .. } => "renewal-due",
            Self::Expired { .. } => "expired",
            Self::Revoked(_) => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

/// A key that seals a store's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreKey {
    /// The Ed25519 public key.
    pub public: [u8; 32],
    /// Since when it is the store's.
    pub since_s: i64,
    /// Since when it is not trusted any more: every certificate that names it is revoked.
    pub revoked_s: Option<i64>,
}

/// Every certificate ever issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    schema: String,
    /// The next certificate's serial number.
    pub next_serial: u64,
    /// Number of the latest revocation list.
    pub crl_number: u64,
    /// In the order of issue.
    pub rows: Vec<Row>,
}

/// Why a registry cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file system said no.
    #[error("registry {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a registry of this version.
    #[error("registry {path}: expected {SCHEMA}, found {found}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
}

impl Registry {
    /// A registry without a row.
    pub fn empty() -> Self {
        Self { schema: SCHEMA.to_owned(), next_serial: 1, crl_number: 0, rows: Vec::new() }
    }

    /// Reads the registry.
    pub fn load(path: &Path) -> Result<Self, RegistryError> {
        let io = |source| RegistryError::Io { path: path.to_owned(), source };
        let format = |found| RegistryError::Format { path: path.to_owned(), found };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(format(format!("more than {BYTES_MAX} bytes")));
        }
        let registry: Self = serde_json::from_slice(&bytes).map_err(|error| format(error.to_string()))?;
        if registry.schema != SCHEMA {
            return Err(format(format!("schema '{}'", registry.schema)));
        }
        Ok(registry)
    }

    /// Writes the registry, atomically.
    pub fn save(&self, path: &Path) -> Result<(), RegistryError> {
        let text = serde_json::to_vec_pretty(self).expect("rows are plain JSON values");
        write_file(path, &text, 0o644).map_err(|source| RegistryError::Io { path: path.to_owned(), source })
    }

    /// A store's certificates in the order of issue.
    pub fn of(&self, store: StoreId) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.store == Some(store.0))
    }

    /// The store's certificate that is valid for longest, revoked ones aside.
    pub fn current(&self, store: StoreId) -> Option<&Row> {
        current(self.of(store))
    }

    /// The store's certificate that was issued last, revoked ones aside: the one for the key that it has.
    pub fn newest(&self, store: StoreId) -> Option<&Row> {
        self.of(store).filter(|row| row.revoked.is_none()).max_by_key(|row| row.serial)
    }

    /// How a store stands.
    pub fn standing(&self, store: StoreId, now_s: i64) -> Standing {
        standing(&self.of(store).collect::<Vec<_>>(), now_s)
    }

    /// How every store stands that was ever enrolled; one pass.
    pub fn standings(&self, now_s: i64) -> BTreeMap<StoreId, Standing> {
        let mut rows_of: BTreeMap<StoreId, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            if let Some(store) = row.store {
                rows_of.entry(StoreId(store)).or_default().push(row);
            }
        }
        rows_of.into_iter().map(|(store, rows)| (store, standing(&rows, now_s))).collect()
    }

    /// Every key that a store ever had, oldest first: what its seals are checked against.
    pub fn keys(&self, store: StoreId) -> Vec<StoreKey> {
        let mut keys: Vec<StoreKey> = Vec::new();
        for row in self.of(store) {
            let Some(public) = row.key() else { continue };
            let revoked_s = row.revoked.as_ref().map(|revocation| revocation.at_s);
            match keys.iter_mut().find(|key| key.public == public) {
                // One certificate in force keeps the key in force.
                Some(key) => {
                    key.revoked_s = key.revoked_s.and_then(|at| revoked_s.map(|other| at.max(other)))
                }
                None => keys.push(StoreKey { public, since_s: row.issued_s, revoked_s }),
            }
        }
        keys
    }
}

/// The certificate that is valid for longest, revoked ones aside.
fn current<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<&'a Row> {
    rows.filter(|row| row.revoked.is_none()).max_by_key(|row| (row.not_after_s, row.serial))
}

/// How the owner of these certificates stands.
fn standing(rows: &[&Row], now_s: i64) -> Standing {
    let revocation = rows.iter().rev().find_map(|row| row.revoked.as_ref());
    match (current(rows.iter().copied()), revocation) {
        (Some(row), _) if now_s > row.not_after_s => Standing::Expired { since_s: row.not_after_s },
        (Some(row), _) => Standing::Valid { until_s: row.not_after_s, renewal_due: row.renewal_due(now_s) },
        (None, Some(revocation)) => Standing::Revoked(revocation.clone()),
        (None, None) => Standing::Unknown,
    }
}
