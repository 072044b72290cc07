//! Signed updates of a gateway.
//!
//! A bundle is one file: `SYUP1\n`, the manifest's length (32 bits, little endian), the manifest (JSON), an Ed25519 signature
//! (64 bytes) over everything before it, then the package. The manifest names architecture, version, size and BLAKE3 of the
//! package, so the signature covers it all and can be checked before the package is read.
//!
//! * [`bundle`] — reading, checking, making
//! * [`keys`] — who may sign
//! * [`gate`] — installing, watching, rolling back
//!
//! Contract: nothing is installed before everything was checked; every refusal names the file, what was found and what to do, and
//! leaves the running system as it was. A power cut in the middle leaves dpkg's own state (`dpkg --configure -a`) and the
//! package of the version before on disk.

pub mod bundle;
pub mod gate;
pub mod keys;

pub use bundle::{Bundle, Manifest, Refused, seal};
pub use gate::{Done, Gate, System, UpdateError};
pub use keys::{Key, KeysError};

/// The architecture that this program was built for, by Debian's name.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else if cfg!(target_arch = "arm") {
    "armhf"
} else {
    "amd64"
};
