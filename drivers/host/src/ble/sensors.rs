//! Advertising sensors as cabinets' probes, heard by the scan that the tags share.
//!
//! Contract
//! * A reading is reported for a new measurement only, and at most once per `poll_ms`: one that comes sooner waits, and a still
//!   newer one takes its place. Repeats of one frame say that the radio
//!   works, not that the sensor does: when nothing but repeats was heard for the time after which the sensor is stale, that is
//!   a fault with its reason, however loud the sensor is. Silence is `Lost`, as for every device.
//! * A sensor that sends on events only (BTHome: trigger based) cannot tell silence from peace, so it is no cabinet's probe:
//!   its readings are passed on and it becomes stale like any other.
//! * A key is read from its file when the scan starts, and again every [`KEY_EVERY_MS`] while it cannot be read; neither it nor
//!   the file's text is ever logged or reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use btleplug::api::{Central as _, CentralEvent, Peripheral as _};
use btleplug::platform::{Adapter, PeripheralId};
use drv_protocol::advert::{Address, AdvertError, Hearing, Part, Sensor, SensorAdvert};
use drv_protocol::ccm::Key;
use uuid::Uuid;

use super::link::within;
use super::session::CALL_LIMIT;
use crate::clock::mono_ms;
use crate::config::{BleConfig, BleSource, CabinetConfig};
use crate::event::{CabinetReading, CabinetState, DeviceBody};
use crate::health::Contact;
use crate::registry::{Desk, Way};

/// How often a key that cannot be read is tried again.
const KEY_EVERY_MS: u64 = 5_000;
/// Bytes of a key file that are looked at.
const KEY_FILE_BYTES: u64 = 256;
/// The part of a 16-bit UUID that all share (Bluetooth base UUID).
const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5F9B_34FB;

/// All advertising sensors of a host.
pub(super) struct Sensors {
    heard: BTreeMap<Address, Ear>,
    keys_due_ms: u64,
}

/// One sensor.
struct Ear {
    device: Arc<str>,
    source: BleSource,
    /// `None` while its key cannot be read.
    sensor: Option<Sensor>,
    report_every_ms: u64,
    stale_ms: u64,
    /// When the last new measurement came; silence counts from the start.
    fresh_ms: u64,
    reported_ms: Option<u64>,
    /// What came too soon after the last report.
    waiting: Option<CabinetReading>,
}

