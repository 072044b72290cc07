//! The wire sides of scales that only weigh: ENQ-DC1, MT-SICS, NCI, the CAS and A&D streams, XK3190.

use drv_protocol::Grams;
use drv_protocol::scale::{Mass, MassUnit, Weight};
use drv_protocol::scales::{Bcc, ScaleKind, aandd, cas, enqdc1, mtsics, nci, xk3190};

use super::platform::{Platform, Set};
use super::{Dialect, Out, ScaleConfig};

/// Bytes of a command kept.
const COMMAND_BYTES_MAX: usize = 40;

/// When the next weight goes out by itself.
#[derive(Clone, Copy, Debug)]
struct Beat {
    on: bool,
    due: u64,
    period: u64,
}

impl Beat {
    const fn new(on: bool, period: u64) -> Self {
        Self { on, due: 0, period }
    }

    fn due(&mut self, now: u64) -> bool {
        if !self.on || now < self.due {
            return false;
        }
        self.due = now + self.period.max(1);
        true
    }
}

/// Collects a command up to its end.
#[derive(Clone, Debug, Default)]
struct Command(Vec<u8>);

impl Command {
    fn push(&mut self, byte: u8, end: u8) -> Option<Vec<u8>> {
        if byte == end {
            return Some(std::mem::take(&mut self.0));
        }
        if self.0.len() < COMMAND_BYTES_MAX {
            self.0.push(byte);
        }
        None
    }
}

/// CAS AP-1 and Pinnacle/Aclas OS2X.
#[derive(Clone, Debug)]
pub(super) struct EnqDc1 {
    os2x: bool,
    bcc: Bcc,
    beat: Beat,
    command: Command,
}

impl EnqDc1 {
    pub(super) fn new(config: ScaleConfig) -> Self {
        let os2x = config.kind == ScaleKind::Os2x;
        let own = if os2x { Bcc::Frame } else { Bcc::Content };
        let beat = Beat::new(os2x && config.sends, config.period_ms);
        Self { os2x, bcc: config.bcc.unwrap_or(own), beat, command: Command::default() }
    }

    fn frame(&self, platform: &mut Platform, now: u64, active: bool) -> Option<Out> {
        platform.counters.polls += 1;
        let reading = platform.reading(now);
        let status = match reading {
            Weight { over: true, .. } => b'F',
            Weight { stable: true, .. } => b'S',
            _ => b'U',
        };
        let shown = reading.shown?;
        let flags = active.then(|| {
            let bit = |set: bool, bit: u8| if set { bit } else { 0 };
            bit(reading.centre_of_zero, 0x10) | bit(reading.net, 0x20) | bit(reading.over, 0x40)
        });
        // An overload that does not fit six characters is shown as zero.
        let bytes = enqdc1::encode(status, shown, self.bcc, flags)
            .or_else(|| enqdc1::encode(status, Mass { count: 0, ..shown }, self.bcc, flags))?;
        Some(Out { bytes, weight: reading.usable().is_some(), checksum_at: Some(12) })
    }
}

impl Dialect for EnqDc1 {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        let out = match byte {
            0x05 => Some(Out::plain([0x06])),
            0x11 => self.frame(platform, now, false),
            _ if self.os2x => {
                match self.command.push(byte, b'\t').as_deref() {
                    // Whether it was done shows in the weights that follow.
                    Some(b"<TK>") => {
                        platform.take_tare(now);
                    }
                    Some(b"<ZK>") => {
                        platform.zero(now);
                    }
                    Some(b"<AL>") => self.beat.on = false,
                    Some(b"<PB>") => self.beat.on = true,
                    Some(_) => platform.counters.unknown += 1,
                    None => {}
                }
                None
            }
            _ => {
                platform.counters.unknown += 1;
                None
            }
        };
        out.into_iter().collect()
    }

    fn tick(&mut self, platform: &mut Platform, now: u64) -> Vec<Out> {
        if !self.beat.due(now) {
            return Vec::new();
        }
        self.frame(platform, now, true).into_iter().collect()
    }
}

