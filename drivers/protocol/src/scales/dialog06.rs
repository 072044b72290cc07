//! Dialog 06 ("Checkout-Dialog"): Mettler-Toledo, CAS PI100, Dibal, Cely, OHAUS. The host sends a price, the scale weighs.
//!
//! Sources: devices.md 1.6 (CAS PI100 p18, Dibal DPOS400 p56, MT DIVA p54); OHAUS Aviator 7000 service manual 6.1.6 (lengths of
//! the records); Coop IT Easy, `hw_dialog06_scale` for Odoo (AGPL, read only): 9600 7O1, the order of the exchange,
//! `D Z1 Z2` of record 11, and how the checksums of record 10 are formed.
//! ```text
//! host EOT STX 01 ESC P6 ESC ETX            price             scale ACK | NAK | STX 11 ESC 2 Z1 Z2 ETX
//! host EOT STX 03 ESC P6 ESC T4 ETX         price and tare
//! host EOT ENQ                              weigh             scale STX 02 ESC u ESC W5 ESC P6 ESC I6 ETX | NAK
//! host EOT STX 08 ETX                       why NAK           scale STX 09 ESC S1 S2 ETX
//! host EOT STX 10 ESC CS4 KW4 ETX           checksums         scale ACK, then after EOT ENQ: STX 11 ESC D ETX, D 1 good
//! ```
//! Checksums: at power-on, after an error and every 50 weighings the scale wants a proof that the host runs an approved
//! program. The host chooses CS; KW is the remainder of CS·x^16 by a polynomial of degree 16; CS goes out rotated left by
//! Z1, KW rotated right by Z2. **The polynomial is not public**; it is a setting, and without it the scale's wish is
//! answered by [`Refusal::ChecksumKey`]. A weight is sent only for a finished weighing at rest, so record 02 is stable.
//!
//! Status 21 says that the load is the one already weighed: the last weight is given again, or none when it is not known.
//! The tare's four digits are taken as grams [inference: the same step as the weight]. Records 04 and 05 (texts) are not sent.

use alloc::vec::Vec;

use super::Settings;
use super::lines::{content, number};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step, Weight,
};
use crate::unit::Grams;

/// The largest unit price.
pub const PRICE_MAX: u32 = 999_999;
/// The largest tare in grams.
pub const TARE_MAX: i64 = 9_999;
/// The longest record kept.
pub const RECORD_BYTES_MAX: usize = 48;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ENQ: u8 = 0x05;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;
const ESC: u8 = 0x1B;
/// The unit price sent where none is configured; the free driver probes with it.
const PRICE_DEFAULT: u32 = 1_000;

/// A record of the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// 02: a finished weighing.
    Weighing {
        /// The weight.
        shown: Mass,
        /// The unit price in use.
        price: u32,
        /// The amount to pay.
        amount: u32,
    },
    /// 09: the status, two digits.
    Status([u8; 2]),
    /// 11 with D = 2: checksums are wanted, encoded with these two nibbles.
    Wanted {
        /// Rotation of CS.
        z1: u8,
        /// Rotation of KW.
        z2: u8,
    },
    /// 11 with D = 0 or 1: whether the checksums were right.
    Verdict(bool),
}

/// Reads one record, STX to ETX.
///
/// # Errors
/// A named error with the record.
pub fn decode(record: &[u8]) -> Result<Record, ScaleError> {
    let [STX, n1, n2, ESC, rest @ .., ETX] = record else {
        return Err(content("STX, record number, ESC … ETX", record));
    };
    match [*n1, *n2] {
        [b'0', b'2'] => weighing(rest, record),
        [b'0', b'9'] => match rest {
            [s1 @ b'0'..=b'9', s2 @ b'0'..=b'9'] => Ok(Record::Status([*s1, *s2])),
            _ => Err(content("two digits of status", record)),
        },
        [b'1', b'1'] => match rest {
            [b'0'] => Ok(Record::Verdict(false)),
            [b'1'] => Ok(Record::Verdict(true)),
            [b'2', z1, z2] => match (nibble(*z1), nibble(*z2)) {
                (Some(z1), Some(z2)) => Ok(Record::Wanted { z1, z2 }),
                _ => Err(content("two hexadecimal digits", record)),
            },
            _ => Err(content("0, 1 or 2 with two digits", record)),
        },
        _ => Err(content("record 02, 09 or 11", record)),
    }
}

