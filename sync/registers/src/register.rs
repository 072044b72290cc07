//! A register: one value that store and HQ both write.

use crate::{Actor, Admit, Clock, Contiguity, Digest, Dot, GateError, History, Hlc, SEEN_MAX, Write};
use serde::{Deserialize, Serialize};

/// A register behind its gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register<V> {
    gate: Contiguity,
    history: History<V>,
}

impl<V> Default for Register<V> {
    fn default() -> Self {
        Self { gate: Contiguity::default(), history: History::default() }
    }
}

/// Whether a context can be true.
pub(crate) fn check_context(dot: Dot, seen: &Clock) -> Result<(), GateError> {
    if dot.count == 0 || seen.contains_key(&dot.actor) || seen.len() > SEEN_MAX {
        return Err(GateError::Context(dot));
    }
    Ok(())
}

/// What a write of `actor` on top of what is known has seen of the others.
pub(crate) fn seen_by(actor: Actor, gate: &Contiguity, known: Option<&Clock>) -> Clock {
    let mut seen = gate.vector();
    for (actor, count) in known.into_iter().flatten() {
        let seen = seen.entry(*actor).or_default();
        *seen = (*count).max(*seen);
    }
    seen.remove(&actor);
    shorten(&mut seen);
    seen
}

/// More writers than a context takes: the newest epochs of either side are those that may still write.
pub fn shorten(seen: &mut Clock) {
    while seen.len() > SEEN_MAX {
        let of_hq = seen.keys().filter(|actor| actor.is_hq()).count();
        // HQ's actors come first in the order of numbers.
        let oldest = if of_hq > SEEN_MAX / 2 { seen.keys().next() } else { seen.keys().nth(of_hq) };
        let Some(oldest) = oldest.copied() else { return };
        seen.remove(&oldest);
    }
}

impl<V: Clone + Eq + std::fmt::Debug> Register<V> {
    /// Applies a write, if it is its actor's next. On an error nothing has changed.
    pub fn apply(&mut self, write: Write<V>, digest: Digest) -> Result<Admit, GateError> {
        check_context(write.dot, &write.seen)?;
        let admit = self.gate.admit(write.dot, digest)?;
        if admit == Admit::Next {
            self.history.apply(write);
        }
        Ok(admit)
    }

    /// How many writes of `actor` are applied.
    pub fn count(&self, actor: Actor) -> u64 {
        self.gate.last(actor)
    }

    /// The write that `actor` would make now. It counts once it is applied.
    pub fn next(&self, actor: Actor, hlc: Hlc, value: V) -> Write<V> {
        let dot = Dot { actor, count: self.gate.last(actor) + 1 };
        Write { dot, hlc, seen: seen_by(actor, &self.gate, Some(self.history.known())), value }
    }

    /// What stands, in marker order.
    pub fn standing(&self) -> &[Write<V>] {
        self.history.standing()
    }

    /// What stands with the greatest marker: the value, where one is needed.
    pub fn winner(&self) -> Option<&Write<V>> {
        self.history.winner()
    }

    /// Pairs that were merged without having seen each other; see [`History::conflicts`].
    pub fn conflicts(&self) -> Vec<(&Write<V>, &Write<V>)> {
        self.history.conflicts()
    }
}
