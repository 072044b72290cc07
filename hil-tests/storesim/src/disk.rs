//! The folder of one ledger, and what disks do to it. Files: `ledger.db`, its `-wal`, and the generation file beside it.
//!
//! A crash is a copy of the files as they are between two calls: what was committed is in them, what the process knew is not.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const FILES: [&str; 3] = ["ledger.db", "ledger.db-wal", "ledger.db.generation"];
/// Bytes before the first frame of a write-ahead log, and before the page of a frame.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A folder with a ledger.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// A new folder below `root`.
    pub fn new(root: &Path, name: &str) -> Result<Self> {
        let folder = root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The ledger file.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.db")
    }

    /// A file beside the ledger.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Copies the ledger as it lies there, `-wal` included, into another folder. The generation file too if asked to.
    pub fn copy_to(&self, other: &Self, generation: bool) -> Result<()> {
        for name in FILES {
            let (from, to) = (self.folder.join(name), other.folder.join(name));
            if to.exists() {
                fs::remove_file(&to)?;
            }
            if from.exists() && (generation || !name.ends_with("generation")) {
                fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
            }
        }
        Ok(())
    }

    /// Removes ledger and `-wal`; the generation file too if asked to.
    pub fn clear(&self, generation: bool) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with("ledger.db") && (generation || !name.ends_with(".generation")) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the folder.
    pub fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("remove {}", self.folder.display()))
    }

    /// Takes back the last commits in the `-wal`. Gives how many.
    pub fn lose_commits(&self, count: usize) -> Result<usize> {
        let path = self.folder.join("ledger.db-wal");
        let Ok(wal) = fs::read(&path) else { return Ok(0) };
        let ends = commits(&wal);
        let lost = count.min(ends.len());
        let keep = ends.len() - lost;
        let keep = keep.checked_sub(1).and_then(|at| ends.get(at)).copied().unwrap_or(WAL_HEADER);
        fs::write(&path, wal.get(..keep).unwrap_or(&wal))?;
        Ok(lost)
    }

    /// Half of the last committed frame is not what was written. False: there is none.
    pub fn tear_commit(&self) -> Result<bool> {
        let path = self.folder.join("ledger.db-wal");
        let Ok(mut wal) = fs::read(&path) else { return Ok(false) };
        let Some(end) = commits(&wal).pop() else { return Ok(false) };
        let from = end.saturating_sub(page_size(&wal) / 2);
        wal.get_mut(from..end).into_iter().flatten().for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, wal)?;
        Ok(true)
    }

    /// A transaction that was being written when the power went: half a frame behind the last commit, and a page of the main
    /// file, which the `-wal` has whole, half written by a checkpoint. Nothing durable is lost by it. False: no such page.
    pub fn tear_unfinished(&self) -> Result<bool> {
        let (path, main) = (self.folder.join("ledger.db-wal"), self.ledger());
        let Ok(mut wal) = fs::read(&path) else { return Ok(false) };
        let Some(end) = commits(&wal).pop() else { return Ok(false) };
        let size = page_size(&wal);
        let frame = end.saturating_sub(size + FRAME_HEADER);
        let number = word(&wal, frame);
        let mut bytes = fs::read(&main)?;
        let from = number.saturating_sub(1).saturating_mul(size) + size / 2;
        bytes.get_mut(from..from + size / 2).into_iter().flatten().for_each(|byte| *byte ^= 0xa5);
        fs::write(&main, bytes)?;
        let half: Vec<u8> = wal.get(frame..frame + size / 2).unwrap_or_default().to_vec();
        wal.truncate(end);
        wal.extend(half);
        fs::write(&path, wal)?;
        Ok(true)
    }

    /// Turns one bit of the main file over.
    pub fn flip(&self, at: u64) -> Result<bool> {
        let path = self.ledger();
        let mut bytes = fs::read(&path)?;
        let length = u64::try_from(bytes.len())?;
        if length < 4_096 {
            return Ok(false);
        }
        let index = usize::try_from(at % length)?;
        if let Some(byte) = bytes.get_mut(index) {
            *byte ^= 1 << ((at >> 40) % 8);
        }
        fs::write(&path, bytes)?;
        Ok(true)
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
    word.map_or(0, |word| usize::try_from(u32::from_be_bytes(word)).unwrap_or(0))
}

fn page_size(wal: &[u8]) -> usize {
    word(wal, 8).max(512)
}

/// Ends of the committed transactions of a write-ahead log.
fn commits(wal: &[u8]) -> Vec<usize> {
    let size = page_size(wal) + FRAME_HEADER;
    let salts = wal.get(16..24);
    let mut ends = Vec::new();
    let mut at = WAL_HEADER;
    while at + size <= wal.len() && wal.get(at + 8..at + 16) == salts {
        if word(wal, at + 4) != 0 {
            ends.push(at + size);
        }
        at += size;
    }
    ends
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]
    use super::*;
    use sync_model::{ClockQuality, Stamp, StoreId, Text, UnixMillis};
    use sync_store::{Identity, Ledger, LedgerConfig, Owner, Reader};

    fn open(disk: &Disk) -> Ledger {
        let config = LedgerConfig {
            path: disk.ledger(),
            owner: Owner::Store(StoreId(1)),
            max_bytes: None,
            software: Text::default(),
            queue: 8,
        };
        let stamp = Stamp { at: UnixMillis(1_000), clock: ClockQuality::Synced };
        let identity = Identity { machine: [1; 16], incarnation: [2; 16] };
        Ledger::open_as(config, stamp, identity).unwrap().0
    }

    /// Three values of one row, each committed alone; the row after a crash that does `harm`.
    fn after(harm: impl FnOnce(&Disk)) -> Option<Vec<u8>> {
        let root = tempfile::tempdir().unwrap();
        let (disk, crashed) = (Disk::new(root.path(), "a").unwrap(), Disk::new(root.path(), "b").unwrap());
        let ledger = open(&disk);
        for value in 1..=3_u8 {
            ledger.call(move |draft| draft.put_state("key", Some(&[value]))).unwrap();
        }
        disk.copy_to(&crashed, true).unwrap();
        harm(&crashed);
        drop(ledger);
        let ledger = open(&crashed);
        assert!(ledger.verify().unwrap().ok());
        Reader::open(&crashed.ledger()).unwrap().state("key").unwrap()
    }

    #[test]
    fn faults_take_what_they_say_and_no_more() {
        assert_eq!(after(|_| {}), Some(vec![3]));
        assert_eq!(after(|disk| assert_eq!(disk.lose_commits(2).unwrap(), 2)), Some(vec![1]));
        assert_eq!(after(|disk| assert!(disk.tear_commit().unwrap())), Some(vec![2]));
        assert_eq!(after(|disk| assert!(disk.tear_unfinished().unwrap())), Some(vec![3]));
    }
}
