//! Seeded realistic store events with their known entropy: what the codec, the settlement benchmark and the dictionary
//! training run on.
//!
//! Distributions (sizes from the store's fact sheet; the others are assumptions and say so)
//! * Articles: 8,000 (small), 20,000 (hypermarket); the number of an article says nothing about its popularity. Which is
//!   sold: Zipf with exponent 1 (assumption). 15 % are sold by weight, 5 % keep a lot that changes daily (assumption).
//! * Tickets: exponential gaps in milliseconds, trading 07:00-22:00 with double rate 11-13 and 17-19 h (assumption); 1 to
//!   2m-1 lines, equally likely, where m is the mean (3, 6).
//! * Lines: catalogue price in 97 % of cases, else 50-95 % of it; a discount of 10, 20, 30 or 50 % on 2 %; pieces 1 (86 %),
//!   2 (9 %), 3 (3 %), 4-12 (2 %); weights in steps of 5 g, the sum of two even draws, 10-1,490 g (assumptions).
//! * Tenders: wallet 55, card 25, cash 17, voucher 3 %; two tenders on 2 % (assumption).
//! * A whole store besides: a minute of each cabinet's probe, weighings with 8 random bytes of evidence before half of the
//!   weighed lines, price changes (half within 10 minutes of opening) with the tag's confirmation and its 8 random bytes,
//!   steam batches with their moves, alarms.
//!
//! Contract: a seed names one sequence of events; references point to events of the same sequence, counted from 1. The
//! generator adds up the information of every random choice that reaches a record: [`Workload::entropy_bits`] is what an
//! encoder that knew all of the above, the catalogue included, could not beat on average.

mod catalogue;
mod random;
mod store;
mod trade;

use random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use sync_model::{ClockQuality, Epoch, Event, Fact, Seq, Stamp, UnixMillis};

pub use catalogue::Catalogue;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// 2026-11-02T00:00:00Z, the first day.
const BEGIN_MS: i64 = 1_793_577_600_000;

/// Size of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Articles on sale.
    pub articles: u32,
    /// Tickets a day.
    pub tickets: u64,
    /// Lines a ticket on average.
    pub lines: u64,
    /// Tills.
    pub tills: u16,
    /// Scales.
    pub scales: u16,
    /// Cold cabinets.
    pub cabinets: u16,
    /// Steamers.
    pub steamers: u16,
    /// Price changes a day.
    pub price_changes: u64,
}

impl Profile {
    /// The fact sheet's small store.
    pub const SMALL: Self = Self {
        articles: 8_000,
        tickets: 1_700,
        lines: 3,
        tills: 4,
        scales: 4,
        cabinets: 40,
        steamers: 6,
        price_changes: 800,
    };
    /// The fact sheet's hypermarket.
    pub const HYPERMARKET: Self = Self {
        articles: 20_000,
        tickets: 10_000,
        lines: 6,
        tills: 16,
        scales: 24,
        cabinets: 150,
        steamers: 12,
        price_changes: 2_000,
    };
    /// 12,000 sale lines a day: the store that the settlement's catch-up aim is computed for.
    pub const REFERENCE: Self = Self { tickets: 2_000, lines: 6, ..Self::SMALL };
}

/// Which events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Tickets only; weights stay in their lines.
    Tickets,
    /// Everything that the store does.
    Store,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    Ticket,
    Minute(u16),
    PriceChange,
    Tag { article: usize, price: i64, version: u64 },
    Batch,
    BatchMove { queued: u64, step: u8 },
    Alarm,
    AlarmEnd { raised: u64, cabinet: u16 },
}

/// The sequence of events.
pub struct Workload {
    pub(crate) profile: Profile,
    pub(crate) mix: Mix,
    pub(crate) catalogue: Catalogue,
    pub(crate) random: Random,
    pub(crate) epoch: Epoch,
    tasks: BinaryHeap<Reverse<(i64, u64, Task)>>,
    planned: u64,
    written: u64,
    /// Events of one moment that are still to be given out.
    ready: std::collections::VecDeque<Event>,
    pub(crate) lines: u64,
    pub(crate) numbers: Vec<u64>,
    pub(crate) means: Vec<i32>,
    pub(crate) version: u64,
}

impl Workload {
    /// A store's events from its first opening on.
    pub fn new(seed: u64, catalogue: Catalogue, profile: Profile, mix: Mix, epoch: Epoch) -> Self {
        let mut workload = Self {
            profile,
            mix,
            catalogue,
            random: Random::new(seed),
            epoch,
            tasks: BinaryHeap::new(),
            planned: 0,
            written: 0,
            ready: std::collections::VecDeque::new(),
            lines: 0,
            numbers: vec![seed % 1_000; usize::from(profile.tills)],
            means: (0..profile.cabinets).map(store::set_point).collect(),
            version: 1,
        };
        workload.plan(trade::next_opening(BEGIN_MS), Task::Ticket);
        if mix == Mix::Store {
            for cabinet in 0..profile.cabinets {
                workload.plan(BEGIN_MS + store::phase(cabinet), Task::Minute(cabinet));
            }
            workload.plan(trade::next_opening(BEGIN_MS), Task::PriceChange);
            workload.plan(trade::next_opening(BEGIN_MS), Task::Batch);
            workload.plan(BEGIN_MS, Task::Alarm);
        }
        workload
    }

    /// Information of everything given out so far, in bits.
    pub fn entropy_bits(&self) -> f64 {
        self.random.bits()
    }

    /// Sale lines given out so far.
    pub fn sale_lines(&self) -> u64 {
        self.lines
    }

    /// Events given out so far; the position of the last.
    pub fn events(&self) -> u64 {
        self.written - u64::try_from(self.ready.len()).unwrap_or(0)
    }

    pub(crate) fn plan(&mut self, at: i64, task: Task) {
        self.planned += 1;
        self.tasks.push(Reverse((at, self.planned, task)));
    }

    /// Writes an event and gives its position.
    pub(crate) fn write(&mut self, at: i64, fact: impl Into<Fact>) -> Seq {
        let stamp = Stamp { at: UnixMillis(at), clock: ClockQuality::Synced };
        self.ready.push_back(Event::new(stamp, fact));
        self.written += 1;
        Seq(self.written)
    }

    fn perform(&mut self, at: i64, task: Task) {
        match task {
            Task::Ticket => self.ticket(at),
            Task::Minute(cabinet) => self.minute(at, cabinet),
            Task::PriceChange => self.price_change(at),
            Task::Tag { article, price, version } => self.tag(at, article, price, version),
            Task::Batch => self.batch(at),
            Task::BatchMove { queued, step } => self.batch_move(at, queued, step),
            Task::Alarm => self.alarm(at),
            Task::AlarmEnd { raised, cabinet } => self.alarm_end(at, raised, cabinet),
        }
    }
}

impl Iterator for Workload {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let Reverse((at, _, task)) = self.tasks.pop()?;
            self.perform(at, task);
        }
    }
}
