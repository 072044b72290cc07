//! What both ends remember while they go through a block: statistics, tables of articles, texts and references.

use crate::articles::Articles;
use crate::dictionary::Dictionary;
use crate::number::Number;
use crate::row::Pool;
use crate::schema::{COLUMNS, GROUPS};
use std::collections::HashMap;

/// References that the block can repeat.
pub(crate) const RECENT_MAX: usize = 64;

/// Texts that a group's columns share.
#[derive(Default)]
pub(crate) struct Group {
    /// Pool numbers in order of appearance.
    pub(crate) texts: Vec<u64>,
    /// Pool number to place.
    pub(crate) places: HashMap<u64, u64>,
}

impl Group {
    pub(crate) fn add(&mut self, text: u64) {
        let place = u64::try_from(self.texts.len()).unwrap_or(u64::MAX);
        self.places.insert(text, place);
        self.texts.push(text);
    }
}

/// Everything remembered within one block.
pub(crate) struct State<'d> {
    dictionary: &'d Dictionary,
    numbers: Vec<Vec<Option<Number>>>,
    /// Last value of each column.
    pub(crate) last: Vec<i64>,
    /// Last value of a column beside a value of another.
    pub(crate) beside: HashMap<(u16, u64), i64>,
    pub(crate) articles: Articles<'d>,
    pub(crate) groups: Vec<Group>,
    pub(crate) pool: Pool,
    /// Facts that others refer to, latest first.
    pub(crate) recent: Vec<u64>,
    /// Weighings that no line took yet, latest first.
    pub(crate) weighings: Vec<(u64, i64)>,
    /// Net weight of the weighing of the line at hand.
    pub(crate) net: Option<i64>,
    /// What the ticket at hand still owes.
    pub(crate) due: i64,
    /// Whether the tender at hand is the ticket's last.
    pub(crate) closing: bool,
}

impl<'d> State<'d> {
    pub(crate) fn new(dictionary: &'d Dictionary) -> Self {
        let mut pool = Pool::default();
        let mut groups: Vec<Group> = (0..GROUPS).map(|_| Group::default()).collect();
        for (group, texts) in groups.iter_mut().zip(&dictionary.texts) {
            for text in texts {
                group.add(pool.intern(text));
            }
        }
        Self {
            dictionary,
            numbers: vec![Vec::new(); COLUMNS],
            last: vec![0; COLUMNS],
            beside: HashMap::new(),
            articles: Articles::new(&dictionary.articles),
            groups,
            pool,
            recent: Vec::new(),
            weighings: Vec::new(),
            net: None,
            due: 0,
            closing: false,
        }
    }

    /// Statistics of a column in a situation; what the dictionary knows is where they begin.
    pub(crate) fn number(&mut self, column: u16, situation: usize, depth: u32) -> &mut Number {
        let column = usize::from(column);
        if column >= self.numbers.len() {
            self.numbers.resize(column + 1, Vec::new());
        }
        let situations = &mut self.numbers[column];
        if situation >= situations.len() {
            situations.resize(situation + 1, None);
        }
        let dictionary = self.dictionary;
        situations[situation].get_or_insert_with(|| dictionary.number_at(column, situation, depth))
    }

    /// Forgets everything but the statistics: between the blocks of a training.
    #[cfg(feature = "train")]
    pub(crate) fn next_block(&mut self) {
        let fresh = Self::new(self.dictionary);
        let numbers = std::mem::take(&mut self.numbers);
        *self = Self { numbers, ..fresh };
    }

    /// Statistics as they stand.
    #[cfg(feature = "train")]
    pub(crate) fn numbers(&self) -> &[Vec<Option<Number>>] {
        &self.numbers
    }

    /// Puts a reference in front.
    pub(crate) fn refer(&mut self, seq: u64) {
        self.recent.retain(|found| *found != seq);
        self.recent.insert(0, seq);
        self.recent.truncate(RECENT_MAX);
    }
}
