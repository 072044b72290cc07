//! Frames against the codec of the masters' side, silences, damage.

use super::*;
use drv_protocol::modbus::{Request, Response, rtu};
use proptest::prelude::*;
extern crate std;
use std::vec::Vec;

const GAP: u64 = 2_006;

/// 100 holding registers of which 0 is the unit, 50 is read-only and 51 takes less than 10.
#[derive(Debug, Clone, PartialEq)]
struct Bank {
    words: Vec<u16>,
    damaged: u32,
}

impl Bank {
    fn new() -> Self {
        Self { words: (0..100).map(|n| if n == 0 { 7 } else { n * 3 }).collect(), damaged: 0 }
    }
}

impl Registers for Bank {
    fn unit(&self) -> u8 {
        self.words[0].to_be_bytes()[1]
    }
    fn read(&self, table: Table, address: u16) -> Option<u16> {
        let word = self.words.get(usize::from(address))?;
        Some(if table == Table::Input { !word } else { *word })
    }
    fn was_read(&mut self, _: Table, _: u16, _: u16) {}
    fn may_write(&self, address: u16, word: u16, _: bool) -> Result<(), Exception> {
        match address {
            50 | 100.. => Err(Exception::IllegalAddress),
            51 if word >= 10 => Err(Exception::IllegalValue),
            _ => Ok(()),
        }
    }
    fn write(&mut self, address: u16, word: u16) {
        self.words[usize::from(address)] = word;
    }
    fn identity(&self, object: u8) -> Option<&[u8]> {
        [b"Vendor".as_slice(), b"Product", b"1.2.3"].get(usize::from(object)).copied()
    }
    fn damaged(&mut self) {
        self.damaged += 1;
    }
}

/// Sends bytes with a pause before each, then waits; everything that was answered.
fn send(line: &mut Line, bank: &mut Bank, now: &mut u64, bytes: &[(u64, u8)]) -> Vec<u8> {
    let mut answers = Vec::new();
    for (pause, byte) in bytes {
        *now += pause;
        answers.extend(line.poll(*now, bank).unwrap_or_default().iter().copied());
        line.take(*now, *byte);
    }
    for _ in 0..30 {
        *now += 1_000;
        answers.extend(line.poll(*now, bank).unwrap_or_default().iter().copied());
    }
    answers
}

fn dense(frame: &[u8]) -> Vec<(u64, u8)> {
    frame.iter().map(|byte| (573, *byte)).collect()
}

fn ask(bank: &mut Bank, frame: &[u8]) -> Vec<u8> {
    send(&mut Line::new(19_200), bank, &mut 0, &dense(frame))
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut frame = body.to_vec();
    frame.extend(crc16(body).to_le_bytes());
    frame
}

#[test]
fn identification_by_stream_and_one_by_one() {
    let bank = &mut Bank::new();
    let stream = ask(bank, &sealed(&[7, 0x2B, 0x0E, 1, 0]));
    let mut expected = std::vec![7, 0x2B, 0x0E, 1, 0x81, 0, 0, 3, 0, 6];
    expected.extend(b"Vendor\x01\x07Product\x02\x051.2.3");
    assert_eq!(stream, sealed(&expected));
    let one = ask(bank, &sealed(&[7, 0x2B, 0x0E, 4, 2]));
    assert_eq!(one[..10], [7, 0x2B, 0x0E, 4, 0x81, 0, 0, 1, 2, 5]);
    assert_eq!(ask(bank, &sealed(&[7, 0x2B, 0x0E, 4, 3])), sealed(&[7, 0xAB, 2]));
    assert_eq!(ask(bank, &sealed(&[7, 0x2B, 0x0E, 5, 0])), sealed(&[7, 0xAB, 3]));
    assert_eq!(ask(bank, &sealed(&[7, 0x2B, 0x0D, 1, 0])), sealed(&[7, 0xAB, 1]));
}

#[test]
fn refusals_are_those_of_the_specification_and_others_frames_are_left_alone() {
    let bank = &mut Bank::new();
    for (body, exception) in [
        (&[7, 1, 0, 0, 0, 1][..], 1),
        (&[7, 0x14, 7, 6, 0, 1, 0, 0, 0, 1], 1),
        (&[7, 3, 0, 99, 0, 2], 2),
        (&[7, 3, 0xFF, 0xFF, 0, 2], 2),
        (&[7, 3, 0, 0, 0, 0], 3),
        (&[7, 4, 0, 0, 0, 126], 3),
        (&[7, 6, 0, 50, 0, 1], 2),
        (&[7, 6, 0, 51, 0, 10], 3),
        (&[7, 16, 0, 49, 0, 2, 4, 1, 1, 1, 1], 2),
        (&[7, 16, 0, 51, 0, 1, 2, 1], 3),
        (&[7, 16, 0, 51, 0, 1, 4, 0, 1, 0, 1], 3),
    ] {
        let before = bank.clone();
        assert_eq!(ask(bank, &sealed(body)), sealed(&[7, body[1] | 0x80, exception]), "{body:?}");
        assert_eq!(*bank, before, "nothing was written by {body:?}");
    }
    assert_eq!(ask(bank, &sealed(&[8, 3, 0, 0, 0, 1])), []);
    assert_eq!(ask(bank, &sealed(&[0, 3, 0, 0, 0, 1])), [], "nobody answers a broadcast");
    assert_eq!((ask(bank, &sealed(&[0, 6, 0, 9, 0, 77])), bank.words[9]), (Vec::new(), 77));
    assert_eq!(bank.damaged, 0);
}

