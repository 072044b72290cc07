//! What a received MQTT message is, and whose. Pure: topic and bytes in, a decision out.
//!
//! Contract: never panics. A message is accepted only when the store of its topic, of its envelope and of every log it names
//! are the same.

use sync_core::{Ack, Block, Hello, Message, Nak, WireError};
use sync_model::{Direction, LogId, Seq, StoreId};
use sync_mqtt::topic::{self, Leaf};

/// A received message, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Events of the store.
    Block(StoreId, Block),
    /// The store greets.
    Hello(StoreId, Hello),
    /// The store refuses something of HQ's log.
    Nak(StoreId, Nak),
    /// What the store has of HQ's log.
    DownAck(StoreId, Ack),
    /// Whether the store is connected.
    Presence(StoreId, bool),
    /// A retained message was cleared: nothing to do.
    Cleared,
    /// Not acceptable.
    Bad(Bad),
}

/// A message that is kept aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The store of the topic, when the topic names one.
    pub(crate) store: Option<StoreId>,
    /// Stable word.
    pub(crate) code: &'static str,
    /// For a reader.
    pub(crate) detail: String,
    /// Log and positions, when they could be read.
    pub(crate) of: Option<(LogId, Seq, Seq)>,
}

/// Decides what a message is.
pub(crate) fn classify(topic: &str, payload: &[u8]) -> Arrival {
    let Some((store, leaf)) = topic::parse(topic) else {
        let detail = format!("topic is not of the form sy1/<bucket>/<store>/<leaf>, {} bytes", payload.len());
        return Arrival::Bad(Bad { store: None, code: "bad-topic", detail, of: None });
    };
    let found = match leaf {
        Leaf::Up => classify_up(store, payload),
        Leaf::DownAck if payload.is_empty() => Ok(Arrival::Cleared),
        Leaf::DownAck => classify_down_ack(store, payload),
        Leaf::Presence => match payload {
            b"1" => Ok(Arrival::Presence(store, true)),
            b"0" => Ok(Arrival::Presence(store, false)),
            b"" => Ok(Arrival::Cleared),
            _ => Err(("undecodable", format!("presence is 1 or 0, found {} bytes", payload.len()), None)),
        },
        Leaf::Down | Leaf::UpAck => Err(("wrong-message", "this topic is written by HQ only".into(), None)),
    };
    found.unwrap_or_else(|(code, detail, of)| Arrival::Bad(Bad { store: Some(store), code, detail, of }))
}

