//! Care of the adapter: when it is suspect, and what is tried next. Pure: time is an argument.
//!
//! Contract
//! * The canary: an adapter that scans and hears nothing at all, of any device, for the stated time is suspect. Time in which
//!   it does not scan (a tag is being written) does not count.
//! * Stages, each after the one before did not help: scan again, power the adapter off and on, build the session with the
//!   daemon anew, report the tags as failed with the reason. Then it begins again, after a pause that doubles up to
//!   [`PAUSE_MAX_MS`].
//! * Attempts that fail for the adapter's reasons ("in progress", links without services) [`STUCK_MAX`] times in a row make
//!   it suspect at once, from the power cycle on: only that drops links the daemon lost track of.
//! * Anything heard, or an attempt that worked, ends the suspicion and the pause.

/// The longest pause between two rounds of recovery.
pub(crate) const PAUSE_MAX_MS: u64 = 15 * 60 * 1_000;
/// Attempts in a row that fail for the adapter's reasons before it is suspect.
pub(crate) const STUCK_MAX: u8 = 3;
/// A stage is given this part of the canary's time to help, at least [`SETTLE_MIN_MS`].
const SETTLE_PART: u64 = 4;
const SETTLE_MIN_MS: u64 = 1_000;

/// What to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Stop the scan and start it again.
    Rescan,
    /// Power the adapter off and on.
    PowerCycle,
    /// Drop the session with the daemon and build a new one.
    Rebuild,
    /// Nothing helped: report it.
    Report,
}

/// Whose fault the end of an attempt was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Nobody's, or the tag's: the adapter works.
    Nobody,
    /// The adapter's or its daemon's.
    Adapter,
    /// A call that took too long can be either's.
    Unclear,
}

impl Remedy {
    const fn next(self) -> Self {
        match self {
            Self::Rescan => Self::PowerCycle,
            Self::PowerCycle => Self::Rebuild,
            Self::Rebuild => Self::Report,
            Self::Report => Self::Rescan,
        }
    }
}

/// The state of the adapter.
#[derive(Debug, Clone)]
pub(crate) struct Care {
    canary_ms: u64,
    /// Silence heard while scanning.
    silent_ms: u64,
    /// When the silence was last counted; `None` while it does not count.
    counted: Option<u64>,
    /// Silence after which the next remedy is due.
    due_ms: u64,
    next: Remedy,
    pause_ms: u64,
    stuck: u8,
    reported: bool,
}

impl Care {
    /// `canary_ms` of silence make the adapter suspect; 0 for never.
    pub(crate) fn new(canary_ms: u64) -> Self {
        Self {
            canary_ms,
            silent_ms: 0,
            counted: None,
            due_ms: canary_ms,
            next: Remedy::Rescan,
            pause_ms: canary_ms,
            stuck: 0,
            reported: false,
        }
    }

    /// Something was heard, whoever said it. True when this ends a reported failure.
    pub(crate) fn heard(&mut self) -> bool {
        self.silent_ms = 0;
        // A stuck adapter hears well; only an attempt that works ends that suspicion.
        if self.stuck < STUCK_MAX {
            self.well();
        }
        std::mem::take(&mut self.reported)
    }

    /// An attempt ended.
    pub(crate) fn attempt(&mut self, blame: Blame) {
        match blame {
            Blame::Adapter => {
                self.stuck = self.stuck.saturating_add(1);
                if self.stuck == STUCK_MAX {
                    self.next = Remedy::PowerCycle;
                    self.due_ms = 0;
                    self.silent_ms = 0;
                }
            }
            Blame::Nobody => {
                self.stuck = 0;
                self.silent_ms = 0;
                self.well();
            }
            Blame::Unclear => {}
        }
    }

    fn well(&mut self) {
        self.next = Remedy::Rescan;
        self.due_ms = self.canary_ms;
        self.pause_ms = self.canary_ms;
    }