/// How long MT-SICS commands that want rest wait for it.
const REST_MS: u64 = 3_000;

/// MT-SICS, levels 0 and 1 as far as the host uses them.
#[derive(Clone, Debug)]
pub(super) struct MtSics {
    beat: Beat,
    command: Command,
    /// A command that waits for rest, and until when.
    waits: Option<(u8, u64)>,
}

impl MtSics {
    pub(super) fn new(config: ScaleConfig) -> Self {
        let beat = Beat::new(false, config.period_ms);
        Self { beat, command: Command::default(), waits: None }
    }

    fn weight(platform: &mut Platform, now: u64) -> Out {
        platform.counters.polls += 1;
        let reading = platform.reading(now);
        match reading {
            Weight { over: true, .. } => Out::plain(*b"S +\r\n"),
            Weight { shown: Some(shown), .. } => Out {
                bytes: mtsics::encode_weight(reading.stable, shown),
                weight: reading.usable().is_some(),
                checksum_at: None,
            },
            _ => Out::plain(*b"S I\r\n"),
        }
    }

    /// Carries out `S`, `Z` or `T` at rest; gives up by the deadline.
    fn rest(&mut self, platform: &mut Platform, now: u64) -> Vec<Out> {
        let Some((command, deadline)) = self.waits else { return Vec::new() };
        if !platform.reading(now).stable {
            if now < deadline {
                return Vec::new();
            }
            self.waits = None;
            return line(format!("{} I", char::from(command)));
        }
        self.waits = None;
        match command {
            b'S' => [Self::weight(platform, now)].to_vec(),
            b'Z' => {
                let done = platform.zero(now);
                line(format!("Z {}", letter(done, "A")))
            }
            _ => {
                let done = platform.take_tare(now);
                let tare = platform.display(platform.tare());
                line(if done == Set::Done {
                    format!("T S {tare:>10}")
                } else {
                    format!("T {}", letter(done, "S"))
                })
            }
        }
    }

    fn run(&mut self, text: &str, platform: &mut Platform, now: u64) -> Vec<Out> {
        if matches!(text, "S" | "SI" | "@") {
            self.beat.on = false;
        }
        match text {
            "S" | "Z" | "T" => {
                self.waits = Some((text.bytes().next().unwrap_or(b'S'), now + REST_MS));
                self.rest(platform, now)
            }
            "SI" => [Self::weight(platform, now)].to_vec(),
            "SIR" => {
                (self.beat.on, self.beat.due) = (true, now);
                Vec::new()
            }
            "ZI" => {
                let state = if platform.reading(now).stable { "S" } else { "D" };
                let done = platform.zero(now);
                line(format!("ZI {}", letter(done, state)))
            }
            "TI" => {
                let done = platform.take_tare(now);
                let tare = platform.display(platform.tare());
                line(if done == Set::Done {
                    format!("TI S {tare}")
                } else {
                    format!("TI {}", letter(done, "S"))
                })
            }
            "TA" => line(format!("TA A {}", platform.display(platform.tare()))),
            "TAC" => {
                platform.key_tare(Grams(0));
                line("TAC A".to_owned())
            }
            "@" => {
                platform.key_tare(Grams(0));
                self.waits = None;
                line("I4 A \"B012345678\"".to_owned())
            }
            "I0" => inventory(),
            "I1" => line("I1 A \"01\" \"2.00\" \"2.00\" \"\" \"\"".to_owned()),
            "I2" => line(format!(
                "I2 A \"STEELYARD-SIM {}\"",
                platform.display(Grams(platform.config.capacity_g))
            )),
            "I3" => line("I3 A \"1.00\"".to_owned()),
            "I4" => line("I4 A \"B012345678\"".to_owned()),
            _ => match text.strip_prefix("TA ").map(keyed) {
                Some(Some(grams)) => {
                    let done = platform.key_tare(grams) == Set::Done;
                    let tare = platform.display(platform.tare());
                    line(if done { format!("TA A {tare}") } else { "TA L".to_owned() })
                }
                Some(None) => line("TA L".to_owned()),
                None => {
                    platform.counters.unknown += 1;
                    line("ES".to_owned())
                }
            },
        }
    }
}