fn weighing(rest: &[u8], record: &[u8]) -> Result<Record, ScaleError> {
    let mut fields = rest.split(|byte| *byte == ESC);
    let (unit, weight, price, amount) = (fields.next(), fields.next(), fields.next(), fields.next());
    let (unit, decimals) = match unit {
        Some(b"3") => (MassUnit::Kilogram, 3),
        Some(b"1") => (MassUnit::Pound, 2),
        Some(b"2") => (MassUnit::Pound, 3),
        _ => return Err(ScaleError::Unit(Evidence::of(record))),
    };
    let digits = |field: Option<&[u8]>, most: usize, least: usize| {
        field
            .filter(|text| (least..=most).contains(&text.len()))
            .and_then(number)
            .ok_or_else(|| content("weight of 5, price of 5 or 6, amount of 6 digits", record))
    };
    let count = digits(weight, 5, 5)?;
    let (price, amount) = (digits(price, 6, 5)?, digits(amount, 6, 6)?);
    if fields.next().is_some() {
        return Err(content("four fields", record));
    }
    Ok(Record::Weighing { shown: Mass { count: i64::from(count), decimals, unit }, price, amount })
}

const fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The correction value KW of a checksum CS: the remainder of `cs`·x^16 by `polynomial` (17 bits with its leading one).
#[must_use]
pub fn correction(cs: u16, polynomial: u32) -> u16 {
    let low = (polynomial & 0xFFFF) as u16;
    (0..16).fold(cs, |rest, _| if rest & 0x8000 != 0 { (rest << 1) ^ low } else { rest << 1 })
}

/// Record 10: CS rotated left by `z1`, its correction value rotated right by `z2`.
#[must_use]
pub fn encode_checksums(cs: u16, polynomial: u32, z1: u8, z2: u8) -> Vec<u8> {
    let kw = correction(cs, polynomial).rotate_right(u32::from(z2));
    let mut record = [EOT, STX, b'1', b'0', ESC].to_vec();
    record.extend(alloc::format!("{:04X}{kw:04X}", cs.rotate_left(u32::from(z1))).bytes());
    record.push(ETX);
    record
}

/// Record 01 with a price, or 03 with a price and a tare in grams. `None` when one does not fit its digits.
#[must_use]
pub fn encode_price(price: u32, tare: Option<Grams>) -> Option<Vec<u8>> {
    if price > PRICE_MAX || tare.is_some_and(|tare| !(0..=TARE_MAX).contains(&tare.0)) {
        return None;
    }
    let text = match tare {
        None => alloc::format!("01\x1b{price:06}\x1b"),
        Some(tare) => alloc::format!("03\x1b{price:06}\x1b{:04}", tare.0),
    };
    let mut record = [EOT, STX].to_vec();
    record.extend(text.bytes());
    record.push(ETX);
    Some(record)
}

