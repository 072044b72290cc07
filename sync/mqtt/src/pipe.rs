//! The pipe as its users see it: configuration, events, publishing, counters, closing.

use crate::backoff::{Backoff, Waits};
use crate::connection::{End, Session};
use crate::tls::TlsFiles;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, ClientError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_model::Text;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Received events that wait for the consumer.
pub const EVENTS_MAX: usize = 64;

/// Packet limit that takes a full block with its topic and headers.
pub const PACKET_BYTES_DEFAULT: u32 = 64 * 1024;

/// Longest topic that is published, in bytes.
const TOPIC_BYTES_MAX: usize = 256;

/// Fixed and variable header of a QoS 1 publish without properties, less the topic's bytes.
const PUBLISH_OVERHEAD: usize = 1 + 4 + 2 + 2 + 1;

/// Cap for the accepted packet size when a broker ignores the announced one.
const INCOMING_BYTES_CAP: u32 = 16 * 1024 * 1024;

/// Usual [`PipeConfig::silence_max`].
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long [`Pipe::close`] waits for queued publishes and the goodbye.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Everything a pipe needs to know.
#[derive(Clone, Debug)]
pub struct PipeConfig {
    /// Broker's host name or address.
    pub host: String,
    /// Broker's TCP port.
    pub port: u16,
    /// Client id; a second client with the same id takes the connection over.
    pub client_id: String,
    /// Keep-alive interval in seconds; less than 5 counts as 5. It is the broker's measure of a dead client. This side sees a
    /// dead broker by its own traffic, so it may be long.
    pub keep_alive_s: u16,
    /// Longest silence of the broker while it owes a PUBACK; then the connection is given up.
    pub silence_max: Duration,
    /// Publishes without PUBACK, publishes queued, and received QoS 1 messages the broker may have under way; 0 counts as 1.
    pub inflight: u16,
    /// Largest packet in bytes, in both directions.
    pub packet_bytes_max: u32,
    /// Topic filters, subscribed with QoS 1 on every connection.
    pub subscriptions: Vec<String>,
    /// What the broker publishes when the connection dies.
    pub will: Option<Will>,
    /// Waiting times between connection attempts.
    pub backoff: Backoff,
    /// Identity for mutual TLS; `None` is plain MQTT.
    pub tls: Option<TlsFiles>,
}

impl PipeConfig {
    /// A configuration with the house's defaults: keep-alive 30 s, 32 in flight, 64 KiB packets, no subscription, no will,
    /// no TLS.
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            client_id: client_id.into(),
            keep_alive_s: 30,
            silence_max: SILENCE_MAX,
            inflight: 32,
            packet_bytes_max: PACKET_BYTES_DEFAULT,
            subscriptions: Vec::new(),
            will: None,
            backoff: Backoff::default(),
            tls: None,
        }
    }
}

/// What the broker publishes (QoS 1) when the connection dies without a goodbye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// What happens at the pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeEvent {
    /// Connected and subscribed: publishing works until the next `Down`.
    Up,
    /// Not connected. Told when the connection is lost and when the reason of the outage changes.
    Down {
        /// Why, for a reader; at most 160 bytes.
        reason: String,
    },
    /// A message came.
    Message {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Vec<u8>,
        /// Whether it is what the broker had kept when we subscribed.
        retained: bool,
    },
}

/// How to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// For those who listen now; QoS 1.
    Live,
    /// Also kept by the broker for those who subscribe later; replaces what was kept. QoS 1.
    Retained,
    /// As `Live` with QoS 0: small messages that the peer answers anyway. Saves a PUBACK per hop, which on the wire costs as
    /// much as the message; lost with the connection, or by a broker that is overrun.
    LiveOnce,
    /// As `Retained` with QoS 0.
    RetainedOnce,
}

impl Publish {
    /// By what is wanted.
    pub fn of(retained: bool, once: bool) -> Self {
        match (retained, once) {
            (false, false) => Self::Live,
            (true, false) => Self::Retained,
            (false, true) => Self::LiveOnce,
            (true, true) => Self::RetainedOnce,
        }
    }

