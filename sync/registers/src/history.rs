//! One value with several writers: which writes stand, which were merged without having seen each other.

use crate::{Actor, Dot, Hlc};
use crdts::LWWReg;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Runs kept per actor: a run is a row of writes made without hearing anything new.
pub const RUNS_MAX: usize = 32;
/// Writers that one write may have seen.
pub const SEEN_MAX: usize = 64;

/// How far each actor was seen.
pub type Clock = BTreeMap<Actor, u64>;

/// Order among writes that have not seen each other. Globally unique: no two operations have one dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marker {
    /// When, by the writer's hybrid clock.
    pub hlc: Hlc,
    /// By whom, as the tie-break.
    pub dot: Dot,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write<V> {
    /// Its name.
    pub dot: Dot,
    /// When.
    pub hlc: Hlc,
    /// What its writer had seen of the others. Its own earlier writes are understood.
    pub seen: Clock,
    /// What it says.
    pub value: V,
}

impl<V> Write<V> {
    /// Its place in the total order.
    pub fn marker(&self) -> Marker {
        Marker { hlc: self.hlc, dot: self.dot }
    }

    /// Whether its writer knew of `other`.
    pub fn saw(&self, other: Dot) -> bool {
        let upto = if other.actor == self.dot.actor {
            self.dot.count
        } else {
            *self.seen.get(&other.actor).unwrap_or(&0)
        };
        other.count <= upto
    }

    fn concurrent(&self, other: &Self) -> bool {
        !self.saw(other.dot) && !other.saw(self.dot)
    }
}

/// The writes of one value: those that stand, and per actor the last of each run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History<V> {
    /// Writes that no other write has seen, in marker order.
    standing: Vec<Write<V>>,
    /// What all of them together had seen: whoever writes on top of them has seen it, too, even where the operations
    /// themselves are still on their way.
    known: Clock,
    runs: BTreeMap<Actor, Vec<Write<V>>>,
}

impl<V> Default for History<V> {
    fn default() -> Self {
        Self { standing: Vec::new(), known: Clock::new(), runs: BTreeMap::new() }
    }
}

impl<V: Clone + Eq> History<V> {
    /// Applies a write that has passed the gate.
    pub(crate) fn apply(&mut self, write: Write<V>) {
        // By name and not by comparing clocks, as `crdts::MVReg` does: a context that was shortened is no clock.
        let replaced = self.known.get(&write.dot.actor).is_some_and(|count| *count >= write.dot.count);
        self.standing.retain(|standing| !write.saw(standing.dot));
        for (actor, count) in write.seen.iter().chain([(&write.dot.actor, &write.dot.count)]) {
            let known = self.known.entry(*actor).or_default();
            *known = (*count).max(*known);
        }
        if !replaced {
            self.standing.push(write.clone());
            self.standing.sort_by_key(Write::marker);
        }
        let runs = self.runs.entry(write.dot.actor).or_default();
        match runs.last_mut() {
            Some(last) if last.seen == write.seen => *last = write,
            _ => runs.push(write),
        }
        if runs.len() > RUNS_MAX {
            runs.remove(0);
        }
    }

    pub(crate) fn known(&self) -> &Clock {
        &self.known
    }

    /// Writes that stand, in marker order: one when everybody had seen what they replaced.
    pub fn standing(&self) -> &[Write<V>] {
        &self.standing
    }

    /// The standing write with the greatest marker.
    pub fn winner(&self) -> Option<&Write<V>> {
        let (first, rest) = self.standing.split_first()?;
        let mut register = LWWReg { val: 0, marker: first.marker() };
        for (at, write) in rest.iter().enumerate() {
            register.update(at + 1, write.marker());
        }
        self.standing.get(register.val)
    }

    /// Pairs of writes with different values that were merged without having seen each other, the one with the lower marker
    /// first. Of two rows of such writes, the last of each.
    pub fn conflicts(&self) -> Vec<(&Write<V>, &Write<V>)> {
        let last_against =
            |runs: &'_ [Write<V>], other: &Write<V>| runs.iter().rposition(|write| write.concurrent(other));
        let mut pairs = Vec::new();
        for (actor, left) in &self.runs {
            for (_, right) in self.runs.range(Actor(actor.0.saturating_add(1))..) {
                for (at, write) in left.iter().enumerate() {
                    let Some(other) = last_against(right, write).and_then(|at| right.get(at)) else {
                        continue;
                    };
                    if last_against(left, other) == Some(at) && write.value != other.value {
                        let in_order = write.marker() < other.marker();
                        pairs.push(if in_order { (write, other) } else { (other, write) });
                    }
                }
            }
        }
        pairs.sort_by_key(|(low, high)| (high.marker(), low.marker()));
        pairs
    }
}