fn line(text: String) -> Vec<Out> {
    [Out::plain(format!("{text}\r\n"))].to_vec()
}

fn letter(done: Set, good: &str) -> &str {
    match done {
        Set::Done => good,
        Set::Motion => "I",
        Set::Above => "+",
        Set::Below => "-",
    }
}

fn keyed(text: &str) -> Option<Grams> {
    let (number, unit) = text.trim().split_once(' ')?;
    let unit = MassUnit::parse(unit.trim().as_bytes())?;
    Mass::parse(number.as_bytes(), unit)?.exact_grams()
}

fn inventory() -> Vec<Out> {
    let level0 = ["@", "I0", "I1", "I2", "I3", "I4", "S", "SI", "SIR", "Z", "ZI"];
    let level1 = ["T", "TA", "TAC", "TI"];
    let all: Vec<(u8, &str)> =
        level0.iter().map(|name| (0, *name)).chain(level1.iter().map(|name| (1, *name))).collect();
    let last = all.len() - 1;
    let row = |(at, (level, name)): (usize, &(u8, &str))| {
        format!("I0 {} {level} \"{name}\"\r\n", if at == last { 'A' } else { 'B' })
    };
    [Out::plain(all.iter().enumerate().map(row).collect::<String>())].to_vec()
}

impl Dialect for MtSics {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        let Some(command) = self.command.push(byte, b'\n') else { return Vec::new() };
        let text = String::from_utf8_lossy(&command).trim_end().to_owned();
        self.run(&text, platform, now)
    }

    fn tick(&mut self, platform: &mut Platform, now: u64) -> Vec<Out> {
        let mut out = self.rest(platform, now);
        if self.beat.due(now) {
            out.push(Self::weight(platform, now));
        }
        out
    }
}

/// NCI SCP-01 and SCP-02.
#[derive(Clone, Debug)]
pub(super) struct Nci {
    version: nci::Version,
    command: Command,
}

impl Nci {
    pub(super) fn new(config: ScaleConfig) -> Self {
        let second = config.kind == ScaleKind::NciScp02;
        let version = if second { nci::Version::Scp02 } else { nci::Version::Scp01 };
        Self { version, command: Command::default() }
    }
}

impl Dialect for Nci {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        let Some(command) = self.command.push(byte & 0x7F, b'\r') else { return Vec::new() };
        let state = |platform: &Platform| {
            let reading = platform.reading(now);
            let silent = Weight { shown: None, gross_or_net: None, ..reading };
            Out::plain(nci::encode(&silent, self.version))
        };
        let out = match command.as_slice() {
            b"W" => {
                platform.counters.polls += 1;
                let reading = platform.reading(now);
                let bytes = nci::encode(&reading, self.version);
                Out { bytes, weight: reading.usable().is_some(), checksum_at: None }
            }
            b"S" => state(platform),
            b"Z" => {
                // A refusal shows in the status that answers it.
                platform.zero(now);
                state(platform)
            }
            _ => {
                platform.counters.unknown += 1;
                Out::plain(*b"\n?\r\x03")
            }
        };
        [out].to_vec()
    }
}

/// The CAS and A&D formats.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    kind: ScaleKind,
    beat: Beat,
    command: Command,
}

impl Stream {
    pub(super) fn new(config: ScaleConfig) -> Self {
        let sends = config.sends || !config.kind.readings().0;
        Self { kind: config.kind, beat: Beat::new(sends, config.period_ms), command: Command::default() }
    }

