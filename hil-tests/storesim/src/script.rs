//! What happens in a run: a list of steps, made from a seed, written to and read from a text file, cut down by `shrink`.
//!
//! Everything that a person, a truck, a disk or a network does from outside is a step, so a run is (options, seed, steps) and
//! nothing else. Message latencies and the order of simultaneous turns come from the seed.

use crate::planted::Bug;
use crate::random::Random;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;

macro_rules! whats {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $weight:literal, $fault:literal;)*) => {
        /// What a step is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum What {
            $($(#[$doc])* $name,)*
        }

        impl What {
            /// Every kind of step.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Stable word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// How often it is drawn, against others of its sort.
            pub fn weight(self) -> u64 {
                match self {
                    $(Self::$name => $weight,)*
                }
            }

            /// Whether it is a fault rather than daily work.
            pub fn is_fault(self) -> bool {
                match self {
                    $(Self::$name => $fault,)*
                }
            }
        }
    };
}

whats! {
    /// A ticket.
    Sale = "sale", 40, false;
    /// Goods received.
    Receipt = "receipt", 10, false;
    /// Goods written off.
    Waste = "waste", 6, false;
    /// A stocktake count.
    Count = "count", 4, false;
    /// A weight on a scale.
    Weigh = "weigh", 12, false;
    /// Goods sent to another store; they arrive hours later.
    Transfer = "transfer", 6, false;
    /// A line in the audit trail.
    Audit = "audit", 6, false;
    /// Shared stock promised to a channel.
    Promise = "promise", 8, false;
    /// A promise is posted or voided.
    EndPromise = "end-promise", 6, false;
    /// Rights given back to HQ.
    ReturnRights = "return-rights", 2, false;
    /// The store writes a register.
    Register = "register", 4, false;
    /// The store changes its device registry.
    Device = "device", 3, false;
    /// HQ sets prices.
    Price = "price", 10, false;
    /// HQ writes a note.
    Note = "note", 4, false;
    /// HQ puts stock into the pool.
    Issue = "issue", 3, false;
    /// HQ grants rights.
    Grant = "grant", 8, false;
    /// HQ writes a register of the store.
    HqRegister = "hq-register", 4, false;
    /// HQ fences an epoch that is over.
    Fence = "fence", 2, false;
    /// HQ closes a transfer as shrink.
    CloseTransfer = "close-transfer", 2, false;
    /// A clean restart.
    Restart = "restart", 4, false;
    /// A backup is taken.
    Backup = "backup", 4, false;

    /// Messages vanish.
    Drop = "drop", 12, true;
    /// Messages come twice.
    Duplicate = "duplicate", 10, true;
    /// Messages overtake each other.
    Reorder = "reorder", 10, true;
    /// Messages are held back.
    Delay = "delay", 8, true;
    /// A connection is dead, and only the keep-alive tells.
    HalfOpen = "half-open", 6, true;
    /// No network for a while: minutes to 400 days.
    Absence = "absence", 6, true;
    /// The broker forgets retained messages and sessions.
    Amnesia = "broker-amnesia", 4, true;
    /// The broker's queue for a client overflows.
    Overflow = "queue-overflow", 5, true;
    /// A process dies between two effects.
    Crash = "crash", 14, true;
    /// A power cut takes commits that the disk said were durable.
    LostTail = "lost-fsync-tail", 4, true;
    /// A power cut leaves half a page.
    TornPage = "torn-page", 4, true;
    /// A bit of a page at rest turns over.
    FlippedPage = "flipped-page", 3, true;
    /// The file may not grow.
    DiskFull = "disk-full", 5, true;
    /// An old backup or disk image takes the ledger's place.
    Restore = "restore", 4, true;
    /// A second gateway runs from a copy of the disk.
    Clone = "clone", 3, true;
    /// The wall clock jumps, up to ten years.
    ClockJump = "clock-jump", 5, true;
    /// A process comes back with an older or newer wire version.
    VersionSkew = "version-skew", 4, true;
    /// A record that HQ cannot read.
    Poison = "poison", 6, true;
    /// Messages that do not belong: noise, too long, of another store, of a future version, replayed.
    Garbage = "garbage", 8, true;
    /// An older copy of HQ's ledger takes over.
    HqFailover = "hq-failover", 3, true;
    /// An HQ worker is lost and another takes its bucket over; the lost one may come back late.
    WorkerLoss = "worker-loss", 4, true;
}

impl What {
    /// Inverse of [`What::word`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|what| what.word() == word)
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Virtual milliseconds since the begin.
    pub at: u64,
    /// What.
    pub what: What,
    /// Whose: 0 is HQ, stores count from 1.
    pub who: u32,
    /// Details, read by the step.
    pub a: u64,
    /// More details.
    pub b: u64,
}

/// Shape of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Stores.
    pub stores: u32,
    /// Trading days.
    pub days: u32,
    /// Weights that differ from the usual ones.
    pub weights: BTreeMap<What, u64>,
    /// A bug to plant.
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Self { stores: 3, days: 2, weights: BTreeMap::new(), bug: None }
    }
}

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Script {
    /// Latencies and simultaneous turns.
    pub seed: u64,
    /// Shape.
    pub options: Options,
    /// Steps in the order of time.
    pub steps: Vec<Step>,
}

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// Trade of a store and day.
const TRADES: u64 = 36;
/// Words of HQ to a store and day.
const WORDS: u64 = 6;

