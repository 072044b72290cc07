//! Serial far ends on pseudo-terminals.
//!
//! * [`FarEnd`] serves a simulated device at a stable path and can be unplugged and plugged in again.
//! * [`Pair`] joins two pseudo-terminals, for a far end that is a program of its own.
//!
//! What a pseudo-terminal cannot show: parity, 7 data bits, modem lines. The kernel accepts those settings and keeps 8N1, so
//! both ends see all eight bits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::RigError;
use crate::clock::now_ms;

/// How often a device is stepped without input, so that it can answer late or speak by itself.
const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// One pseudo-terminal in raw mode.
struct Pty {
    master: OwnedFd,
    // Held open so that the master does not see a hang-up while nobody has the port open.
    _slave: OwnedFd,
    path: PathBuf,
}

impl Pty {
    fn open() -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        Ok(Self { master, _slave: slave, path })
    }
}

/// A simulated device behind a path that looks like a serial port.
pub struct FarEnd {
    link: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FarEnd {
    /// Plugs `device` in at `link` (a symbolic link to the terminal; it must not exist).
    ///
    /// `step` gets the device, the time ([`now_ms`]), and the bytes that came (often none), and answers with the
    /// bytes that the device sends now. The device stays shared, so that a test can load it while it is served.
    pub fn plug<T, F>(link: &Path, device: Arc<Mutex<T>>, mut step: F) -> Result<Self, RigError>
    where
        T: Send + 'static,
        F: FnMut(&mut T, u64, &[u8]) -> Vec<u8> + Send + 'static,
    {
        let fail = |source| RigError::Io { what: format!("pseudo-terminal at {}", link.display()), source };
        let pty = Pty::open().map_err(fail)?;
        std::os::unix::fs::symlink(&pty.path, link).map_err(fail)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let serve = move || {
            // The whole terminal moves in: its slave end must stay open as long as the thread serves.
            let pty = pty;
            while !asked.load(Ordering::Acquire) {
                let Ok(input) = read_some(&pty.master) else { return };
                let output =
                    step(&mut device.lock().unwrap_or_else(PoisonError::into_inner), now_ms(), &input);
                if write_all(&pty.master, &output, &asked).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("far end".into()).spawn(serve).map_err(fail)?;
        Ok(Self { link: link.to_owned(), stop, thread: Some(thread) })
    }

    /// The path to configure as port.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.link
    }
}

impl Drop for FarEnd {
    // A link that is gone and a thread that has ended are what is wanted, so failures here say nothing.
    /// Unplugs: whoever has the port open reads an error from now on, and the path is gone.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        drop(std::fs::remove_file(&self.link));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Two joined pseudo-terminals: what is written to one path is read from the other.
pub struct Pair {
    ours: PathBuf,
    theirs: PathBuf,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pair {
    /// Opens a pair.
    pub fn open() -> Result<Self, RigError> {
        let fail = |source| RigError::Io { what: "pair of pseudo-terminals".into(), source };
        let (a, b) = (Arc::new(Pty::open().map_err(fail)?), Arc::new(Pty::open().map_err(fail)?));
        let stop = Arc::new(AtomicBool::new(false));
        let (ours, theirs) = (a.path.clone(), b.path.clone());
        let mut threads = Vec::new();
        for (from, to) in [(a.clone(), b.clone()), (b, a)] {
            let asked = stop.clone();
            let relay = move || {
                while !asked.load(Ordering::Acquire) {
                    let Ok(bytes) = read_some(&from.master) else { return };
                    if write_all(&to.master, &bytes, &asked).is_err() {
                        return;
                    }
                }
            };
            threads.push(std::thread::Builder::new().name("pty pair".into()).spawn(relay).map_err(fail)?);
        }
        Ok(Self { ours, theirs, stop, threads })
    }

    /// The path for the program under test.
    #[must_use]
    pub fn ours(&self) -> &Path {
        &self.ours
    }

    /// The path for the far end.
    #[must_use]
    pub fn theirs(&self) -> &Path {
        &self.theirs
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// What came within one step; empty when nothing did.
fn read_some(master: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut wait = [PollFd::new(master, PollFlags::IN)];
    match poll(&mut wait, Some(&STEP)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let mut buffer = [0u8; 512];
    let count = rustix::io::read(master.as_fd(), &mut buffer)?;
    Ok(buffer.get(..count).unwrap_or_default().to_vec())
}

/// Writes all, giving up when asked to stop: a port that nobody reads fills up.
fn write_all(master: &OwnedFd, mut bytes: &[u8], stop: &AtomicBool) -> io::Result<()> {
    while !bytes.is_empty() && !stop.load(Ordering::Acquire) {
        let mut wait = [PollFd::new(master, PollFlags::OUT)];
        match poll(&mut wait, Some(&STEP)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let count = rustix::io::write(master.as_fd(), bytes)?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}
