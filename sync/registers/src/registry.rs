//! A registry: an observed-remove set of keys with what was said about each. An addition that a removal had not seen stays.

use crate::register::{check_context, seen_by};
use crate::{Actor, Admit, Clock, Contiguity, Digest, Dot, GateError, History, Hlc, Write};
use crdts::{CmRDT, Orswot, VClock, orswot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;

/// One change of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// The key.
    pub key: K,
    /// Added or described anew, or removed (`None`).
    pub write: Write<Option<V>>,
}

/// A registry behind its gate. The count of a change runs over the whole registry, not over a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry<K: Ord, V> {
    gate: Contiguity,
    set: Frozen<K>,
    histories: BTreeMap<K, History<Option<V>>>,
}

/// The set at rest. `crdts` keeps hash maps, whose order is not the same twice; here everything has an order.
/// Field for field the serde form of `crdts::Orswot` 7.3.2, which has no other way in or out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Frozen<K: Ord> {
    clock: Clock,
    entries: BTreeMap<K, Clock>,
    deferred: BTreeMap<Clock, BTreeSet<K>>,
}

impl<K: Ord, V> Default for Registry<K, V> {
    fn default() -> Self {
        let set = Frozen { clock: Clock::new(), entries: BTreeMap::new(), deferred: BTreeMap::new() };
        Self { gate: Contiguity::default(), set, histories: BTreeMap::new() }
    }
}

impl<K> Frozen<K>
where
    K: Ord + Hash + Eq + Clone + Debug + Serialize + DeserializeOwned,
{
    fn thaw(&self) -> Orswot<K, Actor> {
        let bytes = postcard::to_allocvec(self).expect("maps and sets of known length encode");
        postcard::from_bytes(&bytes).expect("the pinned version of crdts has this shape")
    }

    fn freeze(set: &Orswot<K, Actor>) -> Self {
        let bytes = postcard::to_allocvec(set).expect("maps and sets of known length encode");
        postcard::from_bytes(&bytes).expect("the pinned version of crdts has this shape")
    }
}

impl<K, V> Registry<K, V>
where
    K: Ord + Hash + Eq + Clone + Debug + Serialize + DeserializeOwned,
    V: Clone + Eq + Debug,
{
    /// Applies a change, if it is its actor's next. On an error nothing has changed.
    pub fn apply(&mut self, change: Change<K, V>, digest: Digest) -> Result<Admit, GateError> {
        let Change { key, write } = change;
        check_context(write.dot, &write.seen)?;
        if self.gate.admit(write.dot, digest)? == Admit::Duplicate {
            return Ok(Admit::Duplicate);
        }
        let mut set = self.set.thaw();
        let Dot { actor, count } = write.dot;
        let dot = crdts::Dot::new(actor, count);
        if write.value.is_some() {
            set.apply(orswot::Op::Add { dot, members: vec![key.clone()] });
        } else {
            let mut dots = write.seen.clone();
            if count > 1 {
                dots.insert(actor, count - 1);
            }
            set.apply(orswot::Op::Rm { clock: VClock { dots }, members: vec![key.clone()] });
            // A removal takes a count, too: without this the set would wait for an addition of that name.
            set.apply(orswot::Op::Add { dot, members: Vec::new() });
        }
        self.set = Frozen::freeze(&set);
        self.histories.entry(key).or_default().apply(write);
        Ok(Admit::Next)
    }

    /// How many changes of `actor` are applied.
    pub fn count(&self, actor: Actor) -> u64 {
        self.gate.last(actor)
    }

    /// The change that `actor` would make now. It counts once it is applied.
    pub fn next(&self, actor: Actor, hlc: Hlc, key: K, value: Option<V>) -> Change<K, V> {
        let dot = Dot { actor, count: self.gate.last(actor) + 1 };
        let seen = seen_by(actor, &self.gate, self.histories.get(&key).map(History::known));
        Change { key, write: Write { dot, hlc, seen, value } }
    }

    /// Members, each with what was said last about it.
    pub fn members(&self) -> impl Iterator<Item = (&K, &Write<Option<V>>)> {
        self.set.entries.keys().filter_map(|key| {
            let standing = self.histories.get(key)?.standing();
            Some((key, standing.iter().rfind(|write| write.value.is_some())?))
        })
    }

    /// Every standing statement about any key, removed ones included.
    pub fn histories(&self) -> impl Iterator<Item = (&K, &History<Option<V>>)> {
        self.histories.iter()
    }
}
