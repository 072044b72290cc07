//! The kernel rig: the agent inside a User-Mode Linux machine, with the kernel's own drivers and real BlueZ between it and its
//! devices.
//!
//! Purpose: show what a pseudo-terminal, a folder of files and a fake daemon cannot: the kernel's Bluetooth with `bluetoothd`,
//! I2C messages, 1-Wire searches, line settings of a serial port, and devices that are unplugged. Index:
//! * [`uml`] — the kernel: found in the cache, or built into it
//! * [`machine`] — one machine for one trial; its root is the host's, read-only
//! * [`suite`] — the trials as the host sees them
//! * [`guest`] — the trials as they run inside, in the program `kernel-guest`
//!
//! Contract
//! * Needs no root, no network, no KVM and no module of the host's kernel. What is missing is said once, with the one command
//!   that gets it, and the trials are skipped.
//! * A trial inside starts the programs under test itself and asks the agent as every client does. It leaves `result.json`, the
//!   logs of all programs and the kernel's in its folder.
//! * A machine that does not end in time is killed, and so is everything in it.

pub mod guest;
pub mod machine;
pub mod suite;
pub mod uml;

pub use suite::suite;
