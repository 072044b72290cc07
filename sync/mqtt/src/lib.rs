//! The only crate that knows MQTT: a lossy, reconnecting, bounded pipe and the names of the topics.
//!
//! Purpose: the settlement code above speaks of "publish these bytes", "these bytes came", "up" and "down"; everything
//! peculiar to MQTT 5 and to the `rumqttc` client ends here, so that the client can be replaced without touching the rest.
//!
//! Contract
//! * The pipe may lose, repeat and reorder whole messages at any time; it never truncates or invents one. Nothing above it
//!   may take an accepted publish, nor a PUBACK, for delivery: proof is an acknowledgement from the far end's ledger.
//! * Publishing never waits ([`Pipe::try_publish`]) and never happens on the polling task.
//! * Memory is bounded in both directions: at most `inflight` queued plus `inflight` unacknowledged publishes, and
//!   [`EVENTS_MAX`] received events, each at most `packet_bytes_max`. A slow consumer stops the polling task (TCP then slows
//!   the broker); it never stops the publisher, hence no circle of waits. A consumer that sleeps longer than one and a half
//!   keep-alive intervals loses the connection, which costs a reconnect and nothing else.
//! * Every connection gets a fresh client object, a clean start and its subscriptions again. Sessions are worth nothing here,
//!   and a fresh object has no collided packet ids, stale aliases or leftover requests to stumble over.
//! * A connection without any event for two keep-alive intervals is given up, also when the client hangs in a write.
//! * The broker is told our maximum packet size and receive maximum. A broker that ignores the former does not trap us in a
//!   reconnect loop: the accepted size is raised step by step up to a cap, the message is counted and dropped.
//!
//! Terms: *retained* = the broker keeps the last message of a topic for later subscribers; *will* = what the broker publishes
//! when a connection dies without a goodbye; *inflight* = QoS 1 publishes without a PUBACK.
//!
//! Identity: a pipe with [`TlsFiles`] speaks mutual TLS; without, it speaks plain MQTT (development, or a private line).
//!
//! Deliberately not here: what the payloads mean (`sync-core`), what is stored (`sync-store`), who issues certificates
//! (`sync-hq`).

mod backoff;
mod certificate;
mod connection;
mod pipe;
mod tls;
pub mod topic;

pub use backoff::Backoff;
pub use certificate::{Certificate, CertificateError, day, read_seed, seed_from_der};
pub use pipe::{
    EVENTS_MAX, PACKET_BYTES_DEFAULT, Pipe, PipeConfig, PipeError, PipeEvent, PipeStats, Publish, Will, open,
};
pub use tls::{TlsError, TlsFiles};
