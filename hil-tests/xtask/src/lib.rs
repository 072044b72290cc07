//! `cargo xtask`: what a developer and CI run.
//!
//! Purpose: one module per command: [`suite`] (set-up and every check), [`tidy`] (architecture as a test), [`setup`],
//! [`hil`] (trials on rigs).
//! The demo and the crash campaign live in `hil-demo`, the benchmarks in `hil-bench`; `main.rs` only dispatches.
//!
//! Contract: everything a command writes lies under `target/`, a temporary folder, or the cache folder named by
//! [`hil_rig::python::cache_dir`]; nothing in the checkout changes. Exit codes are honest: 0 only when everything asked for held.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks on its standard streams"
)]

pub mod hil;
pub mod setup;
pub mod suite;
pub mod tidy;

use std::path::{Path, PathBuf};

/// The root of the checkout that this program was built from.
pub fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}
