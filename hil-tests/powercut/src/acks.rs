//! What the writer says once the store has acknowledged it: one line on its standard output, and so one `write` in the trace.

use sync_model::EventId;

/// One acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// A fact of the store is committed.
    Fact(u64, EventId),
    /// Whatever happens from the first operation on, this fact is there: it was before.
    Kept(u64, EventId),
    /// HQ has the log up to here.
    Heard(EventId),
    /// The store knows that HQ has the log up to here.
    Known(EventId),
    /// A fact of HQ is committed.
    Down(u64, EventId),
    /// So many samples of every series are durable.
    Samples(u64),
    /// A backup with every fact below this number is in place.
    Backup(u64),
}

impl Ack {
    /// The line.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Fact(number, id) => format!("fact {number} {id}\n"),
            Self::Kept(number, id) => format!("kept {number} {id}\n"),
            Self::Heard(id) => format!("heard 0 {id}\n"),
            Self::Known(id) => format!("known 0 {id}\n"),
            Self::Down(number, id) => format!("down {number} {id}\n"),
            Self::Samples(count) => format!("samples {count}\n"),
            Self::Backup(upto) => format!("backup {upto}\n"),
        }
    }

    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (word, number) = (words.next()?, words.next()?.parse().ok()?);
        let mut id = || words.next()?.parse().ok();
        Some(match word {
            "fact" => Self::Fact(number, id()?),
            "kept" => Self::Kept(number, id()?),
            "heard" => Self::Heard(id()?),
            "known" => Self::Known(id()?),
            "down" => Self::Down(number, id()?),
            "samples" => Self::Samples(number),
            "backup" => Self::Backup(number),
            _ => return None,
        })
    }
}
