//! HQ endpoint: takes blocks of events from stores, acknowledges what is durable, and sends each store HQ's own log.
//!
//! Purpose: the far end of settlement. One process, one ledger file, one MQTT connection, one loopback HTTP port.
//!
//! Contract
//! * An acknowledgement is published only after the commit (fsync included) that holds what it names, is cumulative, and is
//!   retained: losing, repeating or delaying it is harmless. A SIGKILL at any instant costs a retransmission at most.
//! * Correctness never depends on the broker. It may drop, repeat and reorder messages and forget what it retained.
//! * No message from outside stops the link: what does not decode, is too large, or names another store is kept aside
//!   (bounded), counted, and answered with a refusal and a verdict (both rate-bounded).
//! * With an identity folder, only enrolled and unrevoked stores are heard; a revocation counts within a second.
//! * When the ledger is full or failing, nothing is acknowledged, health says so, and work resumes by itself.
//!
//! Main road: MQTT event -> `engine` -> [`sync_core::replica::hq::Hub`] (what is it, whose, what follows) -> one ledger job per
//! block (the writer commits many stores' jobs as one group) -> hub -> retained ack. Down: HTTP -> ledger job -> hub -> MQTT.
//!
//! Deliberately not here: SQL (`sync-store`), when to send what (`sync-core`), the MQTT client (`sync-mqtt`).

mod ca;
mod embedded;
mod endpoint;
mod engine;
mod evidence;
mod fleet;
mod http;
pub mod identity;
pub mod program;
mod snapshot;
mod target;
mod vault;

pub use embedded::EmbeddedError;
pub use endpoint::{Endpoint, EndpointConfig, EndpointError};
pub use snapshot::{SNAPSHOT_DAYS, write_snapshot};
pub use target::{BrokerAddress, BrokerTarget, PostgresUrl, StoreTarget, TargetError, buckets, loopback};
