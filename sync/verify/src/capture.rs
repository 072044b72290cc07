//! A captured stream: every message decodes, every log has one history, acknowledgements and seals fit it.

use crate::keys::Keys;
use crate::ledger::signature;
use crate::report::{Report, Unreadable, read};
use crate::stream::Histories;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use sync_codec::PACKED;
use sync_core::replica::{Incoming, Letter};
use sync_core::{Ack, Link};
use sync_evidence::{Capture, Frame, Leaf, Seal, Signature};
use sync_model::{LogId, Seq};

/// What the frames of a capture say, before it is put together.
#[derive(Default)]
struct Found {
    histories: Histories,
    acks: Vec<Ack>,
    /// Signatures over a log up to a position; the link is the history's, or the seal's own.
    seals: Vec<(LogId, Seq, Option<Link>, Signature)>,
    blocks: u64,
}

/// Checks a capture file.
pub(crate) fn check(file: &Path, sealed: bool, keys: &Keys) -> Result<Report, Unreadable> {
    let bytes = read(file)?;
    let capture = Capture::read(&bytes);
    let mut report = Report::new("capture");
    if let Err(error) = capture.whole {
        report.add("capture", error);
    }
    let mut found = Found::default();
    let mut blocks = Vec::new();
    for frame in &capture.frames {
        match frame.leaf {
            Leaf::Seal => seal(frame, &mut found, &mut report),
            _ => letter(frame, &mut found, &mut blocks, &mut report),
        }
    }
    // Acknowledgements first: they anchor logs whose beginning was not captured. Then blocks by position: one that was captured
    // before what it continues would be the beginning of its history, and nothing before it would be looked at.
    blocks.sort_by_key(|block| (block.log, block.first));
    for block in blocks {
        found.blocks += 1;
        for broken in found.histories.take(block) {
            report.add(broken.name(), &broken);
        }
    }
    for gap in found.histories.gaps() {
        report.add(gap.name(), &gap);
    }
    let acks = acks(&found, &mut report);
    let ends = seals(&found, keys, &mut report);
    if sealed {
        for (log, history) in &found.histories.logs {
            let upto = ends.get(log).copied().unwrap_or(Seq::ZERO);
            if upto < history.end() {
                report
                    .add("unsealed", format!("{log}: sealed up to {upto}, captured up to {}", history.end()));
            }
        }
    }
    report.fact("frames", capture.frames.len());
    report.fact("blocks", found.blocks);
    report.fact("acks_checked", acks);
    report.fact("seals", found.seals.len());
    let logs: Vec<Value> = found.histories.logs.iter().map(|(log, history)| {
        json!({"log": log.to_string(), "after": history.base.0, "upto": history.end().0, "anchored": history.anchored,
               "sealed": ends.get(log).map(|seq| seq.0)})
    }).collect();
    report.fact("logs", logs);
    Ok(report)
}

fn letter(frame: &Frame<'_>, found: &mut Found, blocks: &mut Vec<Incoming>, report: &mut Report) {
    let place = format!("frame at byte {}", frame.offset);
    let letter = match Letter::decode(&PACKED, frame.payload) {
        Ok((letter, _)) => letter,
        Err(error) => return report.add(error.code(), format!("{place}: {error}")),
    };
    let log = match &letter {
        Letter::Block(block) | Letter::Live(block) => Some(block.log),
        Letter::Ack(ack) => Some(ack.log),
        Letter::Hello(greeting) if greeting.hello.store != frame.store => {
            let named = greeting.hello.store;
            return report.add(
                "wrong-store",
                format!("{place}: topic of store {}, greeting of store {named}", frame.store),
            );
        }
        Letter::Hello(_) | Letter::Nak(_) => None,
    };
    if let Some(log) = log.filter(|log| log.store != frame.store) {
        return report
            .add("wrong-store", format!("{place}: topic of store {}, content of log {log}", frame.store));
    }
    match letter {
        Letter::Block(block) | Letter::Live(block) => {
            if let Some(signature) = block.seal {
                found.seals.push((block.log, block.last(), None, signature));
            }
            blocks.push(block);
        }
        Letter::Ack(ack) => {
            if ack.upto > Seq::ZERO {
                found.histories.hint(ack.log, ack.upto, ack.link);
            }
            found.acks.push(ack);
        }
        Letter::Hello(greeting) => found.acks.extend(greeting.hello.down),
        Letter::Nak(_) => {}
    }
}

fn seal(frame: &Frame<'_>, found: &mut Found, report: &mut Report) {
    match Seal::from_bytes(frame.payload) {
        Ok(seal) if seal.log.store == frame.store => {
            found.seals.push((seal.log, seal.upto, Some(seal.link), seal.signature));
        }
        Ok(seal) => {
            let (offset, store) = (frame.offset, frame.store);
            report.add(
                "wrong-store",
                format!("frame at byte {offset}: topic of store {store}, seal of log {}", seal.log),
            );
        }
        Err(error) => report.add("seal", format!("frame at byte {}: {error}", frame.offset)),
    }
}

/// Compares acknowledged links with the histories; returns how many could be compared.
fn acks(found: &Found, report: &mut Report) -> u64 {
    let mut checked = 0;
    for ack in &found.acks {
        let history = found.histories.logs.get(&ack.log);
        let expected = match ack.upto {
            Seq::ZERO => Some(Link::genesis(ack.log)),
            upto => history.and_then(|history| history.link(upto)),
        };
        if let Some(link) = expected {
            checked += 1;
            if link != ack.link {
                let (log, upto) = (ack.log, ack.upto);
                report.add(
                    "ack-link",
                    format!("{log} at {upto}: records hash to {link}, acknowledged was {}", ack.link),
                );
            }
        }
    }
    checked
}

/// Checks every seal; returns up to where each log is sealed.
fn seals(found: &Found, keys: &Keys, report: &mut Report) -> BTreeMap<LogId, Seq> {
    let mut ends = BTreeMap::new();
    for (log, upto, own, signed) in &found.seals {
        let history = found.histories.logs.get(log).and_then(|history| history.link(*upto));
        if let (Some(link), Some(own)) = (history, own)
            && link != *own
        {
            report.add("seal-link", format!("{log} at {upto}: records hash to {link}, the seal says {own}"));
            continue;
        }
        let Some(link) = history.or(*own) else {
            report.add("seal-link", format!("{log} at {upto}: the capture does not show this position"));
            continue;
        };
        let seal = Seal { log: *log, upto: *upto, link, signature: *signed };
        if signature(&seal, keys, report) && history.is_some() {
            let end = ends.entry(*log).or_insert(*upto);
            *end = (*end).max(*upto);
        }
    }
    ends
}
