//! The generation file: what this gateway knows about its ledger outside the ledger.
//!
//! Purpose: a database that was put back (backup, snapshot, old disk, another gateway's image) looks perfectly healthy from
//! inside. The file beside it remembers how far the ledger had come, so that the next open notices and begins a new epoch
//! instead of using names a second time. HQ's ack is the second witness: it also finds a file that was put back together
//! with the database.
//!
//! Layout, big-endian: two slots of 128 bytes, written in turn, so that a torn write leaves the other. A slot:
//! `"SYGEN001" | counter u64 | machine 16 | incarnation 16 | boot u64 | epoch u32 | seq u64 | link 32 | check 16`, check =
//! start of the BLAKE3 hash of everything before it. The valid slot with the greater counter counts.
//!
//! Contract
//! * Written after each commit that moved the own log, never before: it is never ahead of a healthy database. Flushed at
//!   open, at close and every [`FLUSH_EVERY`] commits; losing the rest to a power cut makes the witness older, not wrong.
//! * `boot` counts opens, in the file and in the database.
//! * Losing or damaging the file while the database knows its incarnation counts as a move: a new epoch, nothing worse.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use sync_core::Link;
use sync_model::{Epoch, Seq};

const SLOT: usize = 128;
const MAGIC: &[u8; 8] = b"SYGEN001";
const BODY: usize = 100;
const FLUSH_EVERY: u64 = 64;

/// What one slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    counter: u64,
    pub(crate) machine: [u8; 16],
    pub(crate) incarnation: [u8; 16],
    pub(crate) boot: u64,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) link: Link,
}

fn check(body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("steelyard 2026 generation file 1");
    hasher.update(body);
    let mut sum = [0; 16];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

impl Witness {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.counter.to_be_bytes());
        bytes.extend(self.machine);
        bytes.extend(self.incarnation);
        bytes.extend(self.boot.to_be_bytes());
        bytes.extend(self.epoch.0.to_be_bytes());
        bytes.extend(self.seq.0.to_be_bytes());
        bytes.extend(self.link.0);
        bytes.extend(check(&bytes));
        bytes.resize(SLOT, 0);
        bytes
    }

    fn from_bytes(slot: &[u8]) -> Option<Self> {
        let (body, rest) = slot.split_at_checked(BODY)?;
        if !rest.starts_with(&check(body)) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let counter = u64::from_be_bytes(take(&mut rest)?);
        let (machine, incarnation) = (take(&mut rest)?, take(&mut rest)?);
        let boot = u64::from_be_bytes(take(&mut rest)?);
        let epoch = Epoch(u32::from_be_bytes(take(&mut rest)?));
        let seq = Seq(u64::from_be_bytes(take(&mut rest)?));
        let link = Link(take(&mut rest)?);
        Some(Self { counter, machine, incarnation, boot, epoch, seq, link })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Generation {
    path: PathBuf,
    file: Option<File>,
    now: Witness,
    unflushed: u64,
    fresh: [u8; 16],
}

impl Generation {
    /// The file's name beside a ledger.
    pub(crate) fn path(ledger: &Path) -> PathBuf {
        crate::open::beside(ledger, ".generation")
    }

    /// What the file says; `None` when there is none, or nothing of it can be believed.
    pub(crate) fn read(ledger: &Path) -> Option<Witness> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(2 * SLOT).unwrap_or(u64::MAX);
        File::open(Self::path(ledger)).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
        bytes.chunks(SLOT).filter_map(Witness::from_bytes).max_by_key(|witness| witness.counter)
    }

    /// Goes on from what was read, or from nothing.
    pub(crate) fn begin(
        ledger: &Path,
        found: Option<Witness>,
        machine: [u8; 16],
        incarnation: [u8; 16],
        boot: u64,
    ) -> Self {
        let counter = found.map_or(0, |found| found.counter);
        let (epoch, seq, link) = (Epoch(0), Seq::ZERO, Link([0; 32]));
        let now = Witness { counter, machine, incarnation, boot, epoch, seq, link };
        Self { path: Self::path(ledger), file: None, now, unflushed: 0, fresh: incarnation }
    }

    /// Random bits of this open: gateways with the same ledger draw different epochs. Not the incarnation's, which a disk
    /// image carries along.
    pub(crate) fn salt(&self) -> u32 {
        let [first, second, ..] = self.fresh;
        u32::from(u16::from_be_bytes([first, second]))
    }

    /// Takes the random bits of this open.
    pub(crate) fn salted(mut self, fresh: [u8; 16]) -> Self {
        self.fresh = fresh;
        self
    }

    /// Notes how far the ledger has come; `flush` makes it durable.
    pub(crate) fn note(&mut self, epoch: Epoch, seq: Seq, link: Link, flush: bool) {
        self.now = Witness { counter: self.now.counter.saturating_add(1), epoch, seq, link, ..self.now };
        self.unflushed += 1;
        let flush = flush || self.unflushed >= FLUSH_EVERY;
        if let Err(error) = self.write(flush) {
            // The witness grows old; the ledger itself is durable.
            self.file = None;
            if self.unflushed == 1 || flush {
                tracing::warn!(path = %self.path.display(), %error, "generation file cannot be written");
            }
        } else if flush {
            self.unflushed = 0;
        }
    }

    fn write(&mut self, flush: bool) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let file =
                    File::options().create(true).truncate(false).read(true).write(true).open(&self.path)?;
                crate::open::sync_parent(&self.path)?;
                empty.insert(file)
            }
        };
        let slot = self.now.counter % 2 * u64::try_from(SLOT).unwrap_or(0);
        file.seek(SeekFrom::Start(slot))?;
        file.write_all(&self.now.to_bytes())?;
        if flush { file.sync_data() } else { Ok(()) }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.unflushed > 0
            && let Some(file) = &self.file
            && let Err(error) = file.sync_data()
        {
            tracing::warn!(path = %self.path.display(), %error, "generation file was not flushed");
        }
    }
}

