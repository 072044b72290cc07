//! Cuts a recorded run at every boundary between two operations, makes states of what a disk may hold then, and checks each.

use crate::acks::Ack;
use crate::disk::{Disk, Files, Kind, Rule};
use crate::oracle::{self, Promised};
use crate::random::Random;
use crate::trace::{Op, Trace};
use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where one state comes from: enough to make it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Operations carried out.
    pub(crate) after: usize,
    pub(crate) rule: Rule,
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
}

/// A state that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) cut: Cut,
    pub(crate) why: String,
    pub(crate) files: Files,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Places at which the run was cut.
    pub(crate) cuts: usize,
    /// States checked; none of them twice with the same acknowledgements.
    pub(crate) states: u64,
    pub(crate) by_kind: BTreeMap<Kind, u64>,
    /// States after which a new epoch began.
    pub(crate) new_epochs: u64,
    pub(crate) slowest: Duration,
    pub(crate) violations: Vec<Violation>,
    /// Violations in all; the list is bounded.
    pub(crate) violation_count: u64,
}

/// Violations whose files are kept.
const KEPT: usize = 5;

impl Tally {
    fn add(&mut self, cut: Cut, files: Files, outcome: Result<oracle::Seen>) {
        self.states += 1;
        *self.by_kind.entry(cut.kind).or_default() += 1;
        match outcome {
            Ok(seen) => {
                self.slowest = self.slowest.max(seen.opening);
                self.new_epochs += u64::from(seen.new_epoch);
            }
            Err(error) => {
                self.violation_count += 1;
                if self.violations.len() < KEPT {
                    self.violations.push(Violation { cut, why: format!("{error:#}"), files });
                }
            }
        }
    }
}

/// What one worker gets: the disk at the cut, and what was acknowledged.
struct Task {
    disk: Arc<Disk>,
    cut: Cut,
    promised: Arc<Promised>,
    acks: usize,
}

/// How much of a run is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Further kinds at each cut beyond nothing and everything.
    pub(crate) further: usize,
    /// Of the places between two writes, every how many a cut is made. Before and after everything else there is one.
    pub(crate) every: usize,
    pub(crate) workers: usize,
    /// It ends after so many violations.
    pub(crate) enough: u64,
}

/// Tries a run. `place` takes the folders of the workers.
pub(crate) fn run(trace: &Trace, scenario: &str, plan: Plan, place: &Path) -> Result<Tally> {
    let (tasks, queue) = sync_channel::<Task>(64);
    let queue = Mutex::new(queue);
    let (tally, tried) = (Mutex::new(Tally::default()), Mutex::new(HashSet::new()));
    let cuts = std::thread::scope(|scope| {
        for number in 0..plan.workers {
            let folder = place.join(format!("{scenario}-{number}"));
            let (queue, tally, tried) = (&queue, &tally, &tried);
            scope.spawn(move || worker(queue, &folder, scenario, tally, tried));
        }
        let cuts = feed(trace, plan, |task| {
            let violations = tally.lock().unwrap_or_else(PoisonError::into_inner).violation_count;
            violations < plan.enough && tasks.send(task).is_ok()
        });
        drop(tasks);
        cuts
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Tally { cuts, ..tally })
}

/// Walks through the run and hands out cuts; answers at how many places it was cut.
fn feed(trace: &Trace, plan: Plan, mut give: impl FnMut(Task) -> bool) -> usize {
    let mut disks = [Disk::new(trace, Rule::Journal), Disk::new(trace, Rule::Strict)];
    let mut promised = before(trace);
    let (mut acks, mut cuts) = (0, 0);
    for after in 0..=trace.ops.len() {
        if let Some(at) = after.checked_sub(1)
            && let Some(op) = trace.ops.get(at)
        {
            disks.iter_mut().for_each(|disk| disk.apply(at, op));
            if let Op::Ack(ack) = op {
                promised.add(ack);
                acks += 1;
            }
        }
        let write = |at: usize| matches!(trace.ops.get(at), Some(Op::Write { .. }));
        let among_writes = after > 0 && write(after - 1) && write(after);
        if among_writes && after % plan.every != 0 {
            continue;
        }
        cuts += 1;
        let promised = Arc::new(promised.clone());
        for (disk, rule) in disks.iter().zip([Rule::Journal, Rule::Strict]) {
            let shared = Arc::new(disk.clone());
            for (kind, seed) in kinds(disk, after, rule, plan) {
                let cut = Cut { after, rule, kind, seed };
                if !give(Task { disk: Arc::clone(&shared), cut, promised: Arc::clone(&promised), acks }) {
                    return cuts;
                }
            }
        }
    }
    cuts
}

/// What holds from the first operation on.
fn before(trace: &Trace) -> Promised {
    let mut promised = Promised::default();
    for op in &trace.ops {
        if let Op::Ack(ack @ Ack::Kept(..)) = op {
            promised.add(ack);
        }
    }
    promised
}

fn kinds(disk: &Disk, after: usize, rule: Rule, plan: Plan) -> Vec<(Kind, u64)> {
    let mut random = Random::of(&[plan.seed, after as u64, rule as u64]);
    let mut kinds = vec![(Kind::Everything, 0)];
    if disk.is_certain() {
        return kinds;
    }
    kinds.push((Kind::Nothing, 0));
    let others = Kind::ALL.get(2..).unwrap_or_default();
    for _ in 0..plan.further {
        let kind = others.get(random.below(others.len())).copied().unwrap_or(Kind::Sectors);
        kinds.push((kind, random.next()));
    }
    kinds
}

fn worker(
    queue: &Mutex<Receiver<Task>>,
    folder: &Path,
    scenario: &str,
    tally: &Mutex<Tally>,
    tried: &Mutex<HashSet<(u64, usize)>>,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = next else { return };
        let files = task.disk.cut(task.cut.kind, &mut Random::new(task.cut.seed));
        let mut hasher = DefaultHasher::new();
        files.hash(&mut hasher);
        if !tried.lock().unwrap_or_else(PoisonError::into_inner).insert((hasher.finish(), task.acks)) {
            continue;
        }
        let outcome = attempt(folder, &files, scenario, &task.promised);
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(task.cut, files, outcome);
    }
}

/// Puts the files of a state into a folder and checks them; a panic is a violation.
fn attempt(folder: &Path, files: &Files, scenario: &str, promised: &Promised) -> Result<oracle::Seen> {
    lay(folder, files)?;
    catch_unwind(AssertUnwindSafe(|| oracle::check(folder, scenario, promised)))
        .unwrap_or_else(|_| Err(anyhow!("panicked")))
}

/// Fills a folder with exactly these files.
pub(crate) fn lay(folder: &Path, files: &Files) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes.as_slice()).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// Makes one state again and checks it in `folder`, which keeps what the check left.
pub(crate) fn again(trace: &Trace, scenario: &str, cut: Cut, folder: &Path) -> Result<()> {
    let mut disk = Disk::new(trace, cut.rule);
    let mut promised = before(trace);
    for (at, op) in trace.ops.iter().take(cut.after).enumerate() {
        disk.apply(at, op);
        if let Op::Ack(ack) = op {
            promised.add(ack);
        }
    }
    let files = disk.cut(cut.kind, &mut Random::new(cut.seed));
    attempt(folder, &files, scenario, &promised).map(drop)
}
