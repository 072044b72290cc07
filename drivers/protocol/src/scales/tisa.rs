//! TISA cash register protocol, as Dibal DPOS400 and Cely have it: the price goes in, weight and amount come out.
//!
//! Sources: devices.md 1.6 (Dibal DPOS400 p19); Dibal DPOS400 manual 49-TGDP4ES02, 4.4 "TISA cash register protocol" and 4.18
//! for the meaning of S and E; sbzsystems.com, "Dibal G310" for 9600 8N1 and the pair `98000001` / `9900031600000004`.
//! ```text
//! host  98 P1..P5 C CR LF            scale  99 S W1..W5 E I1..I6 C CR LF
//! ```
//! C is the exclusive or of all characters before it. S: `0` correct, `1` not (in motion: the momentary weight; negative, at
//! fault or below the minimum: zeros; or the load has not changed by 20 divisions since it was last given out). E says the
//! same of the amount, which is not used here. The weight is net when a tare is in force; the reply does not say so.

use alloc::vec::Vec;

use super::Settings;
use super::lines::{Lines, content, number, xor};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Request, ScaleError, ScaleProtocol, Step, Weight,
};

/// The largest unit price.
pub const PRICE_MAX: u32 = 99_999;
/// Bytes of a reply.
pub const REPLY_BYTES: usize = 18;

/// Reads one reply, CR LF included; answers the weight and the amount in smallest coins.
///
/// # Errors
/// A named error with the reply.
pub fn decode(reply: &[u8], unit: MassUnit, decimals: u8) -> Result<(Weight, Option<u32>), ScaleError> {
    let [b'9', b'9', state, rest @ ..] = reply else {
        return Err(content("99 S WWWWW E IIIIII C CR LF", reply));
    };
    let [w1, w2, w3, w4, w5, paid, i1, i2, i3, i4, i5, i6, found, b'\r', b'\n'] = rest else {
        return Err(content("99 S WWWWW E IIIIII C CR LF", reply));
    };
    let expected = xor(reply.get(..REPLY_BYTES - 3).unwrap_or_default());
    if *found != expected {
        return Err(ScaleError::Checksum { expected, found: *found, bytes: Evidence::of(reply) });
    }
    let digits = || content("digits", reply);
    let count = number(&[*w1, *w2, *w3, *w4, *w5]).ok_or_else(digits)?;
    let amount = number(&[*i1, *i2, *i3, *i4, *i5, *i6]).ok_or_else(digits)?;
    let (b'0' | b'1', b'0' | b'1') = (state, paid) else {
        return Err(content("S and E 0 or 1", reply));
    };
    let shown = Mass { count: i64::from(count), decimals, unit };
    let weight = Weight { stable: *state == b'0', ..Weight::shown(shown) };
    Ok((weight, (*paid == b'0').then_some(amount)))
}

/// One scale.
#[derive(Clone, Debug)]
pub struct Tisa {
    unit: MassUnit,
    decimals: u8,
    price: u32,
    lines: Lines,
    asked: bool,
}

impl Tisa {
    /// A scale at rest.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            unit: settings.unit.unwrap_or_default(),
            decimals: settings.decimals.unwrap_or(3),
            price: settings.unit_price.unwrap_or(0).min(PRICE_MAX),
            lines: Lines::new(b'\n', 32, false),
            asked: false,
        }
    }
}

impl ScaleProtocol for Tisa {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        if order != Order::Weight {
            return Err(OrderError::Unsupported { protocol: "tisa", order: order.name() });
        }
        self.lines.reset();
        self.asked = true;
        Ok(Request::answered(encode_request(self.price)))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        let reply = match self.lines.push(byte)? {
            Ok(reply) => reply,
            Err(error) => return Some(Err(error)),
        };
        let weight = match decode(&reply, self.unit, self.decimals) {
            Ok((weight, _)) => weight,
            Err(error) => return Some(Err(error)),
        };
        if !core::mem::take(&mut self.asked) {
            return Some(Err(ScaleError::Unasked(Evidence::of(&reply))));
        }
        Some(Ok(Step::answer(Answer::Weight(weight), &reply)))
    }

    fn reset(&mut self) -> Option<Evidence> {
        self.asked = false;
        self.lines.reset()
    }
}

fn sealed(mut text: Vec<u8>) -> Vec<u8> {
    let sum = xor(&text);
    text.extend([sum, b'\r', b'\n']);
    text
}

/// Encodes the host's request with a unit price; larger prices are cut to their last five digits.
#[must_use]
pub fn encode_request(price: u32) -> Vec<u8> {
    sealed(alloc::format!("98{:05}", price % (PRICE_MAX + 1)).into_bytes())
}

/// Encodes a reply as the scale sends it: a correct weight or not, its count, and the amount where it is correct.
#[must_use]
pub fn encode_reply(correct: bool, count: u32, amount: Option<u32>) -> Vec<u8> {
    let mark = |correct: bool| if correct { '0' } else { '1' };
    let paid = mark(amount.is_some());
    sealed(
        alloc::format!(
            "99{}{:05}{paid}{:06}",
            mark(correct),
            count % 100_000,
            amount.unwrap_or(0) % 1_000_000
        )
        .into_bytes(),
    )
}

#[cfg(test)]
mod tests;
