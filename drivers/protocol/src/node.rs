//! Our own cold-cabinet node: its register map as one table, shared by the firmware, the agent's profile and the document.
//!
//! * [`REGISTERS`]: every register; the firmware serves and refuses by it, `configs/devices/steelyard-node.toml` must agree with
//!   it (a test), and `firmware/REGISTERS.md` is written from it ([`document::markdown`], a test).
//! * [`WINDOW`]: buffered samples as a window of input registers.
//!
//! Contract: addresses are wire addresses, counted from zero; what has been assigned is never assigned anew. A register that
//! is not in the table is refused with exception 2. [`MAP_VERSION`] grows when a meaning changes.
//!
//! Why a window of input registers and neither file records (function 14h) nor a FIFO (18h): every master can read it, ours
//! included, with the one function that it needs anyway; a slot's address follows from its sequence number, so reading
//! keeps no state in the node and may be repeated; a FIFO carries 31 words, a read of the window 125.

pub mod document;
mod table;

use crate::modbus::Table;
use crate::profile::Kind;

pub use table::REGISTERS;

/// Version of the map, input register 32.
pub const MAP_VERSION: u16 = 1;
/// Probes that one node can have.
pub const PROBES: usize = 4;
/// The word of a temperature or humidity that is none.
pub const NO_READING: u16 = 0x8000;
/// First input register of the window of buffered samples.
pub const WINDOW: u16 = 0x1000;
/// Slots of the window; a power of two, so that slot numbers go on when sequence numbers wrap.
pub const SLOTS: u16 = 1024;
/// Words of a slot: sequence (2), uptime in seconds (2), probes 1 to 4 in tenths, status bits, quality of the probes (4 bits each,
/// probe 1 lowest).
pub const SLOT_WORDS: u16 = 10;
/// Product as it names itself.
pub const PRODUCT: &str = "SY-NODE";
/// Vendor as it names itself.
pub const VENDOR: &str = "Steelyard";
/// Product number, input register 35.
pub const PRODUCT_ID: u16 = 0x5331;

/// First input register of the slot that holds the sample `sequence`.
#[must_use]
pub const fn slot_address(sequence: u32) -> u16 {
    // Below SLOTS, which fits.
    let [.., high, low] = sequence.to_be_bytes();
    let slot = u16::from_be_bytes([high, low]) % SLOTS;
    WINDOW + slot * SLOT_WORDS
}

/// Bits of input register 2. Bits 5 to 15 are 0: masters recognise the node by it.
pub mod status {
    /// Probe 1 has no reading.
    pub const SENSOR_FAULT: u16 = 1 << 0;
    /// The door is open.
    pub const DOOR_OPEN: u16 = 1 << 1;
    /// Above the upper limit for longer than the delay; stays until back inside by the hysteresis and read.
    pub const HIGH: u16 = 1 << 2;
    /// Below the lower limit for longer than the delay; stays likewise.
    pub const LOW: u16 = 1 << 3;
    /// Started anew since register 2 was last read.
    pub const RESTARTED: u16 = 1 << 4;
}