/// A record as the scale sends it; `None` when a number does not fit.
#[must_use]
pub fn encode_record(record: Record) -> Option<Vec<u8>> {
    let text = match record {
        Record::Weighing { shown, price, amount } => {
            let unit = match (shown.unit, shown.decimals) {
                (MassUnit::Kilogram, 3) => '3',
                (MassUnit::Pound, 2) => '1',
                (MassUnit::Pound, 3) => '2',
                _ => return None,
            };
            if !(0..=99_999).contains(&shown.count) || price > PRICE_MAX || amount > PRICE_MAX {
                return None;
            }
            alloc::format!("02\x1b{unit}\x1b{:05}\x1b{price:06}\x1b{amount:06}", shown.count)
        }
        Record::Status([s1, s2]) => alloc::format!("09\x1b{}{}", char::from(s1), char::from(s2)),
        Record::Wanted { z1, z2 } => alloc::format!("11\x1b2{:X}{:X}", z1 & 15, z2 & 15),
        Record::Verdict(good) => alloc::format!("11\x1b{}", u8::from(good)),
    };
    let mut bytes = [STX].to_vec();
    bytes.extend(text.bytes());
    bytes.push(ETX);
    Some(bytes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// The price went out.
    Price,
    /// EOT ENQ went out.
    Result,
    /// Record 08 went out.
    Status,
    /// Record 10 went out.
    Checksums,
    /// EOT ENQ went out behind record 10.
    Verdict,
}

/// One scale.
#[derive(Clone, Debug)]
pub struct Dialog06 {
    unit: Option<MassUnit>,
    price: u32,
    polynomial: Option<u32>,
    tare: Option<Grams>,
    state: State,
    order: Order,
    proved: bool,
    cs: u16,
    last: Option<Weight>,
    bytes: Vec<u8>,
}

impl Dialog06 {
    /// A scale at rest.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            unit: settings.unit,
            price: settings.unit_price.unwrap_or(PRICE_DEFAULT).min(PRICE_MAX),
            polynomial: settings.checksum_polynomial,
            tare: None,
            state: State::Idle,
            order: Order::Weight,
            proved: false,
            cs: 0x5A3C,
            last: None,
            bytes: Vec::new(),
        }
    }

    fn price_record(&self) -> Vec<u8> {
        let tare = match self.order {
            Order::KeyedTare(tare) => Some(tare),
            Order::ClearTare => None,
            _ => self.tare,
        };
        encode_price(self.price, tare).unwrap_or_default()
    }

    fn go(&mut self, state: State, bytes: &[u8]) -> Step {
        self.state = state;
        Step::Send(bytes.to_vec())
    }

    fn end(&mut self, answer: Answer, frame: &[u8]) -> Step {
        self.state = State::Idle;
        Step::Answer { answer, frame: frame.to_vec(), send: [EOT].to_vec() }
    }

    fn single(&mut self, byte: u8) -> Result<Step, ScaleError> {
        match (self.state, byte) {
            (State::Price, ACK) if self.order == Order::Weight => Ok(self.go(State::Result, &[EOT, ENQ])),
            (State::Price, ACK) => {
                self.tare = match self.order {
                    Order::KeyedTare(tare) if tare.0 > 0 => Some(tare),
                    _ => None,
                };
                let tare = Some(self.tare.unwrap_or_default());
                Ok(self.end(Answer::Accepted { tare }, &[byte]))
            }
            (State::Checksums, ACK) => Ok(self.go(State::Verdict, &[EOT, ENQ])),
            (State::Price | State::Result | State::Checksums | State::Verdict, NAK) => {
                Ok(self.go(State::Status, &[EOT, STX, b'0', b'8', ETX]))
            }
            _ => Err(ScaleError::Unasked(Evidence::of(&[byte]))),
        }
    }

    fn record(&mut self, record: Record, bytes: &[u8]) -> Result<Step, ScaleError> {
        match (self.state, record) {
            (State::Result, Record::Weighing { shown, price, .. }) => {
                if let Some(expected) = self.unit.filter(|unit| *unit != shown.unit) {
                    let found = shown.unit;
                    return Err(ScaleError::OtherUnit { expected, found, bytes: Evidence::of(bytes) });
                }
                if price != self.price {
                    let what = "its unit price is not the one that was sent";
                    return Err(ScaleError::Contradiction { what, bytes: Evidence::of(bytes) });
                }
                let weight = Weight {
                    stable: true,
                    net: self.tare.is_some(),
                    kind_stated: self.tare.is_some(),
                    tare: self.tare,
                    ..Weight::shown(shown)
                };
                self.last = Some(weight);
                Ok(self.end(Answer::Weight(weight), bytes))
            }
            (State::Status, Record::Status(status)) => {
                let answer = self.explained(status);
                Ok(self.end(answer, bytes))
            }
            (State::Price | State::Result, Record::Wanted { z1, z2 }) => {
                let Some(polynomial) = self.polynomial.filter(|_| !self.proved) else {
                    let refusal = if self.proved { Refusal::ChecksumWrong } else { Refusal::ChecksumKey };
                    return Ok(self.end(Answer::Refused(refusal), bytes));
                };
                self.cs = self.cs.wrapping_mul(25_173).wrapping_add(13_849);
                self.proved = true;
                let proof = encode_checksums(self.cs, polynomial, z1, z2);
                Ok(self.go(State::Checksums, &proof))
            }
            (State::Verdict, Record::Verdict(true)) => {
                let again = self.price_record();
                Ok(self.go(State::Price, &again))
            }
            (State::Verdict, Record::Verdict(false)) => {
                Ok(self.end(Answer::Refused(Refusal::ChecksumWrong), bytes))
            }
            _ => Err(ScaleError::Unasked(Evidence::of(bytes))),
        }
    }

    fn explained(&mut self, status: [u8; 2]) -> Answer {
        let refusal = match &status {
            b"00" => Refusal::NotReady,
            b"02" => Refusal::Transmission,
            b"10" => Refusal::Command,
            b"11" | b"12" | b"13" => Refusal::Value,
            b"20" | b"21" | b"22" | b"30" | b"31" | b"32" if self.order != Order::Weight => match &status {
                b"20" | b"22" => Refusal::Motion,
                b"32" => Refusal::Above,
                b"30" | b"31" => Refusal::Below,
                _ => Refusal::NotReady,
            },
            b"21" => {
                return Answer::Weight(self.last.unwrap_or(Weight { stable: true, ..Weight::default() }));
            }
            b"20" | b"22" | b"30" | b"31" | b"32" => {
                self.last = None;
                return Answer::Weight(Weight {
                    stable: !status.starts_with(b"2"),
                    below_minimum: &status == b"30",
                    under: &status == b"31",
                    over: &status == b"32",
                    ..Weight::default()
                });
            }
            _ => Refusal::Code(status),
        };
        Answer::Refused(refusal)
    }
}

