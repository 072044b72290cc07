//! A disk with a write cache that a power cut empties.
//!
//! QEMU's own image files do not show this: whatever QEMU has written lies in the host's page cache and outlives its
//! SIGKILL, flushed or not. This disk is an NBD server in this process: a write is answered when it is in the cache, FLUSH
//! and FUA make it durable, and [`Disk::cut`] keeps of what was not flushed only a seeded half of the sectors, so that
//! writes are dropped, torn and reordered.
//!
//! Contract: one export, one connection at a time, served by threads that end with the disk. The protocol is the fixed
//! newstyle handshake with simple replies, as in the NBD project's `doc/proto.md`.

use anyhow::{Context, Result};
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes as a whole.
const SECTOR: usize = 512;
/// Most bytes of one request.
const REQUEST_MAX: u32 = 32 * 1024 * 1024;

/// The disk.
#[derive(Clone, Debug)]
pub struct Disk {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug)]
struct Content {
    /// As a reader sees it.
    seen: Vec<u8>,
    /// What is left after a cut.
    durable: Vec<u8>,
    /// Sectors written and not flushed, in order.
    waiting: Vec<usize>,
    counts: Counts,
}

/// What the disk went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sectors written.
    pub written: u64,
    /// Flushes.
    pub flushes: u64,
    /// Sectors that the last cut found unflushed.
    pub exposed: u64,
    /// Of these, sectors that it took away.
    pub lost: u64,
}

impl Disk {
    /// A disk with this content.
    pub fn new(content: Vec<u8>) -> Self {
        let content = Content {
            durable: content.clone(),
            seen: content,
            waiting: Vec::new(),
            counts: Counts::default(),
        };
        Self { content: Arc::new(Mutex::new(content)) }
    }

    /// Listens on a socket for a machine.
    pub fn serve(&self, socket: &Path) -> Result<()> {
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let disk = self.clone();
        std::thread::spawn(move || {
            // One machine, one connection: the listener ends with it.
            if let Ok((stream, _)) = listener.accept() {
                // The machine was killed in the middle of a request: that is what a cut is.
                drop(disk.session(stream));
            }
        });
        Ok(())
    }

    /// The power fails: a random half of what was not flushed is gone, sector by sector.
    pub fn cut(&self, seed: u64) -> Counts {
        let mut content = self.lock();
        let mut random = seed | 1;
        let mut waiting = std::mem::take(&mut content.waiting);
        waiting.sort_unstable();
        waiting.dedup();
        let mut lost = 0;
        for sector in &waiting {
            // xorshift64*
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            let at = sector * SECTOR..(sector + 1) * SECTOR;
            let Content { seen, durable, .. } = &mut *content;
            if random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 63 == 0 {
                durable[at.clone()].copy_from_slice(&seen[at]);
            } else {
                lost += 1;
            }
        }
        content.seen = content.durable.clone();
        content.counts.exposed = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        content.counts.lost = lost;
        content.counts
    }

    /// What it went through.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What is on it now, for whoever looks into a failure.
    pub fn image(&self) -> Vec<u8> {
        self.lock().durable.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let size = u64::try_from(self.lock().seen.len()).unwrap_or(0);
        handshake(&mut stream, size)?;
        loop {
            let mut head = [0; 28];
            stream.read_exact(&mut head)?;
            let Request { fua, kind, handle, offset, length } = Request::parse(&head)?;
            let end = offset.checked_add(length).filter(|end| *end <= size);
            let fits = end.is_some() && length <= u64::from(REQUEST_MAX);
            let (Ok(at), Ok(bytes)) = (usize::try_from(offset), usize::try_from(length)) else {
                return Err(Error::from(ErrorKind::InvalidData));
            };
            match kind {
                0 if fits => {
                    let data = self.lock().seen[at..at + bytes].to_vec();
                    answer(&mut stream, 0, handle, &data)?;
                }
                1 if fits => {
                    let mut data = vec![0; bytes];
                    stream.read_exact(&mut data)?;
                    let mut content = self.lock();
                    content.write(at, &data);
                    if fua {
                        content.flush_range(at, bytes);
                    }
                    drop(content);
                    answer(&mut stream, 0, handle, &[])?;
                }
                2 => return Ok(()),
                3 => {
                    self.lock().flush();
                    answer(&mut stream, 0, handle, &[])?;
                }
                // EINVAL: what was not offered, or lies outside. A write's data would follow, so the line is given up.
                1 => return Err(Error::from(ErrorKind::InvalidData)),
                _ => answer(&mut stream, 22, handle, &[])?,
            }
        }
    }
}

