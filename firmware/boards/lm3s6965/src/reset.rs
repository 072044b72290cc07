//! Why it started, and how it starts anew.
//!
//! The part's own register tells power from watchdog, but not a panic from a command, and an emulator may leave it as it was. So
//! whoever is about to start anew leaves a note in memory that a start does not clear; without any valid note, power had gone.

use drv_protocol::node::ResetReason;

use crate::registers::{leave_note, note, sysctl};

const MARK: u32 = 0x5359_4E4F;
const WATCHDOG_CAUSE: u32 = 1 << 3;

/// Reads the note and leaves the one for a reset that nobody announces.
pub fn reason() -> ResetReason {
    let [mark, code] = note();
    let announced =
        ResetReason::ALL.into_iter().find(|reason| mark == MARK && u32::from(reason.code()) == code);
    let by_hardware = sysctl::RESC.get() & WATCHDOG_CAUSE != 0;
    sysctl::RESC.set(0);
    announce(ResetReason::External);
    match announced {
        Some(ResetReason::External) if by_hardware => ResetReason::Watchdog,
        Some(reason) => reason,
        None => ResetReason::PowerOn,
    }
}

/// Leaves a note.
pub fn announce(reason: ResetReason) {
    leave_note([MARK, u32::from(reason.code())]);
}

/// Starts anew.
pub fn restart(reason: ResetReason) -> ! {
    announce(reason);
    cortex_m::peripheral::SCB::sys_reset()
}