impl Sensors {
    pub(super) fn new(config: &BleConfig, cabinets: &[CabinetConfig]) -> Self {
        let ear = |cabinet: &CabinetConfig| {
            let source = cabinet.ble.clone()?;
            // The configuration was checked: the address is one.
            let address = Address::parse(&source.address)?;
            let ear = Ear {
                device: Arc::from(cabinet.id.as_str()),
                source,
                sensor: None,
                report_every_ms: cabinet.poll_ms.into(),
                stale_ms: cabinet.lost_after_ms.unwrap_or(config.lost_after_ms).into(),
                fresh_ms: mono_ms(),
                reported_ms: None,
                waiting: None,
            };
            Some((address, ear))
        };
        Self { heard: cabinets.iter().filter_map(ear).collect(), keys_due_ms: 0 }
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Arc<str>> {
        self.heard.values().map(|ear| &ear.device)
    }

    /// The scan has started.
    pub(super) fn begin(&mut self, desk: &mut Desk) {
        desk.reachable(self.devices());
        self.read_keys(desk);
    }

    pub(super) fn tick(&mut self, desk: &mut Desk) {
        let now = mono_ms();
        for ear in self.heard.values_mut() {
            desk.tick(&ear.device);
            ear.report_due(now, desk);
        }
        if now >= self.keys_due_ms && self.heard.values().any(|ear| ear.sensor.is_none()) {
            self.read_keys(desk);
        }
    }

    fn read_keys(&mut self, desk: &mut Desk) {
        self.keys_due_ms = mono_ms() + KEY_EVERY_MS;
        for (address, ear) in self.heard.iter_mut().filter(|(_, ear)| ear.sensor.is_none()) {
            match ear.prepare(*address) {
                Ok(()) => desk.reachable([&ear.device].into_iter()),
                Err(reason) => desk.contact(&ear.device, &Contact::Unreachable(reason.into())),
            }
        }
    }

    /// Takes in an event of the scan; false when it is not about one of these sensors.
    pub(super) async fn hear(&mut self, adapter: &Adapter, event: &CentralEvent, desk: &mut Desk) -> bool {
        let (CentralEvent::DeviceDiscovered(id)
        | CentralEvent::ManufacturerDataAdvertisement { id, .. }
        | CentralEvent::ServiceDataAdvertisement { id, .. }) = event
        else {
            return false;
        };
        let Some(ear) = address_of(id).and_then(|address| self.heard.get_mut(&address)) else { return false };
        match event {
            CentralEvent::ManufacturerDataAdvertisement { manufacturer_data, .. } => {
                ear.parts(manufacturer_data, &BTreeMap::new(), desk);
            }
            CentralEvent::ServiceDataAdvertisement { service_data, .. } => {
                ear.parts(&BTreeMap::new(), service_data, desk);
            }
            // Its first advertisement came before the event: what the daemon kept of it is asked for once.
            _ => {
                let properties = async { adapter.peripheral(id).await?.properties().await };
                if let Ok(Some(known)) = within(CALL_LIMIT, "properties", properties).await
                    // A device that the daemon only remembers has no signal strength.
                    && known.rssi.is_some()
                {
                    ear.parts(&known.manufacturer_data, &known.service_data, desk);
                }
            }
        }
        true
    }
}

impl Ear {
    fn prepare(&mut self, address: Address) -> Result<(), String> {
        let key = self.source.key_file.as_deref().map(read_key).transpose()?;
        let restart = self.source.counter_may_restart.then_some(self.stale_ms);
        self.sensor = Some(Sensor::new(address, self.source.format, key, restart));
        Ok(())
    }

    fn parts<'a>(
        &mut self,
        manufacturer: impl IntoIterator<Item = (&'a u16, &'a Vec<u8>)>,
        service: impl IntoIterator<Item = (&'a Uuid, &'a Vec<u8>)>,
        desk: &mut Desk,
    ) {
        for (company, bytes) in manufacturer {
            self.part(Part::Manufacturer { company: *company, bytes }, bytes, desk);
        }
        for (uuid, bytes) in service {
            if let Some(uuid) = short(*uuid) {
                self.part(Part::Service { uuid, bytes }, bytes, desk);
            }
        }
    }

    fn part(&mut self, part: Part<'_>, bytes: &[u8], desk: &mut Desk) {
        let now = mono_ms();
        let Some(sensor) = &mut self.sensor else { return };
        match sensor.hear(part, now) {
            Ok(Hearing::Foreign) => {}
            Ok(Hearing::Repeat) if now.saturating_sub(self.fresh_ms) < self.stale_ms => {
                desk.contact(&self.device, &Contact::Good);
            }
            Ok(Hearing::Repeat) => {
                let counter = sensor.counter().unwrap_or_default();
                let reason = format!("nothing but repeats of frame {counter} for {} ms", self.stale_ms);
                self.fault(&reason, now, desk);
                desk.contact(&self.device, &Contact::Refused(reason));
            }
            Ok(Hearing::New(advert)) => {
                self.fresh_ms = now;
                desk.frame(&self.device, Way::Received, bytes);
                self.new_frame(&advert, now, desk);
            }
            Err(error) => {
                desk.frame(&self.device, Way::Received, bytes);
                self.fault(&error.to_string(), now, desk);
                desk.contact(&self.device, &contact(error));
            }
        }
    }

