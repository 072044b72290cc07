//! One connection: a fresh client, its subscriptions, and a loop that polls and hands over.

use crate::certificate::Certificate;
use crate::pipe::{Link, PipeConfig, PipeEvent, Shared, count, hand_over};
use crate::tls::{TlsFiles, explain};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, LastWill, Packet, PubAckReason, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use std::sync::Arc;
use std::time::Duration;
use sync_model::Text;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// rumqttc refuses (by panic) shorter keep-alive intervals.
const KEEP_ALIVE_MIN_S: u16 = 5;

/// Smallest packet limit that still lets CONNACK and SUBACK through.
const PACKET_BYTES_MIN: u32 = 256;

/// How a connection ended.
pub(crate) enum End {
    /// By our own goodbye.
    Closed,
    /// Nobody receives events any more.
    ConsumerGone,
    /// By a fault.
    Lost {
        /// Bounded text for a reader.
        reason: String,
        /// Whether the broker sent a packet beyond the announced limit.
        oversize: bool,
    },
}

/// One connection's needs.
pub(crate) struct Session {
    options: MqttOptions,
    queue: usize,
    filters: Vec<String>,
    tls: Option<TlsFiles>,
    packet_bytes_max: usize,
    /// No event for so long means that the client hangs, for instance in a write to a peer that went silent.
    stall: Duration,
    shared: Arc<Shared>,
    events: mpsc::Sender<PipeEvent>,
    closing: watch::Receiver<bool>,
    /// The client until it is handed to the publishers.
    waiting: Option<AsyncClient>,
    broker_bytes_max: usize,
    /// The goodbye is written: what remains is to wait for the broker to close.
    goodbye: bool,
    silence_max: Duration,
    /// Publishes that the broker has to confirm.
    owed: usize,
    /// The last packet of the broker, or the first publish that it owes a PUBACK for.
    heard: Instant,
}

impl Session {
    /// Prepares a connection that accepts packets up to `incoming_max` bytes.
    pub(crate) fn new(
        config: &PipeConfig,
        incoming_max: u32,
        shared: Arc<Shared>,
        events: mpsc::Sender<PipeEvent>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let keep_alive = Duration::from_secs(config.keep_alive_s.max(KEEP_ALIVE_MIN_S).into());
        let inflight = config.inflight.max(1);
        let mut options = MqttOptions::new(&config.client_id, &config.host, config.port);
        options
            .set_clean_start(true)
            .set_keep_alive(keep_alive)
            .set_outgoing_inflight_upper_limit(inflight)
            .set_receive_maximum(Some(inflight))
            .set_max_packet_size(Some(incoming_max.max(PACKET_BYTES_MIN)));
        if let Some(will) = &config.will {
            let payload = will.payload.clone();
            options.set_last_will(LastWill::new(&will.topic, payload, QoS::AtLeastOnce, will.retain, None));
        }
        Self {
            options,
            queue: usize::from(inflight),
            filters: config.subscriptions.clone(),
            tls: config.tls.clone(),
            packet_bytes_max: usize::try_from(config.packet_bytes_max).unwrap_or(usize::MAX),
            stall: stall_of(keep_alive),
            shared,
            events,
            closing,
            waiting: None,
            broker_bytes_max: usize::MAX,
            goodbye: false,
            silence_max: config.silence_max,
            owed: 0,
            heard: Instant::now(),
        }
    }

    /// Connects and serves until the end.
    pub(crate) async fn run(mut self) -> End {
        let own = match self.identify() {
            Ok(own) => own,
            Err(end) => return end,
        };
        let (client, mut event_loop) = AsyncClient::new(self.options.clone(), self.queue);
        if !self.filters.is_empty() {
            // Queued before the first poll: the channel is empty, and the request is the first after CONNACK.
            let filters = self.filters.iter().map(|filter| Filter::new(filter, QoS::AtLeastOnce));
            if client.try_subscribe_many(filters).is_err() {
                return lost("a subscription is not a topic filter");
            }
        }
        self.waiting = Some(client);
        loop {
            let silence = self.heard + self.silence_max.min(self.stall);
            let deadline = if self.owed > 0 { silence } else { Instant::now() + self.stall };
            let polled = tokio::select! {
                polled = tokio::time::timeout_at(deadline, event_loop.poll()) => polled,
                // Before anybody can publish there is nothing to flush and nobody to say goodbye for.
                _ = self.closing.wait_for(|closing| *closing), if self.waiting.is_some() => return End::Closed,
            };
            let event = match polled {
                Ok(Ok(event)) => event,
                // After the goodbye the broker closes. Closing first, with PUBACKs unread, would reset the connection under
                // the publishes that the broker has not read yet.
                Ok(Err(_)) if self.goodbye => return End::Closed,
                Ok(Err(error)) => return self.fault(&error, own.as_ref()),
                Err(_elapsed) => return lost("no sign of life from the connection"),
            };
            if let Event::Incoming(Packet::ConnAck(connack)) = &event
                && connack.properties.as_ref().is_some_and(|told| told.server_keep_alive == Some(0))
            {
                // "No keep-alive": the client would ping without a pause. Ours still tells whether the line is there.
                event_loop.options.set_keep_alive(self.options.keep_alive());
            }
            if let Some(end) = self.handle(event).await {
                return end;
            }
        }
    }

