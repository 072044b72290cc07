//! Published frames and properties of both framings.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

const fn read(table: Table, address: u16, count: u16) -> Request {
    Request::Read { table, address, count }
}

/// Every request frame of devices.md 2.1 (sources: Modbus over serial line; Omron H186; Autonics TK; Dixell v2_6;
/// Carel ir33+; Danfoss AK-CC55; PENN LIT-12013523), in both directions.
#[test]
fn published_requests_encode_and_decode() {
    let rows = [
        ("01 03 00 00 00 0A C5 CD", read(Table::Holding, 0, 10)),
        (
            "01 10 21 05 00 02 04 03 E8 FC 18 66 BB",
            Request::WriteRegisters { address: 0x2105, values: vec![1000, 0xFC18] },
        ),
        ("01 03 20 00 00 02 CF CB", read(Table::Holding, 0x2000, 2)),
        ("01 04 03 E8 00 07 31 B8", read(Table::Input, 1000, 7)),
        ("01 03 01 00 00 03 04 37", read(Table::Holding, 256, 3)),
        ("01 03 03 00 00 01 84 4E", read(Table::Holding, 768, 1)),
        ("01 03 05 00 00 03 05 07", read(Table::Holding, 1280, 3)),
        ("01 03 00 04 00 01 C5 CB", read(Table::Holding, 4, 1)),
        ("01 03 09 E2 00 01 27 A0", read(Table::Holding, 2530, 1)),
        ("01 03 09 E1 00 01 D7 A0", read(Table::Holding, 2529, 1)),
        ("01 03 05 57 00 04 F5 15", read(Table::Holding, 0x0557, 4)),
        ("01 06 06 01 00 28 D8 9C", Request::WriteRegister { address: 0x0601, value: 40 }),
        ("01 06 28 B0 00 0D 40 48", Request::WriteRegister { address: 0x28B0, value: 0x0D }),
    ];
    for (text, request) in rows {
        let frame = hex(text);
        assert_eq!(rtu::encode_request(1, &request).unwrap(), frame, "{text}");
        assert_eq!(rtu::decode_request(&frame), Ok((1, request)), "{text}");
        assert_eq!(rtu::request_len(&frame), Some(frame.len()), "{text}");
    }
}

/// devices.md 2.1: Omron H186 p4-12, the answer to the worked write.
#[test]
fn the_published_write_answer_is_accepted_and_another_one_is_not() {
    let request = Request::WriteRegisters { address: 0x2105, values: vec![1000, 0xFC18] };
    let answer = hex("01 10 21 05 00 02 5B F5");
    assert_eq!(rtu::decode_response(1, &request, &answer), Ok(Response::Written));
    assert_eq!(rtu::encode_response(1, &request, &Ok(Response::Written)), answer);
    let other = Request::WriteRegisters { address: 0x2106, values: vec![1000, 0xFC18] };
    assert!(matches!(rtu::decode_response(1, &other, &answer), Err(ModbusError::Echo { .. })));
}

/// devices.md 2.1: `01 83 02 C0 F1`, illegal address.
#[test]
fn the_published_exception_is_named() {
    let request = read(Table::Holding, 0, 1);
    let frame = hex("01 83 02 C0 F1");
    let refused = rtu::decode_response(1, &request, &frame);
    assert_eq!(refused, Err(ModbusError::Exception(Exception::IllegalAddress)));
    assert_eq!(rtu::encode_response(1, &request, &Err(Exception::IllegalAddress)), frame);
    assert_eq!(rtu::response_len(&frame), Some(5));
}

/// devices.md 2.1: 3.5 characters of 11 bits up to 19 200 baud; above, 0.75 ms and 1.75 ms.
#[test]
fn silences_follow_the_specification() {
    assert_eq!(timing::frame_gap_us(9_600), 4_011);
    assert_eq!(timing::character_gap_us(9_600), 1_719);
    assert_eq!(timing::frame_gap_us(19_200), 2_006);
    assert_eq!((timing::frame_gap_us(38_400), timing::character_gap_us(38_400)), (1_750, 750));
    assert_eq!(timing::transmission_us(9_600, 8), 9_167);
    assert!(timing::frame_gap_us(0) > 0);
}

