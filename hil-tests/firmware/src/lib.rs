//! The node's firmware on the rig: built, sealed, run in an emulated microcontroller, tried by masters and by the agent.
//!
//! * [`image`] — building the board's program, and what makes an image of it
//! * [`machine`] — QEMU's lm3s6965evb with probes, settings part and door
//! * [`masters`] — our own master for quick questions, and mbpoll and pymodbus, which nobody here wrote
//! * [`golden`] — `cargo xtask firmware`
//! * [`trials`] — the suite of the rig `firmware`
//!
//! Contract: the trials drive the node by what a real one has too (line, power, temperature, door contact, bus) and never by
//! its memory. What QEMU cannot do is said in the trial that would need it.

pub mod golden;
pub mod image;
pub mod machine;
pub mod masters;
pub mod trials;

pub use trials::suite;
