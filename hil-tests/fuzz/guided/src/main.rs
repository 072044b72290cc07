//! libFuzzer around one row of the table: `STEELYARD_FUZZ_TARGET` names it; arguments are libFuzzer's own.
#![no_main]

use hil_fuzz::Target;
use std::sync::OnceLock;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

/// The target; ends with code 3 when this build has none of that name.
fn target() -> &'static Target {
    let name = std::env::var("STEELYARD_FUZZ_TARGET").unwrap_or_default();
    hil_fuzz::find(&name).unwrap_or_else(|| {
        eprintln!("no target '{name}' in this build");
        std::process::exit(3)
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.get_or_init(target).run)(bytes));
