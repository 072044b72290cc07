//! Hot-plug: wakes drivers that wait in a backoff as soon as the kernel, udev or a folder says that something was plugged in.
//!
//! Contract
//! * Two sources, both without `libudev`: the kernel's own event socket (`NETLINK_KOBJECT_UEVENT`, kernel events and the ones
//!   that udev sends when permissions are set), and inotify on the folders of the configured ports, which also sees what has
//!   no kernel event (a link that is made, a container's `/dev`).
//! * An event only ends a pause. What is really there is found out by opening it, so a forged or missed event costs nothing
//!   but time: without any source the backoff alone brings a device back.
//! * Events are never answered, buffers are fixed, and a storm of events costs one look per slice at most.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::config::HostConfig;
use crate::error::HostError;
use crate::ports::PortName;
use crate::registry::Registry;

/// Multicast groups of the event socket: 1 is the kernel, 2 is udev.
const GROUPS: u32 = 0b11;
/// Longest wait in one piece, so that a stop is noticed.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Time between two looks for folders that were not there.
const REARM: Duration = Duration::from_secs(5);
/// Bytes of one kernel event.
const EVENT_BYTES_MAX: usize = 8192;
/// Subsystems whose devices we drive or reach them through.
const SUBSYSTEMS: [&str; 6] = ["tty", "usb-serial", "usb", "w1", "bluetooth", "i2c-dev"];

/// What an event of the kernel or of udev says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uevent<'b> {
    /// `add`, `bind`, `remove`, …
    pub(crate) action: &'b str,
    /// `tty`, `usb`, …
    pub(crate) subsystem: &'b str,
}

impl<'b> Uevent<'b> {
    /// Parses a datagram of the event socket: zero-separated `KEY=value` texts, after `action@path` (kernel) or a binary
    /// header that begins with `libudev` and says where they lie (udev).
    pub(crate) fn parse(datagram: &'b [u8]) -> Option<Self> {
        let body = if datagram.starts_with(b"libudev\0") {
            // struct udev_monitor_netlink_header: prefix[8], magic, header size, offset of the properties, each 4 bytes.
            let offset: [u8; 4] = datagram.get(16..20)?.try_into().ok()?;
            datagram.get(usize::try_from(u32::from_ne_bytes(offset)).ok()?..)?
        } else {
            datagram
        };
        let value = |key: &str| {
            let mut texts = body.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
            texts.find_map(|text| text.strip_prefix(key)?.strip_prefix('='))
        };
        Some(Self { action: value("ACTION")?, subsystem: value("SUBSYSTEM")? })
    }

    /// Something that a driver may wait for is there now.
    pub(crate) fn is_plug(&self) -> bool {
        matches!(self.action, "add" | "bind" | "online" | "change") && SUBSYSTEMS.contains(&self.subsystem)
    }
}

/// Starts the watch; without any source of events it says so once, and there is no thread.
pub(crate) fn spawn(
    config: &HostConfig,
    registry: Arc<Registry>,
) -> Result<Option<JoinHandle<()>>, HostError> {
    let mut watch = Watch { kernel: None, folders: None, wanted: folders(config), armed: Instant::now() };
    match kernel_socket() {
        Ok(socket) => watch.kernel = Some(socket),
        Err(error) => tracing::info!("no hot-plug events from the kernel: {error}"),
    }
    match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
        Ok(inotify) => watch.folders = Some(inotify),
        Err(error) => tracing::info!("no hot-plug events from folders: {error}"),
    }
    if watch.kernel.is_none() && watch.folders.is_none() {
        tracing::warn!("no hot-plug events at all: unplugged devices come back with the backoff alone");
        return Ok(None);
    }
    watch.arm();
    let body = move || watch.run(&registry);
    let thread = std::thread::Builder::new().name("drv hot-plug".to_owned()).spawn(body);
    thread.map(Some).map_err(|source| HostError::Thread { owner: "hot-plug".to_owned(), source })
}

/// The folders in which configured ports and probes appear.
fn folders(config: &HostConfig) -> BTreeSet<PathBuf> {
    let ports = config.scale.iter().map(|scale| scale.port.as_str());
    let ports = ports.chain(config.bus.iter().filter_map(|bus| bus.port.as_deref()));
    let mut folders: BTreeSet<PathBuf> = ports
        .filter_map(|name| match PortName::parse(name).ok()? {
            PortName::Path(path) => path.parent().map(Path::to_owned),
            PortName::UsbSerial { root, .. } | PortName::UsbPath { root, .. } => Some(root.join("dev")),
        })
        .collect();
    if config.cabinet.iter().any(|cabinet| cabinet.w1.is_some()) {
        folders.insert(PathBuf::from(config.w1.clone().unwrap_or_default().root));
    }
    folders
}

fn kernel_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = Some(netlink::KOBJECT_UEVENT);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, kind)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

struct Watch {
    kernel: Option<OwnedFd>,
    folders: Option<OwnedFd>,
    wanted: BTreeSet<PathBuf>,
    armed: Instant,
}

impl Watch {
    /// Watches every wanted folder, or the nearest one above that is there: `/dev/serial` comes and goes with its last port.
    /// Watching one again changes nothing.
    fn arm(&mut self) {
        self.armed = Instant::now();
        let Some(inotify) = &self.folders else { return };
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
        for folder in &self.wanted {
            let there = folder.ancestors().find(|at| at.is_dir());
            if let Some(Err(error)) = there.map(|at| inotify::add_watch(inotify, at, flags)) {
                tracing::debug!("{} is not watched: {error}", folder.display());
            }
        }
    }

