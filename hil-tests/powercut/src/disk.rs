//! A disk that keeps for certain what was synced, and of the rest whatever it likes.
//!
//! Two rules for what a sync makes certain, as ALICE (Pillai et al., OSDI 2014, "All File Systems Are Not Created Equal")
//! found file systems to differ:
//! * [`Rule::Journal`] — as ext4 and XFS do it: names change in order, and the sync of any file makes all earlier changes of
//!   names certain with it;
//! * [`Rule::Strict`] — as POSIX words it: the sync of a file is about its bytes and length; a name is certain when the
//!   folder was synced, and until then any subset of the changes may be there.
//!
//! Under both, the bytes of a file that was not synced are there sector by sector in any of the versions that they had since
//! the last sync. A later version of a sector has everything of the earlier ones: the cache of the system holds one.

use crate::random::Random;
use crate::trace::{Entry, Op, Trace};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a disk writes at once.
pub(crate) const SECTOR: usize = 512;
/// What the system's cache writes at once.
const PAGE: usize = 4_096;

/// What a sync makes certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    Journal,
    Strict,
}

/// What of the unsynced is there after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// What came first.
    Prefix,
    /// All but one write.
    Dropped,
    /// What came first, and of the next write some sectors.
    Torn,
    /// Pages of the cache in any order.
    Pages,
    /// Sectors in any order.
    Sectors,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Everything,
        Self::Prefix,
        Self::Dropped,
        Self::Torn,
        Self::Pages,
        Self::Sectors,
    ];
}

/// The files that a cut left.
pub(crate) type Files = BTreeMap<String, Arc<Vec<u8>>>;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Arc<[u8]>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Arc<Vec<u8>>,
    /// Since the last sync, each with the number of its operation.
    pending: Vec<(usize, Change)>,
}

/// The disk at one moment. Cheap to copy: bytes are shared.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    rule: Rule,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    changes: Vec<(usize, Entry)>,
}

fn rename(names: &mut BTreeMap<String, usize>, entry: &Entry) {
    match entry {
        Entry::Create(name, file) => {
            names.insert(name.clone(), *file);
        }
        Entry::Rename(from, to, file) => {
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        Entry::Unlink(name, file) => {
            if names.get(name) == Some(file) {
                names.remove(name);
            }
        }
    }
}

impl Disk {
    /// Before the first operation: everything that is there is durable.
    pub(crate) fn new(trace: &Trace, rule: Rule) -> Self {
        let mut files: Vec<File> = trace
            .before
            .iter()
            .map(|(_, bytes)| File { durable: Arc::clone(bytes), pending: Vec::new() })
            .collect();
        files.resize(trace.names.len(), File::default());
        let names = trace.before.iter().enumerate().map(|(file, (name, _))| (name.clone(), file)).collect();
        Self { rule, files, names, changes: Vec::new() }
    }

    /// Carries out operation number `at`.
    pub(crate) fn apply(&mut self, at: usize, op: &Op) {
        match op {
            Op::Entry(entry) => self.changes.push((at, entry.clone())),
            Op::Write { file, at: place, bytes } => {
                self.change(*file, (at, Change::Write(*place, Arc::clone(bytes))));
            }
            Op::Length { file, length } => self.change(*file, (at, Change::Length(*length))),
            Op::Sync { file } => {
                if let Some(file) = self.files.get_mut(*file) {
                    let pending = std::mem::take(&mut file.pending);
                    let bytes = Arc::make_mut(&mut file.durable);
                    pending.iter().for_each(|(_, change)| whole(bytes, change));
                }
                if self.rule == Rule::Journal {
                    self.names_are_certain();
                }
            }
            Op::SyncFolder => self.names_are_certain(),
            Op::Ack(_) => {}
        }
    }

    fn change(&mut self, file: usize, change: (usize, Change)) {
        if let Some(file) = self.files.get_mut(file) {
            file.pending.push(change);
        }
    }

    fn names_are_certain(&mut self) {
        for (_, entry) in std::mem::take(&mut self.changes) {
            rename(&mut self.names, &entry);
        }
    }

    /// Operations whose effect is not certain.
    fn uncertain(&self) -> Vec<usize> {
        let changes = self.files.iter().flat_map(|file| &file.pending).map(|(at, _)| *at);
        let mut all: Vec<usize> = changes.chain(self.changes.iter().map(|(at, _)| *at)).collect();
        all.sort_unstable();
        all
    }

    /// Whether a cut now could leave more than one state.
    pub(crate) fn is_certain(&self) -> bool {
        self.changes.is_empty() && self.files.iter().all(|file| file.pending.is_empty())
    }

    /// What a cut leaves now.
    pub(crate) fn cut(&self, kind: Kind, random: &mut Random) -> Files {
        let uncertain = self.uncertain();
        let chosen = uncertain.get(random.below(uncertain.len())).copied().unwrap_or(0);
        let salt = random.next();
        let names = self.names_after(kind, chosen, random);
        names
            .into_iter()
            .filter_map(|(name, file)| {
                let number = u64::try_from(file).unwrap_or(0);
                let file = self.files.get(file)?;
                Some((name, file.after(kind, chosen, Random::of(&[salt, number]))))
            })
            .collect()
    }

    fn names_after(&self, kind: Kind, chosen: usize, random: &mut Random) -> BTreeMap<String, usize> {
        let mut names = self.names.clone();
        let first = random.below(self.changes.len() + 1);
        for (index, (at, entry)) in self.changes.iter().enumerate() {
            let there = match (kind, self.rule) {
                (Kind::Nothing, _) => false,
                (Kind::Everything, _) => true,
                (Kind::Prefix | Kind::Torn, Rule::Journal) => *at <= chosen,
                (_, Rule::Journal) => index < first,
                (_, Rule::Strict) => random.toss(),
            };
            if there {
                rename(&mut names, entry);
            }
        }
        names
    }
}

/// Carries out a change as a whole.
fn whole(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            if let Some(place) = bytes.get_mut(*at..end) {
                place.copy_from_slice(data);
            }
        }
        Change::Length(length) => bytes.resize(*length, 0),
    }
}

