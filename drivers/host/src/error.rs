//! Errors of the host side that reach its caller. Faults of devices are health, not errors.

use thiserror::Error;

/// Why the host side could not start.
#[derive(Debug, Error)]
pub enum HostError {
    /// The configuration contradicts itself or names something that is not there.
    #[error("[[{table}]] {id}: {key}: expected {expected}, found {found}")]
    Config {
        /// Table of the configuration.
        table: &'static str,
        /// Device or bus name.
        id: String,
        /// Key at fault.
        key: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A device profile fails its own check.
    #[error("profile {name}: {reason}")]
    Profile {
        /// Profile name.
        name: String,
        /// What the check said.
        reason: String,
    },
    /// A profile file cannot be used.
    #[error("{path}: {reason}")]
    ProfileFile {
        /// The file or its folder.
        path: String,
        /// What is wrong, with line and column where there is one.
        reason: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start the thread of {owner}: {source}")]
    Thread {
        /// Bus, scale or adapter.
        owner: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a job was not taken. Nothing was done and nothing will be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostBusy {
    /// The queue of that bus or adapter is full; try again later.
    #[error("the queue of {owner} is full")]
    Full {
        /// Bus or adapter.
        owner: String,
    },
    /// No configured device has that name, or it is of another class.
    #[error("no {class} is named {device}")]
    Unknown {
        /// Expected class of device.
        class: &'static str,
        /// The name that was asked for.
        device: String,
    },
    /// The device's family, or the transport to it, cannot do that at all.
    #[error("{device}: {reason}")]
    Unsupported {
        /// The name that was asked for.
        device: String,
        /// What cannot be done, and why.
        reason: crate::Unsupported,
    },
    /// The owner has stopped.
    #[error("{owner} has stopped")]
    Stopped {
        /// Bus or adapter.
        owner: String,
    },
}