    fn run(mut self, registry: &Registry) {
        while !registry.stopping() {
            match self.wait() {
                Ok(true) => {
                    self.arm();
                    registry.plug();
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!("hot-plug events end: {error}; the backoff alone brings devices back");
                    return;
                }
            }
            if self.armed.elapsed() >= REARM {
                self.arm();
            }
        }
    }

    /// Waits for events and takes all of them; true when one says that something was plugged in.
    fn wait(&self) -> Result<bool, Errno> {
        let sources = [&self.kernel, &self.folders];
        let mut fds: Vec<PollFd<'_>> =
            sources.iter().filter_map(|fd| fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&WAIT)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let kernel = self.kernel.as_ref().map_or(Ok(false), drain_kernel)?;
        let folders = self.folders.as_ref().map_or(Ok(false), drain_folders)?;
        Ok(kernel || folders)
    }
}

fn drain_kernel(socket: &OwnedFd) -> Result<bool, Errno> {
    let mut plugged = false;
    let mut buffer = [0_u8; EVENT_BYTES_MAX];
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((count, _)) => {
                let datagram = buffer.get(..count.min(EVENT_BYTES_MAX)).unwrap_or_default();
                plugged |= Uevent::parse(datagram).is_some_and(|event| event.is_plug());
            }
            Err(Errno::AGAIN) => return Ok(plugged),
            Err(Errno::INTR) => {}
            // Events were lost because we were slow: something may have been among them.
            Err(Errno::NOBUFS) => plugged = true,
            Err(error) => return Err(error),
        }
    }
}

fn drain_folders(inotify: &OwnedFd) -> Result<bool, Errno> {
    let mut plugged = false;
    let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES_MAX];
    let mut reader = inotify::Reader::new(inotify.as_fd(), &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => plugged |= !event.file_name().is_some_and(|name| is_busy(name.to_bytes())),
            Err(Errno::AGAIN) => return Ok(plugged),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Entries of `/dev` whose attributes change all the time and that are no ports of ours.
fn is_busy(name: &[u8]) -> bool {
    matches!(name, b"ptmx" | b"tty" | b"console" | b"null")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &[u8] = b"add@/devices/pci0000:00/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0/tty/ttyUSB0\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0/tty/ttyUSB0\0SUBSYSTEM=tty\0MAJOR=188\0MINOR=0\0\
        DEVNAME=ttyUSB0\0SEQNUM=4711\0";

    fn udev(properties: &[u8]) -> Vec<u8> {
        let mut datagram = b"libudev\0".to_vec();
        datagram.extend(0xfeed_cafe_u32.to_be_bytes());
        for value in [40_u32, 40, u32::try_from(properties.len()).unwrap(), 0, 0, 0, 0] {
            datagram.extend(value.to_ne_bytes());
        }
        datagram.extend(properties);
        datagram
    }

    #[test]
    fn events_of_the_kernel_and_of_udev_are_read() {
        let event = Uevent::parse(KERNEL).unwrap();
        assert_eq!(event, Uevent { action: "add", subsystem: "tty" });
        assert!(event.is_plug());
        let datagram = udev(b"ACTION=add\0SUBSYSTEM=tty\0DEVNAME=/dev/ttyUSB0\0");
        assert!(Uevent::parse(&datagram).unwrap().is_plug());
        let gone = udev(b"ACTION=remove\0SUBSYSTEM=tty\0");
        assert!(!Uevent::parse(&gone).unwrap().is_plug());
        let other = Uevent::parse(b"change@/x\0ACTION=change\0SUBSYSTEM=thermal\0").unwrap();
        assert!(!other.is_plug());
        // KEY=value only: SUBSYSTEMS= is another key.
        assert_eq!(Uevent::parse(b"x\0ACTION=add\0SUBSYSTEMS=tty\0"), None);
    }

    #[test]
    fn a_port_that_appears_in_its_folder_is_a_plug_even_when_the_folder_is_new() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("serial/by-id");
        let config: HostConfig = toml::from_str(&format!(
            "[[scale]]\nid = \"s\"\nprotocol = \"toledo-8217\"\nport = \"{}\"\ninterval_g = 5\ncapacity_g = 15000\n",
            folder.join("scale").display()
        ))
        .unwrap();
        let none: [(Arc<str>, crate::DeviceClass, u64); 0] = [];
        let registry = Arc::new(Registry::new(none.into_iter()));
        let (events, _receiver) = tokio::sync::mpsc::channel(1);
        let mut desk = crate::registry::Desk::new(registry.clone(), events);
        let watch = spawn(&config, registry.clone()).unwrap().expect("this system has inotify");
        let mut seen = |what: &str| {
            let begun = Instant::now();
            while !desk.plugged() {
                assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        std::fs::create_dir_all(&folder).unwrap();
        seen("the folder that was missing");
        // Until the new folder itself is watched, what appears in it may be missed; then it is not.
        let begun = Instant::now();
        for number in 0.. {
            std::os::unix::fs::symlink("/dev/null", folder.join(format!("scale-{number}"))).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            if desk.plugged() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "a port in the new folder");
        }
        registry.ask_stop();
        watch.join().unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_datagram_is_read_without_panic(bytes: Vec<u8>) {
            let sealed = [b"libudev\0".as_slice(), &bytes].concat();
            std::hint::black_box((Uevent::parse(&bytes), Uevent::parse(&sealed)));
        }
    }
}