    fn new_frame(&mut self, advert: &SensorAdvert, now: u64, desk: &mut Desk) {
        if advert.flags.unavailable {
            let reason = "the sensor says that it has no temperature".to_owned();
            self.fault(&reason, now, desk);
            desk.contact(&self.device, &Contact::Refused(reason));
            return;
        }
        desk.contact(&self.device, &Contact::Good);
        // Some frames carry a battery or a name only; they are signs of life.
        if advert.temperature.is_some() {
            self.reading(advert, None, now, desk);
        }
    }

    fn fault(&mut self, reason: &str, now: u64, desk: &mut Desk) {
        self.reading(&SensorAdvert::default(), Some(reason.to_owned()), now, desk);
    }

    fn reading(&mut self, advert: &SensorAdvert, fault: Option<String>, now: u64, desk: &mut Desk) {
        self.waiting = Some(CabinetReading {
            value: advert.temperature,
            fault,
            suspect: None,
            state: CabinetState::Normal,
            door_open: advert.flags.open,
            alarms: Vec::new(),
        });
        self.report_due(now, desk);
    }

    fn report_due(&mut self, now: u64, desk: &mut Desk) {
        let due = self.reported_ms.is_none_or(|at| now.saturating_sub(at) >= self.report_every_ms);
        if let Some(reading) = self.waiting.take_if(|_| due) {
            self.reported_ms = Some(now);
            desk.report(&self.device, DeviceBody::Temperature(reading));
        }
    }
}

fn contact(error: AdvertError) -> Contact {
    let text = error.to_string();
    match error {
        AdvertError::Length { .. } | AdvertError::Kind { .. } | AdvertError::Truncated { .. } => {
            Contact::Malformed(text)
        }
        AdvertError::Address { .. }
        | AdvertError::KeyMissing
        | AdvertError::Downgrade(_)
        | AdvertError::Seal(_)
        | AdvertError::Replay { .. }
        | AdvertError::Probe(_)
        | AdvertError::OutOfRange { .. } => Contact::Refused(text),
    }
}

/// Reads a key file; the reason never repeats what stands in it.
fn read_key(path: &str) -> Result<Key, String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES).read_to_string(&mut text))
        .map_err(|error| format!("key file {path}: {error}"))?;
    Key::from_hex(&text).ok_or_else(|| format!("key file {path}: expected 32 hexadecimal digits"))
}

/// The 16-bit form of a UUID made from one.
fn short(uuid: Uuid) -> Option<u16> {
    let value = uuid.as_u128();
    (value & !(0xFFFF << 96) == BASE).then(|| u16::try_from(value >> 96).ok()).flatten()
}

/// The address in `hci0/dev_FF_FF_92_00_00_01`.
pub(super) fn address_of(id: &PeripheralId) -> Option<Address> {
    Address::parse(&id.to_string().rsplit_once("dev_")?.1.replace('_', ":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uuids_of_the_bluetooth_base_have_a_short_form() {
        let text = |text| short(Uuid::parse_str(text).unwrap());
        assert_eq!(text("0000fcd2-0000-1000-8000-00805f9b34fb"), Some(0xFCD2));
        assert_eq!(text("0001fcd2-0000-1000-8000-00805f9b34fb"), None);
        assert_eq!(text("6e400001-b5a3-f393-e0a9-e50e24dcca9e"), None);
    }

    #[test]
    fn a_key_file_is_read_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let text = path.to_str().unwrap();
        let absent = read_key(text).unwrap_err();
        assert!(absent.contains("key file") && absent.contains("No such file"), "{absent}");
        std::fs::write(&path, "231d39c1d7cc1ab1aee224cd096db932\n").unwrap();
        assert_eq!(read_key(text), Ok(Key::from_hex("231d39c1d7cc1ab1aee224cd096db932").unwrap()));
        std::fs::write(&path, "231d39c1d7cc1ab1aee224cd096db9").unwrap();
        let short = read_key(text).unwrap_err();
        assert!(!short.contains("231d"), "{short}");
    }
}
