//! Arbitrary and damaged bytes: never a panic, one encoding per value, every flipped bit of a capture found.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{DAY, any_record, books};
use proptest::prelude::*;
use sync_evidence::{
    CAPTURE_MAGIC, Capture, CaptureError, CaptureWriter, DAY_ROOT_MAGIC, DayRoot, Leaf, PROOF_MAGIC, Proof,
    PublicKey, STATEMENT_MAGIC, Seal, SignedStatement, Statement,
};
use sync_model::{StoreId, UnixMillis};

fn capture(frames: &[(Leaf, u32, i64, Vec<u8>)]) -> Vec<u8> {
    let (mut writer, mut bytes) = CaptureWriter::begin();
    for (leaf, store, at, payload) in frames {
        bytes.extend(writer.frame(*leaf, StoreId(*store), UnixMillis(*at), payload).unwrap());
    }
    bytes.extend(writer.end());
    bytes
}

#[test]
fn a_capture_reads_as_written_and_every_flip_is_found() {
    let frames = [
        (Leaf::Up, 7, 1_790_000_000_000, vec![1, 0, 5]),
        (Leaf::UpAck, 7, -1, Vec::new()),
        (Leaf::Seal, 8, 0, vec![9; 113]),
    ];
    let bytes = capture(&frames);
    let read = Capture::read(&bytes);
    assert_eq!(read.whole, Ok(()));
    assert_eq!(read.frames.len(), 3);
    for (frame, (leaf, store, at, payload)) in read.frames.iter().zip(&frames) {
        let read = (frame.leaf, frame.store, frame.at, frame.payload);
        assert_eq!(read, (*leaf, StoreId(*store), UnixMillis(*at), payload.as_slice()));
    }
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(Capture::read(&other).whole.is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        let read = Capture::read(&bytes[..length]);
        assert!(matches!(read.whole, Err(CaptureError::Truncated(_) | CaptureError::Magic)), "{length}");
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(Capture::read(&longer).whole, Err(CaptureError::Trailing(1)));
    let (mut writer, _) = CaptureWriter::begin();
    assert_eq!(writer.frame(Leaf::Up, StoreId(1), UnixMillis(0), &vec![0; 256 * 1024 + 1]), None);
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(magic in 0_usize..5, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let magics: [&[u8]; 5] = [&STATEMENT_MAGIC, &DAY_ROOT_MAGIC, &PROOF_MAGIC, &CAPTURE_MAGIC, &[]];
        let bytes = [magics[magic], &bytes].concat();
        let _ = Capture::read(&bytes);
        // Whatever decodes encodes to the same bytes.
        if let Ok(form) = Statement::from_bytes(&bytes) { prop_assert_eq!(&form.to_bytes(), &bytes); }
        if let Ok(form) = SignedStatement::from_bytes(&bytes) { prop_assert_eq!(&form.to_bytes(), &bytes); }
        if let Ok(form) = DayRoot::from_bytes(&bytes) { prop_assert_eq!(&form.to_bytes(), &bytes); }
        if let Ok(form) = Proof::from_bytes(&bytes) { prop_assert_eq!(&form.to_bytes(), &bytes); }
        if let Ok(form) = Seal::from_bytes(&bytes) { prop_assert_eq!(&form.to_bytes(), &bytes); }
    }

    #[test]
    fn keys_and_signatures_of_any_bytes_never_panic(key in any::<[u8; 32]>(), bytes in prop::collection::vec(any::<u8>(), 113)) {
        let Ok(key) = PublicKey::from_bytes(&key) else { return Ok(()) };
        if let Ok(seal) = Seal::from_bytes(&bytes) {
            prop_assert!(seal.verify(key).is_err());
        }
    }

    #[test]
    fn damaged_statements_decode_to_themselves_or_not_at_all(records in prop::collection::vec(any_record(), 1..20), flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4), cut in any::<prop::sample::Index>()) {
        let bytes = books([(5, records.as_slice())]).statement(DAY).to_bytes();
        let mut other = bytes.clone();
        for (at, mask) in flips { other[at.index(bytes.len())] ^= mask; }
        if let Ok(form) = Statement::from_bytes(&other) { prop_assert_eq!(form.to_bytes(), other); }
        prop_assert!(Statement::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
    }
}
