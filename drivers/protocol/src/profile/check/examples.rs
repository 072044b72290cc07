//! A profile must agree with its own worked examples, in both directions.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Found, FrameFault, Place, ProfileError};
use crate::modbus::{Request, rtu};
use crate::profile::{Example, Image, Profile, ValueFault, WriteExample};

impl Profile {
    pub(super) fn check_examples(&self) -> Found {
        for (index, example) in self.examples.iter().enumerate() {
            self.check_example(index + 1, example)
                .map_err(|error| (Place::entry("example", index), error))?;
        }
        for (index, example) in self.write_examples.iter().enumerate() {
            self.check_write(index + 1, example)
                .map_err(|error| (Place::entry("write_example", index), error))?;
        }
        Ok(())
    }

    /// The words of an example: those listed and those in its frames.
    ///
    /// # Errors
    /// An address outside the address space, or a frame that is no answered read.
    pub fn example_image(&self, index: usize, example: &Example) -> Result<Image, ProfileError> {
        let mut image = Image::new();
        for row in &example.registers {
            for (address, word) in (row.address..=u16::MAX).zip(&row.words) {
                let wire = self.wire_address(address).ok_or(ProfileError::Address { address })?;
                image.put(row.unit_offset, row.table, wire, *word);
            }
        }
        let mut own = None;
        for (pair, frames) in example.frames.chunks(2).enumerate() {
            let wrong = |offset, reason| ProfileError::Frame { index, frame: 2 * pair + 1 + offset, reason };
            let [sent, received] = frames else { return Err(wrong(0, FrameFault::Unpaired)) };
            let sent = unhex(sent).ok_or_else(|| wrong(0, FrameFault::Hex))?;
            let received = unhex(received).ok_or_else(|| wrong(1, FrameFault::Hex))?;
            let (unit, request) =
                rtu::decode_request(&sent).map_err(|error| wrong(0, FrameFault::Modbus(error)))?;
            let Request::Read { table, address, .. } = request else {
                return Err(wrong(0, FrameFault::NotARead));
            };
            let response = rtu::decode_response(unit, &request, &received)
                .map_err(|error| wrong(1, FrameFault::Modbus(error)))?;
            let unit_offset = unit.wrapping_sub(*own.get_or_insert(unit));
            image.absorb_from(unit_offset, table, address, &response);
        }
        Ok(image)
    }

    fn check_example(&self, index: usize, example: &Example) -> Result<(), ProfileError> {
        let image = self.example_image(index, example)?;
        let values = self.decode(&image);
        for expectation in &example.expect {
            let name = expectation.name;
            let found = values.get(name);
            let fits = match found {
                Ok(value) => {
                    !expectation.fault
                        && expectation.milli.is_none_or(|milli| value.milli == Some(milli))
                        && expectation.raw.is_none_or(|raw| value.raw == raw)
                        && (expectation.milli.is_some() || expectation.raw.is_some())
                }
                Err(ValueFault::Missing) => false,
                Err(_) => expectation.fault,
            };
            if !fits {
                return Err(ProfileError::Example { index, name, found: format!("{found:?}") });
            }
        }
        let found = self.cabinet(&values).state;
        if let Some(expected) = example.state.filter(|expected| *expected != found) {
            return Err(ProfileError::ExampleState { index, expected, found });
        }
        let raised: Vec<&str> = self.raised(&image).map(|alarm| alarm.text.as_str()).collect();
        match &example.alarms {
            Some(expected) if *expected != raised => {
                Err(ProfileError::ExampleAlarms { index, found: format!("{raised:?}") })
            }
            _ => Ok(()),
        }
    }

    fn check_write(&self, index: usize, example: &WriteExample) -> Result<(), ProfileError> {
        let writes = match (example.set, example.milli, example.command) {
            (Some(name), Some(milli), None) => self.set(name, milli)?,
            (None, None, Some(command)) => self.command(command)?,
            _ => {
                let reason = "expected `set` with `milli`, or `command`";
                return Err(ProfileError::Rule { what: "write_example", reason });
            }
        };
        let encode = |write: &crate::profile::Write| {
            rtu::encode_request(example.unit.wrapping_add(write.unit_offset), &write.request)
        };
        let found: Result<Vec<_>, _> = writes.iter().map(encode).collect();
        let found = found.map_err(|error| ProfileError::Frame {
            index,
            frame: 1,
            reason: FrameFault::Modbus(error),
        })?;
        let expected: Option<Vec<_>> = example.frames.iter().map(|text| unhex(text)).collect();
        if expected.as_ref() == Some(&found) {
            return Ok(());
        }
        let found = found.iter().map(|frame| hex(frame)).collect::<Vec<_>>().join(", ");
        Err(ProfileError::WriteExample { index, found })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|sign| !sign.is_ascii_whitespace())
        .map(|sign| sign.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits?;
    let whole =
        !digits.is_empty() && digits.len().is_multiple_of(2) && digits.len() <= 2 * rtu::FRAME_BYTES_MAX;
    whole.then(|| {
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
    })
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}