    fn retain(self) -> bool {
        matches!(self, Self::Retained | Self::RetainedOnce)
    }

    fn qos(self) -> QoS {
        match self {
            Self::Live | Self::Retained => QoS::AtLeastOnce,
            Self::LiveOnce | Self::RetainedOnce => QoS::AtMostOnce,
        }
    }
}

/// Why a publish was not accepted. Only `TooLarge` and `BadTopic` make repeating senseless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipeError {
    /// The queue is full: the broker is slower than the publisher. Retry later.
    #[error("publish queue is full")]
    Full,
    /// Not connected. Retry after the next [`PipeEvent::Up`].
    #[error("not connected to the broker")]
    Down,
    /// The packet would exceed our or the broker's limit.
    #[error("packet has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes of the packet.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Topics are 1 to 256 bytes without wildcards and NUL.
    #[error("not a topic to publish to: '{0}'")]
    BadTopic(Text<80>),
}

/// Counters since [`open`]. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipeStats {
    /// Connections that came up.
    pub connects: u64,
    /// Connections lost and attempts failed.
    pub failures: u64,
    /// Publishes accepted into the queue.
    pub published: u64,
    /// PUBACKs. Pace, not proof.
    pub pubacks: u64,
    /// PUBACKs with which the broker refused the message.
    pub refused: u64,
    /// Publishes not accepted because the queue was full.
    pub full: u64,
    /// Messages handed to the consumer.
    pub received: u64,
    /// Messages dropped: larger than the limit, or with a topic that is not UTF-8.
    pub dropped: u64,
}

/// Counters as the tasks write them.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connects: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) pubacks: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A live connection as publishers see it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: AsyncClient,
    pub(crate) packet_bytes_max: usize,
}

/// What the publisher and the tasks share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    link: Mutex<Option<Link>>,
}

impl Shared {
    /// The live connection. The lock is held for a clone only and never across an await.
    fn link(&self) -> Option<Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishers may use `link` from now on; `None` when there is no connection. Answers what was there.
    pub(crate) fn set_link(&self, link: Option<Link>) -> Option<Link> {
        std::mem::replace(&mut *self.link.lock().unwrap_or_else(PoisonError::into_inner), link)
    }
}

/// The publishing end and the owner of the connection. Dropping it cuts the connection; [`Pipe::close`] says goodbye first.
pub struct Pipe {
    shared: Arc<Shared>,
    packet_bytes_max: usize,
    closing: watch::Sender<bool>,
    supervisor: Option<JoinHandle<()>>,
}

/// Opens a pipe: connects, and connects again for as long as the pipe lives. Must be called inside a tokio runtime.
///
/// Two tasks serve it: one supervisor, and one polling task per connection that does nothing but poll and hand over.
pub fn open(config: PipeConfig) -> (Pipe, mpsc::Receiver<PipeEvent>) {
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    let (closing, closing_seen) = watch::channel(false);
    let shared = Arc::new(Shared::default());
    let packet_bytes_max = usize::try_from(config.packet_bytes_max).unwrap_or(usize::MAX);
    let supervisor = tokio::spawn(supervise(config, Arc::clone(&shared), events_in, closing_seen));
    (Pipe { shared, packet_bytes_max, closing, supervisor: Some(supervisor) }, events)
}

impl Pipe {
    /// Queues a publish, or says at once why not. Never waits; may be called from any thread.
    pub fn try_publish(&self, topic: &str, payload: Vec<u8>, mode: Publish) -> Result<(), PipeError> {
        if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || topic.contains(['+', '#', '\0']) {
            return Err(PipeError::BadTopic(Text::lossy(topic)));
        }
        let bytes = PUBLISH_OVERHEAD + topic.len() + payload.len();
        if bytes > self.packet_bytes_max {
            return Err(PipeError::TooLarge { bytes, max: self.packet_bytes_max });
        }
        let link = self.shared.link().ok_or(PipeError::Down)?;
        if bytes > link.packet_bytes_max {
            return Err(PipeError::TooLarge { bytes, max: link.packet_bytes_max });
        }
        match link.client.try_publish(topic, mode.qos(), mode.retain(), payload) {
            Ok(()) => {
                count(&self.shared.counters.published);
                Ok(())
            }
            Err(ClientError::Request(_) | ClientError::TryRequest(_)) => {
                count(&self.shared.counters.full);
                Err(PipeError::Full)
            }
        }
    }

