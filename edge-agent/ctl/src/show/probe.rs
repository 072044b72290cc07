//! `edgectl device probe`.

use crate::table::{Table, clean};
use edge_api::{DeviceProbe, ProbedRead};
use std::fmt::Write;

/// What was read at each offset, what it could mean, and what to do about it.
pub(crate) fn probe(probe: &DeviceProbe, color: bool) -> String {
    let mut text = String::new();
    line!(
        text,
        "{}   profile {}   unit {}   address_offset {}",
        clean(&probe.device),
        clean(&probe.profile),
        probe.unit,
        probe.offset
    );
    let mut table = Table::new(&[">OFFSET", "ASKED", "AT", "WORDS", "MEANING", "VERDICT"]);
    for read in &probe.reads {
        let at = format!("{} {}", read.table, read.address);
        let words = read.words.iter().map(|word| format!("{word:04X}")).collect::<Vec<_>>().join(" ");
        let (meaning, verdict) = meaning(read);
        table.row([read.offset.to_string(), read.asked.clone(), at, words, meaning, verdict]);
        for other in read.readings.iter().skip(1).filter(|reading| reading.verdict == "plausible") {
            let scale = other.scale.clone().unwrap_or_default();
            let milli = other.milli.map(units).unwrap_or_default();
            let meaning = format!("or {milli} with scale_milli {scale}");
            table.row([String::new(), String::new(), String::new(), String::new(), meaning, String::new()]);
        }
    }
    text.push_str(&table.draw(color, "nothing was read"));
    for offset in &probe.offsets {
        line!(
            text,
            "address_offset {:>2}: {} for it, {} against it",
            offset.offset,
            offset.fits,
            offset.against
        );
    }
    match probe.settled {
        Some(offset) if offset == probe.offset => line!(text, "Settled: the offset in force is right."),
        Some(offset) => {
            line!(text, "Settled: put address_offset = {offset} into the [[cabinet]] and reload.");
        }
        None if probe.cut_short => line!(text, "Not settled: the device fell silent."),
        None => {
            line!(text, "Not settled: compare with the device's display, and probe again while it changes.")
        }
    }
    text
}

fn meaning(read: &ProbedRead) -> (String, String) {
    if let Some(error) = &read.error {
        return (error.clone(), "refused".into());
    }
    match (read.sign, read.readings.first()) {
        (Some(fits), _) => (String::new(), if fits { "fits" } else { "does not fit" }.into()),
        (None, Some(own)) => (own.milli.map_or_else(|| own.raw.to_string(), units), own.verdict.clone()),
        (None, None) => (String::new(), String::new()),
    }
}

/// Thousandths as a number with up to three places.
fn units(milli: i64) -> String {
    let (whole, part) = (milli.unsigned_abs() / 1_000, milli.unsigned_abs() % 1_000);
    let sign = if milli < 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{part:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_api::{ProbedOffset, ProbedReading};

    #[test]
    fn a_settled_offset_says_what_to_do() {
        let reading = |milli, own, verdict: &str| ProbedReading {
            raw: 25,
            milli: Some(milli),
            scale: Some("100/1".into()),
            own,
            verdict: verdict.into(),
        };
        let read = ProbedRead {
            offset: -1,
            asked: "temperature".into(),
            table: "holding".into(),
            address: 2531,
            words: vec![25],
            error: None,
            sign: None,
            readings: vec![reading(2_500, true, "plausible"), reading(25_000, false, "plausible")],
        };
        let refused = ProbedRead {
            offset: 0,
            address: 2532,
            words: Vec::new(),
            error: Some("refused: illegal data address".into()),
            readings: Vec::new(),
            ..read.clone()
        };
        let found = DeviceProbe {
            device: "dairy-1".into(),
            profile: "danfoss-ak-cc55".into(),
            unit: 1,
            offset: 0,
            offsets: vec![
                ProbedOffset { offset: -1, fits: 3, against: 0 },
                ProbedOffset { offset: 0, fits: 0, against: 2 },
            ],
            settled: Some(-1),
            cut_short: false,
            reads: vec![read, refused],
        };
        let text = probe(&found, false);
        for part in ["0019", "2.5 ", "or 25 with", "illegal data address", "address_offset = -1"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(units(-18_500), "-18.5");
        assert_eq!(units(40), "0.04");
    }
}
