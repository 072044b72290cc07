//! Wire bytes: golden, round trip, arbitrary input.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;
use sync_core::{Ack, Block, BlockError, Hello, Link, MESSAGE_BYTES_MAX, Message, Nak, WireError};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId, Text};

fn log() -> LogId {
    LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) }
}

fn block(records: Vec<Vec<u8>>) -> Block {
    Block { log: log(), first: Seq(1), prev: Link::genesis(log()), records }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn chain_is_frozen() {
    let genesis = Link::genesis(log());
    let first = genesis.next(log(), Seq(1), b"abc");
    assert_eq!(hex(&genesis.0), GENESIS);
    assert_eq!(hex(&first.0), FIRST);
    // Every field is committed to.
    let mut others = vec![genesis.next(log(), Seq(2), b"abc"), genesis.next(log(), Seq(1), b"abd")];
    for change in 0..3 {
        let mut log = log();
        match change {
            0 => log.store.0 += 1,
            1 => log.direction = Direction::Down,
            _ => log.epoch.0 += 1,
        }
        others.push(genesis.next(log, Seq(1), b"abc"));
        others.push(Link::genesis(log));
    }
    assert!(!others.contains(&first) && !others.contains(&genesis));
}

#[test]
fn messages_are_frozen() {
    let ack = Ack { log: log(), upto: Seq(300), link: Link([1; 32]), gap: Some((Seq(301), Seq(310))) };
    let hello = Hello {
        store: StoreId(7),
        head: Some((log(), Seq(5))),
        down: None,
        software: Text::new("1.0").unwrap(),
    };
    let nak = Nak {
        code: Text::new("chain-break").unwrap(),
        detail: Text::new("x").unwrap(),
        of: Some((log(), Seq(1), Seq(2))),
    };
    let cases = [
        (Message::Block(block(vec![b"abc".to_vec(), Vec::new()])), BLOCK),
        (Message::Ack(ack), ACK),
        (Message::Hello(hello), HELLO),
        (Message::Nak(nak), NAK),
    ];
    for (message, golden) in cases {
        assert_eq!(hex(&message.encode()), golden, "{message:?}");
        assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }
}

#[test]
fn bounds_are_kept() {
    let decode = |block: Block| Message::decode(&Message::Block(block).encode());
    assert_eq!(decode(block(Vec::new())), Err(WireError::Block(BlockError::Empty)));
    assert_eq!(decode(block(vec![Vec::new(); 513])), Err(WireError::Block(BlockError::Records(513))));
    assert_eq!(decode(block(vec![vec![0; 16 * 1024]; 4])), Err(WireError::TooLong(65_623)));
    assert!(decode(block(vec![vec![0; 16 * 1024]; 3])).is_ok());
    let zero = Block { first: Seq(0), ..block(vec![vec![1]]) };
    assert_eq!(decode(zero), Err(WireError::Block(BlockError::Position(0))));
    assert_eq!(Message::decode(&[2, 0]), Err(WireError::Version(2)));
    assert_eq!(Message::decode(&[1, 9]), Err(WireError::Unknown(9)));
    assert_eq!(Message::decode(&[1]), Err(WireError::TooShort(1)));
    assert_eq!(
        Message::decode(&vec![1; MESSAGE_BYTES_MAX + 1]),
        Err(WireError::TooLong(MESSAGE_BYTES_MAX + 1))
    );
    let mut changed = Message::Block(block(vec![b"abc".to_vec()])).encode();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(Message::decode(&changed), Err(WireError::Link { log: log(), first: Seq(1) }));
    changed.push(0);
    assert_eq!(Message::decode(&changed), Err(WireError::Trailing(1)));
}

proptest! {
    #[test]
    fn any_block_round_trips(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..60)) {
        let message = Message::Block(block(records));
        prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        // A refusal and a message are both fine: the point is that there is an answer.
        drop(Message::decode(&bytes));
    }

    #[test]
    fn bodies_of_arbitrary_bytes_never_panic(
        number in 0_u8..5,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        drop(Message::decode(&[&[1, number], bytes.as_slice()].concat()));
    }

    #[test]
    fn a_changed_byte_is_never_another_block(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let message = Message::Block(block(vec![b"abc".to_vec(), b"defg".to_vec()]));
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        if let Ok(Message::Block(other)) = Message::decode(&bytes) {
            prop_assert_eq!(Message::Block(other), message);
        }
    }
}

const GENESIS: &str = "f640b30cd536a3c7e71ce968ac5a999c194e5343e7f840964b66560266aec533";
const FIRST: &str = "ef2cfa8e7be8828989787cc8646ef2a0367160db552e5c4f82c7d996134563e8";
const BLOCK: &str = "0100070080f7c4d50601f640b30cd536a3c7e71ce968ac5a999c194e5343e7f840964b66560266aec533d73ef8e8efbe7a9963db0baee627ee69ad8aafee25da6f96c60daee66b8515c9020361626300";
const ACK: &str =
    "0101070080f7c4d506ac02010101010101010101010101010101010101010101010101010101010101010101ad02b602";
const HELLO: &str = "01020701070080f7c4d506050003312e30";
const NAK: &str = "01030b636861696e2d627265616b017801070080f7c4d5060102";