/// Code, detail and positions of a refusal.
type Refused = (&'static str, String, Option<(LogId, Seq, Seq)>);

fn decode(payload: &[u8]) -> Result<Message, Refused> {
    Message::decode(payload).map_err(|error| {
        let code = match error {
            WireError::TooLong(_) => "too-large",
            _ => "undecodable",
        };
        (code, error.to_string(), None)
    })
}

fn classify_up(store: StoreId, payload: &[u8]) -> Result<Arrival, Refused> {
    match decode(payload)? {
        Message::Block(block) => {
            let of = Some((block.log, block.first, block.last()));
            check_log(store, block.log, Direction::Up, of)?;
            Ok(Arrival::Block(store, block))
        }
        Message::Hello(hello) => {
            if hello.store != store {
                return Err(wrong_store(store, hello.store, None));
            }
            if let Some((log, seq)) = hello.head {
                check_log(store, log, Direction::Up, Some((log, seq, seq)))?;
            }
            if let Some(ack) = hello.down {
                check_log(store, ack.log, Direction::Down, Some((ack.log, ack.upto, ack.upto)))?;
            }
            Ok(Arrival::Hello(store, hello))
        }
        Message::Nak(nak) => {
            if let Some((log, _, _)) = nak.of {
                check_log(store, log, Direction::Down, nak.of)?;
            }
            Ok(Arrival::Nak(store, nak))
        }
        Message::Ack(ack) => Err((
            "wrong-message",
            format!("ack of {} on the up topic", ack.log),
            Some((ack.log, ack.upto, ack.upto)),
        )),
    }
}

fn classify_down_ack(store: StoreId, payload: &[u8]) -> Result<Arrival, Refused> {
    match decode(payload)? {
        Message::Ack(ack) => {
            check_log(store, ack.log, Direction::Down, Some((ack.log, ack.upto, ack.upto)))?;
            Ok(Arrival::DownAck(store, ack))
        }
        Message::Block(_) | Message::Hello(_) | Message::Nak(_) => {
            Err(("wrong-message", "only acks belong on the ack topic".into(), None))
        }
    }
}

fn check_log(
    store: StoreId,
    log: LogId,
    direction: Direction,
    of: Option<(LogId, Seq, Seq)>,
) -> Result<(), Refused> {
    if log.store != store {
        return Err(wrong_store(store, log.store, of));
    }
    if log.direction != direction {
        return Err(("wrong-message", format!("log {log} is not written by this side"), of));
    }
    Ok(())
}

fn wrong_store(topic: StoreId, payload: StoreId, of: Option<(LogId, Seq, Seq)>) -> Refused {
    ("wrong-store", format!("topic of store {topic}, payload of store {payload}"), of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::Link;
    use sync_model::{Epoch, Text};

    fn log(store: u32, direction: Direction) -> LogId {
        LogId { store: StoreId(store), direction, epoch: Epoch(1) }
    }

    fn block(log: LogId) -> Message {
        Message::Block(Block { log, first: Seq(1), prev: Link::genesis(log), records: vec![b"x".to_vec()] })
    }

    fn hello(store: u32, head: Option<LogId>, down: Option<LogId>) -> Message {
        let ack = |log| Ack { log, upto: Seq(1), link: Link::genesis(log), gap: None };
        Message::Hello(Hello {
            store: StoreId(store),
            head: head.map(|log| (log, Seq(1))),
            down: down.map(ack),
            software: Text::default(),
        })
    }

    fn code(topic: &str, payload: &[u8]) -> &'static str {
        match classify(topic, payload) {
            Arrival::Bad(bad) => bad.code,
            _ => "fine",
        }
    }

    #[test]
    fn own_messages_are_accepted() {
        let (up, down) = (log(7, Direction::Up), log(7, Direction::Down));
        assert!(matches!(classify("sy1/07/7/u", &block(up).encode()), Arrival::Block(StoreId(7), _)));
        let greeting = hello(7, Some(up), Some(down)).encode();
        assert!(matches!(classify("sy1/07/7/u", &greeting), Arrival::Hello(StoreId(7), _)));
        let ack = Message::Ack(Ack { log: down, upto: Seq(3), link: Link([1; 32]), gap: None }).encode();
        assert!(matches!(classify("sy1/07/7/c", &ack), Arrival::DownAck(StoreId(7), _)));
        assert_eq!(classify("sy1/07/7/p", b"1"), Arrival::Presence(StoreId(7), true));
        assert_eq!(classify("sy1/07/7/p", b"0"), Arrival::Presence(StoreId(7), false));
        assert_eq!(classify("sy1/07/7/p", b""), Arrival::Cleared);
        assert_eq!(classify("sy1/07/7/c", b""), Arrival::Cleared);
    }

    #[test]
    fn messages_in_the_name_of_another_store_are_not() {
        let (own, other) = (log(7, Direction::Up), log(8, Direction::Up));
        assert_eq!(code("sy1/07/7/u", &block(other).encode()), "wrong-store");
        assert_eq!(code("sy1/07/7/u", &hello(8, None, None).encode()), "wrong-store");
        assert_eq!(code("sy1/07/7/u", &hello(7, Some(other), None).encode()), "wrong-store");
        assert_eq!(
            code("sy1/07/7/u", &hello(7, Some(own), Some(log(8, Direction::Down))).encode()),
            "wrong-store"
        );
        let Arrival::Bad(bad) = classify("sy1/07/7/u", &block(other).encode()) else { panic!() };
        assert_eq!((bad.store, bad.of), (Some(StoreId(7)), Some((other, Seq(1), Seq(1)))));
    }

    #[test]
    fn wrong_directions_and_places_are_not() {
        let (up, down) = (log(7, Direction::Up), log(7, Direction::Down));
        assert_eq!(code("sy1/07/7/u", &block(down).encode()), "wrong-message");
        let ack = Message::Ack(Ack { log: up, upto: Seq(3), link: Link([1; 32]), gap: None }).encode();
        assert_eq!(code("sy1/07/7/u", &ack), "wrong-message");
        assert_eq!(code("sy1/07/7/c", &ack), "wrong-message");
        assert_eq!(code("sy1/07/7/c", &block(up).encode()), "wrong-message");
        assert_eq!(code("sy1/07/7/a", &ack), "wrong-message");
        assert_eq!(code("sy1/07/7/p", b"yes"), "undecodable");
        assert_eq!(code("sy1/8/7/u", &block(up).encode()), "bad-topic");
        assert_eq!(code("", b""), "bad-topic");
    }

    #[test]
    fn damaged_payloads_are_undecodable() {
        let payload = block(log(7, Direction::Up)).encode();
        for length in 0..payload.len() {
            assert_eq!(code("sy1/07/7/u", &payload[..length]), "undecodable", "{length}");
        }
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            damaged[at] ^= 0x40;
            assert_ne!(code("sy1/07/7/u", &damaged), "fine", "{at}");
        }
        assert_eq!(code("sy1/07/7/u", &vec![1; 70_000]), "too-large");
    }
}