#[test]
fn a_request_right_behind_a_broken_one_is_served() {
    let (bank, line, now) = (&mut Bank::new(), &mut Line::new(19_200), &mut 0);
    let request = sealed(&[7, 3, 0, 1, 0, 1]);
    let mut bytes = dense(&[7, 16, 0, 1, 0, 100, 200, 1, 2, 3]);
    bytes.push((GAP + 10, request[0]));
    bytes.extend(dense(&request[1..]));
    assert_eq!(send(line, bank, now, &bytes), sealed(&[7, 3, 2, 0, 3]));
    // The same request again, and noise that never ends.
    assert_eq!(send(line, bank, now, &dense(&request)), sealed(&[7, 3, 2, 0, 3]));
    let noise: Vec<u8> = (0..2_000_u16).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(send(line, bank, now, &dense(&noise)), []);
    assert_eq!(send(line, bank, now, &dense(&request)), sealed(&[7, 3, 2, 0, 3]));
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<bool>(), 0_u16..110, 1_u16..=125).prop_map(|(holding, address, count)| Request::Read {
            table: if holding { Table::Holding } else { Table::Input },
            address,
            count
        }),
        (1_u16..110, any::<u16>()).prop_map(|(address, value)| Request::WriteRegister { address, value }),
        (1_u16..110, proptest::collection::vec(any::<u16>(), 1..124))
            .prop_map(|(address, values)| Request::WriteRegisters { address, values }),
    ]
}

proptest! {
    /// Cut by pauses anywhere, as a USB adapter does: the answer is what the masters' codec expects, and true.
    #[test]
    fn every_request_in_any_split_gets_its_true_answer(
        request in requests(), pauses in proptest::collection::vec(prop_oneof![9 => 0_u64..600, 1 => 2_000_u64..19_000], 256),
    ) {
        let mut bank = Bank::new();
        let frame = rtu::encode_request(7, &request).unwrap();
        let bytes: Vec<(u64, u8)> = pauses.into_iter().zip(frame).collect();
        let answer = send(&mut Line::new(19_200), &mut bank, &mut 0, &bytes);
        match rtu::decode_response(7, &request, &answer) {
            Ok(Response::Registers(words)) => {
                let Request::Read { table, address, .. } = request else { panic!("{request:?}") };
                for (at, word) in (address..).zip(words) {
                    prop_assert_eq!(bank.read(table, at), Some(word));
                }
            }
            Ok(Response::Written) => match request {
                Request::WriteRegister { address, value } => prop_assert_eq!(bank.words[usize::from(address)], value),
                Request::WriteRegisters { address, values } => {
                    prop_assert_eq!(&bank.words[usize::from(address)..][..values.len()], &values[..]);
                }
                other => panic!("{other:?}"),
            },
            Ok(Response::Bits(_)) => panic!("bits"),
            Err(drv_protocol::modbus::ModbusError::Exception(_)) => prop_assert_eq!(bank, Bank::new()),
            Err(error) => panic!("{request:?}: {error}, {answer:02x?}"),
        }
    }

    /// Arbitrary bytes, whole frames among them, in any split: no panic, no answer longer than a frame, and afterwards a
    /// request is answered.
    #[test]
    fn no_bytes_upset_it(
        mut bytes in proptest::collection::vec((prop_oneof![0_u64..600, 0_u64..30_000], any::<u8>()), 0..600),
        with in proptest::option::of(0_usize..500),
        body in proptest::collection::vec(any::<u8>(), 2..60),
    ) {
        if let Some(at) = with.filter(|at| *at < bytes.len()) {
            let mut frame = [7_u8].to_vec();
            frame.extend(body);
            bytes.splice(at..at, dense(&sealed(&frame)));
        }
        let (mut line, mut bank, mut now) = (Line::new(19_200), Bank::new(), 0);
        send(&mut line, &mut bank, &mut now, &bytes);
        bank.words[0] = 7;
        let answer = send(&mut line, &mut bank, &mut now, &dense(&sealed(&[7, 3, 0, 0, 0, 1])));
        prop_assert_eq!(answer, sealed(&[7, 3, 2, 0, 7]));
    }
}
