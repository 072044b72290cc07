//! A tag with OpenEPaperLink firmware: it asks for blocks, acknowledges parts, and shows what it has in full.

use drv_protocol::gicisky::{Model, Planes};
use drv_protocol::oepl::{Advert, BLOCK_BYTES, CHARACTERISTIC, COMPANY, PART_BYTES, SERVICE, checksum};

use crate::gatt::{Attribute, GattTag, Refusal};
use crate::rng::Rng;
use crate::tag::TagAction;

/// What is wrong with a tag; all off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OeplFaults {
    /// It notifies nothing.
    pub mute: bool,
    /// So many of 1000 parts are refused although they are good.
    pub refuse_permille: u16,
    /// It asks for a block beyond the image instead of the next one, once.
    pub wrong_block: bool,
    /// It drops the connection after this many parts, once.
    pub disconnect_after: Option<u32>,
    /// So many of 1000 notifications are random bytes.
    pub garbage_permille: u16,
}

#[derive(Clone, Debug)]
struct Transfer {
    version: u64,
    size: usize,
    kind: u8,
    image: Vec<u8>,
    block: u8,
    /// The parts of the block under way.
    parts: Vec<Option<Vec<u8>>>,
}

impl Transfer {
    fn expect_block(&mut self) {
        let left = (self.size - self.image.len()).min(BLOCK_BYTES);
        self.parts = vec![None; (4 + left).div_ceil(PART_BYTES)];
    }
}

/// The tag.
#[derive(Clone, Debug)]
pub struct OeplSim {
    model: Model,
    advert: Advert,
    faults: OeplFaults,
    rng: Rng,
    transfer: Option<Transfer>,
    shown: Option<(u64, Planes)>,
    completed: u64,
    rejected: u64,
    parts: u32,
    connections: u64,
}

const ATTRIBUTES: [Attribute; 1] =
    [Attribute { uuid: CHARACTERISTIC, read: false, write: true, command: true, notify: true }];

impl OeplSim {
    /// A tag that shows nothing yet.
    #[must_use]
    pub fn new(model: Model, advert: Advert, seed: u64) -> Self {
        Self {
            model,
            advert,
            faults: OeplFaults::default(),
            rng: Rng::new(seed),
            transfer: None,
            shown: None,
            completed: 0,
            rejected: 0,
            parts: 0,
            connections: 0,
        }
    }

    /// Switches faults on and off.
    pub const fn set_faults(&mut self, faults: OeplFaults) {
        self.faults = faults;
    }

    /// The image shown.
    #[must_use]
    pub fn image(&self) -> Option<&Planes> {
        self.shown.as_ref().map(|(_, planes)| planes)
    }

    /// The hash of the image shown.
    #[must_use]
    pub fn shown(&self) -> Option<[u8; 8]> {
        self.image().map(Planes::hash)
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

    /// Connections made.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    fn notify(&mut self, code: u16, content: &[u8]) -> Vec<TagAction> {
        if self.faults.mute {
            return Vec::new();
        }
        if self.rng.chance(self.faults.garbage_permille) {
            return vec![TagAction::Notify((0..=self.rng.below(12)).map(|_| self.rng.byte()).collect())];
        }
        vec![TagAction::Notify([&code.to_be_bytes()[..], content].concat())]
    }

    fn announce(&mut self, content: &[u8]) -> Vec<TagAction> {
        let Some((sum, body)) = content.split_first() else { return self.notify(0xFFFF, &[]) };
        let (Ok(body), true) = (<&[u8; 16]>::try_from(body), *sum == checksum(body)) else {
            return self.notify(0xFFFF, &[]);
        };
        let [v0, v1, v2, v3, v4, v5, v6, v7, s0, s1, s2, s3, kind, ..] = *body;
        let version = u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        if self.shown.as_ref().is_some_and(|(shown, _)| *shown == version) {
            return self.notify(0x00C8, &[]);
        }
        if !matches!(kind, 0x20 | 0x21) || size == 0 || size > 256 * BLOCK_BYTES {
            return self.notify(0x00D0, &[]);
        }
        let mut transfer = Transfer { version, size, kind, image: Vec::new(), block: 0, parts: Vec::new() };
        transfer.expect_block();
        self.transfer = Some(transfer);
        self.request()
    }

