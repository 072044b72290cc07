//! The store's seals: signatures of its log with the key of its certificate.
//!
//! The key is read again for every connection, as the certificate is: a renewed one is used without a restart. Without
//! `[hq.tls]`, or with a key of another kind, blocks travel unsealed and the chain alone vouches for them.

use crate::config::HqTlsSection;
use std::sync::Arc;
use sync_core::Link;
use sync_core::replica::Sealer;
use sync_evidence::{Seal, SigningKey};
use sync_model::{LogId, Seq};

#[derive(Debug)]
struct KeySealer(SigningKey);

impl Sealer for KeySealer {
    fn seal(&self, log: LogId, upto: Seq, link: Link) -> Option<[u8; 64]> {
        Some(Seal::sign(&self.0, log, upto, link).signature)
    }
}

/// What signs, when there is a key that can.
pub(super) fn open(tls: Option<&HqTlsSection>) -> Option<Arc<dyn Sealer>> {
    match sync_mqtt::read_seed(&tls?.key) {
        Ok(seed) => Some(Arc::new(KeySealer(SigningKey::from_seed(&seed)))),
        Err(error) => {
            tracing::error!(%error, "the key of the store's certificate cannot sign: blocks travel unsealed");
            None
        }
    }
}
