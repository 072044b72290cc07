//! A Gicisky tag: writes to its two characteristics in, notifications out; it shows what it really received.
//!
//! The tag keeps a new image apart until it has the last block; only then does it become what is shown. A connection
//! that drops loses the unfinished upload, never the image shown.

use drv_protocol::gicisky::{
    Advert, COMMAND_CHARACTERISTIC, COMPANY, IMAGE_CHARACTERISTIC, Model, Planes, SERVICE,
};

use crate::gatt::{Attribute, GattTag, Refusal};
use crate::rng::Rng;

/// The block size a tag announces: 4 index bytes and 240 image bytes.
pub const BLOCK_BYTES: u16 = 244;

/// What is wrong with a tag; all off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TagFaults {
    /// It notifies nothing.
    pub mute: bool,
    /// So many of 1000 blocks are asked for once more.
    pub repeat_permille: u16,
    /// It drops the connection after this many blocks of an upload, once.
    pub disconnect_after: Option<u32>,
    /// It refuses the size with this status.
    pub refuse_size: Option<u8>,
    /// It asks for the same block so many times in a row, whatever it is sent, once.
    pub stall: u32,
    /// Its battery is low: it advertises 2.0 V and answers no size.
    pub low_battery: bool,
    /// So many of 1000 notifications are random bytes.
    pub garbage_permille: u16,
}

/// What the tag does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagAction {
    /// It notifies these bytes on the command characteristic.
    Notify(Vec<u8>),
    /// It drops the connection.
    Disconnect,
}

#[derive(Clone, Debug, Default)]
struct Upload {
    size: usize,
    bytes: Vec<u8>,
    next: u32,
    started: bool,
    blocks: u32,
}

/// The tag.
#[derive(Clone, Debug)]
pub struct TagSim {
    model: Model,
    advert: Advert,
    inverted: bool,
    faults: TagFaults,
    rng: Rng,
    upload: Option<Upload>,
    shown: Option<Planes>,
    completed: u64,
    rejected: u64,
    blocks: u64,
    repeats: u64,
    connections: u64,
    history: Vec<[u8; 8]>,
    refreshed_ms: u64,
}

/// How many hashes of completed images a tag remembers.
pub const HISTORY_MAX: usize = 1024;

impl TagSim {
    /// A tag that shows nothing yet.
    #[must_use]
    pub fn new(model: Model, battery_mv: u16, seed: u64) -> Self {
        Self {
            model,
            advert: Advert { type_bits: model.id, battery_mv, firmware: 0x0101 },
            inverted: false,
            faults: TagFaults::default(),
            rng: Rng::new(seed),
            upload: None,
            shown: None,
            completed: 0,
            rejected: 0,
            blocks: 0,
            repeats: 0,
            connections: 0,
            history: Vec::new(),
            refreshed_ms: 0,
        }
    }

    /// The same tag with firmware that advertises so, and shows 1 as black where `inverted`.
    #[must_use]
    pub fn with_firmware(mut self, firmware: u16, raw_only: bool, inverted: bool) -> Self {
        self.advert.firmware = firmware;
        self.advert.type_bits = self.model.id | if raw_only { 0x4000 } else { 0 };
        self.inverted = inverted;
        self
    }

    /// The five bytes it advertises under [`drv_protocol::gicisky::COMPANY`].
    #[must_use]
    pub fn advert(&self) -> [u8; 5] {
        let battery_mv = if self.faults.low_battery { 2_000 } else { self.advert.battery_mv };
        Advert { battery_mv, ..self.advert }.encode()
    }

