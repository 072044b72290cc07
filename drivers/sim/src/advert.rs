//! A sensor that advertises, in any of the formats that are read.
//!
//! Each call of [`AdvertSim::speak`] is one advertisement as a payload of structures; a measurement is taken when
//! [`AdvertSim::measure`] says so, and repeated until the next one, as such sensors do.

use drv_protocol::advert::{Address, Format, bthome, eddystone, govee, minew, pvvx, ruuvi};
use drv_protocol::ccm::Key;

use crate::rng::Rng;

const MANUFACTURER: u8 = 0xFF;
const SERVICE_DATA: u8 = 0x16;
const FLAGS: [u8; 3] = [0x02, 0x01, 0x06];

/// What is wrong with the sensor, or with the air.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertFaults {
    /// Says nothing.
    pub silent: bool,
    /// Hangs: repeats its last frame, whatever is measured.
    pub frozen: bool,
    /// In so many of 1000 frames one bit is wrong.
    pub flip_permille: u16,
    /// Somebody plays back the first frame that was ever sent.
    pub replayed: bool,
}

/// The sensor.
#[derive(Clone, Debug)]
pub struct AdvertSim {
    address: Address,
    format: Format,
    key: Option<Key>,
    counter: u32,
    frame: Vec<u8>,
    first: Vec<u8>,
    faults: AdvertFaults,
    rng: Rng,
}

impl AdvertSim {
    /// A sensor that has measured 4 °C and 80 % once. Only BTHome uses the key.
    #[must_use]
    pub fn new(address: Address, format: Format, key: Option<Key>, seed: u64) -> Self {
        let (frame, first, faults) = (Vec::new(), Vec::new(), AdvertFaults::default());
        let mut sim = Self { address, format, key, counter: 0, frame, first, faults, rng: Rng::new(seed) };
        sim.measure(4_000, 80);
        sim.first = sim.frame.clone();
        sim
    }

    /// Sets the faults.
    pub const fn set_faults(&mut self, faults: AdvertFaults) {
        self.faults = faults;
    }

    /// The battery was changed: the counter starts over.
    pub const fn change_battery(&mut self) {
        self.counter = 0;
    }

    /// Takes a measurement: thousandths of a degree (as far as the format carries them), whole percent.
    pub fn measure(&mut self, milli: i32, percent: u8) {
        if self.faults.frozen {
            return;
        }
        self.counter = self.counter.wrapping_add(1);
        self.frame = self.encode(milli, percent);
    }

