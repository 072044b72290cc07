//! `kernel-guest run TRIAL` inside the rig's machine; `kernel-guest off` switches it off.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", trial] => hil_kernel::guest::run(trial),
        ["off"] => hil_kernel::guest::off(),
        _ => Err(anyhow::anyhow!("usage: kernel-guest run TRIAL | off, inside the rig's machine")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hil_kernel::guest::complain(&error);
            ExitCode::FAILURE
        }
    }
}
