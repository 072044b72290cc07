//! Driver of one Mettler-Toledo 8217 scale: asks for the weight, one command at a time.
//!
//! Contract
//! * At least `min_gap_ms` of silence lies between the end of one exchange and the next command.
//! * A scale that answers nonsense for ever costs one exchange per poll: reading stops at the timeout, the decoder is
//!   bounded, and what is left in the port is thrown away before the next command.
//! * The port is reopened with backoff when it vanishes; until then the scale is `Failed` with the system's reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drv_protocol::toledo8217::{Command, Decoder, DecoderConfig, Reply};

use crate::config::ScaleConfig;
use crate::event::{DeviceBody, ScaleReading};
use crate::health::Contact;
use crate::pace::Backoff;
use crate::registry::{Desk, Way};
use crate::serial::{Line, OpenPort};
use crate::supervise::{Driver, pause, pause_for_plug};

const STX: u8 = 0x02;
/// Bytes of one exchange kept as evidence.
const HEARD_BYTES_MAX: usize = 256;

/// Driver of one scale.
pub(crate) struct ScaleDriver {
    device: Arc<str>,
    line: Line,
    poll: Duration,
    gap: Duration,
    timeout: Duration,
}

impl ScaleDriver {
    pub(crate) fn new(device: Arc<str>, config: &ScaleConfig) -> Self {
        Self {
            device,
            line: Line {
                port: config.port.clone(),
                baud: config.baud,
                data_bits: config.data_bits,
                parity: config.parity,
                stop_bits: 1,
            },
            poll: Duration::from_millis(config.poll_ms.into()),
            gap: Duration::from_millis(config.min_gap_ms.into()),
            timeout: Duration::from_millis(config.timeout_ms.into()),
        }
    }

    fn serve(&self, port: &mut OpenPort, desk: &mut Desk, backoff: &mut Backoff) -> Result<(), String> {
        let mut decoder = Decoder::new(DecoderConfig::default());
        while !desk.stopping() {
            let begun = Instant::now();
            let answered = self.exchange(port, &mut decoder, desk)?;
            if answered {
                backoff.reset();
            }
            desk.tick(&self.device);
            let next = (begun + self.poll).max(Instant::now() + self.gap);
            pause(desk, next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// One command and its answer. True when a usable answer came.
    fn exchange(&self, port: &mut OpenPort, decoder: &mut Decoder, desk: &mut Desk) -> Result<bool, String> {
        let command = Command::Weight;
        let Some(bytes) = command.encode() else { return Ok(false) };
        port.discard_input()?;
        decoder.expect(command);
        port.send(&bytes)?;
        desk.frame(&self.device, Way::Sent, &bytes);

        let deadline = Instant::now() + self.timeout;
        let mut heard = Vec::new();
        let mut fault: Option<String> = None;
        let mut buffer = [0u8; 64];
        while Instant::now() < deadline && !desk.stopping() {
            let count = port.receive(&mut buffer, deadline)?;
            for &byte in buffer.get(..count).unwrap_or_default() {
                if heard.len() < HEARD_BYTES_MAX {
                    heard.push(byte & 0x7F);
                }
                match decoder.push(byte) {
                    None => {}
                    Some(Err(error)) => {
                        if fault.is_some() {
                            desk.count(&self.device, |c| c.malformed += 1);
                        }
                        fault = Some(error.to_string());
                    }
                    Some(Ok(reply)) => {
                        if fault.is_some() {
                            // Noise before a good frame: counted, but the scale works.
                            desk.count(&self.device, |c| c.malformed += 1);
                        }
                        desk.frame(&self.device, Way::Received, &heard);
                        return Ok(self.reply(&reply, &heard, desk));
                    }
                }
            }
        }
        desk.frame(&self.device, Way::Received, &heard);
        let partial = decoder.reset().map(|left| format!("answer cut short: {left}"));
        match fault.or(partial) {
            Some(reason) => self.malformed(reason, desk),
            None => desk.contact(&self.device, &Contact::Timeout),
        }
        Ok(false)
    }

    fn reply(&self, reply: &Reply, heard: &[u8], desk: &mut Desk) -> bool {
        let Some(weight) = reply.weight() else {
            self.malformed(format!("expected a weight or a status, found {reply:?}"), desk);
            return false;
        };
        desk.contact(&self.device, &Contact::Good);
        let begin = heard.iter().rposition(|&b| b == STX).unwrap_or(0);
        let raw = heard.get(begin..).unwrap_or_default().to_vec();
        desk.report(&self.device, DeviceBody::Weight(ScaleReading { weight, raw }));
        true
    }

    fn malformed(&self, reason: String, desk: &mut Desk) {
        desk.contact(&self.device, &Contact::Malformed(reason.clone()));
        desk.report(&self.device, DeviceBody::WeightBad { reason });
    }
}

impl Driver for ScaleDriver {
    fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(200, 5_000);
        while !desk.stopping() {
            let outcome = match self.line.open() {
                Ok(mut port) => {
                    desk.reachable([&self.device].into_iter());
                    let outcome = self.serve(&mut port, desk, &mut backoff);
                    desk.count(&self.device, |c| c.reopened += 1);
                    outcome
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = outcome {
                desk.unreachable([&self.device].into_iter(), &reason);
                if pause_for_plug(desk, backoff.pause()) {
                    backoff.reset();
                }
            }
        }
    }
}