    /// One advertisement's payload; `None` when nothing is said.
    pub fn speak(&mut self) -> Option<Vec<u8>> {
        if self.faults.silent {
            return None;
        }
        let mut frame = if self.faults.replayed { self.first.clone() } else { self.frame.clone() };
        if self.rng.chance(self.faults.flip_permille) {
            let length = u64::try_from(frame.len()).unwrap_or(1);
            let at = usize::try_from(self.rng.below(length)).unwrap_or_default();
            let bit = self.rng.byte() & 7;
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        let (kind, number) = match self.format {
            Format::Ruuvi => (MANUFACTURER, ruuvi::COMPANY),
            Format::GoveeH5075 => (MANUFACTURER, govee::COMPANY),
            Format::Bthome => (SERVICE_DATA, bthome::SERVICE),
            Format::Pvvx | Format::Atc1441 => (SERVICE_DATA, pvvx::SERVICE),
            Format::EddystoneTlm => (SERVICE_DATA, eddystone::SERVICE),
            Format::Minew => (SERVICE_DATA, minew::SERVICE),
        };
        let mut payload = FLAGS.to_vec();
        payload.push(u8::try_from(frame.len() + 3).unwrap_or(u8::MAX));
        payload.push(kind);
        payload.extend_from_slice(&number.to_le_bytes());
        payload.extend_from_slice(&frame);
        Some(payload)
    }

    fn encode(&self, milli: i32, percent: u8) -> Vec<u8> {
        let low = |value: u32| value.to_le_bytes()[0];
        let word = |value: i32| i16::try_from(value).unwrap_or(i16::MAX);
        let mut reversed = self.address.0;
        reversed.reverse();
        let hundredths = u16::from(percent) * 100;
        match self.format {
            Format::Ruuvi => {
                let mut frame = vec![0x05];
                frame.extend(word(milli / 5).to_be_bytes());
                frame.extend((u16::from(percent) * 400).to_be_bytes());
                // 1000 hPa, at rest, 3.0 V at +4 dBm, no movement.
                frame.extend([0xC3, 0x50, 0, 0, 0, 0, 0x03, 0xE8, 0xAF, 0x16, 0]);
                frame.extend(self.counter.to_be_bytes().get(2..).unwrap_or_default());
                frame.extend(self.address.0);
                frame
            }
            Format::Bthome => {
                let [t0, t1] = word(milli / 10).to_le_bytes();
                let [h0, h1] = hundredths.to_le_bytes();
                let seal = self.key.as_ref().map(|key| (key, self.counter));
                let objects = [0x00, low(self.counter), 0x02, t0, t1, 0x03, h0, h1];
                bthome::encode(self.address, &objects, seal).unwrap_or_default()
            }
            Format::Pvvx => {
                let mut frame = reversed.to_vec();
                frame.extend(word(milli / 10).to_le_bytes());
                frame.extend(hundredths.to_le_bytes());
                frame.extend([0xB8, 0x0B, 87, low(self.counter), 0]);
                frame
            }
            Format::Atc1441 => {
                let mut frame = self.address.0.to_vec();
                frame.extend(word(milli / 100).to_be_bytes());
                frame.extend([percent, 87, 0x0B, 0xB8, low(self.counter)]);
                frame
            }
            Format::GoveeH5075 => {
                let magnitude = milli.unsigned_abs() / 100 * 1000 + u32::from(percent) * 10;
                let [_, high, middle, last] = magnitude.to_be_bytes();
                vec![0, if milli < 0 { high | 0x80 } else { high }, middle, last, 87, 0]
            }
            Format::EddystoneTlm => {
                let mut frame = vec![0x20, 0x00, 0x0B, 0xB8];
                frame.extend(word(milli * 256 / 1000).to_be_bytes());
                frame.extend(self.counter.to_be_bytes());
                frame.extend([0; 4]);
                frame
            }
            Format::Minew => {
                let mut frame = vec![0xA1, 0x01, 87];
                frame.extend(word(milli * 256 / 1000).to_be_bytes());
                frame.extend([percent, 0]);
                frame.extend(reversed);
                frame
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use drv_protocol::advert::{Hearing, Sensor, SensorAdvert, structures};

    use super::*;

    const ADDRESS: Address = Address([0xA4, 0xC1, 0x38, 0x00, 0x11, 0x22]);
    const FORMATS: [Format; 7] = [
        Format::Ruuvi,
        Format::Bthome,
        Format::Pvvx,
        Format::Atc1441,
        Format::GoveeH5075,
        Format::EddystoneTlm,
        Format::Minew,
    ];

    /// What a receiver makes of one payload: the first part that is not foreign.
    fn hear(sensor: &mut Sensor, payload: &[u8], now: u64) -> Option<Result<Hearing, ()>> {
        structures(payload)
            .map(|part| sensor.hear(part.map_err(drop)?, now).map_err(drop))
            .find(|heard| *heard != Ok(Hearing::Foreign))
    }

    fn new(heard: Option<Result<Hearing, ()>>) -> SensorAdvert {
        match heard {
            Some(Ok(Hearing::New(advert))) => advert,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_format_is_read_back_from_its_payload() {
        for format in FORMATS {
            for key in [None, Some(Key::new([7; 16]))] {
                let key = key.filter(|_| format.can_seal());
                let mut sim = AdvertSim::new(ADDRESS, format, key.clone(), 1);
                let mut sensor = Sensor::new(ADDRESS, format, key, None);
                for (now, milli) in (0..).zip((-39_900..60_000).step_by(1_100)) {
                    sim.measure(milli, 55);
                    let payload = sim.speak().unwrap();
                    assert!(payload.len() <= 31, "fits a legacy advertisement");
                    let advert = new(hear(&mut sensor, &payload, now));
                    let off = advert.temperature.unwrap().0 - milli;
                    assert!(off.abs() <= 4, "{format:?}: {milli} off by {off}");
                    assert!(advert.humidity.is_none_or(|h| h.0 == 5_500), "{format:?}: {advert:?}");
                }
            }
        }
    }

    #[test]
    fn a_frozen_sensor_only_repeats_and_a_silent_one_says_nothing() {
        let mut sim = AdvertSim::new(ADDRESS, Format::Ruuvi, None, 1);
        let mut sensor = Sensor::new(ADDRESS, Format::Ruuvi, None, None);
        new(hear(&mut sensor, &sim.speak().unwrap(), 0));
        sim.set_faults(AdvertFaults { frozen: true, ..AdvertFaults::default() });
        sim.measure(30_000, 50);
        assert_eq!(hear(&mut sensor, &sim.speak().unwrap(), 1), Some(Ok(Hearing::Repeat)));
        sim.set_faults(AdvertFaults { silent: true, ..AdvertFaults::default() });
        assert_eq!(sim.speak(), None);
    }

    #[test]
    fn no_changed_bit_and_no_recording_passes_a_seal() {
        let key = Some(Key::new([7; 16]));
        let mut sim = AdvertSim::new(ADDRESS, Format::Bthome, key.clone(), 5);
        let mut sensor = Sensor::new(ADDRESS, Format::Bthome, key, Some(600_000));
        for now in 0..200 {
            sim.measure(4_000, 80);
            sim.set_faults(AdvertFaults { flip_permille: 500, ..AdvertFaults::default() });
            if let Some(Ok(Hearing::New(advert))) = hear(&mut sensor, &sim.speak().unwrap(), now) {
                assert_eq!(advert.temperature.map(|t| t.0), Some(4_000));
            }
        }
        sim.set_faults(AdvertFaults { replayed: true, ..AdvertFaults::default() });
        assert_eq!(hear(&mut sensor, &sim.speak().unwrap(), 300), Some(Err(())));
        sim.set_faults(AdvertFaults::default());
        sim.change_battery();
        sim.measure(5_000, 80);
        assert_eq!(hear(&mut sensor, &sim.speak().unwrap(), 400), Some(Err(())), "not silent yet");
        assert_eq!(new(hear(&mut sensor, &sim.speak().unwrap(), 700_000)).counter, Some(1));
    }
}
