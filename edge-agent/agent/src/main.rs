//! `edge-agent`, and `edgectl` when called by that name: see `program.rs`.

use std::process::ExitCode;

/// The agent's memory is many small blocks that live long, made by a dozen threads between blocks that do not. An allocator
/// that joins free neighbours and has no arena per thread keeps that within a few per cent of what is in use; measured in
/// ARCHITECTURE.md.
#[cfg(not(feature = "libc-malloc"))]
#[global_allocator]
static MEMORY: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    edge_agent::program::main()
}
