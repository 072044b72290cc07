//! Raw samples as tables and CSV.

use crate::table::{Table, Tone, paint};
use crate::text::{milli, utc};
use edge_api::{Samples, TEMPERATURE};

/// A value of a metric in words.
fn value(samples: &Samples, value: i64) -> String {
    if samples.metric == TEMPERATURE { format!("{} °C", milli(value)) } else { value.to_string() }
}

/// `edgectl telemetry`.
pub(crate) fn samples(samples: &Samples, color: bool) -> String {
    let word = |found: Option<i64>| found.map_or_else(|| "-".to_owned(), |found| value(samples, found));
    if samples.every_ms.is_some() {
        let mut table = Table::new(&["FROM", ">GOOD", ">BAD", ">MIN", ">MEAN", ">MAX"]);
        for row in &samples.intervals {
            let (good, bad) = (row.good.to_string(), row.bad.to_string());
            table.row([utc(row.from_ms), good, bad, word(row.min), word(row.mean), word(row.max)]);
        }
        return table.draw(color, "No samples.");
    }
    let mut table = Table::new(&["AT", ">VALUE", "QUALITY"]);
    for row in &samples.rows {
        let quality = if row.good { "good".to_owned() } else { paint("bad", Tone::Bad, color) };
        table.row([utc(row.at_ms), word(row.value), quality]);
    }
    table.draw(color, "No samples.")
}

/// `edgectl telemetry --csv`: integers as stored, times in Unix milliseconds; the heading once.
pub(crate) fn samples_csv(samples: &Samples, heading: bool) -> String {
    let mut text = String::new();
    if samples.every_ms.is_some() {
        text.push_str(if heading { "from_ms,good,bad,min,mean,max\n" } else { "" });
        for row in &samples.intervals {
            let [min, mean, max] = [row.min, row.mean, row.max]
                .map(|value| value.map(|value| value.to_string()).unwrap_or_default());
            text.push_str(&format!("{},{},{},{min},{mean},{max}\n", row.from_ms, row.good, row.bad));
        }
    } else {
        text.push_str(if heading { "at_ms,value,good\n" } else { "" });
        for row in &samples.rows {
            let value = row.value.map(|value| value.to_string()).unwrap_or_default();
            text.push_str(&format!("{},{value},{}\n", row.at_ms, row.good));
        }
    }
    text
}