    /// Reads the identity, if there is one to show. Afresh for each connection: it may have been renewed meanwhile.
    fn identify(&mut self) -> Result<Option<Certificate>, End> {
        let Some(files) = &self.tls else { return Ok(None) };
        let (transport, own) = files.transport().map_err(|error| lost(&error.to_string()))?;
        self.options.set_transport(transport);
        Ok(Some(own))
    }

    /// A fault of the client, in words that a person can act on.
    fn fault(&self, error: &ConnectionError, own: Option<&Certificate>) -> End {
        let came_up = self.waiting.is_none();
        match own.and_then(|own| explain(error, own, came_up)) {
            Some(reason) => lost(&reason),
            None => fault(error),
        }
    }

    /// One event of the client.
    async fn handle(&mut self, event: Event) -> Option<End> {
        match &event {
            Event::Incoming(packet) => {
                self.heard = Instant::now();
                self.owed -= usize::from(matches!(packet, Packet::PubAck(_)) && self.owed > 0);
            }
            // Identifier 0: nothing is owed.
            Event::Outgoing(Outgoing::Publish(identifier)) if *identifier > 0 => {
                if self.owed == 0 {
                    self.heard = Instant::now();
                }
                self.owed += 1;
            }
            Event::Outgoing(_) => {}
        }
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.handle_connack(&connack).await,
            Event::Incoming(Packet::SubAck(suback)) => self.handle_suback(&suback).await,
            Event::Incoming(Packet::Publish(publish)) => self.handle_publish(&publish).await,
            Event::Incoming(Packet::PubAck(puback)) => {
                count(&self.shared.counters.pubacks);
                if !matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                    count(&self.shared.counters.refused);
                }
                None
            }
            // The client also says goodbye by itself, to a broker that breaks the protocol. That is no end of the pipe.
            Event::Outgoing(Outgoing::Disconnect) if !*self.closing.borrow() => {
                Some(lost("broker sent a packet out of turn"))
            }
            Event::Outgoing(Outgoing::Disconnect) => {
                self.goodbye = true;
                None
            }
            Event::Incoming(_) | Event::Outgoing(_) => None,
        }
    }

    async fn handle_connack(&mut self, connack: &ConnAck) -> Option<End> {
        if let Some(properties) = &connack.properties {
            // MQTT 5, 3.2.2.3.3: not allowed. The client would wait for a free place for ever.
            if properties.receive_max == Some(0) {
                return Some(lost("broker names a receive maximum of 0"));
            }
            let limit = properties.max_packet_size.and_then(|max| usize::try_from(max).ok());
            self.broker_bytes_max = limit.unwrap_or(usize::MAX);
            if let Some(seconds) = properties.server_keep_alive {
                // The client pings at the broker's pace if the broker asks so.
                self.stall = self.stall.max(stall_of(Duration::from_secs(seconds.into())));
            }
        }
        if self.filters.is_empty() { self.come_up().await } else { None }
    }

    async fn handle_suback(&mut self, suback: &SubAck) -> Option<End> {
        let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
        match suback.return_codes.iter().position(|code| !granted(code)) {
            None => self.come_up().await,
            Some(at) => {
                let filter = self.filters.get(at).map_or("?", String::as_str);
                Some(lost(&format!("broker refuses subscription '{filter}': {:?}", suback.return_codes[at])))
            }
        }
    }

    async fn handle_publish(&mut self, publish: &Publish) -> Option<End> {
        // A retained message may overtake the SUBACK; it proves the subscription just as well.
        if let Some(end) = self.come_up().await {
            return Some(end);
        }
        let topic = match std::str::from_utf8(&publish.topic) {
            Ok(topic) if publish.size() <= self.packet_bytes_max => topic.to_owned(),
            _ => {
                count(&self.shared.counters.dropped);
                tracing::warn!(bytes = publish.payload.len(), "dropped an oversize or misnamed MQTT message");
                return None;
            }
        };
        count(&self.shared.counters.received);
        let payload = publish.payload.to_vec();
        self.tell(PipeEvent::Message { topic, payload, retained: publish.retain }).await
    }

    /// Opens the connection to the publishers, once.
    async fn come_up(&mut self) -> Option<End> {
        let client = self.waiting.take()?;
        count(&self.shared.counters.connects);
        tracing::info!(broker = ?self.options.broker_address(), "MQTT connection up");
        self.shared.set_link(Some(Link { client, packet_bytes_max: self.broker_bytes_max }));
        self.tell(PipeEvent::Up).await
    }

    async fn tell(&mut self, event: PipeEvent) -> Option<End> {
        let taken = hand_over(&self.events, &mut self.closing, event).await;
        // While the consumer was busy the broker could not be heard.
        self.heard = Instant::now();
        if taken { None } else { Some(End::ConsumerGone) }
    }
}

/// The longest silence of a healthy connection: each keep-alive interval brings at least a ping.
fn stall_of(keep_alive: Duration) -> Duration {
    keep_alive * 2 + Duration::from_secs(5)
}

/// A fault in our own words.
fn lost(reason: &str) -> End {
    End::Lost { reason: Text::<160>::lossy(reason).into(), oversize: false }
}

/// A fault in the client's words.
fn fault(error: &ConnectionError) -> End {
    let oversize = matches!(
        error,
        ConnectionError::MqttState(
            StateError::IncomingPacketTooLarge { .. }
                | StateError::Deserialization(CodecError::PayloadSizeLimitExceeded { .. })
        )
    );
    End::Lost { reason: Text::<160>::lossy(&error.to_string()).into(), oversize }
}
