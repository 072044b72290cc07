//! Whatever goes in comes out; whatever arrives is refused or read, never a panic.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hil_workload::{Catalogue, Mix, Profile, Workload};
use proptest::prelude::*;
use sync_codec::{
    CodecError, Dictionary, Level, PACKED, PACKED_RECORDS_MAX, decode_block, encode_block, encode_block_with,
};
use sync_core::replica::Prev;
use sync_core::{Block, Link};
use sync_model::{Direction, Epoch, LogId, RECORD_BYTES_MAX, Seq, StoreId};

fn log() -> LogId {
    LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) }
}

fn block(first: u64, records: Vec<Vec<u8>>) -> Block {
    Block { log: log(), first: Seq(first), prev: Link([9; 32]), records }
}

/// A store's records: early ones hold every kind of the generator.
fn store(seed: u64, skip: usize, count: usize) -> Vec<Vec<u8>> {
    let profile = Profile { cabinets: 2, tickets: 20_000, articles: 6_000, ..Profile::SMALL };
    let workload = Workload::new(seed, Catalogue::new(seed % 3, 6_000), profile, Mix::Store, log().epoch);
    workload.skip(skip).take(count).map(|event| event.to_record().unwrap()).collect()
}

fn returns(block: &Block) {
    for (dictionary, level) in [(Dictionary::shipped(), Level::Live), (Dictionary::empty(), Level::Bulk)] {
        let seal = [7; 64];
        let bytes = encode_block_with(block, Some(&seal), level, dictionary).unwrap();
        let packed = decode_block(&bytes).unwrap();
        assert_eq!(packed.seal, Some(seal));
        assert_eq!(&packed.into_block(block.prev).unwrap(), block);
    }
}

#[test]
fn a_store_day_comes_back_and_shrinks() {
    for seed in 0..3 {
        let records = store(seed, 500, 2_000);
        let plain: usize = records.iter().map(Vec::len).sum();
        let block = block(501, records);
        returns(&block);
        let packed = encode_block(&block, None, Level::Bulk).unwrap();
        assert!(packed.len() * 4 < plain, "{} of {plain}", packed.len());
    }
}

#[test]
fn bounds_are_kept() {
    let encode = |records| encode_block(&block(1, records), None, Level::Live);
    assert_eq!(encode(Vec::new()), Err(CodecError::Records(0)));
    assert_eq!(
        encode(vec![Vec::new(); PACKED_RECORDS_MAX + 1]),
        Err(CodecError::Records(PACKED_RECORDS_MAX + 1))
    );
    assert_eq!(encode(vec![vec![0; RECORD_BYTES_MAX + 1]]), Err(CodecError::Record(RECORD_BYTES_MAX + 1)));
    assert!(matches!(encode(vec![vec![0; RECORD_BYTES_MAX]; 33]), Err(CodecError::Bytes(_))));
    returns(&block(1, vec![vec![0; RECORD_BYTES_MAX]; 32]));
    returns(&block(u64::MAX - 3, vec![Vec::new(); 3]));
    let other = encode_block(&block(1, vec![vec![1]]), None, Level::Live).unwrap();
    assert!(matches!(decode_block(&other).unwrap().into_block(Link([8; 32])), Err(CodecError::Prev { .. })));
}

#[test]
fn the_replica_gets_the_block() {
    let block = block(501, store(1, 500, 100));
    let body = (PACKED.encode)(2, &block, None).unwrap();
    let incoming = (PACKED.decode)(2, &body).unwrap();
    assert_eq!(incoming.prev, Prev::Short([9; 8]));
    assert_eq!(incoming.resolve(block.prev), Some(block.clone()));
    assert_eq!((PACKED.encode)(3, &block, None), None);
    assert!((PACKED.decode)(3, &body).is_err());
}

#[test]
fn few_bytes_that_ask_for_much_are_refused_soon() {
    // 4,096 records out of nothing: the decoder works through zeros and ends at a bound or the checksum.
    for fill in [0_u8, 0x55, 0xFF] {
        let mut bytes = vec![7, 0, 1, 1, 0x80, 0x20];
        bytes.extend([0; 13]);
        bytes.extend([1, 1, 0]);
        bytes.extend([fill; 40]);
        assert!(decode_block(&bytes).is_err());
        let frame = [bytes.as_slice(), &[0x81, 0x80, 0x40, 5, 1, 2, 3, 4, 5]].concat();
        assert!(decode_block(&frame).is_err());
    }
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let workload = prop::sample::select(store(4, 300, 400));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        workload.clone(),
        // A record with one byte changed: often a frame without a body of its kind.
        (workload.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut record, at, byte)| {
            let at = at.index(record.len());
            record[at] = byte;
            record
        }),
        (workload, any::<prop::sample::Index>()).prop_map(|(mut record, at)| {
            record.truncate(at.index(record.len()));
            record
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_records_come_back(
        records in prop::collection::vec(any_record(), 1..40),
        first in prop_oneof![1_u64..1000, Just(u64::MAX / 2), Just(1 << 63)],
    ) {
        returns(&block(first, records));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(decode_block(&bytes));
    }

    #[test]
    fn changed_blocks_never_panic_nor_pass(
        records in prop::collection::vec(any_record(), 1..20),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
        count in 0_u64..3000,
    ) {
        let block = block(1, records);
        let mut bytes = encode_block(&block, None, Level::Live).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        if let Ok(packed) = decode_block(&bytes) {
            // Only what the checksum does not cover may differ: a longer way to write the same payload.
            prop_assert!(packed.records == block.records || packed.prev != [9; 8]);
        }
        // Header, then payload of garbage for any number of records.
        let mut garbage = vec![7, 0, 1, 1];
        garbage.extend([u8::try_from(count & 0x7F).unwrap() | 0x80, u8::try_from(count >> 7).unwrap()]);
        garbage.extend([0; 13]);
        garbage.extend([1, 1]);
        garbage.extend(&bytes[at..]);
        drop(decode_block(&garbage));
    }

    #[test]
    fn arbitrary_dictionaries_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Dictionary::parse(&[b"SYD1".as_slice(), &bytes].concat()));
    }
}
