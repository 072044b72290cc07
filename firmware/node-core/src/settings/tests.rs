//! Every power cut during a save, and every damaged byte.

use super::*;
use proptest::prelude::*;

/// Two copies of which a step is cut after some bytes.
#[derive(Clone)]
struct Part {
    copies: [[u8; RECORD_BYTES]; 2],
    /// An EEPROM keeps the old bytes where a step did not come to; flash reads FFh after an erase.
    flash: bool,
    /// The step that is cut, and after how many of its bytes.
    cut: Option<(usize, usize)>,
    step: usize,
}

struct Dark;

impl Part {
    fn new(flash: bool) -> Self {
        Self { copies: [[0xFF; RECORD_BYTES]; 2], flash, cut: None, step: 0 }
    }

    /// Bytes of this step that still happen.
    fn bytes(&mut self, whole: usize) -> Result<usize, usize> {
        let step = self.step;
        self.step += 1;
        match self.cut {
            Some((at, bytes)) if at == step => Err(bytes.min(whole)),
            Some((at, _)) if at < step => Err(0),
            _ => Ok(whole),
        }
    }
}

impl Storage for Part {
    type Error = Dark;

    fn read(&mut self, copy: usize, bytes: &mut [u8; RECORD_BYTES]) -> Result<(), Dark> {
        *bytes = self.copies[copy];
        Ok(())
    }

    fn erase(&mut self, copy: usize) -> Result<(), Dark> {
        if !self.flash {
            return Ok(());
        }
        let done = self.bytes(RECORD_BYTES);
        self.copies[copy][..done.unwrap_or_else(|cut| cut)].fill(0xFF);
        done.map(drop).map_err(|_| Dark)
    }

    fn write(&mut self, copy: usize, offset: usize, bytes: &[u8; STEP_BYTES]) -> Result<(), Dark> {
        let done = self.bytes(STEP_BYTES);
        let count = done.unwrap_or_else(|cut| cut);
        self.copies[copy][offset..offset + count].copy_from_slice(&bytes[..count]);
        done.map(drop).map_err(|_| Dark)
    }
}

fn with_offset(offset: i16) -> Settings {
    Settings { offsets: [offset, -offset, 0, 7], unit: 9, ..Settings::default() }
}

#[test]
fn a_power_cut_at_every_step_and_byte_keeps_one_good_copy() {
    let mut cuts = 0;
    for flash in [false, true] {
        for saved_before in 0..4_u16 {
            let mut before = Part::new(flash);
            for n in 0..saved_before {
                load(&mut before)
                    .save(&mut before, with_offset(n.cast_signed() * 10), u32::from(n))
                    .ok()
                    .unwrap();
            }
            let old = load(&mut before).record;
            before.step = 0;
            for step in 0..3 {
                for byte in 0..=RECORD_BYTES {
                    let mut part = before.clone();
                    part.cut = Some((step, byte));
                    let saved = load(&mut part).save(&mut part, with_offset(-555), 99);
                    part.cut = None;
                    let after = load(&mut part);
                    let new =
                        Record { generation: old.generation + 1, reserved: 99, settings: with_offset(-555) };
                    assert!(after.record == old || after.record == new, "step {step}, byte {byte}");
                    assert!(saved.is_err() || after.record == new, "confirmed means kept");
                    assert!(after.good >= saved_before.min(1), "one good copy");
                    // And the next save works from there.
                    let mut again = after;
                    again.save(&mut part, with_offset(1), 100).ok().unwrap();
                    assert_eq!(load(&mut part).record.settings, with_offset(1));
                    cuts += 1;
                }
            }
        }
    }
    assert_eq!(cuts, 2 * 4 * 3 * 65);
}

#[test]
fn a_copy_that_is_not_written_truly_is_no_save() {
    struct Worn(Part);
    impl Storage for Worn {
        type Error = Dark;
        fn read(&mut self, copy: usize, bytes: &mut [u8; RECORD_BYTES]) -> Result<(), Dark> {
            self.0.read(copy, bytes)
        }
        fn erase(&mut self, _: usize) -> Result<(), Dark> {
            Ok(())
        }
        fn write(&mut self, copy: usize, offset: usize, bytes: &[u8; STEP_BYTES]) -> Result<(), Dark> {
            let mut worn = *bytes;
            worn[3] &= 0xFE;
            worn[4] |= 1;
            self.0.write(copy, offset, &worn)
        }
    }
    let mut part = Worn(Part::new(false));
    let mut found = load(&mut part);
    assert_eq!(
        found.save(&mut part, with_offset(1), 0).map_err(|e| matches!(e, SaveError::ReadBack)),
        Err(true)
    );
    assert_eq!((found.record, found.good), (Record::default(), 0));
}

#[test]
fn the_newer_generation_counts_also_when_it_wraps() {
    let mut part = Part::new(false);
    let record = |generation, offset| Record { generation, reserved: 0, settings: with_offset(offset) };
    part.copies = [record(u32::MAX, 1).encode(), record(0, 2).encode()];
    let found = load(&mut part);
    assert_eq!((found.record.settings.offsets[0], found.good, found.next), (2, 2, 0));
}

proptest! {
    #[test]
    fn records_survive_and_damage_is_noticed(
        generation in any::<u32>(), reserved in any::<u32>(), serial in any::<u32>(), limits in any::<[i16; 2]>(), offsets in any::<[i16; 4]>(),
        words in any::<[u16; 4]>(), unit in any::<u8>(), bit in 0..RECORD_BYTES * 8,
    ) {
        let [alarm_delay_s, sample_period_s, hysteresis, fitted] = words;
        let settings = Settings {
            unit, high_limit: limits[0], low_limit: limits[1], alarm_delay_s, sample_period_s, hysteresis, offsets, fitted, serial,
        };
        let record = Record { generation, reserved, settings };
        let mut bytes = record.encode();
        prop_assert_eq!(Record::decode(&bytes), Some(record));
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Record::decode(&bytes), None);
    }
}
