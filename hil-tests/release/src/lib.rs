//! What ships: cross builds, Debian packages, signed updates.
//!
//! Purpose: `cargo xtask cross`, `deb` and `sign-update`. Index:
//! * [`target`] — what can be built for
//! * [`toolchain`] — the two ways to a cross compiler: rustup's target with zig, or Debian's own packages
//! * [`cross`] — builds, checks what came out, compares two clean builds
//! * [`deb`] — the packages
//! * [`squeeze`] — their compression
//! * [`elf`] — what a program file says of itself, as binutils reads it
//! * [`foreign`] — packages of another architecture, unpacked into the cache folder
//! * [`bloat`] — which crate takes how much
//! * [`order`] — which functions lie side by side
//! * [`sign`] — signed updates
//!
//! Contract: what is built lies under `target/`; what is installed lies in the cache folder, or is a package of the
//! distribution. Nothing of the machine's set-up is changed beyond that: no foreign architecture is added to dpkg.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks to its terminal"
)]

pub mod bloat;
pub mod cross;
pub mod deb;
pub mod elf;
pub mod foreign;
pub mod order;
pub mod sign;
pub mod squeeze;
pub mod target;
pub mod toolchain;
