//! Recorded conversations with a device, read back and played as the far end.
//!
//! Form: `edgectl device record` writes it, one item per line, UTF-8, lines end with LF.
//!
//! ```text
//! steelyard-transcript 1
//! device scale-2
//! connection toledo-8217 /dev/ttyUSB0 9600 baud
//! wire serial
//! software edge-agent 0.1.0
//! 0 > 57 0D
//! 12 < 02 30 30 31 2E 32 33 35 0D
//! # two frames were lost here
//! missed 2
//! ```
//!
//! Head lines are `key value` in any order after the first line; `wire` (`serial`, `modbus-rtu`, `modbus-tcp`, `w1`, `ble`) is
//! required. A frame is milliseconds since the beginning, `>` to the device or `<` from it, and its bytes in hex. `#` begins a
//! remark. `missed` says that frames are absent, so what follows cannot be played.
//!
//! Contract
//! * [`Transcript::parse`] takes any text: a fault names the line, what was expected and what was found. Size is bounded.
//! * [`Replay`] answers a request with what the device answered, after the recorded time, when the request is byte for byte the
//!   recorded one; on `modbus-tcp` the transaction number is free and comes back in the answer, as the protocol wants. The end
//!   is followed by the beginning. At either the host may be elsewhere in its round of questions than the record: the first
//!   request is then looked for in the whole record. Another request is a [`Mismatch`] that names the frame, what was expected and what came;
//!   from then on the far end is silent.

use thiserror::Error;

use crate::modbus::Answer;

/// Longest transcript in bytes.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Most frames of a transcript.
pub const FRAMES_MAX: usize = 200_000;
/// Longest frame in bytes.
pub const FRAME_BYTES_MAX: usize = 4096;
/// Longest recorded pause that is waited for, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 60_000;

/// What the frames travelled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A serial line.
    Serial,
    /// Modbus on a serial line.
    ModbusRtu,
    /// Modbus on TCP.
    ModbusTcp,
    /// Text of a 1-Wire sensor's file.
    OneWire,
    /// Advertisements and GATT values.
    Ble,
}

impl Wire {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Serial, "serial"),
        (Self::ModbusRtu, "modbus-rtu"),
        (Self::ModbusTcp, "modbus-tcp"),
        (Self::OneWire, "w1"),
        (Self::Ble, "ble"),
    ];
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the device.
    ToDevice,
    /// From the device to the host.
    FromDevice,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// Which way.
    pub direction: Direction,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A recorded conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// What it travelled on.
    pub wire: Wire,
    /// The other head lines, as written.
    pub head: Vec<(String, String)>,
    /// The frames, in order.
    pub frames: Vec<Frame>,
}

/// Why a text is no transcript that can be played.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: expected {expected}, found {found}")]
pub struct TranscriptError {
    /// Line, counted from 1; 0 for the text as a whole.
    pub line: usize,
    /// What would have been accepted.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Transcript {
    /// Parses a transcript.
    ///
    /// # Errors
    /// [`TranscriptError`] with line, expectation and finding.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        let fault = |line: usize, expected: &str, found: &str| TranscriptError {
            line,
            expected: expected.to_owned(),
            found: found.chars().take(60).collect(),
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(fault(0, &format!("at most {TEXT_BYTES_MAX} bytes"), &text.len().to_string()));
        }
        let mut lines = (1..).zip(text.lines().map(str::trim_end));
        match lines.next() {
            Some((_, "steelyard-transcript 1")) => {}
            found => {
                return Err(fault(1, "steelyard-transcript 1", found.map_or("nothing", |(_, line)| line)));
            }
        }
        let mut wire = None;
        let mut head = Vec::new();
        let mut frames: Vec<Frame> = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if let Ok(at_ms) = word.parse::<u64>() {
                let frame = frame(at_ms, rest).map_err(|expected| fault(number, &expected, line))?;
                let last = frames.last().map_or(0, |frame| frame.at_ms);
                if frame.at_ms < last {
                    return Err(fault(number, &format!("a time from {last} ms on"), line));
                }
                if frames.len() >= FRAMES_MAX {
                    return Err(fault(number, &format!("at most {FRAMES_MAX} frames"), line));
                }
                frames.push(frame);
            } else if word == "missed" {
                return Err(fault(number, "a record without gaps", line));
            } else if !frames.is_empty() {
                return Err(fault(number, "a frame: time, > or <, bytes in hex", line));
            } else if word == "wire" {
                let found = Wire::ALL.iter().find(|(_, name)| *name == rest);
                let names: Vec<&str> = Wire::ALL.iter().map(|(_, name)| *name).collect();
                wire = Some(found.ok_or_else(|| fault(number, &names.join(", "), line))?.0);
            } else {
                head.push((word.to_owned(), rest.to_owned()));
            }
        }
        let wire = wire.ok_or_else(|| fault(0, "a line `wire …`", "none"))?;
        Ok(Self { wire, head, frames })
    }

    /// The value of a head line.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.head.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The text of this transcript, which [`Transcript::parse`] reads back.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("steelyard-transcript 1\n");
        let wire = Wire::ALL.iter().find(|(wire, _)| *wire == self.wire).map_or("", |(_, name)| name);
        for (key, value) in self.head.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain([("wire", wire)]) {
            text.push_str(&format!("{key} {value}\n"));
        }
        for frame in &self.frames {
            let arrow = if frame.direction == Direction::ToDevice { '>' } else { '<' };
            text.push_str(&format!("{} {arrow} {}\n", frame.at_ms, hex(&frame.bytes)));
        }
        text
    }
}

