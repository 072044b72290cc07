//! DS18B20 probes through the kernel's 1-Wire tree.
//!
//! Contract
//! * One thread reads all probes, one after the other, as the one-wire bus itself is one.
//! * A probe that vanished keeps its folder and reads empty without an error; that is silence, not a reading.
//! * At most [`TEXT_BYTES`] of a file are read.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drv_protocol::ds18b20::{self, Fault};

use crate::config::{CabinetConfig, W1Config};
use crate::event::{CabinetReading, CabinetState, DeviceBody};
use crate::health::Contact;
use crate::registry::{Desk, Way};
use crate::supervise::{Driver, SLICE};

/// Bytes read of a sensor's file.
pub(crate) const TEXT_BYTES: u64 = 512;

struct Probe {
    device: Arc<str>,
    file: PathBuf,
    poll: Duration,
    due: Instant,
}

/// Reader of all 1-Wire probes.
pub(crate) struct W1Driver {
    probes: Vec<Probe>,
}

impl W1Driver {
    pub(crate) fn new(config: &W1Config, cabinets: &[&CabinetConfig]) -> Self {
        let now = Instant::now();
        let probe = |cabinet: &&CabinetConfig| {
            Some(Probe {
                device: Arc::from(cabinet.id.as_str()),
                file: Path::new(&config.root).join(cabinet.w1.as_deref()?).join("w1_slave"),
                poll: Duration::from_millis(cabinet.poll_ms.into()),
                due: now,
            })
        };
        Self { probes: cabinets.iter().filter_map(probe).collect() }
    }

    pub(crate) fn devices(&self) -> Vec<Arc<str>> {
        self.probes.iter().map(|p| p.device.clone()).collect()
    }
}

impl Driver for W1Driver {
    fn run(&mut self, desk: &mut Desk) {
        while !desk.stopping() {
            desk.flush();
            let now = Instant::now();
            for probe in &mut self.probes {
                if desk.stopping() {
                    return;
                }
                if probe.due <= now {
                    probe.due = now + probe.poll;
                    probe.visit(desk);
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
    fn visit(&self, desk: &mut Desk) {
        let (value, fault) = match read(&self.file) {
            Err(error) => (None, Some((Contact::Timeout, format!("{}: {error}", self.file.display())))),
            Ok(bytes) => {
                desk.frame(&self.device, Way::Received, &bytes);
                match ds18b20::parse(&String::from_utf8_lossy(&bytes)) {
                    Ok(value) => (Some(value), None),
                    Err(fault) => (None, Some((contact(fault), fault.to_string()))),
                }
            }
        };
        let (contact, fault) = fault.map_or((Contact::Good, None), |(contact, text)| (contact, Some(text)));
        desk.contact(&self.device, &contact);
        let reading = CabinetReading { value, fault, state: CabinetState::Normal, door_open: None };
        desk.report(&self.device, DeviceBody::Temperature(reading));
    }
}

fn contact(fault: Fault) -> Contact {
    match fault {
        Fault::Empty => Contact::Timeout,
        Fault::CrcNo(_) | Fault::AllZero | Fault::Malformed(_) => Contact::Malformed(fault.to_string()),
        Fault::PowerOn85 | Fault::OutOfRange(_) => Contact::SensorFault(fault.to_string()),
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(TEXT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