/// Addresses of input registers.
pub mod input {
    /// Probe 1 in tenths.
    pub const TEMPERATURE: u16 = 0;
    /// Humidity.
    pub const HUMIDITY: u16 = 1;
    /// Status bits.
    pub const STATUS: u16 = 2;
    /// Uptime, high word.
    pub const UPTIME: u16 = 3;
    /// Oldest buffered sequence, low word.
    pub const OLDEST_LOW: u16 = 5;
    /// Probes 2 to 4 in tenths.
    pub const MORE_TEMPERATURES: u16 = 6;
    /// Probes 1 to 4 in hundredths.
    pub const HUNDREDTHS: u16 = 16;
    /// Quality of probes 1 to 4.
    pub const QUALITY: u16 = 20;
    /// Oldest buffered sequence.
    pub const OLDEST: u16 = 24;
    /// Newest sequence.
    pub const NEWEST: u16 = 26;
    /// Buffered samples.
    pub const BUFFERED: u16 = 28;
    /// Samples overwritten before they were acknowledged.
    pub const LOST: u16 = 29;
    /// Version of the map.
    pub const MAP: u16 = 32;
    /// Version of the firmware, major and minor.
    pub const VERSION: u16 = 33;
    /// Version of the firmware, patch.
    pub const PATCH: u16 = 34;
    /// Product number.
    pub const PRODUCT: u16 = 35;
    /// Serial number.
    pub const SERIAL: u16 = 36;
    /// Why it started.
    pub const RESET_REASON: u16 = 38;
    /// CRC-32 of the firmware image.
    pub const IMAGE_CRC: u16 = 39;
    /// Length of the firmware image.
    pub const IMAGE_BYTES: u16 = 41;
    /// Generation of the saved settings.
    pub const GENERATION: u16 = 43;
    /// Copies of the settings that were good at start.
    pub const COPIES: u16 = 45;
    /// How the last command ended.
    pub const COMMAND_RESULT: u16 = 46;
    /// Frames for this node that were damaged.
    pub const BAD_FRAMES: u16 = 47;
    /// Slots of the window.
    pub const SLOTS: u16 = 48;
    /// Words of a slot.
    pub const SLOT_WORDS: u16 = 49;
}

/// Addresses of holding registers.
pub mod holding {
    /// The node's own number.
    pub const UNIT: u16 = 0;
    /// Upper limit.
    pub const HIGH_LIMIT: u16 = 1;
    /// Lower limit.
    pub const LOW_LIMIT: u16 = 2;
    /// Delay of the alarms.
    pub const ALARM_DELAY: u16 = 3;
    /// How often a sample is buffered.
    pub const SAMPLE_PERIOD: u16 = 4;
    /// Acknowledged sequence, low word.
    pub const ACKNOWLEDGED: u16 = 5;
    /// Hysteresis of the alarms.
    pub const HYSTERESIS: u16 = 6;
    /// Calibration offsets of probes 1 to 4.
    pub const OFFSETS: u16 = 8;
    /// Which probes are fitted.
    pub const FITTED: u16 = 12;
    /// Commands.
    pub const COMMAND: u16 = 15;
}

/// Who may change a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The node.
    Read,
    /// A master; at once, and lost at a restart unless saved.
    Setting,
    /// A master; an action, nothing is kept.
    Action,
}

/// One register, or two for 32 bits (high word first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Input or holding.
    pub table: Table,
    /// Its (first) wire address.
    pub address: u16,
    /// Lower case with hyphens; that of the profile where [`Entry::in_profile`].
    pub name: &'static str,
    /// How the words are read; a word of bits is [`Kind::U16`].
    pub kind: Kind,
    /// Thousandths of the unit per step; `None` for what is no quantity.
    pub step_milli: Option<i32>,
    /// The unit, empty for what has none.
    pub unit: &'static str,
    /// Least raw value, also for writing.
    pub least: i64,
    /// Largest raw value, also for writing.
    pub most: i64,
    /// [`NO_READING`] means that there is none.
    pub may_fail: bool,
    /// Who may change it.
    pub access: Access,
    /// The agent's profile reads it under this name.
    pub in_profile: bool,
    /// What it means.
    pub meaning: &'static str,
}

impl Entry {
    /// Whether a word may be written to it.
    #[must_use]
    pub fn takes(&self, word: u16) -> bool {
        let raw = match self.kind {
            Kind::S16 => i64::from(word.cast_signed()),
            Kind::U16 | Kind::U32 | Kind::S32 | Kind::Bits => i64::from(word),
        };
        self.access != Access::Read && (self.least..=self.most).contains(&raw)
    }
}

/// The entry that a wire address belongs to.
#[must_use]
pub fn entry(table: Table, address: u16) -> Option<&'static Entry> {
    REGISTERS.iter().find(|entry| {
        entry.table == table
            && address.checked_sub(entry.address).is_some_and(|word| word < entry.kind.words())
    })
}

