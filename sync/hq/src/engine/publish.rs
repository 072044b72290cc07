//! What the engine publishes: acks first, then refusals, then HQ's own logs, each for as long as the pipe takes it.

use super::Engine;
use sync_core::{Message, Nak, SendRange};
use sync_model::Text;
use sync_mqtt::topic::{self, Leaf};
use sync_mqtt::{PipeError, Publish};

/// How soon a log that could not be read is tried again.
const READ_RETRY_MS: u64 = 1_000;

impl Engine {
    /// Publishes acks, refusals and blocks until nothing is due or the pipe is full.
    pub(super) fn publish_due(&mut self) {
        self.pipe_full = false;
        if !self.pipe.is_up() {
            return;
        }
        while let Some(ack) = self.acks.next() {
            let topic = topic::name(ack.log.store, Leaf::UpAck);
            if !self.publish(&topic, &Message::Ack(ack), Publish::Retained) {
                return;
            }
            self.acks.sent(ack.log);
            self.fleet.lock().counters.acks += 1;
        }
        while let Some((store, nak)) = self.naks.front() {
            let (topic, message) = (topic::name(*store, Leaf::Down), Message::Nak(nak.clone()));
            if !self.publish(&topic, &message, Publish::Live) {
                return;
            }
            self.naks.pop_front();
            self.fleet.lock().counters.naks += 1;
        }
        while let Some(range) = self.down.poll(self.now()) {
            if !self.publish_down(range) {
                return;
            }
        }
    }

    /// Reads a range of a down log and publishes it as a block. False: the pipe takes no more now.
    pub(super) fn publish_down(&mut self, range: SendRange) -> bool {
        let store = range.log.store;
        let block = match self.reader.block(range.log, range.first, range.max_records, range.max_bytes) {
            Ok(Some(block)) => block,
            Ok(None) => {
                self.down.postpone(store, self.now() + READ_RETRY_MS);
                return true;
            }
            Err(error) => {
                tracing::error!(log = %range.log, %error, "cannot read HQ's own log");
                self.down.postpone(store, self.now() + READ_RETRY_MS);
                return true;
            }
        };
        let (first, last) = (block.first, block.last());
        let bytes = block.records.iter().map(Vec::len).sum();
        let topic = topic::name(store, Leaf::Down);
        match self.pipe.try_publish(&topic, Message::Block(block).encode(), Publish::Live) {
            Ok(()) => {}
            Err(PipeError::Down) => return false,
            Err(PipeError::Full) => {
                self.pipe_full = true;
                return false;
            }
            Err(PipeError::TooLarge { bytes, max }) if last > first => {
                tracing::warn!(log = %range.log, %first, %last, bytes, max, "broker takes smaller packets: sending singles");
                let (code, of) = (Text::lossy("too-large"), Some((range.log, first, last)));
                let now = self.now();
                self.down.handle_nak(now, store, &Nak { code, detail: Text::default(), of });
                return true;
            }
            Err(error) => tracing::error!(topic, %error, "broker's limits do not fit the protocol"),
        }
        self.down.handle_sent(self.now(), range.log, first, last, bytes);
        self.fleet.lock().counters.down_blocks += 1;
        true
    }

    /// Hands a message to the pipe. False: not now; the caller keeps it due.
    pub(super) fn publish(&mut self, topic: &str, message: &Message, mode: Publish) -> bool {
        match self.pipe.try_publish(topic, message.encode(), mode) {
            Ok(()) => true,
            Err(PipeError::Down) => false,
            Err(PipeError::Full) => {
                self.pipe_full = true;
                false
            }
            Err(error @ (PipeError::TooLarge { .. } | PipeError::BadTopic(_))) => {
                // Our own messages and topics fit by construction unless the broker's limit is lower: say so, drop it, go on.
                tracing::error!(topic, %error, "broker's limits do not fit the protocol");
                true
            }
        }
    }
}
