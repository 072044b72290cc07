//! Trials of what ships: the packages in a chroot of their own, and the cross-built program on an emulated ARM machine.
//!
//! Index
//! * [`arm`] — the ARM rig's trials; [`packages`] — the packages'
//! * [`machine`] — QEMU with a control channel and a plug; [`image`] — kernel, initramfs, root file system
//! * [`disk`] — a disk whose cache a power cut empties; [`cpio`] — the initramfs' archive
//! * [`chroot`] — a Debian in a folder
//! * [`store`] — broker, HQ and devices on the host; a till with its own books
//!
//! Contract: a trial that cannot run says what is missing and is skipped; nothing is emulated that could be real, and the
//! rig files say what is.

pub mod arm;
pub mod chroot;
pub mod cpio;
pub mod disk;
pub mod image;
pub mod machine;
pub mod packages;
pub mod store;
