//! A ledger file: file, chain and folds by sync-store; each store's books against the folds; seals against the chain.

use crate::keys::{Keys, any};
use crate::report::{Report, Unreadable, hex, read};
use serde_json::{Value, json};
use std::path::Path;
use sync_evidence::{Capture, Leaf, Seal};
use sync_store::{LedgerError, Reader, verify_file};

/// Checks a ledger file, and the seals of a capture file against it.
pub(crate) fn check(
    file: &Path,
    sealed: bool,
    seals: Option<&Path>,
    keys: &Keys,
) -> Result<Report, Unreadable> {
    if !file.is_file() {
        return Err(Unreadable::new(file, "no such file"));
    }
    let mut report = Report::new("ledger");
    match verify_file(file) {
        Ok(verified) => {
            report.fact("logs", verified.logs);
            report.fact("events", verified.events);
            for problem in &verified.problems {
                report.add(problem.name, &problem.detail);
            }
        }
        Err(error) => report.add("file", error),
    }
    if !report.holds() {
        // Whatever else is read from a damaged file says nothing.
        return Ok(report);
    }
    match Reader::open(file) {
        Ok(reader) => {
            if let Err(error) = books(&reader, &mut report) {
                report.add("books", error);
            }
            if let Err(error) = own_seals(&reader, sealed, keys, &mut report) {
                report.add("file", error);
            }
            if let Some(path) = seals {
                check_seals(&reader, path, keys, &mut report)?;
            }
        }
        Err(error) => report.add("file", error),
    }
    Ok(report)
}

fn books(reader: &Reader, report: &mut Report) -> Result<(), LedgerError> {
    let ends: Vec<Value> = reader
        .heads()?
        .iter()
        .map(|row| json!({"log": row.log.to_string(), "head": row.head.0, "link": hex(&row.link.0)}))
        .collect();
    report.fact("ends", ends);
    let stores = reader.stores()?;
    report.fact("stores", stores.len());
    for store in stores {
        let (books, folds) = reader.frozen(|reader| Ok((reader.books(store)?, reader.folds(store)?)))?;
        for difference in books.check(&folds) {
            report.add("books", format!("store {store}, {difference}"));
        }
    }
    Ok(())
}

/// The seals that the ledger keeps: one per log at most. Their links were compared with the chain by `verify_file`.
fn own_seals(reader: &Reader, sealed: bool, keys: &Keys, report: &mut Report) -> Result<(), LedgerError> {
    let seals = reader.seals()?;
    let (mut rows, mut unchecked) = (Vec::new(), 0_u64);
    for head in reader.heads()? {
        let seal = seals.iter().find(|seal| seal.log == head.log);
        let known = !keys.writer(head.log).is_empty();
        let upto = match seal {
            // Without a key nothing is said about it, unless everything must be sealed.
            Some(seal) if known || sealed => signature(seal, keys, report).then_some(seal.upto.0),
            Some(_) => {
                unchecked += 1;
                None
            }
            None => {
                if sealed {
                    report.add("unsealed", format!("{}: the ledger has no seal of its writer", head.log));
                }
                None
            }
        };
        rows.push(json!({"log": head.log.to_string(), "head": head.head.0, "sealed": upto}));
    }
    report.fact("own_seals", rows);
    report.fact("seals_unchecked", unchecked);
    Ok(())
}

fn check_seals(reader: &Reader, path: &Path, keys: &Keys, report: &mut Report) -> Result<(), Unreadable> {
    let bytes = read(path)?;
    let capture = Capture::read(&bytes);
    if let Err(error) = capture.whole {
        report.add("capture", error);
    }
    let mut checked = 0_u64;
    for frame in capture.frames.iter().filter(|frame| frame.leaf == Leaf::Seal) {
        checked += 1;
        let seal = match Seal::from_bytes(frame.payload) {
            Ok(seal) => seal,
            Err(error) => {
                report.add("seal", format!("frame at byte {}: {error}", frame.offset));
                continue;
            }
        };
        match reader.link(seal.log, seal.upto) {
            Ok(Some(link)) if link == seal.link => {}
            Ok(Some(link)) => {
                report.add(
                    "seal-link",
                    format!("{} at {}: ledger has {link}, seal {}", seal.log, seal.upto, seal.link),
                );
            }
            Ok(None) => report.add("seal-link", format!("{}: ledger does not reach {}", seal.log, seal.upto)),
            Err(error) => report.add("file", error),
        }
        signature(&seal, keys, report);
    }
    report.fact("seals", checked);
    Ok(())
}

/// Checks a seal's signature.
pub(crate) fn signature(seal: &Seal, keys: &Keys, report: &mut Report) -> bool {
    let place = || format!("{} at {}", seal.log, seal.upto);
    match any(keys.writer(seal.log), |key| seal.verify(key)) {
        Some(Ok(())) => return true,
        Some(Err(error)) => report.add("seal-signature", format!("{}: {error}", place())),
        None => report.add("no-key", format!("{}: no public key of its writer was given", place())),
    }
    false
}
