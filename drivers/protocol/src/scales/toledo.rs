//! The Mettler-Toledo 8217 / 8213 behind the common face; frames and sources are in [`crate::toledo8217`].
//!
//! The scale answers zero and tare with its status only, so whether they were carried out is read from that: a centre of
//! zero after zero, a tare in force after tare, none after clear.

use crate::evidence::Evidence;
use crate::scale::{Answer, MassUnit, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step};
use crate::toledo8217::{Command, Decoder, DecoderConfig, Parity, Reply, Status};
use crate::unit::Grams;

const PROTOCOL: &str = "toledo-8217";

/// One scale.
#[derive(Clone, Debug)]
pub struct Toledo {
    unit: MassUnit,
    decoder: Decoder,
    order: Option<Order>,
}

impl Toledo {
    /// A scale at rest; `unit` is kilogram or pound.
    #[must_use]
    pub fn new(unit: MassUnit) -> Self {
        let decoder = Decoder::new(DecoderConfig { unit, parity: Parity::Strip });
        Self { unit, decoder, order: None }
    }

    fn command(&self, order: Order) -> Result<Command, OrderError> {
        Ok(match order {
            Order::Weight => Command::Weight,
            Order::Zero => Command::Zero,
            Order::Tare => Command::Tare,
            Order::ClearTare => Command::ClearTare,
            Order::KeyedTare(tare) => {
                let steps = u32::try_from(tare.0).ok().filter(|steps| *steps <= 99_999);
                match steps {
                    Some(steps) if self.unit == MassUnit::Kilogram => Command::KeyedTare(steps),
                    _ => {
                        return Err(OrderError::Value {
                            protocol: PROTOCOL,
                            order: order.name(),
                            expected: "0 to 99999 g, on a scale in kilograms",
                            found: tare,
                        });
                    }
                }
            }
        })
    }

    fn answer(&mut self, reply: &Reply) -> Option<Answer> {
        let order = self.order?;
        match (order, reply) {
            (Order::Weight, _) => reply.weight().map(Answer::Weight),
            (_, Reply::Status(status)) => Some(judge(order, *status)),
            _ => None,
        }
    }
}

fn judge(order: Order, status: Status) -> Answer {
    let done = match order {
        Order::Weight => false,
        Order::Zero => status.centre_of_zero && !status.motion,
        Order::Tare | Order::KeyedTare(Grams(1..)) => status.net && !status.motion,
        Order::KeyedTare(_) | Order::ClearTare => !status.net,
    };
    if done {
        return Answer::Accepted { tare: None };
    }
    Answer::Refused(match status {
        Status { motion: true, .. } => Refusal::Motion,
        Status { over: true, .. } => Refusal::Above,
        Status { under: true, .. } => Refusal::Below,
        _ => Refusal::NotDone,
    })
}

impl ScaleProtocol for Toledo {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        let command = self.command(order)?;
        let bytes = command.encode().unwrap_or_default();
        self.decoder.expect(command);
        self.order = Some(order);
        Ok(Request::answered(bytes))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        let reply = match self.decoder.push(byte)? {
            Ok(reply) => reply,
            Err(error) => return Some(Err(error.into())),
        };
        let Some(answer) = self.answer(&reply) else {
            let unasked = ScaleError::Unasked(Evidence::of(self.decoder.last_frame()));
            return Some(if matches!(reply, Reply::Echo(_)) { Ok(Step::Heard) } else { Err(unasked) });
        };
        self.order = None;
        Some(Ok(Step::answer(answer, self.decoder.last_frame())))
    }

    fn reset(&mut self) -> Option<Evidence> {
        self.order = None;
        self.decoder.reset()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answers, weight};
    use super::*;

    /// devices.md 1.1: `W`, `Z`, `T`, keyed tare and `C` with the statuses of the service manual's table.
    #[test]
    fn orders_are_judged_by_the_status_that_answers_them() {
        let mut scale = Toledo::new(MassUnit::Kilogram);
        assert_eq!(scale.begin(Order::Weight).unwrap().bytes, [0x57]);
        assert_eq!(weight(scale.feed(b"\x0201.250\r")).usable(), Some(Grams(1250)));
        let done = Answer::Accepted { tare: None };
        for (order, bytes, status, answer) in [
            (Order::Zero, &b"Z"[..], 0x50, done),
            (Order::Zero, b"Z", 0x48, Answer::Refused(Refusal::NotDone)),
            (Order::Zero, b"Z", 0x41, Answer::Refused(Refusal::Motion)),
            (Order::Tare, b"T", 0x60, done),
            (Order::Tare, b"T", 0x42, Answer::Refused(Refusal::Above)),
            (Order::Tare, b"T", 0x44, Answer::Refused(Refusal::Below)),
            (Order::KeyedTare(Grams(250)), b"T00250\r", 0x60, done),
            (Order::KeyedTare(Grams(0)), b"T00000\r", 0x40, done),
            (Order::ClearTare, b"C", 0x50, done),
            (Order::ClearTare, b"C", 0x60, Answer::Refused(Refusal::NotDone)),
        ] {
            assert_eq!(scale.begin(order).unwrap().bytes, bytes);
            assert_eq!(answers(scale.feed(&[0x02, b'?', status, 0x0D])), [Ok(answer)], "{order:?}");
        }
        assert!(matches!(scale.feed(b"\x0201.250\r")[..], [Err(ScaleError::Unasked(_))]));
        assert!(scale.begin(Order::KeyedTare(Grams(100_000))).is_err());
        assert!(Toledo::new(MassUnit::Pound).begin(Order::KeyedTare(Grams(5))).is_err());
    }
}
