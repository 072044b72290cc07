//! Public keys as a check uses them: given as digits, or taken from certificates that a CA vouches for.

use crate::args::KeyArgs;
use crate::certificate::Certificate;
use crate::report::{Report, Unreadable, hex, read};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sync_evidence::PublicKey;
use sync_model::{Direction, LogId, StoreId};

/// Every key that somebody may have signed with. A store that was given a new certificate has several.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    stores: BTreeMap<StoreId, Vec<PublicKey>>,
    hq: Vec<PublicKey>,
    /// What is wrong with the certificates.
    complaints: Vec<String>,
    certificates: Vec<Value>,
}

impl Keys {
    /// Reads the certificates that the arguments name.
    pub(crate) fn open(args: &KeyArgs) -> Result<Self, Unreadable> {
        let mut keys = Self::default();
        for (store, key) in &args.stores {
            keys.stores.entry(*store).or_default().push(*key);
        }
        keys.hq.extend(args.hq);
        let Some(path) = &args.ca else { return Ok(keys) };
        let text = |path| read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let authorities = Certificate::all(&text(path)?).map_err(|error| Unreadable::new(path, error))?;
        for path in &args.certificates {
            let found = Certificate::all(&text(path)?).map_err(|error| Unreadable::new(path, error))?;
            // The first one is the owner's; what follows leads to the CA.
            let Some(own) = found.into_iter().next() else { continue };
            keys.add(&own, &authorities, &path.display().to_string());
        }
        Ok(keys)
    }

    fn add(&mut self, own: &Certificate, authorities: &[Certificate], file: &str) {
        let name = &own.name;
        if !authorities.iter().any(|ca| own.signed_by(ca)) {
            return self.complaints.push(format!("{file}: the CA did not sign the certificate of '{name}'"));
        }
        let owner = if name == "hq" { "hq".to_owned() } else { format!("store {name}") };
        match name.parse::<u32>() {
            Ok(store) if store > 0 && *name == store.to_string() => {
                self.stores.entry(StoreId(store)).or_default().push(own.key);
            }
            _ if name == "hq" => self.hq.push(own.key),
            _ => {
                let complaint = format!("{file}: '{name}' is neither a store's number nor hq");
                return self.complaints.push(complaint);
            }
        }
        self.certificates.push(json!({"owner": owner, "key": hex(&own.key.to_bytes()), "file": file}));
    }

    /// Says which certificates were used, and what is wrong with the others.
    pub(crate) fn note(&self, report: &mut Report) {
        for complaint in &self.complaints {
            report.add("certificate", complaint);
        }
        if !self.certificates.is_empty() {
            report.fact("certificates", &self.certificates);
        }
    }

    /// The keys of a store.
    pub(crate) fn store(&self, store: StoreId) -> &[PublicKey] {
        self.stores.get(&store).map_or(&[], Vec::as_slice)
    }

    /// HQ's keys.
    pub(crate) fn hq(&self) -> &[PublicKey] {
        &self.hq
    }

    /// The keys of a log's writer.
    pub(crate) fn writer(&self, log: LogId) -> &[PublicKey] {
        match log.direction {
            Direction::Up => self.store(log.store),
            Direction::Down => self.hq(),
        }
    }
}

/// The first outcome that is good, or the last one; `None` without a key.
pub(crate) fn any<E>(
    keys: &[PublicKey],
    verify: impl Fn(PublicKey) -> Result<(), E>,
) -> Option<Result<(), E>> {
    let mut outcome = None;
    for key in keys {
        outcome = Some(verify(*key));
        if let Some(Ok(())) = outcome {
            break;
        }
    }
    outcome
}
