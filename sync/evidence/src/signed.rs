//! A statement with its signatures: the store's, and HQ's over the same bytes and the store's signature.
//!
//! ```text
//! digest    = SHA-256(statement bytes)
//! store     = Ed25519(store, "steelyard 2026 statement 1"         | 0x00 | digest)
//! hq        = Ed25519(HQ,    "steelyard 2026 countersignature 1"  | 0x00 | digest | store signature)
//! file      = statement bytes | signatures u8 (0, 1 or 2) | store signature | hq signature
//! ```

use crate::{Digest, FormError, PublicKey, Signature, SignatureError, SigningKey, Statement};
use alloc::vec::Vec;

const STORE: &str = "steelyard 2026 statement 1";
const HQ: &str = "steelyard 2026 countersignature 1";
const WHAT: &str = "signed statement";

/// A statement and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatement {
    /// What is stated.
    pub statement: Statement,
    /// The store's signature.
    pub store: Option<Signature>,
    /// HQ's countersignature; only over a store's signature.
    pub hq: Option<Signature>,
}

/// Why a statement is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The store did not sign it.
    #[error("statement is not signed by the store")]
    NoStore,
    /// HQ did not countersign it.
    #[error("statement is not countersigned by HQ")]
    NoHq,
    /// The store's signature is none of its key over these bytes.
    #[error("store's {0}")]
    Store(SignatureError),
    /// HQ's signature is none of its key over these bytes.
    #[error("HQ's {0}")]
    Hq(SignatureError),
}

fn countersigned(digest: &Digest, store: &Signature) -> Vec<u8> {
    [digest.as_slice(), store.as_slice()].concat()
}

impl SignedStatement {
    /// Signs a statement as the store.
    pub fn sign(statement: Statement, key: &SigningKey) -> Self {
        let store = key.sign(STORE, &statement.digest());
        Self { statement, store: Some(store), hq: None }
    }

    /// Countersigns as HQ. HQ does so only when its own events give the same statement: [`Statement::differences`] is empty.
    pub fn countersign(&mut self, key: &SigningKey) -> Result<(), SignedError> {
        let store = self.store.ok_or(SignedError::NoStore)?;
        self.hq = Some(Self::countersignature(&self.statement.digest(), &store, key));
        Ok(())
    }

    /// HQ's countersignature over a statement known by its digest.
    pub fn countersignature(digest: &Digest, store: &Signature, key: &SigningKey) -> Signature {
        key.sign(HQ, &countersigned(digest, store))
    }

    /// Checks a store's signature over a statement known by its digest.
    pub fn verify_digest(digest: &Digest, store: &Signature, key: PublicKey) -> Result<(), SignedError> {
        key.verify(STORE, digest, store).map_err(SignedError::Store)
    }

    /// Checks the store's signature.
    pub fn verify_store(&self, key: PublicKey) -> Result<(), SignedError> {
        let store = self.store.ok_or(SignedError::NoStore)?;
        Self::verify_digest(&self.statement.digest(), &store, key)
    }

    /// Checks HQ's countersignature.
    pub fn verify_hq(&self, key: PublicKey) -> Result<(), SignedError> {
        let store = self.store.ok_or(SignedError::NoStore)?;
        let hq = self.hq.ok_or(SignedError::NoHq)?;
        key.verify(HQ, &countersigned(&self.statement.digest(), &store), &hq).map_err(SignedError::Hq)
    }

    /// The bytes of a statement file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.statement.to_bytes();
        let hq = self.hq.filter(|_| self.store.is_some());
        let signatures: Vec<Signature> = self.store.into_iter().chain(hq).collect();
        out.push(u8::try_from(signatures.len()).unwrap_or(u8::MAX));
        signatures.iter().for_each(|signature| out.extend(signature));
        out
    }

    /// Reads a statement file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let (statement, rest) = Statement::take(bytes)?;
        let short = |field| FormError::Short { what: WHAT, field };
        let (number, rest) = rest.split_first().ok_or(short("signatures"))?;
        let (store, rest) = match number {
            0 => (None, rest),
            1 | 2 => {
                let (store, rest) = rest.split_first_chunk::<64>().ok_or(short("store signature"))?;
                (Some(*store), rest)
            }
            _ => return Err(FormError::Value { what: WHAT, field: "signatures" }),
        };
        let (hq, rest) = match number {
            2 => {
                let (hq, rest) = rest.split_first_chunk::<64>().ok_or(short("HQ signature"))?;
                (Some(*hq), rest)
            }
            _ => (None, rest),
        };
        if rest.is_empty() {
            Ok(Self { statement, store, hq })
        } else {
            Err(FormError::Trailing { what: WHAT, bytes: rest.len() })
        }
    }
}
