//! The bus as a master sees it.

use drv_protocol::modbus::Table;

use super::*;
use crate::cabinet::CabinetConfig;
use crate::steamer::SteamerConfig;

fn bus() -> ModbusSim {
    let mut bus = ModbusSim::new(7);
    let mut bank = Bank::new();
    for address in 0..4 {
        bank.set(Table::Holding, address, address * 11);
        bank.set(Table::Coil, address, 0);
    }
    bus.add_bank(1, bank);
    bus.add_cabinet(2, CabinetSim::new(CabinetConfig::default(), 0));
    bus.add_steamer(10, SteamerSim::new(SteamerConfig::default(), 0));
    bus
}

const READ: Request = Request::Read { table: Table::Holding, address: 0, count: 4 };

fn ask(bus: &mut ModbusSim, unit: u8, request: &Request) -> Option<Result<Response, ModbusError>> {
    let frame = rtu::encode_request(unit, request).unwrap();
    let answers = bus.receive_rtu(&frame, 0);
    answers.first().map(|answer| rtu::decode_response(unit, request, &answer.bytes))
}

#[test]
fn requests_in_single_bytes_behind_noise_are_answered() {
    let mut bus = bus();
    let mut line = vec![0xFF, 0x00, 0x55];
    line.extend(rtu::encode_request(1, &READ).unwrap());
    line.extend(rtu::encode_request(9, &READ).unwrap());
    line.extend(rtu::encode_request(1, &READ).unwrap());
    let answers: Vec<Answer> = line.iter().flat_map(|byte| bus.receive_rtu(&[*byte], 0)).collect();
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let response = rtu::decode_response(1, &READ, &answer.bytes);
        assert_eq!(response, Ok(Response::Registers(vec![0, 11, 22, 33])));
    }
    assert_eq!((bus.requests(1), bus.requests(9)), (2, 0));
}

#[test]
fn an_unfinished_frame_is_dropped_after_silence() {
    let mut bus = bus();
    let frame = rtu::encode_request(1, &READ).unwrap();
    assert!(bus.receive_rtu(&frame[..5], 0).is_empty());
    assert_eq!(bus.receive_rtu(&frame, 1_000).len(), 1);
}

#[test]
fn writes_and_broadcasts_reach_their_registers() {
    let mut bus = bus();
    let write = Request::WriteRegisters { address: 1, values: vec![7, 8] };
    assert_eq!(ask(&mut bus, 1, &write), Some(Ok(Response::Written)));
    assert_eq!(bus.bank_mut(1).unwrap().get(Table::Holding, 2), Some(8));
    let coils = Request::WriteCoils { address: 0, values: vec![true, false, true] };
    assert_eq!(ask(&mut bus, 1, &coils), Some(Ok(Response::Written)));
    let read = Request::Read { table: Table::Coil, address: 0, count: 3 };
    assert_eq!(ask(&mut bus, 1, &read), Some(Ok(Response::Bits(vec![true, false, true]))));
    let broadcast = Request::WriteRegister { address: 3, value: 99 };
    assert_eq!(ask(&mut bus, 0, &broadcast), None);
    assert_eq!(bus.bank_mut(1).unwrap().get(Table::Holding, 3), Some(99));
    let beyond = Request::Read { table: Table::Holding, address: 3, count: 2 };
    let refused = Some(Err(ModbusError::Exception(Exception::IllegalAddress)));
    assert_eq!(ask(&mut bus, 1, &beyond), refused);
}

#[test]
fn cabinets_and_steamers_answer_with_their_maps_over_tcp_too() {
    let mut bus = bus();
    let air = Request::Read { table: Table::Holding, address: 2532, count: 1 };
    assert_eq!(ask(&mut bus, 2, &air), Some(Ok(Response::Registers(vec![30]))));
    let inputs = Request::Read { table: Table::Discrete, address: 0, count: 3 };
    let mut link = TcpLink::new();
    let frame = tcp::encode_request(5, 11, &inputs).unwrap();
    let (head, tail) = frame.split_at(4);
    assert_eq!(link.receive(&mut bus, head, 0), Ok(vec![]));
    let answers = link.receive(&mut bus, tail, 0).unwrap();
    let response = tcp::decode_response(5, 11, &inputs, &answers[0].bytes);
    assert_eq!(response, Ok(Response::Bits(vec![false; 3])));
    assert!(bus.steamer_mut(12).is_some() && bus.cabinet_mut(12).is_none());
    assert!(link.receive(&mut bus, b"GET / HTTP/1.1\r\n", 0).is_err());
}

#[test]
fn an_absent_tcp_unit_is_a_gateway_refusal() {
    let mut bus = bus();
    let frame = tcp::encode_request(1, 77, &READ).unwrap();
    let answer = bus.answer_tcp(&frame, 0).unwrap();
    let refused = Err(ModbusError::Exception(Exception::GatewayTarget));
    assert_eq!(tcp::decode_response(1, 77, &READ, &answer.bytes), refused);
}

#[test]
fn every_fault_is_seen_by_a_master_and_harms_no_other_unit() {
    let none = UnitFaults::default();
    let rows: [UnitFaults; 6] = [
        UnitFaults { mute: true, ..none },
        UnitFaults { wrong_crc_permille: 1000, ..none },
        UnitFaults { garbage_permille: 1000, ..none },
        UnitFaults { truncated_permille: 1000, ..none },
        UnitFaults { exception: Some(Exception::Busy), ..none },
        UnitFaults { wrong_unit: true, ..none },
    ];
    for faults in rows {
        let mut bus = bus();
        bus.set_faults(1, faults);
        assert!(!matches!(ask(&mut bus, 1, &READ), Some(Ok(_))), "{faults:?}");
        let air = Request::Read { table: Table::Holding, address: 2532, count: 1 };
        assert!(matches!(ask(&mut bus, 2, &air), Some(Ok(_))), "{faults:?}");
        bus.set_faults(1, none);
        assert!(matches!(ask(&mut bus, 1, &READ), Some(Ok(_))), "{faults:?}");
    }
    let mut bus = bus();
    bus.set_faults(1, UnitFaults { delay_ms: 900, ..none });
    let answers = bus.receive_rtu(&rtu::encode_request(1, &READ).unwrap(), 0);
    assert_eq!(answers[0].after_ms, 900);
}

#[test]
fn no_bytes_panic_or_pile_up() {
    let mut bus = bus();
    let mut rng = Rng::new(99);
    for now in 0..20_000 {
        let piece: Vec<u8> = (0..rng.below(9)).map(|_| rng.byte()).collect();
        bus.receive_rtu(&piece, now);
        assert!(bus.line.len() <= rtu::FRAME_BYTES_MAX);
    }
}
