//! Published vectors and properties of TISA.

use proptest::prelude::*;

use super::super::tests::weight;
use super::*;
use crate::unit::Grams;

/// devices.md 1.6: `9800250` + 0x36; sbzsystems.com: `98000001`.
#[test]
fn published_requests_encode() {
    assert_eq!(encode_request(250), b"9800250\x36\r\n");
    assert_eq!(encode_request(0), b"98000001\r\n");
}

/// devices.md 1.6: `990012500000313` + 0x37; sbzsystems.com: `9900031600000004`.
#[test]
fn published_replies_decode() {
    let read = |reply: &[u8]| decode(reply, MassUnit::Kilogram, 3).unwrap();
    let (first, amount) = read(b"990012500000313\x37\r\n");
    assert_eq!((first.usable(), amount), (Some(Grams(1250)), Some(313)));
    let (second, amount) = read(b"9900031600000004\r\n");
    assert_eq!((second.usable(), amount), (Some(Grams(316)), Some(0)));
}

/// DPOS400 manual 4.4: S and E 1 are "error"; the momentary weight may be there and is never usable.
#[test]
fn an_error_state_is_never_usable() {
    let mut scale = Tisa::new(&Settings { unit_price: Some(250), ..Settings::default() });
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"98002506\r\n");
    let read = weight(scale.feed(&encode_reply(false, 1250, None)));
    assert_eq!((read.gross_or_net, read.usable(), read.stable_zero()), (Some(Grams(1250)), None, false));
    assert!(matches!(scale.feed(&encode_reply(true, 1, Some(0)))[..], [Err(ScaleError::Unasked(_))]));
    assert!(scale.begin(Order::Tare).is_err());
    for bad in [&b"98012500000313\r\n"[..], b"9920125000003135\r\n", b"99\r\n"] {
        assert!(decode(bad, MassUnit::Kilogram, 3).is_err(), "{}", bad.escape_ascii());
    }
    let wrong = decode(b"990012500000313\x38\r\n", MassUnit::Kilogram, 3);
    assert!(matches!(wrong, Err(ScaleError::Checksum { expected: 0x37, found: 0x38, .. })));
}

proptest! {
    #[test]
    fn replies_survive_the_round_trip(count in 0_u32..100_000, amount in 0_u32..1_000_000, good in any::<bool>()) {
        let amount = good.then_some(amount);
        let (weight, read) = decode(&encode_reply(good, count, amount), MassUnit::Gram, 0).unwrap();
        prop_assert_eq!((weight.gross_or_net, weight.stable, read), (Some(Grams(count.into())), good, amount));
    }

    #[test]
    fn one_flipped_bit_never_makes_another_weight(count in 0_u32..100_000, bit in 0_usize..REPLY_BYTES * 8) {
        let mut reply = encode_reply(true, count, Some(1));
        reply[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&reply, MassUnit::Gram, 0).is_err());
    }
}
