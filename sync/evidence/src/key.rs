//! Keys and signatures: a thin skin over ed25519-dalek that fixes contexts and strictness.
//!
//! The signed bytes are always `context | 0x00 | message`. Contexts are ASCII without NUL, one per kind of signature.

use crate::Signature;
use alloc::vec::Vec;
use core::fmt;
use ed25519_dalek::Signer;

/// Why bytes are not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a point of the curve.
    #[error("32 bytes that are not an Ed25519 public key")]
    NoPoint,
    /// A key of small order: signatures under it prove nothing.
    #[error("an Ed25519 public key of small order, under which signatures prove nothing")]
    Weak,
}

/// The signature is not one of this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify under key {}", Start(key))]
pub struct SignatureError {
    /// The key's 32 bytes.
    pub key: [u8; 32],
}

/// The first eight bytes in hex: enough to compare by eye.
struct Start<'a>(&'a [u8; 32]);

impl fmt::Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A writer's private key. Zeroed when dropped; never shown.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs bytes as they are, without a context: for the published vectors only.
    #[cfg(test)]
    pub(crate) fn sign_plain(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }

    pub(crate) fn sign(&self, context: &str, message: &[u8]) -> Signature {
        self.0.sign(&in_context(context, message)).to_bytes()
    }
}

/// A writer's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Start(self.0.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PublicKey {
    /// Checks and wraps the 32 bytes of a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NoPoint)?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(Self(key)) }
    }

    /// The 32 bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Checks a signature without a context of ours: those of other standards, such as a CA's over a certificate. Never for
    /// anything that this crate signs.
    pub fn verify_bare(self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError { key: self.to_bytes() })
    }

    pub(crate) fn verify(
        self,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        let signed = in_context(context, message);
        self.0.verify_strict(&signed, &signature).map_err(|_| SignatureError { key: self.to_bytes() })
    }
}

fn in_context(context: &str, message: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], message].concat()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use alloc::string::String;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&String::from_utf8_lossy(&text.as_bytes()[at..at + 2]), 16).unwrap())
            .collect();
        bytes.try_into().unwrap()
    }

    /// RFC 8032, section 7.1: secret key, public key, message, signature.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let vectors: [(&str, &str, &[u8], &str); 3] = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                &[],
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                &[0x72],
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                &[0xaf, 0x82],
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ];
        for (seed, public, message, signature) in vectors {
            let key = SigningKey::from_seed(&hex(seed));
            assert_eq!(key.public().to_bytes(), hex(public));
            let signed = key.sign_plain(message);
            assert_eq!(signed, hex(signature));
            key.public().verify_bare(message, &signed).unwrap();
            for bit in 0..512 {
                let mut other = signed;
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(key.public().verify_bare(message, &other).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn contexts_keep_signatures_apart() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signed = key.sign("one", b"message");
        key.public().verify("one", b"message", &signed).unwrap();
        assert!(key.public().verify("two", b"message", &signed).is_err());
        assert!(key.public().verify("one", b"messagf", &signed).is_err());
        let other = SigningKey::from_seed(&[8; 32]).public();
        assert_eq!(other.verify("one", b"message", &signed), Err(SignatureError { key: other.to_bytes() }));
    }

    #[test]
    fn keys_that_prove_nothing_are_refused() {
        let identity = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
        let mut nowhere = [0xff; 32];
        nowhere[0] = 2;
        nowhere[31] = 0x7f;
        let refused = (0..=255_u8).filter(|byte| {
            nowhere[1] = *byte;
            PublicKey::from_bytes(&nowhere) == Err(KeyError::NoPoint)
        });
        assert!(refused.count() > 64);
    }

    #[test]
    fn a_private_key_is_not_shown() {
        let shown = alloc::format!("{:?}", SigningKey::from_seed(&[0xab; 32]));
        assert!(!shown.contains("abab"), "{shown}");
    }
}
