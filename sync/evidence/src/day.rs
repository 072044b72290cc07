//! HQ's day root: one hash over the statements of every store, signed and chained to the day root before, so that HQ can
//! change none of them afterwards without everyone who keeps a root noticing.
//!
//! ```text
//! leaf content = store u32 | day i32 | SHA-256(statement bytes) | store signature 64            104 bytes
//! tree         = RFC 6962 over the leaves in ascending order of store
//! root body    = "SYROOT" 0d 01 | day i32 | size u32 | root 32 | prev 32                         80 bytes
//! signature    = Ed25519(HQ, "steelyard 2026 day root 1" | 0x00 | root body)
//! root file    = root body | signature                                                          144 bytes
//! prev         = SHA-256(root file of the day root before); 32 zero bytes for the first
//! proof file   = "SYPROF" 0d 01 | store u32 | index u32 | size u32 | hashes u8 | 32 bytes each, from the leaf up
//! ```

use crate::bytes::Fields;
use crate::merkle::{inclusion_path, leaf_hash, root, root_from_path, sha256};
use crate::{Digest, FormError, PublicKey, Signature, SignatureError, SignedStatement, SigningKey};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use sync_model::{BusinessDay, StoreId};

/// First bytes of a day root.
pub const DAY_ROOT_MAGIC: [u8; 8] = *b"SYROOT\r\x01";
/// First bytes of a proof.
pub const PROOF_MAGIC: [u8; 8] = *b"SYPROF\r\x01";
const CONTEXT: &str = "steelyard 2026 day root 1";

/// Content of a store's leaf; `None` while the store has not signed.
pub fn day_leaf(signed: &SignedStatement) -> Option<Vec<u8>> {
    let (statement, signature) = (&signed.statement, signed.store?);
    Some(leaf_content(statement.store, statement.day, &statement.digest(), &signature))
}

fn leaf_content(store: StoreId, day: BusinessDay, digest: &Digest, signature: &Signature) -> Vec<u8> {
    let mut out = Vec::with_capacity(104);
    out.extend(store.0.to_be_bytes());
    out.extend(day.0.to_be_bytes());
    out.extend(digest);
    out.extend(signature);
    out
}

/// HQ's signed root over the statements of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRoot {
    /// The day.
    pub day: BusinessDay,
    /// Stores in the tree.
    pub size: u32,
    /// Root of the tree.
    pub root: Digest,
    /// Digest of the day root before; zero for the first.
    pub prev: Digest,
    /// HQ's signature.
    pub signature: Signature,
}

impl DayRoot {
    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(144);
        out.extend(DAY_ROOT_MAGIC);
        out.extend(self.day.0.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        out.extend(self.root);
        out.extend(self.prev);
        out
    }

    /// The bytes of a root file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.signature);
        out
    }

    /// Reads a root file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let mut fields = Fields::new("day root", &DAY_ROOT_MAGIC, bytes)?;
        let (day, size) = (BusinessDay(fields.i32("day")?), fields.u32("size")?);
        let (root, prev) = (fields.array("root")?, fields.array("prev")?);
        let signature = fields.array("signature")?;
        fields.end()?;
        Ok(Self { day, size, root, prev, signature })
    }

    /// What the next day root names as its `prev`.
    pub fn digest(&self) -> Digest {
        sha256(&self.to_bytes())
    }

    /// Checks HQ's signature.
    pub fn verify(&self, key: PublicKey) -> Result<(), SignatureError> {
        key.verify(CONTEXT, &self.body(), &self.signature)
    }

    /// Whether `proof` shows that `signed` is in this day's tree.
    pub fn contains(&self, signed: &SignedStatement, proof: &Proof) -> bool {
        let statement = &signed.statement;
        let named = (statement.store, statement.day, proof.size) == (proof.store, self.day, self.size);
        let leaf = day_leaf(signed).map(|content| leaf_hash(&content));
        let (index, size) = (u64::from(proof.index), u64::from(proof.size));
        let reached = leaf.and_then(|leaf| root_from_path(leaf, index, size, &proof.path));
        named && reached == Some(self.root)
    }
}

/// That a store's statement is in a day's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The store.
    pub store: StoreId,
    /// Position of its leaf.
    pub index: u32,
    /// Leaves in the tree.
    pub size: u32,
    /// Audit path, from the leaf up.
    pub path: Vec<Digest>,
}

impl Proof {
    /// The bytes of a proof file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(21 + 32 * self.path.len());
        out.extend(PROOF_MAGIC);
        out.extend(self.store.0.to_be_bytes());
        out.extend(self.index.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        out.push(u8::try_from(self.path.len()).unwrap_or(u8::MAX));
        self.path.iter().for_each(|hash| out.extend(hash));
        out
    }

    /// Reads a proof file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let mut fields = Fields::new("proof", &PROOF_MAGIC, bytes)?;
        let store = StoreId(fields.u32("store")?);
        let (index, size) = (fields.u32("index")?, fields.u32("size")?);
        let hashes = fields.u8("hashes")?;
        let path = (0..hashes).map(|_| fields.array("path")).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { store, index, size, path })
    }
}

/// The statements of one day, by store.
#[derive(Clone, Debug)]
pub struct DayTree {
    day: BusinessDay,
    leaves: BTreeMap<StoreId, Digest>,
}

impl DayTree {
    /// A tree without leaves.
    pub fn new(day: BusinessDay) -> Self {
        Self { day, leaves: BTreeMap::new() }
    }

    /// Adds or replaces a store's statement. `false`, and nothing changes, for one of another day or without a signature.
    pub fn add(&mut self, signed: &SignedStatement) -> bool {
        match day_leaf(signed) {
            Some(content) if signed.statement.day == self.day => {
                self.leaves.insert(signed.statement.store, leaf_hash(&content));
                true
            }
            _ => false,
        }
    }

    /// Adds or replaces the leaf of a store whose statement has this digest and this signature of the store.
    pub fn add_leaf(&mut self, store: StoreId, digest: &Digest, signature: &Signature) {
        self.leaves.insert(store, leaf_hash(&leaf_content(store, self.day, digest, signature)));
    }

    /// Root of the tree as it is.
    pub fn root(&self) -> Digest {
        root(&self.hashes())
    }

    /// Statements in the tree.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    fn hashes(&self) -> Vec<Digest> {
        self.leaves.values().copied().collect()
    }

    /// Signs the root of the tree. `prev` is the day root before, if there was one.
    pub fn sign(&self, key: &SigningKey, prev: Option<&DayRoot>) -> DayRoot {
        let mut out = DayRoot {
            day: self.day,
            size: u32::try_from(self.leaves.len()).unwrap_or(u32::MAX),
            root: self.root(),
            prev: prev.map_or([0; 32], DayRoot::digest),
            signature: [0; 64],
        };
        out.signature = key.sign(CONTEXT, &out.body());
        out
    }

    /// Proves that a store's statement is in the tree.
    pub fn proof(&self, store: StoreId) -> Option<Proof> {
        let index = self.leaves.keys().position(|other| *other == store)?;
        let path = inclusion_path(&self.hashes(), index)?;
        let number = |value: usize| u32::try_from(value).ok();
        Some(Proof { store, index: number(index)?, size: number(self.leaves.len())?, path })
    }
}
