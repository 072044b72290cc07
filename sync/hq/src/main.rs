//! `sync-hq`: see `program.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sync_hq::program::main()
}