/// Why a probe has a reading or none, input registers 20 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Quality {
    /// A reading.
    Good,
    /// None yet since the start.
    #[default]
    Waiting,
    /// Not fitted, by holding register 12.
    Absent,
    /// Nobody answers at its address, or the bus does not work.
    NoAnswer,
    /// Zeros or ones only: a line is open or shorted.
    DeadLine,
    /// Another chip answers.
    OtherChip,
    /// Outside of what the chip can measure.
    OutOfRange,
    /// Jumps faster than air can; believed when it stays.
    TooFast,
    /// The same word for a day: a chip that no longer converts.
    Stuck,
}

impl Quality {
    /// Every quality, in the order of codes.
    pub const ALL: [Self; 9] = [
        Self::Good,
        Self::Waiting,
        Self::Absent,
        Self::NoAnswer,
        Self::DeadLine,
        Self::OtherChip,
        Self::OutOfRange,
        Self::TooFast,
        Self::Stuck,
    ];

    /// The code on the wire, below 16.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Good => 0,
            Self::Waiting => 1,
            Self::Absent => 2,
            Self::NoAnswer => 3,
            Self::DeadLine => 4,
            Self::OtherChip => 5,
            Self::OutOfRange => 6,
            Self::TooFast => 7,
            Self::Stuck => 8,
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "no reading yet",
            Self::Absent => "not fitted",
            Self::NoAnswer => "no answer",
            Self::DeadLine => "dead line",
            Self::OtherChip => "another chip",
            Self::OutOfRange => "out of range",
            Self::TooFast => "too fast",
            Self::Stuck => "stuck",
        }
    }
}

/// Why the node started, input register 38.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Power came; nothing was left in memory.
    PowerOn,
    /// The reset line, or a debugger; memory was kept.
    External,
    /// The watchdog.
    Watchdog,
    /// The command.
    Command,
    /// A panic or fault of the firmware.
    Fault,
}

impl ResetReason {
    /// Every reason, in the order of codes.
    pub const ALL: [Self; 5] = [Self::PowerOn, Self::External, Self::Watchdog, Self::Command, Self::Fault];

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::PowerOn => 1,
            Self::External => 2,
            Self::Watchdog => 3,
            Self::Command => 4,
            Self::Fault => 5,
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerOn => "power on",
            Self::External => "external reset",
            Self::Watchdog => "watchdog",
            Self::Command => "command",
            Self::Fault => "firmware fault",
        }
    }
}

/// What holding register 15 takes. The high byte keeps a stray write from being a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Saves the settings.
    Save,
    /// Starts anew.
    Restart,
    /// Stops measuring until the watchdog bites: the proof that it does, for production and service.
    ProveWatchdog,
    /// Forgets unsaved changes.
    Revert,
}

impl Command {
    /// Every command, in the order of codes.
    pub const ALL: [Self; 4] = [Self::Save, Self::Restart, Self::ProveWatchdog, Self::Revert];

    /// The word on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Save => 0x5A01,
            Self::Restart => 0x5A02,
            Self::ProveWatchdog => 0x5A03,
            Self::Revert => 0x5A04,
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Save => "save the settings",
            Self::Restart => "start anew",
            Self::ProveWatchdog => "stop measuring until the watchdog bites",
            Self::Revert => "back to the saved settings",
        }
    }

    /// The command of a word.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.code() == code)
    }
}

/// Input register 46.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CommandResult {
    /// None was given since the start.
    #[default]
    Idle,
    /// It is being carried out.
    Working,
    /// Done; settings that were saved were read back.
    Done,
    /// It failed; the saved settings are those of before.
    Failed,
}

impl CommandResult {
    /// Every result, in the order of codes.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Working, Self::Done, Self::Failed];

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Idle => 0,
            Self::Working => 1,
            Self::Done => 2,
            Self::Failed => 3,
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "none given",
            Self::Working => "working",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
