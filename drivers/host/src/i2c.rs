//! Chips on an I2C bus through `/dev/i2c-N`.
//!
//! Contract
//! * One thread owns a bus. It opens the device for each round of measurements and closes it after: an open device file
//!   keeps the kernel from removing an adapter that was unplugged, and so from taking it in again.
//! * A chip that does not answer costs its own time; a line that is held, or a device that cannot be opened, is a failure of
//!   the bus and named so at every chip on it.
//! * The drivers of the chips are `drv_protocol::i2c`, unchanged from firmware; what they run on comes from an [`Opener`], so
//!   that a test hands in a simulated bus: no kernel here has an I2C far end that raw transfers reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drv_protocol::i2c::{Climate, Fault, Probe};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, I2c};
use linux_embedded_hal::{Delay, I2cdev};

use crate::config::{CabinetConfig, I2cConfig};
use crate::event::{CabinetReading, CabinetState, DeviceBody};
use crate::health::Contact;
use crate::pace::Backoff;
use crate::registry::Desk;
use crate::supervise::{Driver, SLICE, pause_for_plug};

/// How a bus is opened.
pub(crate) trait Opener: Send + 'static {
    /// The open bus.
    type Bus: I2c;
    /// What waits for conversions.
    type Delay: DelayNs;
    /// Opens the bus, or says why not.
    fn open(&mut self) -> Result<(Self::Bus, Self::Delay), String>;
}

/// A bus of the kernel.
pub(crate) struct DeviceFile(pub(crate) String);

impl Opener for DeviceFile {
    type Bus = I2cdev;
    type Delay = Delay;

    fn open(&mut self) -> Result<(I2cdev, Delay), String> {
        let bus = I2cdev::new(&self.0).map_err(|error| format!("{}: {error}", self.0))?;
        Ok((bus, Delay))
    }
}

struct Chip {
    device: Arc<str>,
    probe: Probe,
    poll: Duration,
    due: Instant,
}

/// Owner of one bus.
pub(crate) struct I2cDriver<O> {
    name: String,
    opener: O,
    chips: Vec<Chip>,
}

impl I2cDriver<DeviceFile> {
    pub(crate) fn new(bus: &I2cConfig, cabinets: &[CabinetConfig]) -> Self {
        Self::over(DeviceFile(bus.path.clone()), &bus.id, cabinets)
    }
}

impl<O: Opener> I2cDriver<O> {
    /// The chips of `cabinets` that name this bus, over any opener.
    pub(crate) fn over(opener: O, bus: &str, cabinets: &[CabinetConfig]) -> Self {
        let now = Instant::now();
        let chip = |cabinet: &CabinetConfig| {
            let source = cabinet.i2c.as_ref().filter(|source| source.bus == bus)?;
            Some(Chip {
                device: Arc::from(cabinet.id.as_str()),
                // The configuration was checked: the address is one that the chip can have.
                probe: Probe::new(source.chip, source.address).ok()?,
                poll: Duration::from_millis(cabinet.poll_ms.into()),
                due: now,
            })
        };
        Self { name: bus.to_owned(), opener, chips: cabinets.iter().filter_map(chip).collect() }
    }

    /// Measures what is due, on a bus that is open for this round only.
    fn round(&mut self, desk: &mut Desk) -> Result<(), String> {
        let (mut bus, mut delay) = self.opener.open()?;
        for chip in &mut self.chips {
            let now = Instant::now();
            if desk.stopping() {
                break;
            }
            if chip.due <= now {
                chip.due = now + chip.poll;
                let outcome = chip.probe.measure(&mut bus, &mut delay);
                chip.report(&self.name, outcome, desk);
            }
        }
        Ok(())
    }
}

impl<O: Opener> Driver for I2cDriver<O> {
    fn devices(&self) -> Vec<Arc<str>> {
        self.chips.iter().map(|chip| chip.device.clone()).collect()
    }

    fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(500, 10_000);
        while !desk.stopping() {
            desk.flush();
            let now = Instant::now();
            if self.chips.iter().any(|chip| chip.due <= now) {
                if let Err(reason) = self.round(desk) {
                    let reason = format!("I2C bus {}: {reason}", self.name);
                    desk.unreachable(self.chips.iter().map(|chip| &chip.device), &reason);
                    self.chips.iter().for_each(|chip| desk.count(&chip.device, |c| &mut c.reopened));
                    if pause_for_plug(desk, backoff.pause()) {
                        backoff.reset();
                    }
                    continue;
                }
                backoff.reset();
            }
            self.chips.iter().for_each(|chip| desk.tick(&chip.device));
            let next = self.chips.iter().map(|chip| chip.due).min().unwrap_or(now);
            std::thread::sleep(
                next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), SLICE),
            );
        }
    }
}

impl Chip {
    fn report(&self, bus: &str, outcome: Result<Climate, Fault>, desk: &mut Desk) {
        let (chip, address) = (self.probe.chip().name(), self.probe.address());
        let fault = outcome.as_ref().err().map(|fault| format!("{chip} at {bus}:{address:#04x}: {fault}"));
        let contact = match (&outcome, &fault) {
            (Err(fault), Some(text)) => contact(*fault, text),
            _ => Contact::Good,
        };
        desk.contact(&self.device, &contact);
        let value = outcome.ok().map(|climate| climate.temperature);
        let (state, door_open, alarms) = (CabinetState::Normal, None, Vec::new());
        let reading = CabinetReading { value, fault, suspect: None, state, door_open, alarms };
        desk.report(&self.device, DeviceBody::Temperature(reading));
    }
}

fn contact(fault: Fault, text: &str) -> Contact {
    let text = text.to_owned();
    match fault {
        // A held line, or an address that the kernel keeps for itself: nothing on our side reaches the chip.
        Fault::Bus(ErrorKind::Bus | ErrorKind::ArbitrationLoss) => Contact::Unreachable(text.into()),
        Fault::Bus(_) => Contact::Timeout,
        Fault::DeadLine(_) | Fault::Crc(_) => Contact::Malformed(text),
        Fault::Identity { .. } | Fault::NotReady => Contact::Refused(text),
        Fault::OutOfRange { .. } => Contact::SensorFault(text),
    }
}

#[cfg(test)]
mod tests;
