//! The power-cut rig: what every write of the store leaves behind when the power goes, and when a bit flips.
//!
//! Purpose: show that acknowledged means durable, without a disk to pull the plug of. A program that uses the real store is
//! recorded with `strace` ([`writer`]); the recorded operations are carried out on a model of a disk, which is cut after each
//! of them; what may be on it then is put into a folder and opened by the real store. As in ALICE (Pillai et al., OSDI 2014)
//! and CrashMonkey (Mohan et al., OSDI 2018), but with states chosen by seed instead of all of them.
//!
//! Contract
//! * A state is a function of the recorded run and of (operations carried out, rule, kind, seed). The run itself differs from
//!   one recording to the next (SQLite's salts, threads), so a failing one is kept with its states.
//! * [`replay`] makes a kept state again out of the evidence folder alone.
//! * Where a state breaks a promise the trial fails; that it would notice is shown by runs with planted mistakes.

mod acks;
mod campaign;
mod damage;
mod disk;
mod facts;
mod oracle;
mod random;
mod trace;
mod trials;
pub mod writer;

pub use trials::{replay, suite};