impl ScaleProtocol for Dialog06 {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        match order {
            Order::Weight | Order::ClearTare => {}
            Order::KeyedTare(tare) if (0..=TARE_MAX).contains(&tare.0) => {}
            Order::KeyedTare(tare) => {
                return Err(OrderError::Value {
                    protocol: "dialog-06",
                    order: order.name(),
                    expected: "0 to 9999 g",
                    found: tare,
                });
            }
            Order::Zero | Order::Tare => {
                return Err(OrderError::Unsupported { protocol: "dialog-06", order: order.name() });
            }
        }
        self.reset();
        (self.order, self.state) = (order, State::Price);
        Ok(Request::answered(self.price_record()))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        let byte = byte & 0x7F;
        if self.bytes.is_empty() && byte != STX {
            return Some(match byte {
                ACK | NAK => self.single(byte),
                _ => Err(ScaleError::Noise(Evidence::of(&[byte]))),
            });
        }
        if byte == STX && !self.bytes.is_empty() {
            let cut = Evidence::of(&self.bytes);
            self.bytes.clear();
            self.bytes.push(byte);
            return Some(Err(ScaleError::Truncated(cut)));
        }
        self.bytes.push(byte);
        if byte == ETX {
            let bytes = core::mem::take(&mut self.bytes);
            return Some(decode(&bytes).and_then(|record| self.record(record, &bytes)));
        }
        if self.bytes.len() >= RECORD_BYTES_MAX {
            let evidence = Evidence::of(&self.bytes);
            self.bytes.clear();
            return Some(Err(ScaleError::Endless(evidence)));
        }
        None
    }

    fn reset(&mut self) -> Option<Evidence> {
        let dropped = (!self.bytes.is_empty()).then(|| Evidence::of(&self.bytes));
        self.bytes.clear();
        (self.state, self.proved) = (State::Idle, false);
        dropped
    }
}

#[cfg(test)]
mod tests;
