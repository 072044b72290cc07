//! Stable names of serial ports: by USB serial number, by place on the USB tree, or by explicit path.
//!
//! | configured | means |
//! |---|---|
//! | `/dev/ttyUSB0`, `/dev/serial/by-id/…` | that path |
//! | `usb:serial=A10K5XYZ` | the port of the USB adapter with that serial number |
//! | `usb:serial=A10K5XYZ,interface=1` | one port of an adapter with several (`bInterfaceNumber`) |
//! | `usb:path=1-1.2:1.0`, `usb:path=1-1.2` | the port at that place: bus, hub ports, interface |
//! | `…@/host` | the same below another root (`/host/sys`, `/host/dev`), for a daemon in a container |
//!
//! Contract
//! * Kernel names (`ttyUSB0`) follow the order of plugging; the names above do not. A name is resolved each time the port is
//!   opened, so a replugged adapter is found whatever the kernel calls it now.
//! * [`resolve`] reads the `sysfs` tree and changes nothing: `sys/class/tty/NAME/device` leads to the USB interface
//!   (`bInterfaceNumber`), whose parent is the USB device (`serial`). Everything read is bounded.
//! * A name that fits no port, or more than one, is a named fault that lists what is there.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::advice::Cause;

/// Entries of `sys/class/tty` that are looked at.
const PORTS_MAX: usize = 1024;
/// Folders between a port and its USB device.
const DEPTH_MAX: usize = 8;
/// Bytes read of an attribute.
const ATTRIBUTE_BYTES_MAX: u64 = 256;
/// Ports that a fault lists.
const LISTED_MAX: usize = 8;

/// Why a name leads to no port.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameFault {
    /// The text is no port name.
    #[error("port name {name}: expected {expected}")]
    Syntax {
        /// As configured.
        name: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// No port has that name.
    #[error("no port is {name}; there {}", listed(.present))]
    Missing {
        /// As configured.
        name: String,
        /// USB ports that are there.
        present: Vec<String>,
    },
    /// Several ports have that name.
    #[error("more than one port is {name}: {}", .found.join(", "))]
    Ambiguous {
        /// As configured.
        name: String,
        /// The ports.
        found: Vec<String>,
    },
}

fn listed(present: &[String]) -> String {
    match present {
        [] => "is no USB port".to_owned(),
        some => format!("is {}", some.join(", ")),
    }
}

/// A configured port name, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortName {
    /// A path.
    Path(PathBuf),
    /// A USB adapter's serial number, and one of its interfaces.
    UsbSerial {
        /// `serial` of the USB device.
        serial: String,
        /// `bInterfaceNumber`.
        interface: Option<u8>,
        /// Folder that holds `sys` and `dev`.
        root: PathBuf,
    },
    /// A place on the USB tree.
    UsbPath {
        /// `1-1.2` or `1-1.2:1.0`.
        place: String,
        /// Folder that holds `sys` and `dev`.
        root: PathBuf,
    },
}

impl PortName {
    /// Parses a configured name.
    ///
    /// # Errors
    /// [`NameFault::Syntax`].
    pub fn parse(name: &str) -> Result<Self, NameFault> {
        let syntax = |expected| NameFault::Syntax { name: name.to_owned(), expected };
        let Some(usb) = name.strip_prefix("usb:") else {
            return match name {
                "" => Err(syntax("a path, usb:serial=NUMBER or usb:path=PLACE")),
                path => Ok(Self::Path(PathBuf::from(path))),
            };
        };
        let (usb, root) = match usb.split_once('@') {
            Some((usb, root)) if Path::new(root).is_absolute() => (usb, PathBuf::from(root)),
            Some(_) => return Err(syntax("an absolute folder after @")),
            None => (usb, PathBuf::from("/")),
        };
        match usb.split_once('=') {
            Some(("serial", rest)) => {
                let (serial, interface) = match rest.split_once(',') {
                    None => (rest, None),
                    Some((serial, option)) => {
                        let number = option.strip_prefix("interface=").and_then(|text| text.parse().ok());
                        let expected = "interface=NUMBER (0 to 255) after the comma";
                        (serial, Some(number.ok_or_else(|| syntax(expected))?))
                    }
                };
                if serial.is_empty() {
                    return Err(syntax("a serial number after usb:serial="));
                }
                Ok(Self::UsbSerial { serial: serial.to_owned(), interface, root })
            }
            Some(("path", place)) if is_place(place) => Ok(Self::UsbPath { place: place.to_owned(), root }),
            Some(("path", _)) => Err(syntax("a place such as 1-1.2 or 1-1.2:1.0 after usb:path=")),
            _ => Err(syntax("usb:serial=NUMBER or usb:path=PLACE")),
        }
    }
}