#[test]
fn an_answer_is_read_only_against_its_request() {
    let request = read(Table::Holding, 0, 2);
    let good = rtu::encode_response(1, &request, &Ok(Response::Registers(vec![1, 2])));
    assert_eq!(rtu::decode_response(1, &request, &good), Ok(Response::Registers(vec![1, 2])));
    let unit = rtu::decode_response(2, &request, &good);
    assert!(matches!(unit, Err(ModbusError::Unit { expected: 2, found: 1, .. })));
    let function = rtu::decode_response(1, &read(Table::Input, 0, 2), &good);
    assert!(matches!(function, Err(ModbusError::Function { expected: 4, found: 3, .. })));
    let length = rtu::decode_response(1, &read(Table::Holding, 0, 3), &good);
    assert!(matches!(length, Err(ModbusError::Length { .. })));
    let mut damaged = good.clone();
    damaged[3] ^= 1;
    let crc = rtu::decode_response(1, &request, &damaged);
    assert!(matches!(crc, Err(ModbusError::Crc { .. })) && crc.unwrap_err().may_retry());
    assert!(matches!(rtu::decode_response(1, &request, &good[..3]), Err(ModbusError::Short { .. })));
}

#[test]
fn what_the_protocol_cannot_carry_is_refused_before_it_is_sent() {
    let bad = [
        read(Table::Holding, 0, 0),
        read(Table::Holding, 0, 126),
        read(Table::Coil, 0, 2001),
        read(Table::Input, 0xFFFF, 2),
        Request::WriteRegisters { address: 0, values: vec![0; 124] },
        Request::WriteCoils { address: 0, values: vec![] },
    ];
    for request in bad {
        assert!(matches!(rtu::encode_request(1, &request), Err(ModbusError::Range { .. })), "{request:?}");
    }
}

#[test]
fn a_device_refuses_what_it_can_read_but_not_serve_and_ignores_damage() {
    let mut unknown = vec![1, 0x2B, 0, 0, 0, 0];
    unknown.extend(crc16(&unknown).to_le_bytes());
    let error = rtu::decode_request(&unknown).unwrap_err();
    assert_eq!(rtu::refusal(&unknown, &error).unwrap()[1..3], [0xAB, 1]);
    let mut damaged = unknown;
    damaged[2] = 9;
    let error = rtu::decode_request(&damaged).unwrap_err();
    assert_eq!(rtu::refusal(&damaged, &error), None);
    let mut tcp_unknown = vec![0, 7, 0, 0, 0, 6, 1, 3, 0, 0, 0, 0];
    let error = tcp::decode_request(&tcp_unknown).unwrap_err();
    assert_eq!(tcp::refusal(&tcp_unknown, &error).unwrap()[7..], [0x83, 3]);
    tcp_unknown[2] = 1;
    assert!(matches!(tcp::frame_len(&tcp_unknown), Err(ModbusError::Protocol { found: 256, .. })));
}

#[test]
fn tcp_answers_are_matched_by_transaction_and_unit() {
    let request = read(Table::Coil, 3, 10);
    let sent = tcp::encode_request(0x1234, 5, &request).unwrap();
    assert_eq!(sent, hex("12 34 00 00 00 06 05 01 00 03 00 0A"));
    let bits: Vec<bool> = (0..10).map(|n| n % 3 == 0).collect();
    let answer = tcp::encode_response(0x1234, 5, &request, &Ok(Response::Bits(bits.clone())));
    assert_eq!(tcp::decode_response(0x1234, 5, &request, &answer), Ok(Response::Bits(bits)));
    assert!(matches!(tcp::decode_response(1, 5, &request, &answer), Err(ModbusError::Transaction { .. })));
    assert!(matches!(tcp::decode_response(0x1234, 6, &request, &answer), Err(ModbusError::Unit { .. })));
    assert_eq!(tcp::frame_len(&answer[..5]), Ok(None));
    assert_eq!(tcp::frame_len(&answer), Ok(Some(answer.len())));
}