fn draw(random: &mut Random, from: &[(What, u64)]) -> Option<What> {
    let sum = from.iter().map(|(_, weight)| weight).sum();
    let mut left = random.below(sum);
    for (what, weight) in from {
        if left < *weight {
            return Some(*what);
        }
        left -= weight;
    }
    None
}

impl Script {
    /// The run of a seed.
    pub fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed, 1);
        let weigh = |what: What| options.weights.get(&what).copied().unwrap_or(what.weight());
        let sort = |from: What, upto: What, fault: bool| -> Vec<(What, u64)> {
            let all = What::ALL.iter().copied();
            let all = all.filter(|what| what.is_fault() == fault && (from..=upto).contains(what));
            all.map(|what| (what, weigh(what))).collect()
        };
        let trade = sort(What::Sale, What::Device, false);
        let words = sort(What::Price, What::CloseTransfer, false);
        let mut faults = sort(What::Drop, What::WorkerLoss, true);
        // Each run leaves some kinds out: what never happens together with a fault must not hide it.
        let named = &options.weights;
        let leave = random.below(700);
        faults.retain(|(what, _)| named.contains_key(what) || !random.chance(leave));
        let mut steps = Vec::new();
        for day in 0..u64::from(options.days) {
            for store in 1..=options.stores {
                let mut bursts: Vec<u64> =
                    (0..3).map(|_| day * DAY_MS + random.below(DAY_MS * 2 / 3)).collect();
                bursts.sort_unstable();
                for _ in 0..TRADES {
                    let at = bursts[random.index(bursts.len())] + random.below(150_000);
                    steps.extend(step(&mut random, at, &trade, store));
                }
                for _ in 0..WORDS {
                    let at = bursts[random.index(bursts.len())] + random.below(150_000);
                    steps.extend(step(&mut random, at, &words, store));
                }
                for _ in 0..random.range(0, 5) {
                    let at =
                        (bursts[random.index(bursts.len())] + random.below(400_000)).saturating_sub(100_000);
                    let who = if random.chance(300) { 0 } else { store };
                    steps.extend(step(&mut random, at, &faults, who));
                }
                let life = [(What::Restart, 3), (What::Backup, 3)];
                for _ in 0..random.range(1, 3) {
                    let at = day * DAY_MS + random.below(DAY_MS);
                    let who = if random.chance(300) { 0 } else { store };
                    steps.extend(step(&mut random, at, &life, who));
                }
            }
        }
        // The first thing in the pool is there before the first promise.
        for store in 1..=options.stores {
            let (at, a, b) = (1_000, random.draw(), random.draw());
            steps.push(Step { at, what: What::Issue, who: store, a, b });
            steps.push(Step { at: at + 400_000, what: What::Grant, who: store, a, b });
        }
        steps.sort_by_key(|step| step.at);
        Self { seed, options: options.clone(), steps }
    }

    /// The same run with other steps.
    pub fn with(&self, steps: Vec<Step>) -> Self {
        Self { seed: self.seed, options: self.options.clone(), steps }
    }

    /// As a text that [`Script::parse`] reads.
    pub fn to_text(&self, comment: &str) -> String {
        let mut text = String::from("storesim 1\n");
        for line in comment.lines() {
            writeln!(text, "# {line}").unwrap_or_default();
        }
        let Options { stores, days, bug, .. } = &self.options;
        let bug = bug.map_or("none", Bug::word);
        writeln!(text, "seed {}\nstores {stores}\ndays {days}\nplanted {bug}", self.seed).unwrap_or_default();
        for Step { at, what, who, a, b } in &self.steps {
            writeln!(text, "at {at} {} {who} {a:x} {b:x}", what.word()).unwrap_or_default();
        }
        text
    }

    /// Reads what [`Script::to_text`] wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines =
            text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
        if lines.next().is_none_or(|(_, line)| line != "storesim 1") {
            bail!("the first line is not 'storesim 1'");
        }
        let mut script = Self { seed: 0, options: Options::default(), steps: Vec::new() };
        for (number, line) in lines {
            script.line(line).with_context(|| format!("line {}: {line}", number + 1))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["seed", number] => self.seed = number.parse()?,
            ["stores", number] => self.options.stores = number.parse()?,
            ["days", number] => self.options.days = number.parse()?,
            ["planted", "none"] => self.options.bug = None,
            ["planted", word] => self.options.bug = Some(Bug::parse(word).context("no such planted bug")?),
            ["at", at, what, who, a, b] => self.steps.push(Step {
                at: at.parse()?,
                what: What::parse(what).context("no such step")?,
                who: who.parse()?,
                a: u64::from_str_radix(a, 16)?,
                b: u64::from_str_radix(b, 16)?,
            }),
            _ => bail!("not understood"),
        }
        Ok(())
    }
}

fn step(random: &mut Random, at: u64, from: &[(What, u64)], who: u32) -> Option<Step> {
    let what = draw(random, from)?;
    Some(Step { at, what, who, a: random.draw(), b: random.draw() })
}
