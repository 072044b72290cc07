//! Published vectors and properties of the Toledo 8217 decoder.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8]) -> Vec<Result<Reply, FrameError>> {
    Decoder::default().feed(bytes)
}

const fn kilograms(grams: i64, net: bool) -> Reply {
    Reply::Weight { shown: Mass { count: grams, decimals: 3, unit: MassUnit::Kilogram }, net }
}

/// The grams of the weights among replies.
fn grams(replies: &[Result<Reply, FrameError>]) -> Vec<i64> {
    let weight = |reply: &Reply| reply.weight().and_then(|weight| weight.usable());
    replies.iter().flatten().filter_map(weight).map(|grams| grams.0).collect()
}

/// The weight vectors: devices.md 1.1, from the weight expression of Odoo's serial_scale_driver.py.
#[test]
fn published_weights_decode() {
    assert_eq!(decode(b"\x02\x30\x31\x2E\x32\x35\x30\x0D"), [Ok(kilograms(1250, false))]);
    assert_eq!(decode(b"\x02\x30\x31\x2E\x32\x35\x30\x4E\x0D"), [Ok(kilograms(1250, true))]);
}

/// The status vectors: devices.md 1.1, from the status table of the MT DIVA service manual 72191202.
#[test]
fn published_statuses_decode() {
    let none = Status::default();
    let rows = [
        (0x41, Status { motion: true, ..none }),
        (0x42, Status { over: true, ..none }),
        (0x44, Status { under: true, ..none }),
        (0x48, Status { outside_zero: true, ..none }),
        (0x50, Status { centre_of_zero: true, ..none }),
        (0x60, Status { net: true, ..none }),
    ];
    for (byte, status) in rows {
        assert_eq!(decode(&[0x02, 0x3F, byte, 0x0D]), [Ok(Reply::Status(status))]);
        assert_eq!(status.bits(), byte);
    }
    // The trap of devices.md 1.1: bit 6 is constant, and the centre of zero is no error but the empty platform.
    assert!(Reply::Status(Status { centre_of_zero: true, ..none }).weight().unwrap().stable_zero());
    assert!(!Reply::Status(Status { motion: true, ..none }).weight().unwrap().stable);
}

/// The commands: devices.md 1.1, table of host bytes.
#[test]
fn published_commands_encode() {
    let rows: [(Command, &[u8]); 10] = [
        (Command::Weight, &[0x57]),
        (Command::Zero, &[0x5A]),
        (Command::Tare, &[0x54]),
        (Command::KeyedTare(250), b"T00250\r"),
        (Command::ClearTare, &[0x43]),
        (Command::HighResolution, &[0x48]),
        (Command::StartConfidence, &[0x41]),
        (Command::ReadConfidence, &[0x42]),
        (Command::EchoOn, &[0x45]),
        (Command::EchoOff, &[0x46]),
    ];
    for (command, bytes) in rows {
        assert_eq!(command.encode().unwrap(), bytes);
    }
    assert_eq!(Command::KeyedTare(100_000).encode(), None);
}

/// Odoo's identity probe: devices.md 1.1, `45 68 65 6C 6C 6F` -> `02 45 0D 68 65 6C 6C 6F`, followed by `46`.
#[test]
fn the_identity_probe_echoes() {
    let mut decoder = Decoder::default();
    decoder.expect(Command::EchoOn);
    let replies = decoder.feed(&[0x02, 0x45, 0x0D, 0x68, 0x65, 0x6C, 0x6C, 0x6F]);
    let mut expected = vec![Ok(Reply::EchoOn)];
    expected.extend(b"hello".iter().map(|byte| Ok(Reply::Echo(*byte))));
    assert_eq!(replies, expected);
    assert_eq!(decoder.feed(&[0x02, 0x46, 0x0D]), [Ok(Reply::EchoOff)]);
}

/// Confidence replies: devices.md 1.1, `@` is all passed, a second read is NUL.
#[test]
fn a_confidence_result_is_not_taken_for_a_status() {
    let mut decoder = Decoder::default();
    decoder.expect(Command::ReadConfidence);
    assert_eq!(decoder.feed(&[0x02, 0x3F, 0x40, 0x0D]), [Ok(Reply::Confidence(0x40))]);
    assert_eq!(decoder.feed(&[0x02, 0x3F, 0x00, 0x0D]), [Ok(Reply::Confidence(0))]);
    assert_eq!(decoder.feed(&[0x02, 0x3F, 0x0D]), [Ok(Reply::ConfidencePending)]);
    assert_eq!(decoder.feed(&[0x02, 0x0D]), [Ok(Reply::ConfidencePending)]);
    decoder.expect(Command::Weight);
    let refused = decoder.feed(&[0x02, 0x3F, 0x01, 0x0D]);
    assert!(matches!(refused[..], [Err(FrameError::StatusBit { status: 1, .. })]), "{refused:?}");
}

