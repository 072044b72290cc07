//! `edge-agent`, and `edgectl` when called by that name: see `program.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_agent::program::main()
}