/// Carries out the sectors of a write that are `there`; the length counts in any case.
fn sectors(bytes: &mut Vec<u8>, (at, data): (usize, &[u8]), mut there: impl FnMut(usize) -> bool) {
    let end = at + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    let mut from = at;
    while from < end {
        let to = ((from / SECTOR + 1) * SECTOR).min(end);
        if there(from / SECTOR)
            && let Some(place) = bytes.get_mut(from..to)
            && let Some(part) = data.get(from - at..to - at)
        {
            place.copy_from_slice(part);
        }
        from = to;
    }
}

impl File {
    fn after(&self, kind: Kind, chosen: usize, random: Random) -> Arc<Vec<u8>> {
        if self.pending.is_empty() || kind == Kind::Nothing {
            return Arc::clone(&self.durable);
        }
        let mut bytes = self.durable.as_ref().clone();
        match kind {
            Kind::Nothing => {}
            Kind::Everything => self.pending.iter().for_each(|(_, change)| whole(&mut bytes, change)),
            Kind::Prefix => {
                self.pending
                    .iter()
                    .take_while(|(at, _)| *at <= chosen)
                    .for_each(|(_, change)| whole(&mut bytes, change));
            }
            Kind::Dropped => self.dropped(&mut bytes, chosen),
            Kind::Torn => self.torn(&mut bytes, chosen, random),
            Kind::Pages => self.reordered(&mut bytes, PAGE / SECTOR, random),
            Kind::Sectors => self.reordered(&mut bytes, 1, random),
        }
        Arc::new(bytes)
    }

    fn dropped(&self, bytes: &mut Vec<u8>, chosen: usize) {
        let mut lost = 0..0;
        for (at, change) in &self.pending {
            match change {
                Change::Write(place, data) => {
                    if *at == chosen {
                        lost = place / SECTOR..(place + data.len()).div_ceil(SECTOR);
                    }
                    sectors(bytes, (*place, data), |sector| !lost.contains(&sector));
                }
                Change::Length(_) if *at == chosen => {}
                Change::Length(_) => whole(bytes, change),
            }
        }
    }

    fn torn(&self, bytes: &mut Vec<u8>, chosen: usize, mut random: Random) {
        for (at, change) in self.pending.iter().take_while(|(at, _)| *at <= chosen) {
            match change {
                Change::Write(place, data) if *at == chosen => {
                    // Half of the tears are clean: the first sectors, then nothing.
                    let clean = random.toss();
                    let upto = place / SECTOR + random.below(data.len() / SECTOR + 2);
                    sectors(
                        bytes,
                        (*place, data),
                        |sector| if clean { sector < upto } else { random.toss() },
                    );
                }
                _ => whole(bytes, change),
            }
        }
    }

