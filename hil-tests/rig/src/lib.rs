//! The rig: far ends and faults for tests that run whole programs.
//!
//! Purpose: start and kill real processes, cut networks, host the device side of every transport. Used by the store day, the
//! crash campaign and the process tests. Index:
//! * [`processes`] — child processes in their own group, SIGKILL and clean stop, programs on the path
//! * [`ports`] — TCP ports that stay ours while a program is down
//! * [`mosquitto`] — a real MQTT broker
//! * [`postgres`] — a real PostgreSQL server
//! * [`proxy`] — a TCP proxy that can cut and stall
//! * [`http`] — a small HTTP/1.1 client, written for the rig so that it shares no code with what it tests
//! * [`bluez`] — Bluetooth on a private D-Bus: our own fake, or BlueZoo, with simulated tags
//! * [`modbus_tcp`] — simulated Modbus devices behind a TCP port
//! * [`fleet`] — many simulated devices: buses behind ports and pseudo-terminals, scales
//! * [`clock`] — the clock of all simulated devices
//! * [`pty`] — serial far ends on pseudo-terminals
//! * [`random`] — seeded numbers, a generator per actor
//! * [`run`] — programs that run to their end, and the distribution's packages
//! * [`python`] — a private Python environment with pymodbus and BlueZoo
//!
//! Contract: everything a part starts ends when its handle is dropped; files go only where the caller says. Waiting means
//! polling a condition against a deadline, never sleeping for luck.

pub mod bluez;
pub mod clock;
pub mod fleet;
pub mod http;
pub mod modbus_tcp;
pub mod mosquitto;
pub mod ports;
pub mod postgres;
pub mod processes;
pub mod proxy;
pub mod pty;
pub mod python;
pub mod random;
pub mod run;

/// What goes wrong in the rig itself, as opposed to in what it tests.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A program that the rig needs is not installed.
    #[error("{0} is not on the path: run `cargo xtask test` once, it installs or names what is missing")]
    Missing(String),
    /// A program does not start or cannot be signalled.
    #[error("{what}")]
    Process {
        /// Which and what was tried.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A program ended although it should run, or runs although it should have ended.
    #[error("{0}")]
    State(String),
    /// A condition did not come true in time.
    #[error("waited {waited_ms} ms for {what}")]
    Deadline {
        /// The condition.
        what: String,
        /// How long.
        waited_ms: u128,
    },
    /// A socket or file of the rig.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Polls `condition` every few milliseconds until it holds or `limit` has passed.
pub async fn until<F, Fut>(what: &str, limit: std::time::Duration, mut condition: F) -> Result<(), RigError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let started = std::time::Instant::now();
    while !condition().await {
        let waited = started.elapsed();
        if waited >= limit {
            return Err(RigError::Deadline { what: what.into(), waited_ms: waited.as_millis() });
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}
