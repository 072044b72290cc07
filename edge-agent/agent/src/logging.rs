//! Log lines on stderr, level by `EDGE_LOG` (default `info`), and a bound for lines that a broken device could repeat.

use std::collections::BTreeMap;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Variable with the filter, such as `info,edge_agent::devices=debug`.
pub const FILTER_VARIABLE: &str = "EDGE_LOG";
/// Least time between two lines of one source.
const LINE_PERIOD_MS: u64 = 10_000;
/// Sources remembered; more are not limited apart.
const SOURCES_MAX: usize = 2_048;

/// Starts the subscriber; a second call does nothing.
pub fn start() {
    let asked = std::env::var(FILTER_VARIABLE).ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let started = tracing_subscriber::registry().with(lines).with(filter).try_init();
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Lets one line per source and period through and counts the rest.
#[derive(Debug, Default)]
pub struct Throttle {
    sources: BTreeMap<String, (u64, u64)>,
}

impl Throttle {
    /// `Some(n)` when a line may be written now: `n` earlier ones of this source were kept back.
    pub fn pass(&mut self, source: &str, now_ms: u64) -> Option<u64> {
        match self.sources.get_mut(source) {
            Some((last, held)) if now_ms.saturating_sub(*last) < LINE_PERIOD_MS => {
                *held = held.saturating_add(1);
                None
            }
            Some((last, held)) => {
                *last = now_ms;
                Some(std::mem::take(held))
            }
            None => {
                if self.sources.len() < SOURCES_MAX {
                    self.sources.insert(source.to_owned(), (now_ms, 0));
                }
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_source_and_period() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.pass("a", 0), Some(0));
        assert_eq!(throttle.pass("a", 1), None);
        assert_eq!(throttle.pass("b", 1), Some(0));
        assert_eq!(throttle.pass("a", 2), None);
        assert_eq!(throttle.pass("a", LINE_PERIOD_MS), Some(2));
    }
}