#[test]
fn parity_in_bit_seven_is_stripped_and_verified_where_asked() {
    let good = with_even_parity(b"\x0201.250\r");
    assert!(good.iter().any(|byte| byte & 0x80 != 0));
    assert_eq!(decode(&good), [Ok(kilograms(1250, false))]);
    let mut verifying =
        Decoder::new(DecoderConfig { parity: Parity::VerifyEven, ..DecoderConfig::default() });
    assert_eq!(verifying.feed(&good), [Ok(kilograms(1250, false))]);
    let mut bad = good;
    bad[3] ^= 0x80;
    assert!(matches!(verifying.feed(&bad)[..], [Err(FrameError::Parity(_))]));
    assert_eq!(decode(&bad), [Ok(kilograms(1250, false))]);
}

#[test]
fn pounds_and_high_resolution_become_grams() {
    let mut pounds = Decoder::new(DecoderConfig { unit: MassUnit::Pound, ..DecoderConfig::default() });
    // 1.25 lb is 566.99 g.
    assert_eq!(grams(&pounds.feed(b"\x02001.25\r")), [567]);
    assert!(matches!(pounds.feed(b"\x0201.2500\r")[..], [Err(FrameError::Decimals { found: 4, .. })]));
    assert_eq!(grams(&decode(b"\x0201.2505\r")), [1251]);
    let mut ounces = Decoder::new(DecoderConfig { unit: MassUnit::Ounce, ..DecoderConfig::default() });
    assert!(matches!(ounces.feed(b"\x02001.25\r")[..], [Err(FrameError::Decimals { expected: 0, .. })]));
    assert!(matches!(decode(b"\x02001.25\r")[..], [Err(FrameError::Decimals { expected: 3, found: 2, .. })]));
}

/// Damaged bytes, and whether an error names what is wrong with them.
type Damaged = (&'static [u8], fn(&FrameError) -> bool);

#[test]
fn damaged_frames_are_named_and_the_next_frame_is_read() {
    let rows: [Damaged; 6] = [
        (b"01.2\r", |error| matches!(error, FrameError::Noise(_))),
        (b"\x0201.2", |error| matches!(error, FrameError::Truncated(_))),
        (b"\x0201x250\r", |error| matches!(error, FrameError::Content(_))),
        (b"\x02.250\r", |error| matches!(error, FrameError::Content(_))),
        (b"\x0201.2.0\r", |error| matches!(error, FrameError::Content(_))),
        (&[0x02; 1], |error| matches!(error, FrameError::Truncated(_))),
    ];
    for (bytes, named) in rows {
        let mut stream = bytes.to_vec();
        stream.extend(b"\x0200.500\r");
        let replies = decode(&stream);
        let [Err(error), Ok(good)] = &replies[..] else { panic!("{bytes:?}: {replies:?}") };
        assert_eq!(*good, kilograms(500, false));
        assert!(named(error), "{bytes:?}: {error}");
    }
    let endless = decode(&[&[0x02], &[b'8'; 40][..]].concat());
    assert!(matches!(endless[..], [Err(FrameError::Endless(_))]), "{endless:?}");
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_and_stay_bounded(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        cut in 0_usize..400,
        verify in any::<bool>(),
    ) {
        let parity = if verify { Parity::VerifyEven } else { Parity::Strip };
        let config = DecoderConfig { parity, ..DecoderConfig::default() };
        let whole = Decoder::new(config).feed(&bytes);
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        let mut decoder = Decoder::new(config);
        let mut pieces = decoder.feed(head);
        pieces.extend(decoder.feed(tail));
        prop_assert_eq!(whole, pieces);
        prop_assert!(decoder.frame.capacity() <= 2 * FRAME_BYTES_MAX);
    }

    #[test]
    fn weights_and_statuses_survive_the_round_trip(grams in 0_i64..100_000, net in any::<bool>(), bits in 0_u8..64) {
        let frame = with_even_parity(&encode_weight(Grams(grams), net).unwrap());
        prop_assert_eq!(decode(&frame), [Ok(kilograms(grams, net))]);
        let status = Status::from_bits(bits);
        prop_assert_eq!(decode(&encode_status(status)), [Ok(Reply::Status(status))]);
    }
}
