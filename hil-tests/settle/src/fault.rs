//! What is done to the parts, and in which order: every part is hit, the seed shuffles.

use crate::fleet::{Engine, STORES};
use hil_demo::random::Random;
use std::fmt;

/// One way to break something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL to a store's agent.
    KillAgent(usize),
    /// SIGKILL to a worker of HQ.
    KillWorker(usize),
    /// SIGKILL to the broker, which forgets everything.
    KillBroker,
    /// SIGKILL to the database.
    KillDatabase,
    /// A store's line is cut.
    CutStore(usize),
    /// A store's line stays open and moves nothing.
    StallStore(usize),
    /// A worker's line to the broker is cut.
    CutWorker(usize),
    /// A worker's line to the broker stays open and moves nothing.
    StallWorker(usize),
    /// A worker's line to the database is cut.
    CutDatabase(usize),
    /// A worker's line to the database stays open and moves nothing: its lease runs out while it believes to have it.
    StallDatabase(usize),
}

impl Fault {
    /// Stable word of the kind.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::KillAgent(_) => "kill-agent",
            Self::KillWorker(_) => "kill-worker",
            Self::KillBroker => "kill-broker",
            Self::KillDatabase => "kill-database",
            Self::CutStore(_) => "cut-store",
            Self::StallStore(_) => "stall-store",
            Self::CutWorker(_) => "cut-worker",
            Self::StallWorker(_) => "stall-worker",
            Self::CutDatabase(_) => "cut-database",
            Self::StallDatabase(_) => "stall-database",
        }
    }

    /// Whether the line stays up and is dead: only time outs notice, so it must last.
    pub(crate) fn stalls(self) -> bool {
        matches!(self, Self::StallStore(_) | Self::StallWorker(_) | Self::StallDatabase(_))
    }

    /// Every fault that this engine's parts can suffer, once.
    pub(crate) fn all(engine: Engine) -> Vec<Self> {
        let mut list = vec![Self::KillBroker];
        for site in 0..STORES.len() {
            list.extend([Self::KillAgent(site), Self::CutStore(site)]);
        }
        list.push(Self::StallStore(0));
        for worker in 0..engine.workers() {
            list.extend([Self::KillWorker(worker), Self::CutWorker(worker)]);
        }
        list.push(Self::StallWorker(0));
        if engine == Engine::Postgres {
            list.extend([Self::KillDatabase, Self::CutDatabase(0), Self::StallDatabase(1)]);
        }
        list
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::KillBroker | Self::KillDatabase => write!(f, "{kind}"),
            Self::KillAgent(at)
            | Self::KillWorker(at)
            | Self::CutStore(at)
            | Self::StallStore(at)
            | Self::CutWorker(at)
            | Self::StallWorker(at)
            | Self::CutDatabase(at)
            | Self::StallDatabase(at) => write!(f, "{kind} {at}"),
        }
    }
}

/// Faults in the order of the run: each step holds one, or two at the same time.
pub(crate) fn plan(engine: Engine, rounds: u32, random: &mut Random) -> Vec<Vec<Fault>> {
    let mut steps: Vec<Vec<Fault>> = Vec::new();
    for _ in 0..rounds {
        let mut open = Fault::all(engine);
        while !open.is_empty() {
            let mut step = vec![take(&mut open, random)];
            if !open.is_empty() && random.chance(400) {
                step.push(take(&mut open, random));
            }
            steps.push(step);
        }
    }
    steps
}

fn take(open: &mut Vec<Fault>, random: &mut Random) -> Fault {
    let places: Vec<usize> = (0..open.len()).collect();
    open.swap_remove(*random.pick(&places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_part_is_hit_in_every_round_and_the_seed_decides_the_order() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let plan = |seed| plan(engine, 2, &mut Random::new(seed, 0));
            assert_eq!(plan(1), plan(1));
            assert_ne!(plan(1), plan(2));
            let hits: Vec<Fault> = plan(3).into_iter().flatten().collect();
            let all = Fault::all(engine);
            assert_eq!(hits.len(), 2 * all.len());
            assert_eq!(hits.iter().collect::<BTreeSet<_>>(), all.iter().collect());
        }
    }
}