    fn frame(&self, platform: &mut Platform, now: u64) -> Option<Out> {
        platform.counters.polls += 1;
        let reading = platform.reading(now);
        let encode = |reading: &Weight| match self.kind {
            ScaleKind::Cas22 => cas::encode(reading, cas::Format::Bytes22),
            ScaleKind::Cas10 => cas::encode(reading, cas::Format::Bytes10),
            ScaleKind::And18 => aandd::encode(reading, aandd::Format::Bytes18),
            _ => aandd::encode(reading, aandd::Format::Native),
        };
        let says_stable = self.kind != ScaleKind::Cas10;
        let weight = says_stable && reading.usable().is_some();
        Some(Out { bytes: encode(&reading)?, weight, checksum_at: None })
    }
}

impl Dialect for Stream {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        if self.kind != ScaleKind::AndNative {
            return Vec::new();
        }
        let Some(command) = self.command.push(byte & 0x7F, b'\n') else { return Vec::new() };
        let done = |done: Set| match done {
            Set::Done => [Out::plain(*b"\x06\r\n"), Out::plain(*b"\x06\r\n")].to_vec(),
            Set::Motion => [Out::plain(*b"\x06\r\n"), Out::plain(*b"EC,E2\r\n")].to_vec(),
            Set::Above | Set::Below => [Out::plain(*b"EC,E7\r\n")].to_vec(),
        };
        match command.trim_ascii_end() {
            b"Q" | b"SI" | b"?WT" => self.frame(platform, now).into_iter().collect(),
            b"Z" => done(platform.zero(now)),
            b"T" => done(platform.take_tare(now)),
            _ => {
                platform.counters.unknown += 1;
                [Out::plain(*b"EC,E1\r\n")].to_vec()
            }
        }
    }

    fn tick(&mut self, platform: &mut Platform, now: u64) -> Vec<Out> {
        if !self.beat.due(now) {
            return Vec::new();
        }
        self.frame(platform, now).into_iter().collect()
    }
}

/// Yaohua XK3190-A23 at address A.
#[derive(Clone, Debug)]
pub(super) struct Xk3190 {
    beat: Beat,
    command: Command,
}

impl Xk3190 {
    pub(super) fn new(config: ScaleConfig) -> Self {
        Self { beat: Beat::new(config.sends, config.period_ms), command: Command::default() }
    }
}

impl Dialect for Xk3190 {
    fn byte(&mut self, byte: u8, platform: &mut Platform, _now: u64) -> Vec<Out> {
        let Some(mut command) = self.command.push(byte, 0x03) else { return Vec::new() };
        command.push(0x03);
        let net = platform.shows();
        let asked = [
            (xk3190::Command::Gross, Grams(net.0 + platform.tare().0)),
            (xk3190::Command::Tare, platform.tare()),
            (xk3190::Command::Net, net),
        ];
        let Some((command, grams)) = asked.into_iter().find(|(known, _)| known.encode(b'A') == command)
        else {
            platform.counters.unknown += 1;
            return Vec::new();
        };
        platform.counters.polls += u64::from(command == xk3190::Command::Net);
        let bytes = xk3190::encode(platform.display(grams), Some(command));
        let frame = |bytes: Vec<u8>| Out { checksum_at: bytes.len().checked_sub(2), bytes, weight: false };
        bytes.map(frame).into_iter().collect()
    }

    fn tick(&mut self, platform: &mut Platform, now: u64) -> Vec<Out> {
        if !self.beat.due(now) {
            return Vec::new();
        }
        platform.counters.polls += 1;
        let bytes = xk3190::encode(platform.display(platform.shows()), None);
        let frame = |bytes: Vec<u8>| Out { checksum_at: bytes.len().checked_sub(2), bytes, weight: false };
        bytes.map(frame).into_iter().collect()
    }
}
