//! A settlement statement: who signed it, whether the day root contains it, whether a ledger's events say the same.

use crate::keys::{Keys, any};
use crate::report::{Report, Unreadable, hex, read};
use std::path::Path;
use sync_evidence::{DayRoot, Proof, SignedStatement};
use sync_store::Reader;

/// Checks a statement file.
pub(crate) fn check(
    file: &Path,
    root: Option<&Path>,
    proof: Option<&Path>,
    ledger: Option<&Path>,
    keys: &Keys,
) -> Result<Report, Unreadable> {
    let bytes = read(file)?;
    let mut report = Report::new("statement");
    let signed = match SignedStatement::from_bytes(&bytes) {
        Ok(signed) => signed,
        Err(error) => {
            report.add("form", error);
            return Ok(report);
        }
    };
    report.fact("statement", signed.statement.view());
    report.fact("store", signed.statement.store);
    report.fact("day", signed.statement.day.to_string());
    report.fact("digest", hex(&signed.statement.digest()));
    signatures(&signed, keys, &mut report);
    if let (Some(root), Some(proof)) = (root, proof) {
        day_root(&signed, &read(root)?, &read(proof)?, keys, &mut report);
    }
    if let Some(path) = ledger {
        if !path.is_file() {
            return Err(Unreadable::new(path, "no such file"));
        }
        against_ledger(&signed, path, &mut report);
    }
    Ok(report)
}

fn signatures(signed: &SignedStatement, keys: &Keys, report: &mut Report) {
    let store = signed.statement.store;
    match any(keys.store(store), |key| signed.verify_store(key)) {
        Some(Ok(())) => report.fact("store_signature", "holds"),
        Some(Err(error)) => report.add("store-signature", error),
        None if signed.store.is_some() => {
            report.add("no-key", format!("no public key of store {store} was given"));
        }
        None => report.add("store-signature", "statement is not signed by the store"),
    }
    match any(keys.hq(), |key| signed.verify_hq(key)) {
        Some(Ok(())) => report.fact("hq_signature", "holds"),
        Some(Err(error)) => report.add("hq-signature", error),
        None if signed.hq.is_some() => report.add("no-key", "no public key of HQ was given"),
        // Not countersigned, and nobody asked for it.
        None => report.fact("hq_signature", "none"),
    }
}

fn day_root(signed: &SignedStatement, root: &[u8], proof: &[u8], keys: &Keys, report: &mut Report) {
    let root = match DayRoot::from_bytes(root) {
        Ok(root) => root,
        Err(error) => return report.add("form", error),
    };
    let proof = match Proof::from_bytes(proof) {
        Ok(proof) => proof,
        Err(error) => return report.add("form", error),
    };
    match any(keys.hq(), |key| root.verify(key)) {
        Some(Ok(())) => {}
        Some(Err(error)) => report.add("root-signature", error),
        None => report.add("no-key", "no public key of HQ was given"),
    }
    if root.contains(signed, &proof) {
        report.fact("day_root", hex(&root.root));
    } else {
        let (store, day) = (signed.statement.store, signed.statement.day);
        report.add(
            "root-proof",
            format!("the day root does not contain this statement of store {store}, {day}"),
        );
    }
}

fn against_ledger(signed: &SignedStatement, path: &Path, report: &mut Report) {
    let statement = &signed.statement;
    let books = Reader::open(path).and_then(|reader| reader.books_at(statement.store, &statement.ends));
    match books {
        Ok(books) => {
            for difference in statement.differences(&books.statement(statement.day)) {
                report.add("row", format!("{difference} in the ledger"));
            }
        }
        Err(error) => report.add("ledger", error),
    }
}

/// Names every row on which two statement files do not agree.
pub(crate) fn compare(left: &Path, right: &Path) -> Result<Report, Unreadable> {
    let mut report = Report::new("compare");
    let mut sides = Vec::new();
    for path in [left, right] {
        match SignedStatement::from_bytes(&read(path)?) {
            Ok(signed) => sides.push(signed.statement),
            Err(error) => report.add("form", format!("{}: {error}", path.display())),
        }
    }
    if let [left, right] = sides.as_slice() {
        let differences = left.differences(right);
        report.fact("rows", differences.len());
        for difference in differences {
            report.add("row", difference);
        }
    }
    Ok(report)
}