/// `bus-port[.port…][:configuration.interface]`, digits only.
fn is_place(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let dotted = |text: &str| text.split('.').all(digits);
    let (device, interface) = text.split_once(':').map_or((text, None), |(d, i)| (d, Some(i)));
    let interface =
        interface.is_none_or(|text| text.split_once('.').is_some_and(|(c, i)| digits(c) && digits(i)));
    interface && device.split_once('-').is_some_and(|(bus, ports)| digits(bus) && dotted(ports))
}

/// A serial port on USB as `sysfs` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UsbPort {
    /// Kernel name, `ttyUSB0`.
    tty: String,
    /// `1-1.2:1.0`.
    interface: String,
    /// `bInterfaceNumber`.
    number: Option<u8>,
    /// `1-1.2`.
    device: String,
    /// Serial number of the device.
    serial: Option<String>,
}

impl UsbPort {
    fn text(&self) -> String {
        let serial = self.serial.as_deref().unwrap_or("none");
        format!("{} (usb:path={}, serial {serial})", self.tty, self.interface)
    }
}

/// Whether a port is the one that a name means.
type Wanted = dyn Fn(&UsbPort) -> bool;

/// The path to open for a configured name.
///
/// # Errors
/// [`NameFault`]: no such port, more than one, or a name that means nothing. An explicit path is not looked at here: opening
/// it says more.
pub fn resolve(name: &str) -> Result<PathBuf, NameFault> {
    let (root, wanted): (PathBuf, Box<Wanted>) = match PortName::parse(name)? {
        PortName::Path(path) => return Ok(path),
        PortName::UsbSerial { serial, interface, root } => (
            root,
            Box::new(move |port| {
                port.serial.as_deref() == Some(&serial) && (interface.is_none() || port.number == interface)
            }),
        ),
        PortName::UsbPath { place, root } => {
            (root, Box::new(move |port| port.interface == place || port.device == place))
        }
    };
    let ports = usb_ports(&root.join("sys"));
    let found: Vec<&UsbPort> = ports.iter().filter(|port| wanted(port)).collect();
    match found.as_slice() {
        [port] => Ok(root.join("dev").join(&port.tty)),
        [] => {
            let present = ports.iter().take(LISTED_MAX).map(UsbPort::text).collect();
            Err(NameFault::Missing { name: name.to_owned(), present })
        }
        many => {
            let found = many.iter().take(LISTED_MAX).map(|port| port.text()).collect();
            Err(NameFault::Ambiguous { name: name.to_owned(), found })
        }
    }
}

/// What is wrong with a port that could not be used, as the machine is now; `None`: it is there, so something else is.
#[must_use]
pub(crate) fn fault(name: &str) -> Option<Cause> {
    match resolve(name) {
        Ok(path) => (!path.exists()).then_some(Cause::PortMissing),
        Err(NameFault::Ambiguous { .. }) => Some(Cause::PortAmbiguous),
        Err(NameFault::Missing { .. } | NameFault::Syntax { .. }) => Some(Cause::PortMissing),
    }
}

/// Every serial port on USB, in the order of kernel names.
fn usb_ports(sys: &Path) -> Vec<UsbPort> {
    let Ok(entries) = fs::read_dir(sys.join("class").join("tty")) else { return Vec::new() };
    let mut ports: Vec<UsbPort> = entries
        .take(PORTS_MAX)
        .filter_map(Result::ok)
        .filter_map(|entry| usb_port(&entry.path(), entry.file_name().into_string().ok()?))
        .collect();
    ports.sort_by(|a, b| a.tty.cmp(&b.tty));
    ports
}

