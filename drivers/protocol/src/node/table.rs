//! The rows of the map.

use super::{Access, Entry, holding, input};
use crate::modbus::Table;
use crate::profile::Kind;

const fn row(
    table: Table,
    address: u16,
    name: &'static str,
    kind: Kind,
    (step_milli, unit): (Option<i32>, &'static str),
    (least, most): (i64, i64),
    meaning: &'static str,
) -> Entry {
    let access = Access::Read;
    Entry {
        table,
        address,
        name,
        kind,
        step_milli,
        unit,
        least,
        most,
        may_fail: false,
        access,
        in_profile: false,
        meaning,
    }
}

impl Entry {
    /// `8000h` means that there is none.
    const fn may_fail(self) -> Self {
        Self { may_fail: true, ..self }
    }

    /// A setting.
    const fn setting(self) -> Self {
        Self { access: Access::Setting, ..self }
    }

    /// An action.
    const fn action(self) -> Self {
        Self { access: Access::Action, ..self }
    }

    /// The agent reads it.
    const fn profile(self) -> Self {
        Self { in_profile: true, ..self }
    }
}

/// Every register, ascending within its table.
pub const REGISTERS: &[Entry] = &[
    row(Table::Input, input::TEMPERATURE, "temperature", Kind::S16, (Some(100), "°C"), (-600, 1250), "Probe 1, filtered and calibrated, rounded to tenths").may_fail().profile(),
    row(Table::Input, input::HUMIDITY, "humidity", Kind::S16, (Some(100), "%"), (0, 1000), "Always 8000h: this node has no such sensor").may_fail().profile(),
    row(Table::Input, input::STATUS, "status", Kind::U16, (None, ""), (0, 31), "Status bits, see below").profile(),
    row(Table::Input, input::UPTIME, "uptime", Kind::U32, (None, "s"), (0, 0xFFFF_FFFF), "Seconds since the start").profile(),
    row(Table::Input, input::OLDEST_LOW, "oldest-sequence-low", Kind::U16, (None, ""), (0, 65_535), "Low word of 24: one read with 0 to 4 tells a master whether samples wait"),
    row(Table::Input, input::MORE_TEMPERATURES, "temperature-2", Kind::S16, (Some(100), "°C"), (-600, 1250), "Probe 2 in tenths").may_fail(),
    row(Table::Input, input::MORE_TEMPERATURES + 1, "temperature-3", Kind::S16, (Some(100), "°C"), (-600, 1250), "Probe 3 in tenths").may_fail(),
    row(Table::Input, input::MORE_TEMPERATURES + 2, "temperature-4", Kind::S16, (Some(100), "°C"), (-600, 1250), "Probe 4 in tenths").may_fail(),
    row(Table::Input, input::HUNDREDTHS, "hundredths-1", Kind::S16, (Some(10), "°C"), (-6000, 12_500), "Probe 1 in hundredths").may_fail(),
    row(Table::Input, input::HUNDREDTHS + 1, "hundredths-2", Kind::S16, (Some(10), "°C"), (-6000, 12_500), "Probe 2 in hundredths").may_fail(),
    row(Table::Input, input::HUNDREDTHS + 2, "hundredths-3", Kind::S16, (Some(10), "°C"), (-6000, 12_500), "Probe 3 in hundredths").may_fail(),
    row(Table::Input, input::HUNDREDTHS + 3, "hundredths-4", Kind::S16, (Some(10), "°C"), (-6000, 12_500), "Probe 4 in hundredths").may_fail(),
    row(Table::Input, input::QUALITY, "quality-1", Kind::U16, (None, ""), (0, 15), "Why probe 1 has a reading or none, see below"),
    row(Table::Input, input::QUALITY + 1, "quality-2", Kind::U16, (None, ""), (0, 15), "Why probe 2 has a reading or none, see below"),
    row(Table::Input, input::QUALITY + 2, "quality-3", Kind::U16, (None, ""), (0, 15), "Why probe 3 has a reading or none, see below"),
    row(Table::Input, input::QUALITY + 3, "quality-4", Kind::U16, (None, ""), (0, 15), "Why probe 4 has a reading or none, see below"),
    row(Table::Input, input::OLDEST, "oldest-sequence", Kind::U32, (None, ""), (0, 0xFFFF_FFFF), "Oldest sample that is buffered and not acknowledged; one more than the newest when there is none"),
    row(Table::Input, input::NEWEST, "newest-sequence", Kind::U32, (None, ""), (0, 0xFFFF_FFFF), "Newest sample; never goes back, jumps ahead after power was lost"),
    row(Table::Input, input::BUFFERED, "buffered", Kind::U16, (None, ""), (0, 1024), "Samples buffered and not acknowledged"),
    row(Table::Input, input::LOST, "lost", Kind::U16, (None, ""), (0, 65_535), "Samples overwritten before they were acknowledged, since the start; stops at 65535"),
    row(Table::Input, input::MAP, "map-version", Kind::U16, (None, ""), (1, 65_535), "Version of this map"),
    row(Table::Input, input::VERSION, "firmware-version", Kind::U16, (None, ""), (0, 65_535), "Major in the high byte, minor in the low one"),
    row(Table::Input, input::PATCH, "firmware-patch", Kind::U16, (None, ""), (0, 65_535), "Third number of the version"),
    row(Table::Input, input::PRODUCT, "product", Kind::U16, (None, ""), (0, 65_535), "5331h"),
    row(Table::Input, input::SERIAL, "serial-number", Kind::U32, (None, ""), (0, 0xFFFF_FFFF), "Serial number; 0 where none was given"),
    row(Table::Input, input::RESET_REASON, "reset-reason", Kind::U16, (None, ""), (1, 5), "Why it started, see below"),
    row(Table::Input, input::IMAGE_CRC, "image-crc", Kind::U32, (None, ""), (0, 0xFFFF_FFFF), "CRC-32 of the firmware image, as verified at the start"),
    row(Table::Input, input::IMAGE_BYTES, "image-bytes", Kind::U32, (None, ""), (0, 0xFFFF_FFFF), "Length of the firmware image"),
    row(Table::Input, input::GENERATION, "settings-generation", Kind::U32, (None, ""), (0, 0xFFFF_FFFF), "Counts how often settings were written; 0: the defaults"),
    row(Table::Input, input::COPIES, "settings-copies", Kind::U16, (None, ""), (0, 2), "Good copies of the settings found at the start, of two"),
    row(Table::Input, input::COMMAND_RESULT, "command-result", Kind::U16, (None, ""), (0, 3), "How the last command ended, see below"),
    row(Table::Input, input::BAD_FRAMES, "bad-frames", Kind::U16, (None, ""), (0, 65_535), "Frames for this node that were damaged, since the start; stops at 65535"),
    row(Table::Input, input::SLOTS, "slots", Kind::U16, (None, ""), (1, 65_535), "Slots of the window of buffered samples"),
    row(Table::Input, input::SLOT_WORDS, "slot-words", Kind::U16, (None, ""), (1, 125), "Words of a slot"),
    row(Table::Holding, holding::UNIT, "unit", Kind::U16, (None, ""), (1, 247), "The node's own number; the answer still bears the old one").setting(),
    row(Table::Holding, holding::HIGH_LIMIT, "high-limit", Kind::S16, (Some(100), "°C"), (-600, 1250), "Upper limit of probe 1").setting().profile(),
    row(Table::Holding, holding::LOW_LIMIT, "low-limit", Kind::S16, (Some(100), "°C"), (-600, 1250), "Lower limit of probe 1").setting().profile(),
    row(Table::Holding, holding::ALARM_DELAY, "alarm-delay", Kind::U16, (Some(1000), "s"), (0, 7200), "How long a limit must be exceeded").setting().profile(),
    row(Table::Holding, holding::SAMPLE_PERIOD, "sample-period", Kind::U16, (Some(1000), "s"), (1, 3600), "How often a sample is buffered; probes are measured twice a second").setting().profile(),
    row(Table::Holding, holding::ACKNOWLEDGED, "acknowledged", Kind::U16, (None, ""), (0, 65_535), "Low word of the newest sample that the master has stored; refused unless that sample is buffered or acknowledged already").action(),
    row(Table::Holding, holding::HYSTERESIS, "hysteresis", Kind::U16, (Some(100), "K"), (0, 100), "How far back inside a limit ends its alarm").setting(),
    row(Table::Holding, holding::OFFSETS, "offset-1", Kind::S16, (Some(10), "K"), (-1000, 1000), "Calibration of probe 1: added to what the chip says").setting(),
    row(Table::Holding, holding::OFFSETS + 1, "offset-2", Kind::S16, (Some(10), "K"), (-1000, 1000), "Calibration of probe 2: added to what the chip says").setting(),
    row(Table::Holding, holding::OFFSETS + 2, "offset-3", Kind::S16, (Some(10), "K"), (-1000, 1000), "Calibration of probe 3: added to what the chip says").setting(),
    row(Table::Holding, holding::OFFSETS + 3, "offset-4", Kind::S16, (Some(10), "K"), (-1000, 1000), "Calibration of probe 4: added to what the chip says").setting(),
    row(Table::Holding, holding::FITTED, "fitted", Kind::U16, (None, ""), (0, 15), "Which probes are fitted, bit 0 for probe 1").setting(),
    row(Table::Holding, holding::COMMAND, "command", Kind::U16, (None, ""), (0, 65_535), "Commands, see below; reads 0").action(),
];