    fn request(&mut self) -> Vec<TagAction> {
        let Some(transfer) = self.transfer.as_ref() else { return Vec::new() };
        let mut bits = [0_u8; 6];
        for (index, part) in transfer.parts.iter().enumerate() {
            if let (None, Some(byte)) = (part, bits.get_mut(index / 8)) {
                *byte |= 1 << (index % 8);
            }
        }
        let wrong = std::mem::take(&mut self.faults.wrong_block);
        let block = if wrong { 0xFE } else { transfer.block };
        // The firmware leaves the checksum unset.
        let body = [&[0][..], &transfer.version.to_le_bytes(), &[block, transfer.kind], &bits].concat();
        self.notify(0x00C6, &body)
    }

    fn part(&mut self, content: &[u8]) -> Vec<TagAction> {
        self.parts = self.parts.saturating_add(1);
        if self.faults.disconnect_after.is_some_and(|after| self.parts > after) {
            self.faults.disconnect_after = None;
            self.transfer = None;
            return vec![TagAction::Disconnect];
        }
        let refused = self.rng.chance(self.faults.refuse_permille);
        let Some(transfer) = self.transfer.as_mut() else { return self.notify(0x00C4, &[]) };
        let good = match content {
            [sum, body @ ..] if !refused && body.len() == 2 + PART_BYTES && *sum == checksum(body) => {
                match body {
                    [block, part, data @ ..] if *block == transfer.block => {
                        let slot = transfer.parts.get_mut(usize::from(*part));
                        slot.map(|slot| *slot = Some(data.to_vec())).is_some()
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if !good {
            return self.notify(0x00C4, &[]);
        }
        if transfer.parts.iter().any(Option::is_none) {
            return self.notify(0x00C5, &[]);
        }
        self.block()
    }

    /// Every part of the block is there.
    fn block(&mut self) -> Vec<TagAction> {
        let Some(transfer) = self.transfer.as_mut() else { return Vec::new() };
        let bytes: Vec<u8> = transfer.parts.iter().flatten().flatten().copied().collect();
        let expected = (transfer.size - transfer.image.len()).min(BLOCK_BYTES);
        let data = match bytes.as_slice() {
            [low, high, s0, s1, data @ ..] if usize::from(u16::from_le_bytes([*low, *high])) == expected => {
                let data = data.get(..expected).unwrap_or_default();
                let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
                Some(data.to_vec()).filter(|_| sum == u16::from_le_bytes([*s0, *s1]))
            }
            _ => None,
        };
        let Some(data) = data else {
            transfer.expect_block();
            return self.request();
        };
        transfer.image.extend(data);
        if transfer.image.len() < transfer.size {
            transfer.block = transfer.block.wrapping_add(1);
            transfer.expect_block();
            return self.request();
        }
        let Some(transfer) = self.transfer.take() else { return Vec::new() };
        match Planes::decode(self.model, &transfer.image) {
            Ok(planes) => {
                self.completed += 1;
                self.shown = Some((transfer.version, planes));
                self.notify(0x00C7, &[])
            }
            Err(_) => {
                self.rejected += 1;
                self.notify(0xFFFF, &[])
            }
        }
    }
}

impl GattTag for OeplSim {
    fn name(&self) -> &'static str {
        "ATC_OEPL"
    }

    fn manufacturer_data(&self) -> Option<(u16, Vec<u8>)> {
        Some((COMPANY, self.advert.encode()))
    }

    fn service(&self) -> u16 {
        SERVICE
    }

    fn attributes(&self) -> &'static [Attribute] {
        &ATTRIBUTES
    }

    fn connected(&mut self, _now: u64) {
        self.connections += 1;
        self.transfer = None;
        self.parts = 0;
    }

    fn disconnected(&mut self, _now: u64) {
        self.transfer = None;
    }

    fn read(&mut self, _uuid: u16, _now: u64) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::NotPermitted)
    }

    fn write(&mut self, uuid: u16, bytes: &[u8], _now: u64) -> Result<Vec<TagAction>, Refusal> {
        if uuid != CHARACTERISTIC {
            return Err(Refusal::Unknown);
        }
        Ok(match bytes {
            [0x00, 0x64, content @ ..] => self.announce(content),
            [0x00, 0x65, content @ ..] => self.part(content),
            // Other commands are acknowledged in general.
            [_, _, ..] => self.notify(0x0063, &[]),
            _ => self.notify(0xFFFF, &[]),
        })
    }
}

#[cfg(test)]
mod tests;
