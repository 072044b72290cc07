//! Seals: a writer's signature over its log's chain. One seal vouches for every record up to its position, so that the
//! newest one is enough and a batch costs 64 bytes however long it is.
//!
//! ```text
//! message   = store u32 | direction u8 | epoch u32 | seq u64 | link 32                        49 bytes
//! signature = Ed25519(writer, "steelyard 2026 chain seal 1" | 0x00 | message)                 64 bytes
//! seal file form = message | signature                                                       113 bytes
//! ```

use crate::bytes::Fields;
use crate::{FormError, PublicKey, Signature, SignatureError, SigningKey};
use alloc::vec::Vec;
use sync_core::Link;
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

const CONTEXT: &str = "steelyard 2026 chain seal 1";
/// Length of a seal on its own, outside a block.
pub const SEAL_BYTES: usize = 113;

/// A signature over one point of a log's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The log.
    pub log: LogId,
    /// The position.
    pub upto: Seq,
    /// The chain link there.
    pub link: Link,
    /// Its writer's signature.
    pub signature: Signature,
}

fn message(log: LogId, upto: Seq, link: Link) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEAL_BYTES);
    out.extend(log.store.0.to_be_bytes());
    out.push(log.direction.code());
    out.extend(log.epoch.0.to_be_bytes());
    out.extend(upto.0.to_be_bytes());
    out.extend(link.0);
    out
}

impl Seal {
    /// Signs a point of a chain.
    pub fn sign(key: &SigningKey, log: LogId, upto: Seq, link: Link) -> Self {
        let signature = key.sign(CONTEXT, &message(log, upto, link));
        Self { log, upto, link, signature }
    }

    /// Whether `key` signed exactly this point.
    pub fn verify(&self, key: PublicKey) -> Result<(), SignatureError> {
        key.verify(CONTEXT, &message(self.log, self.upto, self.link), &self.signature)
    }

    /// The bytes of a seal on its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = message(self.log, self.upto, self.link);
        out.extend(self.signature);
        out
    }

    /// Reads a seal on its own.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let mut fields = Fields::new("seal", &[], bytes)?;
        let store = StoreId(fields.u32("store")?);
        let direction = Direction::from_code(fields.u8("direction")?);
        let direction = fields.value("direction", direction)?;
        let log = LogId { store, direction, epoch: Epoch(fields.u32("epoch")?) };
        let upto = Seq(fields.u64("seq")?);
        let link = Link(fields.array("link")?);
        let signature = fields.array("signature")?;
        fields.end()?;
        Ok(Self { log, upto, link, signature })
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_seal_is_detected() {
        let key = SigningKey::from_seed(&[1; 32]);
        let log = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) };
        let seal = Seal::sign(&key, log, Seq(4_711), Link([9; 32]));
        let bytes = seal.to_bytes();
        assert_eq!(bytes.len(), SEAL_BYTES);
        assert_eq!(Seal::from_bytes(&bytes), Ok(seal));
        seal.verify(key.public()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let refused = Seal::from_bytes(&other).map(|seal| seal.verify(key.public()).is_err());
            assert!(refused.unwrap_or(true), "bit {bit}");
        }
        assert!(Seal::from_bytes(&bytes[..112]).is_err());
        assert!(Seal::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(seal.verify(SigningKey::from_seed(&[2; 32]).public()).is_err());
    }
}