impl Content {
    fn write(&mut self, at: usize, data: &[u8]) {
        self.seen[at..at + data.len()].copy_from_slice(data);
        let sectors = at / SECTOR..(at + data.len()).div_ceil(SECTOR);
        self.counts.written += u64::try_from(sectors.len()).unwrap_or(0);
        self.waiting.extend(sectors);
    }

    fn flush(&mut self) {
        self.counts.flushes += 1;
        for sector in std::mem::take(&mut self.waiting) {
            let at = sector * SECTOR..(sector + 1) * SECTOR;
            self.durable[at.clone()].copy_from_slice(&self.seen[at]);
        }
    }

    fn flush_range(&mut self, at: usize, bytes: usize) {
        let sectors = at / SECTOR..(at + bytes).div_ceil(SECTOR);
        let range = sectors.start * SECTOR..sectors.end * SECTOR;
        self.durable[range.clone()].copy_from_slice(&self.seen[range]);
        self.waiting.retain(|sector| !sectors.contains(sector));
    }
}

struct Request {
    fua: bool,
    kind: u16,
    handle: [u8; 8],
    offset: u64,
    length: u64,
}

impl Request {
    fn parse(head: &[u8; 28]) -> std::io::Result<Self> {
        let invalid = || Error::from(ErrorKind::InvalidData);
        let word = |at: usize| -> std::io::Result<u32> {
            Ok(u32::from_be_bytes(head[at..at + 4].try_into().map_err(|_| invalid())?))
        };
        if word(0)? != 0x2560_9513 {
            return Err(invalid());
        }
        Ok(Self {
            fua: head[5] & 1 != 0,
            kind: u16::from_be_bytes([head[6], head[7]]),
            handle: head[8..16].try_into().map_err(|_| invalid())?,
            offset: u64::from(word(16)?) << 32 | u64::from(word(20)?),
            length: word(24)?.into(),
        })
    }
}

fn answer(stream: &mut UnixStream, error: u32, handle: [u8; 8], data: &[u8]) -> std::io::Result<()> {
    let mut reply = Vec::with_capacity(16 + data.len());
    reply.extend(0x6744_6698_u32.to_be_bytes());
    reply.extend(error.to_be_bytes());
    reply.extend(handle);
    reply.extend(data);
    stream.write_all(&reply)
}

const IHAVEOPT: [u8; 8] = *b"IHAVEOPT";
/// HAS_FLAGS, SEND_FLUSH, SEND_FUA.
const FLAGS: u16 = 1 | 4 | 8;

fn handshake(stream: &mut UnixStream, size: u64) -> std::io::Result<()> {
    stream.write_all(b"NBDMAGIC")?;
    stream.write_all(&IHAVEOPT)?;
    stream.write_all(&3_u16.to_be_bytes())?;
    stream.read_exact(&mut [0; 4])?;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (option, length) = (word(8), word(12));
        if head[..8] != IHAVEOPT || length > 65_536 {
            return Err(Error::from(ErrorKind::InvalidData));
        }
        let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
        stream.read_exact(&mut data)?;
        let mut export = size.to_be_bytes().to_vec();
        export.extend(FLAGS.to_be_bytes());
        match option {
            // EXPORT_NAME: no reply header, straight to work.
            1 => return stream.write_all(&export),
            // ABORT
            2 => return Err(Error::from(ErrorKind::ConnectionAborted)),
            // INFO, GO
            6 | 7 => {
                let info = [&0_u16.to_be_bytes()[..], &export].concat();
                option_reply(stream, option, 3, &info)?;
                option_reply(stream, option, 1, &[])?;
                if option == 7 {
                    return Ok(());
                }
            }
            // ERR_UNSUP
            _ => option_reply(stream, option, 0x8000_0001, &[])?,
        }
    }
}

fn option_reply(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> std::io::Result<()> {
    let mut reply = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_flushed_is_sure_to_survive() {
        let disk = Disk::new(vec![0; 64 * SECTOR]);
        disk.lock().write(0, &[1; SECTOR]);
        disk.lock().flush();
        disk.lock().write(SECTOR, &[2; SECTOR]);
        disk.lock().flush_range(SECTOR, SECTOR);
        disk.lock().write(2 * SECTOR, &vec![3; 62 * SECTOR]);
        let counts = disk.cut(7);
        assert_eq!((counts.written, counts.exposed, counts.flushes), (64, 62, 1));
        assert!(counts.lost > 10 && counts.lost < 52, "{counts:?}");
        let image = disk.image();
        assert!(image[..SECTOR].iter().all(|b| *b == 1) && image[SECTOR..2 * SECTOR].iter().all(|b| *b == 2));
        let kept = image[2 * SECTOR..].chunks(SECTOR).filter(|sector| sector[0] == 3).count();
        assert_eq!(u64::try_from(kept).unwrap(), 62 - counts.lost);
        assert_eq!(disk.lock().seen, image);
    }
}