    /// Lets time pass; `listening` while the adapter scans and tags are expected. Gives a remedy when one is due; whoever
    /// takes it applies it.
    pub(crate) fn tick(&mut self, now_ms: u64, listening: bool) -> Option<Remedy> {
        if self.canary_ms == 0 {
            return None;
        }
        let since = self.counted.replace(now_ms).filter(|_| listening);
        if !listening {
            self.counted = None;
            return None;
        }
        self.silent_ms += since.map_or(0, |since| now_ms.saturating_sub(since));
        if self.silent_ms < self.due_ms {
            return None;
        }
        let remedy = self.next;
        self.next = remedy.next();
        self.silent_ms = 0;
        self.due_ms = (self.canary_ms / SETTLE_PART).max(SETTLE_MIN_MS);
        if remedy == Remedy::Report {
            self.due_ms = self.pause_ms;
            self.pause_ms = (self.pause_ms * 2).clamp(1, PAUSE_MAX_MS.max(self.canary_ms));
            self.reported = true;
            self.stuck = 0;
        }
        Some(remedy)
    }

    /// The session with the daemon is new: nothing was heard in it yet.
    pub(crate) fn renewed(&mut self) {
        self.counted = None;
    }

    /// What the remedies are against, for people.
    pub(crate) fn complaint(&self) -> String {
        if self.stuck >= STUCK_MAX {
            return format!("adapter suspect: {} connects in a row failed in the daemon", self.stuck);
        }
        format!("adapter suspect: heard nothing at all for {} ms of scanning", self.canary_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `ms` pass in steps of 100 ms of scanning; gives the remedies with the times at which they came.
    fn scan(care: &mut Care, from: u64, ms: u64) -> Vec<(u64, Remedy)> {
        let steps = (0..=ms / 100).map(|step| from + step * 100);
        steps.filter_map(|now| care.tick(now, true).map(|remedy| (now - from, remedy))).collect()
    }

    #[test]
    fn silence_walks_through_the_stages_and_backs_off() {
        let mut care = Care::new(8_000);
        let all = scan(&mut care, 0, 60_000);
        let expected = [
            (8_000, Remedy::Rescan),
            (10_000, Remedy::PowerCycle),
            (12_000, Remedy::Rebuild),
            (14_000, Remedy::Report),
            (22_000, Remedy::Rescan),
            (24_000, Remedy::PowerCycle),
            (26_000, Remedy::Rebuild),
            (28_000, Remedy::Report),
            (44_000, Remedy::Rescan),
            (46_000, Remedy::PowerCycle),
            (48_000, Remedy::Rebuild),
            (50_000, Remedy::Report),
        ];
        assert_eq!(all, expected);
        assert!(care.heard(), "ends the report");
        assert!(!care.heard());
        assert_eq!(
            scan(&mut care, 60_000, 8_100).last(),
            Some(&(8_000, Remedy::Rescan)),
            "as at the beginning"
        );
    }

    #[test]
    fn the_pause_is_bounded() {
        let mut care = Care::new(1_000);
        let mut reports = Vec::new();
        let mut now = 0;
        while reports.len() < 20 {
            now += 500;
            if care.tick(now, true) == Some(Remedy::Report) {
                reports.push(now);
            }
        }
        let longest = reports.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= PAUSE_MAX_MS + 10_000, "{longest}");
        assert!(longest >= PAUSE_MAX_MS);
    }

    #[test]
    fn only_scanning_counts_and_anything_heard_resets() {
        let mut care = Care::new(5_000);
        for now in 0..100 {
            assert_eq!(care.tick(now * 1_000, false), None, "not scanning");
        }
        assert!(scan(&mut care, 100_000, 4_900).is_empty());
        care.heard();
        assert!(scan(&mut care, 105_000, 4_700).is_empty());
        assert_eq!(care.tick(200_000, false), None);
        assert!(scan(&mut care, 300_000, 50).is_empty(), "the gap is not silence");
        let mut never = Care::new(0);
        assert!(scan(&mut never, 0, 1_000_000).is_empty());
    }

    #[test]
    fn stuck_connects_are_answered_by_a_power_cycle_though_adverts_are_heard() {
        let mut care = Care::new(5_000);
        care.attempt(Blame::Adapter);
        care.attempt(Blame::Adapter);
        assert_eq!(care.tick(0, true), None);
        care.attempt(Blame::Unclear);
        care.attempt(Blame::Adapter);
        care.heard();
        assert_eq!(care.tick(10, true), Some(Remedy::PowerCycle));
        assert!(care.complaint().contains("connects in a row"));
        care.heard();
        assert_eq!(care.tick(20, true), None, "given time to help");
        care.attempt(Blame::Nobody);
        assert!(scan(&mut care, 1_000, 3_900).is_empty());
    }
}