    /// Whether publishing works at this moment.
    pub fn is_up(&self) -> bool {
        self.shared.link().is_some()
    }

    /// The counters.
    pub fn stats(&self) -> PipeStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PipeStats {
            connects: read(&counters.connects),
            failures: read(&counters.failures),
            published: read(&counters.published),
            pubacks: read(&counters.pubacks),
            refused: read(&counters.refused),
            full: read(&counters.full),
            received: read(&counters.received),
            dropped: read(&counters.dropped),
        }
    }

    /// Sends what is queued and the goodbye (the will is then not published), and ends the tasks. Waits two seconds at most.
    pub async fn close(mut self) {
        self.closing.send_replace(true);
        let Some(mut supervisor) = self.supervisor.take() else { return };
        let link = self.shared.link();
        let goodbye = async {
            // An error means that the connection is gone already: nothing left to say goodbye to.
            let sent = match link {
                Some(link) => link.client.disconnect().await.is_ok(),
                None => false,
            };
            tracing::debug!(sent, "closing the MQTT pipe");
            (&mut supervisor).await
        };
        if tokio::time::timeout(CLOSE_WAIT, goodbye).await.is_err() {
            supervisor.abort();
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.abort();
        }
    }
}

/// Keeps one connection after another until the pipe closes or the consumer is gone.
async fn supervise(
    config: PipeConfig,
    shared: Arc<Shared>,
    events: mpsc::Sender<PipeEvent>,
    mut closing: watch::Receiver<bool>,
) {
    let mut waits = Waits::new(config.backoff, &config.client_id);
    let mut incoming_max = config.packet_bytes_max;
    let mut told: Option<String> = None;
    loop {
        let session =
            Session::new(&config, incoming_max, Arc::clone(&shared), events.clone(), closing.clone());
        let begun = Instant::now();
        let end = run_guarded(session).await;
        let was_up = shared.set_link(None).is_some();
        let (reason, oversize) = match end {
            End::Closed | End::ConsumerGone => return,
            End::Lost { reason, oversize } => (reason, oversize),
        };
        count(&shared.counters.failures);
        if oversize {
            incoming_max = incoming_max.saturating_mul(4).min(INCOMING_BYTES_CAP);
        }
        if was_up && begun.elapsed() >= waits.proof() {
            waits.reset();
        }
        if was_up || told.as_ref() != Some(&reason) {
            told = Some(reason.clone());
            tracing::info!(host = %config.host, port = config.port, %reason, "MQTT connection down");
            if !hand_over(&events, &mut closing, PipeEvent::Down { reason }).await {
                return;
            }
        }
        let closed = closing.wait_for(|closing| *closing);
        if tokio::time::timeout(waits.next(), closed).await.is_ok() {
            return;
        }
    }
}

/// Runs one connection in a task of its own: a panic inside the MQTT library is a lost connection, not a lost pipe.
async fn run_guarded(session: Session) -> End {
    // A JoinSet, because dropping it (the pipe was dropped) ends the task.
    let mut tasks = JoinSet::new();
    tasks.spawn(session.run());
    match tasks.join_next().await {
        Some(Ok(end)) => end,
        Some(Err(error)) => End::Lost {
            reason: Text::<160>::lossy(&format!("MQTT task failed: {error}")).into(),
            oversize: false,
        },
        None => End::Closed,
    }
}

/// Gives the consumer an event, waiting for room; while closing, events are dropped instead. False: the consumer is gone.
pub(crate) async fn hand_over(
    events: &mpsc::Sender<PipeEvent>,
    closing: &mut watch::Receiver<bool>,
    event: PipeEvent,
) -> bool {
    tokio::select! {
        sent = events.send(event) => sent.is_ok(),
        _ = closing.wait_for(|closing| *closing) => true,
    }
}