fn requests() -> impl Strategy<Value = Request> {
    let table =
        prop_oneof![Just(Table::Coil), Just(Table::Discrete), Just(Table::Holding), Just(Table::Input)];
    prop_oneof![
        (table, 0_u16..60_000, 1_u16..=125).prop_map(|(table, address, count)| read(table, address, count)),
        (any::<u16>(), any::<bool>()).prop_map(|(address, on)| Request::WriteCoil { address, on }),
        (any::<u16>(), any::<u16>()).prop_map(|(address, value)| Request::WriteRegister { address, value }),
        (0_u16..60_000, proptest::collection::vec(any::<bool>(), 1..300))
            .prop_map(|(address, values)| Request::WriteCoils { address, values }),
        (0_u16..60_000, proptest::collection::vec(any::<u16>(), 1..124))
            .prop_map(|(address, values)| Request::WriteRegisters { address, values }),
    ]
}

proptest! {
    #[test]
    fn requests_and_answers_survive_the_round_trip(
        unit in 1_u8..248,
        transaction in any::<u16>(),
        request in requests(),
        seed in any::<u16>(),
    ) {
        let answer = match &request {
            Request::Read { table, count, .. } if table.is_bits() => {
                Response::Bits((0..*count).map(|n| (n ^ seed) & 1 == 1).collect())
            }
            Request::Read { count, .. } => Response::Registers((0..*count).map(|n| n ^ seed).collect()),
            _ => Response::Written,
        };
        let frame = rtu::encode_request(unit, &request).unwrap();
        prop_assert_eq!(rtu::request_len(&frame), Some(frame.len()));
        prop_assert_eq!(rtu::decode_request(&frame), Ok((unit, request.clone())));
        let reply = rtu::encode_response(unit, &request, &Ok(answer.clone()));
        prop_assert_eq!(rtu::response_len(&reply), Some(reply.len()));
        prop_assert_eq!(rtu::decode_response(unit, &request, &reply), Ok(answer.clone()));
        let frame = tcp::encode_request(transaction, unit, &request).unwrap();
        prop_assert_eq!(tcp::frame_len(&frame), Ok(Some(frame.len())));
        prop_assert_eq!(tcp::decode_request(&frame), Ok((transaction, unit, request.clone())));
        let reply = tcp::encode_response(transaction, unit, &request, &Ok(answer.clone()));
        prop_assert_eq!(tcp::decode_response(transaction, unit, &request, &reply), Ok(answer));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), request in requests()) {
        drop((rtu::decode_request(&bytes), rtu::decode_response(1, &request, &bytes)));
        drop((tcp::decode_request(&bytes), tcp::decode_response(0, 1, &request, &bytes)));
        let lengths = [tcp::frame_len(&bytes).ok().flatten(), rtu::request_len(&bytes), rtu::response_len(&bytes)];
        prop_assert!(lengths.iter().flatten().all(|length| *length <= tcp::FRAME_BYTES_MAX + 4));
        // With a right checksum the content is looked at, too.
        let mut sealed = bytes;
        sealed.extend(crc16(&sealed).to_le_bytes());
        let unit = sealed[0];
        drop((rtu::decode_request(&sealed), rtu::decode_response(unit, &request, &sealed)));
    }

    #[test]
    fn one_wrong_byte_is_always_noticed(request in requests(), at in 0_usize..300, bit in 0_u32..8) {
        let mut frame = rtu::encode_request(9, &request).unwrap();
        let at = at % frame.len();
        frame[at] ^= 1 << bit;
        prop_assert!(rtu::decode_request(&frame).is_err());
    }
}

#[test]
fn nobody_is_read_and_nothing_written_at_the_broadcast_address_by_accident() {
    let read = Request::Read { table: Table::Holding, address: 0, count: 1 };
    let write = Request::WriteRegister { address: 0, value: 1 };
    assert!(matches!(guard_broadcast(0, &read, true), Err(ModbusError::Broadcast { .. })));
    assert!(matches!(guard_broadcast(0, &write, false), Err(ModbusError::Broadcast { .. })));
    assert_eq!(guard_broadcast(0, &write, true), Ok(()));
    assert_eq!(guard_broadcast(1, &write, false).and(guard_broadcast(247, &read, false)), Ok(()));
}
