//! Snapshots: one store's ledger as a file, for a replacement gateway or a HQ that lost more than its backups have.
//!
//! Purpose: rows of every fold at the floors of the logs, and the records above the floors. Rows and records together give,
//! bit for bit, the fold rows that a replay from the first record gives: a load folds the records with the code that folds
//! them everywhere, and compares the rows with their digest and each log with its chain link.
//!
//! File: `"SYSNAP" 0d 01`, then chunks, then the end chunk. A chunk is `raw length u32 | length u32 | hash 32 | bytes`: `bytes`
//! is a zstd frame of at most [`CHUNK_BYTES`] raw bytes; `hash` is BLAKE3 in derive-key mode over the hash before (zeros
//! first), both lengths and the bytes. So every chunk vouches for all before it; the end chunk has both lengths 0, and its
//! hash names the snapshot. Integers are big-endian. A file never changes: a download goes on where it stopped.
//!
//! The raw bytes are items, each a tag and its fields: `S` (first) store u32, made i64; `L` one log: direction u8, epoch u32,
//! floor u64, link 32, newest stamp below the floor i64, head u64, link 32; `B` one fold row: table u8, length u32, key,
//! length u32, body (see `image.rs`; tickets are table 3); `D` (after all rows) digests 32, 32 and rows u64; `R` one record:
//! number of its log in order of `L` u32, length u32, bytes, from the floor's next position on; `E` (last) records u64.

mod load;
mod write;

pub use load::Loaded;
pub use write::SnapshotNote;

use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"SYSNAP\r\x01";
const CONTEXT: &str = "steelyard 2026 snapshot chunk 1";
/// Most raw bytes of a chunk.
pub const CHUNK_BYTES: usize = 1 << 18;
/// Level of compression: a snapshot is made once and read over a thin line.
const LEVEL: i32 = 9;

const STORE: u8 = b'S';
const LOG: u8 = b'L';
const ROW: u8 = b'B';
const DIGESTS: u8 = b'D';
const RECORD: u8 = b'R';
const END: u8 = b'E';

fn link_hash(before: &[u8; 32], raw: u32, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hasher.update(before).update(&raw.to_be_bytes()).update(&length.to_be_bytes()).update(bytes);
    *hasher.finalize().as_bytes()
}

/// Collects items into chunks.
struct Chunks<W: Write> {
    out: W,
    raw: Vec<u8>,
    hash: [u8; 32],
    written: u64,
}

impl<W: Write> Chunks<W> {
    fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, raw: Vec::with_capacity(CHUNK_BYTES), hash: [0; 32], written: 8 })
    }

    fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let room = CHUNK_BYTES - self.raw.len();
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.raw.extend_from_slice(now);
                rest = later;
                if self.raw.len() == CHUNK_BYTES {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn sized(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("an item is too long"))?;
        self.put(&[&length.to_be_bytes(), bytes])
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let bytes = zstd::bulk::compress(&self.raw, LEVEL)?;
        let raw = u32::try_from(self.raw.len()).map_err(io::Error::other)?;
        self.chunk(raw, &bytes)?;
        self.raw.clear();
        Ok(())
    }

    fn chunk(&mut self, raw: u32, bytes: &[u8]) -> io::Result<()> {
        self.hash = link_hash(&self.hash, raw, bytes);
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        for part in [&raw.to_be_bytes()[..], &length.to_be_bytes(), &self.hash, bytes] {
            self.out.write_all(part)?;
            self.written += u64::try_from(part.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// Ends the file. Gives its name and length.
    fn finish(mut self) -> io::Result<([u8; 32], u64)> {
        self.flush()?;
        self.chunk(0, &[])?;
        self.out.flush()?;
        Ok((self.hash, self.written))
    }
}

/// Reads items out of checked chunks.
struct Items<R: Read> {
    input: R,
    raw: Vec<u8>,
    at: usize,
    hash: [u8; 32],
    ended: bool,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl<R: Read> Items<R> {
    fn new(mut input: R) -> io::Result<Self> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(|_| bad("the file is shorter than its first line"))?;
        if magic != *MAGIC {
            return Err(bad("not a snapshot, or one of a newer form"));
        }
        Ok(Self { input, raw: Vec::new(), at: 0, hash: [0; 32], ended: false })
    }

    /// The next chunk; false at the end.
    fn next_chunk(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let short = |_| bad("the snapshot ends before its end: fetch the rest of it");
        let mut head = [0; 40];
        self.input.read_exact(&mut head).map_err(short)?;
        let mut head = &head[..];
        let raw = u32::from_be_bytes(take(&mut head)?);
        let length = usize::try_from(u32::from_be_bytes(take(&mut head)?)).map_err(io::Error::other)?;
        let hash: [u8; 32] = take(&mut head)?;
        let raw_length = usize::try_from(raw).map_err(io::Error::other)?;
        if raw_length > CHUNK_BYTES || length > CHUNK_BYTES + 4_096 {
            return Err(bad("a chunk is longer than allowed"));
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes).map_err(short)?;
        if link_hash(&self.hash, raw, &bytes) != hash {
            return Err(bad("a chunk does not match its hash: fetch the snapshot again"));
        }
        self.hash = hash;
        self.ended = raw == 0 && length == 0;
        if self.ended {
            return Ok(false);
        }
        self.raw = zstd::bulk::decompress(&bytes, raw_length).map_err(|error| bad(error.to_string()))?;
        self.at = 0;
        if self.raw.len() != raw_length || raw_length == 0 {
            return Err(bad("a chunk has another length than it says"));
        }
        Ok(true)
    }

    fn fill(&mut self, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            if self.at == self.raw.len() && !self.next_chunk()? {
                return Err(bad("the snapshot ends inside an item"));
            }
            let there = self.raw.get(self.at..).unwrap_or_default();
            let count = there.len().min(into.len());
            let (now, later) = into.split_at_mut(count);
            now.copy_from_slice(there.get(..count).unwrap_or_default());
            self.at += count;
            into = later;
        }
        Ok(())
    }

    fn fixed<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn sized(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let length = usize::try_from(u32::from_be_bytes(self.fixed()?)).map_err(io::Error::other)?;
        if length > most {
            return Err(bad(format!("an item has {length} bytes, at most {most} are allowed")));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Nothing may follow the last item.
    fn finish(mut self) -> io::Result<[u8; 32]> {
        if self.at != self.raw.len() || self.next_chunk()? {
            return Err(bad("something follows the last item"));
        }
        Ok(self.hash)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or_else(|| bad("a chunk's head is short"))?;
    *bytes = rest;
    Ok(*head)
}

/// A snapshot's name for people: the first 8 bytes of its end hash in hex.
pub(crate) fn name(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
