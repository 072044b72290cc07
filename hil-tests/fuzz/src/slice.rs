//! The bounded slice of `cargo test`: known cases, seeds, then a fixed number of mutations of a fixed seed.

use crate::mutate::Mutator;
use crate::{Target, read_cases};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An input that broke a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The target.
    pub target: &'static str,
    /// The input.
    pub input: Vec<u8>,
    /// What did not hold.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} for the {} bytes ", self.target, self.what, self.input.len())?;
        self.input.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Tries one input.
///
/// # Errors
/// It broke the target.
pub fn attempt(target: &Target, input: &[u8]) -> Result<(), Finding> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Finding { target: target.name, input: input.to_vec(), what: text.unwrap_or_else(|| "panic".into()) }
    })
}

/// Known cases, seeds, and `count` mutations by `seed`; answers how many inputs were tried.
///
/// # Errors
/// The first input that broke the target.
///
/// # Panics
/// A case file cannot be read.
pub fn run(target: &Target, seed: u64, count: u32) -> Result<u32, Finding> {
    let cases = read_cases(target.name).unwrap_or_else(|error| panic!("cases of {}: {error}", target.name));
    let mut seeds = (target.seeds)();
    let mut tried = 0;
    for input in cases.iter().chain(&seeds) {
        attempt(target, input)?;
        tried += 1;
    }
    seeds.extend(cases);
    let mut mutator = Mutator::new(seed, seeds, target.words);
    for _ in 0..count {
        attempt(target, &mutator.next_input())?;
        tried += 1;
    }
    Ok(tried)
}