fn frame(at_ms: u64, rest: &str) -> Result<Frame, String> {
    let (arrow, bytes) = rest.split_once(' ').unwrap_or((rest, ""));
    let direction = match arrow {
        ">" => Direction::ToDevice,
        "<" => Direction::FromDevice,
        _ => return Err("> or < after the time".to_owned()),
    };
    let mut list = Vec::new();
    for pair in bytes.split_ascii_whitespace() {
        let digits = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten();
        list.push(byte.ok_or_else(|| format!("two hex digits instead of {pair}"))?);
        if list.len() > FRAME_BYTES_MAX {
            return Err(format!("at most {FRAME_BYTES_MAX} bytes"));
        }
    }
    if list.is_empty() {
        return Err("at least one byte in hex".to_owned());
    }
    Ok(Frame { at_ms, direction, bytes: list })
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(" ")
}

/// The host said something else than in the record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("frame {frame}: expected {}, found {}", hex(.expected), hex(.found))]
pub struct Mismatch {
    /// Frame of the transcript, counted from 1.
    pub frame: usize,
    /// What the record has.
    pub expected: Vec<u8>,
    /// What came.
    pub found: Vec<u8>,
}

/// A transcript played as the far end.
#[derive(Clone, Debug)]
pub struct Replay {
    transcript: Transcript,
    next: usize,
    heard: Vec<u8>,
    /// A request of this round was found, so the next one is known.
    placed: bool,
    rounds: u64,
    mismatch: Option<Mismatch>,
}

impl Replay {
    /// Stands at the beginning.
    #[must_use]
    pub fn new(transcript: Transcript) -> Self {
        let mut replay =
            Self { transcript, next: 0, heard: Vec::new(), placed: false, rounds: 0, mismatch: None };
        // What a device said before it was asked belongs to a conversation that was not recorded.
        replay.next = replay.request_from(0).unwrap_or(0);
        replay
    }

    /// How often the end was reached.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Why it is silent, when it is.
    #[must_use]
    pub fn mismatch(&self) -> Option<&Mismatch> {
        self.mismatch.as_ref()
    }

