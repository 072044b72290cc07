//! DS18B20 probes and their relatives through the kernel's 1-Wire tree.
//!
//! Contract
//! * One thread reads all probes, one after the other, as the one-wire bus itself is one.
//! * A probe that vanished keeps its folder and reads empty without an error; that is silence, not a reading.
//! * At most [`TEXT_BYTES`] of a file are read.
//! * Reading a sensor starts a conversion and takes its time ([`CONVERSION_MS`] at twelve bits), and the kernel repeats up to
//!   ten times for one that answers with noise. So a sensor that fails is asked less and less often, at most every
//!   [`FAILING_POLL`] (or as often as configured, if that is less), and costs the others little.
//! * A resolution that is configured is written whenever a sensor is met anew, as it forgets it with its power.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drv_protocol::ds18b20::{self, Family, Fault};

use crate::config::{CabinetConfig, W1Config};
use crate::event::{CabinetReading, CabinetState, DeviceBody};
use crate::health::Contact;
use crate::registry::{Desk, Way};
use crate::supervise::{Driver, SLICE};

/// Bytes read of a sensor's file.
pub(crate) const TEXT_BYTES: u64 = 512;

/// Longest conversion of a sensor, at twelve bits.
pub(crate) const CONVERSION_MS: u32 = 750;
/// How often a failing sensor is still asked.
pub(crate) const FAILING_POLL: Duration = Duration::from_secs(30);
/// Bytes of a small attribute file.
const ATTRIBUTE_BYTES: u64 = 16;

/// Time that reading all of so many sensors takes, each with its longest conversion.
pub(crate) fn round_ms(sensors: usize) -> u32 {
    u32::try_from(sensors).unwrap_or(u32::MAX).saturating_mul(CONVERSION_MS)
}

struct Probe {
    device: Arc<str>,
    family: Family,
    folder: PathBuf,
    poll: Duration,
    due: Instant,
    /// Failures in a row.
    failed: u32,
    /// The resolution still has to be looked at.
    resolution: Option<u8>,
    unset: bool,
}

/// Reader of all 1-Wire probes.
pub(crate) struct W1Driver {
    probes: Vec<Probe>,
}

impl W1Driver {
    pub(crate) fn new(config: &W1Config, cabinets: &[&CabinetConfig]) -> Self {
        let now = Instant::now();
        let probe = |cabinet: &&CabinetConfig| {
            let sensor = cabinet.w1.as_deref()?;
            Some(Probe {
                device: Arc::from(cabinet.id.as_str()),
                // The configuration was checked: the name has a known family.
                family: Family::of_name(sensor)?,
                folder: Path::new(&config.root).join(sensor),
                poll: Duration::from_millis(cabinet.poll_ms.into()),
                due: now,
                failed: 0,
                resolution: config.resolution,
                unset: true,
            })
        };
        Self { probes: cabinets.iter().filter_map(probe).collect() }
    }
}

impl Driver for W1Driver {
    fn devices(&self) -> Vec<Arc<str>> {
        self.probes.iter().map(|p| p.device.clone()).collect()
    }

    fn run(&mut self, desk: &mut Desk) {
        while !desk.stopping() {
            desk.flush();
            let now = Instant::now();
            for probe in &mut self.probes {
                if desk.stopping() {
                    return;
                }
                if probe.due <= now {
                    probe.visit(desk);
                    probe.due = now + probe.pause();
                }
                desk.tick(&probe.device);
            }
            let next = self.probes.iter().map(|p| p.due).min().unwrap_or(now);
            std::thread::sleep(
                next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), SLICE),
            );
        }
    }
}

impl Probe {
    /// Time to the next visit.
    fn pause(&self) -> Duration {
        let longer = self.poll.saturating_mul(1 << self.failed.saturating_sub(1).min(6));
        if self.failed == 0 { self.poll } else { longer.min(FAILING_POLL.max(self.poll)) }
    }

    fn visit(&mut self, desk: &mut Desk) {
        if self.unset {
            self.unset = !self.set_resolution();
        }
        let file = self.folder.join("w1_slave");
        let (value, fault) = match read(&file, TEXT_BYTES) {
            Err(error) => (None, Some((Contact::Timeout, format!("{}: {error}", file.display())))),
            Ok(bytes) => {
                desk.frame(&self.device, Way::Received, &bytes);
                match ds18b20::parse(self.family, &String::from_utf8_lossy(&bytes)) {
                    Ok(value) => (Some(value), None),
                    Err(fault) => (None, Some((contact(fault), fault.to_string()))),
                }
            }
        };
        self.failed = if fault.is_some() { self.failed.saturating_add(1) } else { 0 };
        // What failed may have been without power, and then has forgotten its resolution.
        self.unset |= fault.is_some();
        let (contact, fault) = fault.map_or((Contact::Good, None), |(contact, text)| (contact, Some(text)));
        desk.contact(&self.device, &contact);
        // 85 degrees after power-on and an empty scratchpad are fixed contents, not measurements: no evidence of anything.
        let suspect = None;
        let (state, door_open, alarms) = (CabinetState::Normal, None, Vec::new());
        let reading = CabinetReading { value, fault, suspect, state, door_open, alarms };
        desk.report(&self.device, DeviceBody::Temperature(reading));
    }

    /// Writes the configured resolution where the sensor has another; true when it is as configured, or cannot be set.
    fn set_resolution(&self) -> bool {
        let (Some(wanted), true) = (self.resolution, self.family != Family::Ds18s20) else { return true };
        let file = self.folder.join("resolution");
        let Ok(text) = read(&file, ATTRIBUTE_BYTES) else { return false };
        if String::from_utf8_lossy(&text).trim() == wanted.to_string() {
            return true;
        }
        let written = std::fs::write(&file, wanted.to_string());
        if let Err(error) = &written {
            tracing::warn!(device = &*self.device, "{}: {error}: resolution left as it is", file.display());
        }
        true
    }
}

fn contact(fault: Fault) -> Contact {
    match fault {
        Fault::Empty => Contact::Timeout,
        Fault::CrcNo(_) | Fault::AllZero | Fault::Foreign(_) | Fault::Malformed(_) => {
            Contact::Malformed(fault.to_string())
        }
        Fault::PowerOn85 | Fault::OutOfRange(_) => Contact::SensorFault(fault.to_string()),
    }
}

fn read(file: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