    /// The name it advertises.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        "PICKSMART"
    }

    /// The tag's model.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Switches faults on and off.
    pub const fn set_faults(&mut self, faults: TagFaults) {
        self.faults = faults;
    }

    /// A central has connected.
    pub fn connected(&mut self) {
        self.connections += 1;
        self.upload = None;
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.upload = None;
    }

    /// The hash of the image shown; `None` before the first one.
    #[must_use]
    pub fn shown(&self) -> Option<[u8; 8]> {
        self.shown.as_ref().map(Planes::hash)
    }

    /// The image shown.
    #[must_use]
    pub const fn image(&self) -> Option<&Planes> {
        self.shown.as_ref()
    }

    /// Uploads that became the image shown.
    #[must_use]
    pub const fn completed(&self) -> u64 {
        self.completed
    }

    /// Uploads whose bytes were no image for this panel.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Blocks received.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Blocks asked for once more.
    #[must_use]
    pub const fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Connections made.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// When the image shown was completed.
    #[must_use]
    pub const fn refreshed_ms(&self) -> u64 {
        self.refreshed_ms
    }

    /// The hashes of the last completed images, oldest first.
    #[must_use]
    pub fn history(&self) -> &[[u8; 8]] {
        &self.history
    }

    /// A write to the command characteristic.
    pub fn command(&mut self, bytes: &[u8], _now: u64) -> Vec<TagAction> {
        match bytes {
            [0x01, ..] => {
                let [low, high] = BLOCK_BYTES.to_le_bytes();
                self.notify(vec![0x01, low, high])
            }
            [0x02, a, b, c, d, ..] => self.size(u32::from_le_bytes([*a, *b, *c, *d])),
            [0x03, ..] => match self.upload.as_mut() {
                Some(upload) => {
                    upload.started = true;
                    let next = upload.next;
                    self.ask(next)
                }
                None => self.notify(vec![0x05, 0x01, 0, 0, 0, 0]),
            },
            [0x04, ..] => {
                self.upload = None;
                self.notify(vec![0x04, 0x00])
            }
            _ => Vec::new(),
        }
    }

    fn size(&mut self, size: u32) -> Vec<TagAction> {
        if self.faults.low_battery {
            return Vec::new();
        }
        let planes = self.model.plane_bytes() * self.model.planes().unwrap_or(1);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        // A line of one byte becomes eight: the longest stream of any encoding.
        let status = match self.faults.refuse_size {
            Some(status) => status,
            None if size == 0 || size > planes * 8 + 4 => 0x01,
            None => 0x00,
        };
        if status == 0 {
            self.upload = Some(Upload { size, ..Upload::default() });
        }
        self.notify(vec![0x02, status])
    }

    /// A write to the image characteristic.
    pub fn block(&mut self, bytes: &[u8], now: u64) -> Vec<TagAction> {
        let Some((index, content)) = bytes.split_first_chunk::<4>() else { return Vec::new() };
        let most = usize::from(BLOCK_BYTES) - 4;
        let Some(upload) = self.upload.as_mut().filter(|upload| upload.started) else {
            return self.notify(vec![0x05, 0x01, 0, 0, 0, 0]);
        };
        self.blocks += 1;
        upload.blocks += 1;
        if self.faults.disconnect_after.is_some_and(|after| upload.blocks > after) {
            self.faults.disconnect_after = None;
            self.upload = None;
            return vec![TagAction::Disconnect];
        }
        let wanted = upload.next;
        let expected = most.min(upload.size - upload.bytes.len());
        if u32::from_le_bytes(*index) != wanted || content.len() != expected {
            self.repeats += 1;
            return self.ask(wanted);
        }
        if self.faults.stall > 0 {
            self.faults.stall -= 1;
            self.repeats += 1;
            return self.ask(wanted);
        }
        if self.rng.chance(self.faults.repeat_permille) {
            self.repeats += 1;
            return self.ask(wanted);
        }
        upload.bytes.extend(content);
        upload.next += 1;
        if upload.bytes.len() < upload.size {
            let next = upload.next;
            return self.ask(next);
        }
        self.finish(now)
    }

    fn finish(&mut self, now: u64) -> Vec<TagAction> {
        let Some(upload) = self.upload.take() else { return Vec::new() };
        match Planes::decode(self.model, &upload.bytes) {
            Ok(planes) => {
                let planes = if self.inverted { planes.inverted() } else { planes };
                self.completed += 1;
                self.refreshed_ms = now;
                if self.history.len() == HISTORY_MAX {
                    self.history.remove(0);
                }
                self.history.push(planes.hash());
                self.shown = Some(planes);
                self.notify(vec![0x05, 0x08, 0, 0, 0, 0])
            }
            Err(_) => {
                self.rejected += 1;
                self.notify(vec![0x05, 0x02, 0, 0, 0, 0])
            }
        }
    }

    fn ask(&mut self, index: u32) -> Vec<TagAction> {
        let mut bytes = vec![0x05, 0x00];
        bytes.extend(index.to_le_bytes());
        self.notify(bytes)
    }

    fn notify(&mut self, bytes: Vec<u8>) -> Vec<TagAction> {
        if self.faults.mute {
            return Vec::new();
        }
        if self.rng.chance(self.faults.garbage_permille) {
            return vec![TagAction::Notify((0..=self.rng.below(12)).map(|_| self.rng.byte()).collect())];
        }
        vec![TagAction::Notify(bytes)]
    }
}

const ATTRIBUTES: [Attribute; 2] = [
    Attribute { uuid: COMMAND_CHARACTERISTIC, read: false, write: true, command: false, notify: true },
    Attribute { uuid: IMAGE_CHARACTERISTIC, read: false, write: true, command: true, notify: false },
];

impl GattTag for TagSim {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn manufacturer_data(&self) -> Option<(u16, Vec<u8>)> {
        Some((COMPANY, self.advert().to_vec()))
    }

    fn service(&self) -> u16 {
        SERVICE
    }

    fn attributes(&self) -> &'static [Attribute] {
        &ATTRIBUTES
    }

    fn connected(&mut self, _now: u64) {
        Self::connected(self);
    }

    fn disconnected(&mut self, _now: u64) {
        Self::disconnected(self);
    }

    fn read(&mut self, _uuid: u16, _now: u64) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::NotPermitted)
    }

    fn write(&mut self, uuid: u16, bytes: &[u8], now: u64) -> Result<Vec<TagAction>, Refusal> {
        match uuid {
            COMMAND_CHARACTERISTIC => Ok(self.command(bytes, now)),
            IMAGE_CHARACTERISTIC => Ok(self.block(bytes, now)),
            _ => Err(Refusal::Unknown),
        }
    }
}

#[cfg(test)]
mod tests;
