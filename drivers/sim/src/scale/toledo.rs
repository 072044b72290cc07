//! The wire side of a Toledo 8217.

use drv_protocol::Grams;
use drv_protocol::toledo8217::{Status, encode_status, encode_weight};

use super::platform::{Platform, Set};
use super::{Dialect, Out};

/// How long a `T` may still become a keyed tare; taking a tare takes about as long.
const TARE_MS: u64 = 150;

#[derive(Clone, Debug, Default)]
pub(super) struct Toledo {
    echo: bool,
    keyed: Option<Vec<u8>>,
    since: u64,
}

impl Dialect for Toledo {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        let byte = byte & 0x7F;
        let mut out = Vec::new();
        if !byte.is_ascii_digit() {
            // Another command right behind a `T`: the tare is taken first.
            out.extend(self.pending_tare(platform, now));
        }
        out.extend(self.command(byte, platform, now));
        out
    }

    fn tick(&mut self, platform: &mut Platform, now: u64) -> Vec<Out> {
        if now.saturating_sub(self.since) < TARE_MS {
            return Vec::new();
        }
        self.pending_tare(platform, now).into_iter().collect()
    }
}

impl Toledo {
    /// A tare of the load: done when no digit followed the `T`.
    fn pending_tare(&mut self, platform: &mut Platform, now: u64) -> Option<Out> {
        self.keyed.take_if(|digits| digits.is_empty())?;
        // A refusal shows in the status that answers it.
        platform.take_tare(now);
        Some(status(platform, now))
    }

    fn command(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Option<Out> {
        if let Some(taken) = self.keyed_tare(byte, platform, now) {
            return taken;
        }
        Some(match byte {
            b'W' => weight(platform, now),
            b'H' => high_resolution(platform, now),
            b'Z' => zeroed(platform, now),
            b'T' => {
                // A digit next makes it a keyed tare; a CR or another command does not.
                (self.keyed, self.since) = (Some(Vec::new()), now);
                return None;
            }
            b'C' => {
                platform.key_tare(Grams(0));
                status(platform, now)
            }
            b'A' => Out::plain([0x02, 0x0D]),
            b'B' => Out::plain([0x02, b'?', 0x40, 0x0D]),
            b'E' => {
                self.echo = true;
                Out::plain([0x02, b'E', 0x0D])
            }
            b'F' => {
                self.echo = false;
                Out::plain([0x02, b'F', 0x0D])
            }
            other if self.echo => Out::plain([other]),
            _ => {
                platform.counters.unknown += 1;
                return None;
            }
        })
    }

    /// Handles the byte after `T`; `None` when it is no part of a keyed tare and stands for itself.
    fn keyed_tare(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Option<Option<Out>> {
        let mut digits = self.keyed.take()?;
        if byte.is_ascii_digit() && digits.len() < 5 {
            digits.push(byte);
            self.keyed = Some(digits);
            return Some(None);
        }
        let keyed = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        if byte == b'\r' && digits.len() == 5 {
            platform.key_tare(Grams(keyed));
            return Some(Some(status(platform, now)));
        }
        None
    }
}

fn bits(platform: &Platform, now: u64) -> Status {
    let reading = platform.reading(now);
    Status {
        motion: !reading.stable,
        over: reading.over,
        under: reading.under,
        outside_zero: false,
        centre_of_zero: reading.centre_of_zero,
        net: reading.net,
    }
}

fn status(platform: &Platform, now: u64) -> Out {
    Out::plain(encode_status(bits(platform, now)))
}

fn zeroed(platform: &mut Platform, now: u64) -> Out {
    let done = platform.zero(now) == Set::Done;
    let status = bits(platform, now);
    Out::plain(encode_status(Status { outside_zero: !done && !status.motion, ..status }))
}

fn weight(platform: &mut Platform, now: u64) -> Out {
    platform.counters.polls += 1;
    let state = bits(platform, now);
    if state.motion || state.over || state.under {
        return status(platform, now);
    }
    match encode_weight(platform.shows(), state.net) {
        Some(bytes) => Out { bytes, weight: true, checksum_at: None },
        None => status(platform, now),
    }
}

/// Ten times the resolution: the load itself in tenths of a gram.
fn high_resolution(platform: &Platform, now: u64) -> Out {
    let state = bits(platform, now);
    let net = platform.net_g();
    if state.motion || state.over || !(0..100_000).contains(&net) {
        return status(platform, now);
    }
    let suffix = if state.net { "N" } else { "" };
    let bytes = format!("\x02{:02}.{:03}0{suffix}\r", net / 1000, net % 1000).into_bytes();
    Out { bytes, weight: true, checksum_at: None }
}