/// What a ledger asks its surroundings for: who this machine is, and random bits for a new incarnation. Everybody takes
/// [`Identity::of_this_machine`]; a simulation gives its own, so that a run can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Names the machine; zeros where nothing does.
    pub machine: [u8; 16],
    /// Taken for the next incarnation, if one begins at this open.
    pub incarnation: [u8; 16],
}

impl Identity {
    /// What the system says, and fresh random bits.
    pub fn of_this_machine() -> Self {
        Self { machine: machine(), incarnation: random() }
    }
}

/// This machine, as far as the system names it; zeros where it does not.
fn machine() -> [u8; 16] {
    let Ok(text) = std::fs::read_to_string("/etc/machine-id") else { return [0; 16] };
    if text.trim().is_empty() {
        return [0; 16];
    }
    check(text.trim().as_bytes())
}

/// A new incarnation.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        // Weaker, but it still differs from one process and moment to the next.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = check(format!("{}-{}", std::process::id(), now.as_nanos()).as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.db");
        assert_eq!(Generation::read(&ledger), None);
        let mut generation = Generation::begin(&ledger, None, [5; 16], [7; 16], 3);
        for seq in 1..=5 {
            generation.note(Epoch(2), Seq(seq), Link([9; 32]), seq == 5);
        }
        let seen = Generation::read(&ledger).unwrap();
        assert_eq!((seen.epoch, seen.seq, seen.boot, seen.incarnation), (Epoch(2), Seq(5), 3, [7; 16]));
        let path = Generation::path(&ledger);
        let whole = std::fs::read(&path).unwrap();
        // Every single damaged byte of the newest slot leaves the other slot.
        let newest = usize::try_from(seen.counter % 2).unwrap() * SLOT;
        for at in newest..newest + BODY + 16 {
            let mut torn = whole.clone();
            torn[at] ^= 0x20;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(Generation::read(&ledger).unwrap().seq, Seq(4), "{at}");
        }
        for length in 0..SLOT {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Generation::read(&ledger).is_none_or(|seen| seen.seq.0 >= 4), "{length}");
        }
    }
}
