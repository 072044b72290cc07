//! The model as the checker takes it.

use crate::world::{Budget, Bug, Step, World};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// Bounds and planted fault of a run.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    /// What may happen.
    pub budget: Budget,
    /// What is broken on purpose.
    pub bug: Bug,
}

/// Nothing wrong was seen.
pub const SOUND: &str = "acks name committed records, HQ has every record once";
/// Once faults end, both sides agree and everything acknowledged is there.
pub const HEALS: &str = "both sides come to the same, with everything that was acknowledged";
/// The run is not empty.
pub const SETTLES: &str = "all events are written and at HQ";
/// Restores lead to new epochs.
pub const EPOCHS: &str = "a store goes on under a new epoch";

impl Model for Settlement {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.budget, self.bug)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Step>) {
        state.steps(actions);
    }

    fn next_state(&self, state: &World, step: Step) -> Option<World> {
        Some(state.after(step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(SOUND, |_, state: &World| state.wrong().is_none()),
            Property::always(HEALS, |_, state: &World| !state.is_quiet() || state.heal().is_ok()),
            Property::sometimes(SETTLES, |_, state: &World| {
                state.left().events == [0, 0] && state.is_level()
            }),
        ];
        if self.budget.restores > 0 {
            properties.push(Property::sometimes(EPOCHS, |_, state: &World| state.has_new_epoch()));
        }
        properties
    }
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states.
    pub states: usize,
    /// Names of broken or unmet properties, with the steps that lead there.
    pub findings: Vec<(&'static str, String)>,
}

/// Walks every state within the bounds, or up to the first finding.
pub fn explore(model: Settlement) -> Outcome {
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    if model.bug == Bug::None {
        judge(&model, &checker.spawn_dfs().join())
    } else {
        // Breadth first: what is found is as short as can be.
        judge(&model, &checker.spawn_bfs().join())
    }
}

fn judge(model: &Settlement, checker: &impl Checker<Settlement>) -> Outcome {
    let mut findings = Vec::new();
    for property in [SOUND, HEALS] {
        if let Some(path) = checker.discovery(property) {
            let last = path.last_state();
            let why = last.wrong().map(str::to_owned).or_else(|| last.heal().err()).unwrap_or_default();
            findings.push((property, format!("{:?}: {why}", path.into_actions())));
        }
    }
    let met = |name| checker.discovery(name).is_some();
    let wanted = [(SETTLES, true), (EPOCHS, model.budget.restores > 0)];
    if findings.is_empty() {
        for (name, _) in wanted.iter().filter(|(name, wanted)| *wanted && !met(*name)) {
            findings.push((*name, "never happens".to_owned()));
        }
    }
    Outcome { states: checker.unique_state_count(), findings }
}
