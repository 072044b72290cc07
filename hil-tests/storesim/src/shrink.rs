//! The least script that still fails in the same way: delta debugging (Zeller and Hildebrandt 2002) over the steps.

use crate::script::{Script, Step};
use crate::world::{Violation, run};
use anyhow::Result;

/// Leaves out steps as long as the same oracle still objects. Gives the script and what is found with it.
pub fn shrink(script: &Script, violation: &Violation, runs_max: u32) -> Result<(Script, Violation)> {
    let mut best = (script.clone(), violation.clone());
    let mut parts = 2_usize;
    let mut runs = 0;
    while best.0.steps.len() > 1 && runs < runs_max {
        let length = best.0.steps.len().div_ceil(parts);
        let mut smaller = None;
        for from in (0..best.0.steps.len()).step_by(length) {
            let kept: Vec<Step> = best
                .0
                .steps
                .iter()
                .enumerate()
                .filter(|(at, _)| *at < from || *at >= from + length)
                .map(|(_, step)| *step)
                .collect();
            let less = script.with(kept);
            runs += 1;
            let outcome = run(&less, 0)?;
            if let Some(found) = outcome.violations.into_iter().find(|found| found.oracle == violation.oracle)
            {
                smaller = Some((less, found));
                break;
            }
            if runs >= runs_max {
                break;
            }
        }
        match smaller {
            Some(less) => {
                best = less;
                parts = parts.saturating_sub(1).max(2);
            }
            None if length == 1 => break,
            None => parts = (parts * 2).min(best.0.steps.len()),
        }
    }
    Ok(best)
}
