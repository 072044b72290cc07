//! `edgectl` as a program of its own, for development; a gateway has a link to `edge-agent` instead.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_ctl::main()
}
