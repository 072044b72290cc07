//! What came of the trials: a table for people, JUnit XML for machines.

use std::path::PathBuf;
use std::time::Duration;

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was seen.
    Passed(String),
    /// Why it could not run.
    Skipped(String),
    /// What did not hold.
    Failed(String),
}

/// One trial that was tried.
#[derive(Clone, Debug)]
pub struct Record {
    /// Rig.
    pub rig: String,
    /// Suite.
    pub suite: &'static str,
    /// Trial.
    pub trial: &'static str,
    /// End.
    pub outcome: Outcome,
    /// Time from begin to end.
    pub took: Duration,
    /// Its folder.
    pub folder: PathBuf,
}

impl Record {
    /// Whether it does not speak against the product.
    pub fn held(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed(_))
    }
}

/// The table: trial, result, seconds, what was seen or why not, and the folder of what failed.
pub fn table(records: &[Record]) -> String {
    let name = |record: &Record| format!("{}/{}", record.rig, record.trial);
    let wide = records.iter().map(|record| name(record).len()).max().unwrap_or(0).max(5);
    let mut text = format!("{:<wide$}  {:<7} {:>7}  seen\n", "trial", "result", "seconds");
    for record in records {
        let (result, note) = match &record.outcome {
            Outcome::Passed(seen) => ("ok", seen.clone()),
            Outcome::Skipped(reason) => ("skipped", reason.clone()),
            Outcome::Failed(why) => ("FAILED", format!("{why} (see {})", record.folder.display())),
        };
        let note = note.replace('\n', " | ");
        let seconds = record.took.as_secs_f64();
        text.push_str(&format!("{:<wide$}  {result:<7} {seconds:>7.1}  {note}\n", name(record)));
    }
    text
}

/// The records as JUnit XML, one suite an element (the common subset that CI servers read).
pub fn junit(records: &[Record]) -> String {
    let failed = |records: &[&Record]| records.iter().filter(|record| !record.held()).count();
    let skipped = |records: &[&Record]| {
        records.iter().filter(|record| matches!(record.outcome, Outcome::Skipped(_))).count()
    };
    let mut rigs: Vec<&str> = records.iter().map(|record| record.rig.as_str()).collect();
    rigs.dedup();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for rig in rigs {
        let mine: Vec<&Record> = records.iter().filter(|record| record.rig == rig).collect();
        let seconds: f64 = mine.iter().map(|record| record.took.as_secs_f64()).sum();
        text.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\">\n",
            escape(rig),
            mine.len(),
            failed(&mine),
            skipped(&mine)
        ));
        for record in mine {
            let (class, name, seconds) =
                (escape(record.suite), escape(record.trial), record.took.as_secs_f64());
            text.push_str(&format!(
                "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\">"
            ));
            text.push_str(&match &record.outcome {
                Outcome::Passed(seen) => format!("<system-out>{}</system-out>", escape(seen)),
                Outcome::Skipped(reason) => format!("<skipped message=\"{}\"/>", escape(reason)),
                Outcome::Failed(why) => format!("<failure message=\"{}\"/>", escape(why)),
            });
            text.push_str("</testcase>\n");
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text for an attribute or element; characters that XML 1.0 does not know become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' | ' '..='\u{FFFD}' | '\u{10000}'.. => escaped.push(letter),
            _ => escaped.push('\u{FFFD}'),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_reports_carry_every_outcome() {
        let record = |trial, outcome| Record {
            rig: "fast".into(),
            suite: "fast",
            trial,
            outcome,
            took: Duration::from_millis(1_500),
            folder: PathBuf::from("evidence/fast/x"),
        };
        let records = [
            record("a", Outcome::Passed("1 < 2".into())),
            record("b", Outcome::Skipped("no \"port\"".into())),
            record("c", Outcome::Failed("x\n\u{1}y".into())),
        ];
        let text = table(&records);
        assert!(text.contains("fast/a  ok          1.5  1 < 2\n"), "{text}");
        assert!(text.contains("fast/c  FAILED      1.5  x | \u{1}y (see evidence/fast/x)\n"), "{text}");
        let xml = junit(&records);
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"4.500\""),
            "{xml}"
        );
        assert!(xml.contains("<system-out>1 &lt; 2</system-out>"), "{xml}");
        assert!(xml.contains("<skipped message=\"no &quot;port&quot;\"/>"), "{xml}");
        assert!(xml.contains("<failure message=\"x&#10;\u{FFFD}y\"/>"), "{xml}");
    }
}