/// One entry of `class/tty`; `None` when it hangs on no USB interface.
fn usb_port(class: &Path, tty: String) -> Option<UsbPort> {
    // The links of sysfs are relative to where they really lie.
    let device = fs::canonicalize(class.join("device")).ok()?;
    let interface = device.ancestors().take(DEPTH_MAX).find(|at| at.join("bInterfaceNumber").is_file())?;
    let usb = interface.parent()?;
    let name = |at: &Path| at.file_name().map(|name| name.to_string_lossy().into_owned());
    Some(UsbPort {
        tty,
        interface: name(interface)?,
        number: attribute(interface, "bInterfaceNumber").and_then(|text| u8::from_str_radix(&text, 16).ok()),
        device: name(usb)?,
        serial: attribute(usb, "serial"),
    })
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    fs::File::open(folder.join(name)).ok()?.take(ATTRIBUTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Adds a port as the kernel lays it out: usb-serial drivers put a folder of their own below the interface, cdc-acm
    /// does not.
    fn add(root: &Path, tty: &str, place: &str, interface: u8, serial: Option<&str>) {
        let usb = root.join("sys/devices/pci0000:00/0000:00:14.0/usb1/1-1").join(place);
        let leaf = usb.join(format!("{place}:1.{interface}"));
        let device = if tty.starts_with("ttyUSB") { leaf.join(tty) } else { leaf.clone() };
        let class = device.join("tty").join(tty);
        fs::create_dir_all(&class).unwrap();
        fs::write(leaf.join("bInterfaceNumber"), format!("{interface:02x}\n")).unwrap();
        if let Some(serial) = serial {
            fs::write(usb.join("serial"), format!("{serial}\n")).unwrap();
        }
        symlink("../..", class.join("device")).unwrap();
        fs::create_dir_all(root.join("sys/class/tty")).unwrap();
        symlink(&class, root.join("sys/class/tty").join(tty)).unwrap();
    }

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        add(root.path(), "ttyUSB0", "1-1.2", 0, Some("A10K5XYZ"));
        add(root.path(), "ttyUSB1", "1-1.3", 0, Some("B20L"));
        add(root.path(), "ttyUSB2", "1-1.3", 1, Some("B20L"));
        add(root.path(), "ttyACM0", "1-1.4", 0, None);
        // A port of the machine itself, and a virtual one without a device.
        let own = root.path().join("sys/devices/platform/serial8250/tty/ttyS0");
        fs::create_dir_all(&own).unwrap();
        symlink("../..", own.join("device")).unwrap();
        symlink(&own, root.path().join("sys/class/tty/ttyS0")).unwrap();
        fs::create_dir_all(root.path().join("sys/class/tty/ptmx")).unwrap();
        root
    }

    #[test]
    fn a_port_is_found_by_serial_number_and_by_place() {
        let root = tree();
        let at = root.path().display().to_string();
        for (name, tty) in [
            ("usb:serial=A10K5XYZ", "ttyUSB0"),
            ("usb:serial=B20L,interface=1", "ttyUSB2"),
            ("usb:path=1-1.2:1.0", "ttyUSB0"),
            ("usb:path=1-1.2", "ttyUSB0"),
            ("usb:path=1-1.3:1.1", "ttyUSB2"),
            ("usb:path=1-1.4", "ttyACM0"),
        ] {
            assert_eq!(resolve(&format!("{name}@{at}")), Ok(root.path().join("dev").join(tty)), "{name}");
        }
        assert_eq!(resolve("/dev/serial/by-id/x"), Ok(PathBuf::from("/dev/serial/by-id/x")));
    }

    #[test]
    fn a_replugged_adapter_is_found_under_its_new_kernel_name() {
        let root = tempfile::tempdir().unwrap();
        let name = format!("usb:serial=A10K@{}", root.path().display());
        add(root.path(), "ttyUSB0", "1-1.2", 0, Some("A10K"));
        assert_eq!(resolve(&name), Ok(root.path().join("dev/ttyUSB0")));
        fs::remove_file(root.path().join("sys/class/tty/ttyUSB0")).unwrap();
        assert!(matches!(resolve(&name), Err(NameFault::Missing { .. })));
        add(root.path(), "ttyUSB7", "1-1.2", 0, Some("A10K"));
        assert_eq!(resolve(&name), Ok(root.path().join("dev/ttyUSB7")));
    }

    #[test]
    fn missing_and_ambiguous_names_say_what_is_there() {
        let root = tree();
        let at = root.path().display();
        let missing = resolve(&format!("usb:serial=NONE@{at}")).unwrap_err();
        assert!(missing.to_string().contains("ttyUSB0 (usb:path=1-1.2:1.0, serial A10K5XYZ)"), "{missing}");
        let twice = resolve(&format!("usb:serial=B20L@{at}")).unwrap_err();
        assert!(matches!(&twice, NameFault::Ambiguous { found, .. } if found.len() == 2), "{twice}");
        assert!(matches!(resolve(&format!("usb:path=1-1.3@{at}")), Err(NameFault::Ambiguous { .. })));
        assert_eq!(fault(&format!("usb:serial=B20L@{at}")), Some(Cause::PortAmbiguous));
        assert_eq!(fault(&format!("usb:serial=NONE@{at}")), Some(Cause::PortMissing));
        // The kernel shows it, the device node is not there yet.
        assert_eq!(fault(&format!("usb:serial=A10K5XYZ@{at}")), Some(Cause::PortMissing));
        assert!(resolve("usb:serial=A@/no/such/root").unwrap_err().to_string().contains("is no USB port"));
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for name in [
            "",
            "usb:",
            "usb:serial=",
            "usb:serial",
            "usb:serial=A,interface=x",
            "usb:serial=A,B",
            "usb:path=",
            "usb:path=../x",
            "usb:path=1",
            "usb:path=1-",
            "usb:path=1-1:",
            "usb:path=1-1:1",
            "usb:vendor=1",
            "usb:serial=A@relative",
            "usb:path=1-1.2:1.x",
        ] {
            assert!(matches!(PortName::parse(name), Err(NameFault::Syntax { .. })), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_or_a_fault(name in ".{0,64}") {
            drop(PortName::parse(&name));
            drop(PortName::parse(&format!("usb:{name}")));
        }
    }
}