    /// Takes bytes of the host, in any pieces, and answers as recorded.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for byte in bytes {
            if self.mismatch.is_some() {
                break;
            }
            self.heard.push(*byte);
            let Some(expected) = self.transcript.frames.get(self.next).map(|frame| frame.bytes.clone())
            else {
                break;
            };
            if !self.fits(&expected) {
                if self.place() {
                    answers.extend(self.complete());
                    continue;
                }
                let found = std::mem::take(&mut self.heard);
                self.mismatch = Some(Mismatch { frame: self.next + 1, expected, found });
            } else {
                answers.extend(self.complete());
            }
        }
        answers
    }

    /// At the beginning of a round: another request of the record begins with what was heard.
    fn place(&mut self) -> bool {
        let requests = (0..).zip(&self.transcript.frames);
        let mut requests = requests.filter(|(_, frame)| frame.direction == Direction::ToDevice);
        let found = requests.find(|(_, frame)| self.fits(&frame.bytes)).map(|(index, _)| index);
        match found.filter(|_| !self.placed) {
            Some(index) => {
                self.next = index;
                true
            }
            None => false,
        }
    }

    /// The answers, when the request is complete.
    fn complete(&mut self) -> Vec<Answer> {
        let len = self.transcript.frames.get(self.next).map(|frame| frame.bytes.len());
        if len == Some(self.heard.len()) { self.answer() } else { Vec::new() }
    }

    /// What was heard so far is the beginning of what is expected.
    fn fits(&self, expected: &[u8]) -> bool {
        let free = if self.transcript.wire == Wire::ModbusTcp { 2 } else { 0 };
        let same = |from: usize| self.heard.get(from..).zip(expected.get(from..self.heard.len()));
        self.heard.len() <= expected.len()
            && (self.heard.len() <= free || same(free).is_some_and(|(heard, wanted)| heard == wanted))
    }

    /// The request is complete: what the device said until the next one.
    fn answer(&mut self) -> Vec<Answer> {
        let heard = std::mem::take(&mut self.heard);
        let asked = self.transcript.frames.get(self.next).map_or(0, |frame| frame.at_ms);
        let until = self.request_from(self.next + 1);
        let end = until.unwrap_or(self.transcript.frames.len());
        let mut before = asked;
        let mut answers = Vec::new();
        for frame in self.transcript.frames.get(self.next + 1..end).unwrap_or_default() {
            let mut bytes = frame.bytes.clone();
            if self.transcript.wire == Wire::ModbusTcp {
                for (to, from) in bytes.iter_mut().zip(&heard).take(2) {
                    *to = *from;
                }
            }
            let after_ms = frame.at_ms.saturating_sub(before).min(PAUSE_MS_MAX);
            before = frame.at_ms;
            answers.push(Answer { bytes, after_ms });
        }
        self.rounds += u64::from(until.is_none());
        self.placed = until.is_some();
        self.next = until.or_else(|| self.request_from(0)).unwrap_or(0);
        answers
    }

    fn request_from(&self, start: usize) -> Option<usize> {
        let rest = self.transcript.frames.get(start..)?;
        rest.iter().position(|frame| frame.direction == Direction::ToDevice).map(|offset| start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drv_protocol::modbus::{Request, Table, rtu, tcp};
    use proptest::prelude::*;

    const SCALE: &str = "steelyard-transcript 1\ndevice scale-2\nconnection toledo-8217 /dev/ttyUSB0\nwire serial\n\
        # a remark\n0 > 57 0D\n12 < 02 30 30 31 2E 32 33 35 0D\n250 > 57 0D\n270 < 02 3F\n271 < 44 0D\n";

    #[test]
    fn a_device_answers_as_recorded_and_begins_again_at_the_end() {
        let transcript = Transcript::parse(SCALE).unwrap();
        assert_eq!(transcript.get("device"), Some("scale-2"));
        assert_eq!(Transcript::parse(&transcript.text()), Ok(transcript.clone()));
        let mut replay = Replay::new(transcript);
        assert!(replay.receive(b"W").is_empty(), "half a request");
        let first = Answer { bytes: b"\x02001.235\r".to_vec(), after_ms: 12 };
        assert_eq!(replay.receive(b"\r"), std::slice::from_ref(&first));
        let second = replay.receive(b"W\r");
        assert_eq!(second.iter().map(|a| a.after_ms).collect::<Vec<_>>(), [20, 1]);
        assert_eq!(replay.rounds(), 1);
        assert_eq!(replay.receive(b"W\r"), [first]);
    }

    #[test]
    fn another_request_is_named_and_silences_the_far_end() {
        let mut replay = Replay::new(Transcript::parse(SCALE).unwrap());
        replay.receive(b"W\r");
        assert!(replay.receive(b"H\r").is_empty());
        let mismatch = replay.mismatch().unwrap();
        assert_eq!(mismatch.frame, 3);
        assert_eq!(mismatch.to_string(), "frame 3: expected 57 0D, found 48");
        assert!(replay.receive(b"W\r").is_empty());
    }

    #[test]
    fn the_transaction_number_of_modbus_tcp_is_free() {
        let request = Request::Read { table: Table::Holding, address: 107, count: 1 };
        let recorded = tcp::encode_request(900, 17, &request).unwrap();
        let text = format!(
            "steelyard-transcript 1\nwire modbus-tcp\n5 > {}\n9 < 03 84 00 00 00 05 11 03 02 02 2B\n",
            hex(&recorded)
        );
        let mut replay = Replay::new(Transcript::parse(&text).unwrap());
        let answer = replay.receive(&tcp::encode_request(1, 17, &request).unwrap());
        assert_eq!(answer, [Answer { bytes: vec![0, 1, 0, 0, 0, 5, 0x11, 3, 2, 2, 0x2B], after_ms: 4 }]);
        let other = Request::Read { table: Table::Holding, address: 108, count: 1 };
        assert!(replay.receive(&tcp::encode_request(2, 17, &other).unwrap()).is_empty());
        assert!(replay.mismatch().is_some());
    }

    #[test]
    fn a_host_that_begins_elsewhere_in_its_round_is_followed_there() {
        let text = "steelyard-transcript 1\nwire serial\n0 > 41 31 0D\n1 < 61\n2 > 41 32 0D\n3 < 62\n4 > 41 33 0D\n5 < 63\n";
        let mut replay = Replay::new(Transcript::parse(text).unwrap());
        let mut ask =
            |text: &[u8]| replay.receive(text).into_iter().flat_map(|a| a.bytes).collect::<Vec<u8>>();
        assert_eq!((ask(b"A2\r"), ask(b"A3\r")), (b"b".to_vec(), b"c".to_vec()));
        // A new round, again not from the beginning.
        assert_eq!((ask(b"A3\r"), ask(b"A1\r")), (b"c".to_vec(), b"a".to_vec()));
        assert_eq!(ask(b"A3\r"), Vec::<u8>::new(), "within a round the order is the recorded one");
        assert_eq!(replay.mismatch().unwrap().frame, 3);
    }

    #[test]
    fn a_silent_device_stays_silent() {
        let request =
            rtu::encode_request(9, &Request::Read { table: Table::Input, address: 0, count: 1 }).unwrap();
        let text = format!("steelyard-transcript 1\nwire modbus-rtu\n0 > {}\n", hex(&request));
        let mut replay = Replay::new(Transcript::parse(&text).unwrap());
        assert!(replay.receive(&request).is_empty() && replay.receive(&request).is_empty());
        assert_eq!((replay.rounds(), replay.mismatch()), (2, None));
    }

    #[test]
    fn faults_name_line_expectation_and_finding() {
        for (text, line, expected) in [
            ("", 1, "steelyard-transcript 1"),
            ("steelyard-transcript 2\n", 1, "steelyard-transcript 1"),
            ("steelyard-transcript 1\n0 > 57\n", 0, "wire"),
            ("steelyard-transcript 1\nwire rope\n", 2, "modbus-rtu"),
            ("steelyard-transcript 1\nwire serial\n0 > 5\n", 3, "two hex digits"),
            ("steelyard-transcript 1\nwire serial\n0 > +5\n", 3, "two hex digits"),
            ("steelyard-transcript 1\nwire serial\n0 >\n", 3, "at least one byte"),
            ("steelyard-transcript 1\nwire serial\n0 = 57\n", 3, "> or <"),
            ("steelyard-transcript 1\nwire serial\n9 > 57\n8 < 57\n", 4, "9 ms"),
            ("steelyard-transcript 1\nwire serial\n9 > 57\nmissed 2\n", 4, "without gaps"),
            ("steelyard-transcript 1\nwire serial\n9 > 57\nlater head\n", 4, "a frame"),
        ] {
            let error = Transcript::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let one = (0_u64..50, any::<bool>(), prop::collection::vec(any::<u8>(), 1..20));
        prop::collection::vec(one, 0..20).prop_map(|list| {
            let mut at_ms = 0;
            let frame = |(pause, sent, bytes)| {
                at_ms += pause;
                let direction = if sent { Direction::ToDevice } else { Direction::FromDevice };
                Frame { at_ms, direction, bytes }
            };
            list.into_iter().map(frame).collect()
        })
    }

    proptest! {
        #[test]
        fn any_text_is_a_transcript_or_a_fault(text in "\\PC{0,200}", tail: String) {
            drop(Transcript::parse(&text));
            drop(Transcript::parse(&format!("steelyard-transcript 1\nwire serial\n{tail}")));
        }

        #[test]
        fn what_is_written_is_read_and_played_whole(frames in frames()) {
            let transcript = Transcript { wire: Wire::Serial, head: Vec::new(), frames };
            prop_assert_eq!(Transcript::parse(&transcript.text()), Ok(transcript.clone()));
            let mut replay = Replay::new(transcript.clone());
            let first = transcript.frames.iter().position(|f| f.direction == Direction::ToDevice);
            let said: Vec<u8> = transcript.frames.iter().skip(first.unwrap_or(usize::MAX))
                .filter(|f| f.direction == Direction::FromDevice).flat_map(|f| f.bytes.clone()).collect();
            let mut heard = Vec::new();
            for frame in transcript.frames.iter().filter(|f| f.direction == Direction::ToDevice) {
                heard.extend(replay.receive(&frame.bytes).into_iter().flat_map(|answer| answer.bytes));
            }
            prop_assert_eq!(replay.mismatch(), None);
            prop_assert_eq!(heard, said);
        }

        #[test]
        fn any_bytes_are_answered_or_named(frames in frames(), bytes: Vec<u8>) {
            let mut replay = Replay::new(Transcript { wire: Wire::ModbusTcp, head: Vec::new(), frames });
            replay.receive(&bytes);
            prop_assert!(replay.heard.len() <= bytes.len());
        }
    }
}