    /// Every run of `grain` sectors in a version of its own. What a change of length cuts off does not come back.
    fn reordered(&self, bytes: &mut Vec<u8>, grain: usize, mut random: Random) {
        let count = self.pending.len();
        let salt = random.next();
        let sized = if random.below(4) == 0 { random.below(count + 1) } else { count };
        let is_length = |(_, change): &(usize, Change)| matches!(change, Change::Length(_));
        let before = self.pending.iter().take(sized).rposition(is_length).map_or(0, |at| at + 1);
        let after = self.pending.iter().skip(sized).position(is_length).map_or(count, |at| sized + at);
        let (early, rest) = self.pending.split_at(before);
        early.iter().for_each(|(_, change)| whole(bytes, change));
        let window = rest.get(..after - before).unwrap_or_default();
        let mut length = bytes.len();
        for (index, (_, change)) in window.iter().enumerate() {
            let Change::Write(place, data) = change else { continue };
            if before + index < sized {
                length = length.max(place + data.len());
            }
            sectors(bytes, (*place, data), |sector| {
                let run = u64::try_from(sector / grain).unwrap_or(0);
                Random::of(&[salt, run]).below(window.len() + 1) > index
            });
        }
        bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(ops: Vec<Op>) -> Trace {
        Trace {
            before: vec![("a".into(), Arc::new(vec![1; 2_048]))],
            ops,
            names: vec!["a".into(), "b".into()],
        }
    }

    fn write(file: usize, at: usize, byte: u8, length: usize) -> Op {
        Op::Write { file, at, bytes: vec![byte; length].into() }
    }

    fn disk(trace: &Trace, rule: Rule) -> Disk {
        let mut disk = Disk::new(trace, rule);
        trace.ops.iter().enumerate().for_each(|(at, op)| disk.apply(at, op));
        disk
    }

    #[test]
    fn what_is_synced_is_in_every_state_and_the_rest_in_any_version() {
        let ops =
            vec![write(0, 0, 2, 512), Op::Sync { file: 0 }, write(0, 0, 3, 1_024), write(0, 512, 4, 1_024)];
        let trace = trace(ops);
        let disk = disk(&trace, Rule::Journal);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..400 {
            for kind in Kind::ALL {
                let files = disk.cut(kind, &mut Random::new(seed));
                let a = &files["a"];
                assert_eq!(a.len(), 2_048);
                let sectors: Vec<u8> = a.chunks(512).map(|sector| sector[0]).collect();
                assert!(a.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
                assert!([2, 3].contains(&sectors[0]) && [1, 3, 4].contains(&sectors[1]), "{sectors:?}");
                assert!([1, 4].contains(&sectors[2]) && sectors[3] == 1, "{sectors:?}");
                seen.insert(sectors);
            }
        }
        assert_eq!(seen.len(), 12, "every combination of versions");
    }

    #[test]
    fn a_name_is_certain_by_the_file_under_one_rule_and_by_the_folder_under_the_other() {
        let ops = vec![Op::Entry(Entry::Create("b".into(), 1)), write(1, 0, 5, 10), Op::Sync { file: 1 }];
        let trace = trace(ops);
        let of = |rule| disk(&trace, rule).cut(Kind::Nothing, &mut Random::new(1)).contains_key("b");
        assert!(of(Rule::Journal) && !of(Rule::Strict));
        let mut strict = disk(&trace, Rule::Strict);
        strict.apply(3, &Op::SyncFolder);
        assert!(strict.is_certain());
        assert_eq!(*strict.cut(Kind::Nothing, &mut Random::new(1))["b"], vec![5; 10]);
    }

    #[test]
    fn a_rename_moves_a_name_and_what_is_cut_off_does_not_come_back() {
        let ops = vec![
            Op::Entry(Entry::Rename("a".into(), "b".into(), 0)),
            Op::Length { file: 0, length: 0 },
            write(0, 600, 9, 100),
        ];
        let trace = trace(ops);
        let disk = disk(&trace, Rule::Journal);
        for seed in 0..200 {
            for kind in Kind::ALL {
                let files = disk.cut(kind, &mut Random::new(seed));
                assert_eq!(files.len(), 1);
                let bytes = files.values().next().unwrap();
                let (old, new) = (bytes.contains(&1), bytes.contains(&9));
                assert!(!(old && new) || kind == Kind::Dropped, "{kind:?} {seed}");
            }
        }
    }
}
