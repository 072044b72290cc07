//! Why a device is not well, and what a person should do about it. Pure: tables and text, no IO.
//!
//! Contract
//! * [`Cause`] is the machine-readable reason; its name is stable. The one-line reason of [`crate::Health`] says what was
//!   seen, the advice of [`advice`] says where to put one's hands.
//! * Advice depends on the cause and on the [`Road`] that leads to the device, and names the device, port, unit or address.
//!   It fits in [`ADVICE_BYTES_MAX`] bytes.

use std::fmt;

use drv_protocol::advert::Address;

use crate::health::clip_to;

/// Longest advice in bytes.
pub const ADVICE_BYTES_MAX: usize = 240;

/// Why a device is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The driver has just begun and nothing was heard yet.
    Starting,
    /// The line works, the device does not answer.
    Mute,
    /// Answers are damaged: wrong checksum, length, parity.
    Noise,
    /// The device answers and says no.
    Refused,
    /// The device answers; the probe behind it does not work.
    SensorFault,
    /// The serial port is not there.
    PortMissing,
    /// More than one serial port has the configured name.
    PortAmbiguous,
    /// The serial port is there and cannot be used.
    PortFault,
    /// The Modbus TCP gateway or controller cannot be connected.
    GatewayUnreachable,
    /// D-Bus, `bluetoothd` or the Bluetooth adapter is gone.
    AdapterLost,
    /// The 1-Wire probe is not on its wire.
    ProbeMissing,
    /// The tag is not heard.
    TagSilent,
    /// The driver ended with a panic and is being restarted.
    DriverPanicked,
    /// The driver was restarted too often.
    DriverGivenUp,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 14] = [
        Self::Starting,
        Self::Mute,
        Self::Noise,
        Self::Refused,
        Self::SensorFault,
        Self::PortMissing,
        Self::PortAmbiguous,
        Self::PortFault,
        Self::GatewayUnreachable,
        Self::AdapterLost,
        Self::ProbeMissing,
        Self::TagSilent,
        Self::DriverPanicked,
        Self::DriverGivenUp,
    ];

    /// The stable name for JSON and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Mute => "mute",
            Self::Noise => "noise",
            Self::Refused => "refused",
            Self::SensorFault => "sensor-fault",
            Self::PortMissing => "port-missing",
            Self::PortAmbiguous => "port-ambiguous",
            Self::PortFault => "port-fault",
            Self::GatewayUnreachable => "gateway-unreachable",
            Self::AdapterLost => "adapter-lost",
            Self::ProbeMissing => "probe-missing",
            Self::TagSilent => "tag-silent",
            Self::DriverPanicked => "driver-panicked",
            Self::DriverGivenUp => "driver-given-up",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A bus and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusAt {
    /// Its name.
    pub bus: Box<str>,
    /// Its port or address as configured.
    pub at: Box<str>,
}

impl BusAt {
    /// In the box that a [`Road`] has it in: thousands of roads lead to tags, by no bus.
    #[must_use]
    pub fn boxed(bus: &str, at: &str) -> Box<Self> {
        Box::new(Self { bus: bus.into(), at: at.into() })
    }
}

/// What leads to a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Road {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A serial port of its own.
    Serial {
        /// Port as configured.
        port: Box<str>,
    },
    /// A unit on a serial Modbus bus.
    Rtu {
        /// Bus, and its port as configured.
        bus: Box<BusAt>,
        /// Unit.
        unit: u8,
    },
    /// A unit behind a Modbus TCP address.
    Tcp {
        /// Bus, and its `host:port`.
        bus: Box<BusAt>,
        /// Unit.
        unit: u8,
    },
    /// A probe on the 1-Wire bus.
    OneWire {
        /// Sensor directory.
        sensor: Box<str>,
    },
    /// A chip on an I2C bus.
    I2c {
        /// Device node of the bus.
        path: Box<str>,
        /// Seven-bit address.
        address: u8,
    },
    /// The Bluetooth adapter.
    Ble {
        /// Bluetooth address of the device.
        address: Address,
    },
}

impl Road {
    /// What silence means here.
    #[must_use]
    pub fn silence(&self) -> Cause {
        match self {
            Self::OneWire { .. } => Cause::ProbeMissing,
            Self::Ble { .. } => Cause::TagSilent,
            Self::Unknown | Self::Serial { .. } | Self::Rtu { .. } | Self::Tcp { .. } | Self::I2c { .. } => {
                Cause::Mute
            }
        }
    }

    /// What it means that our side cannot use this road, when nothing more is known.
    #[must_use]
    pub fn closed(&self) -> Cause {
        match self {
            Self::Tcp { .. } => Cause::GatewayUnreachable,
            Self::Ble { .. } => Cause::AdapterLost,
            Self::OneWire { .. } => Cause::ProbeMissing,
            Self::Unknown | Self::Serial { .. } | Self::Rtu { .. } | Self::I2c { .. } => Cause::PortFault,
        }
    }

    /// The serial port or device node of this road, as configured.
    #[must_use]
    pub fn port(&self) -> Option<&str> {
        match self {
            Self::Serial { port } => Some(port),
            Self::Rtu { bus, .. } => Some(&bus.at),
            Self::I2c { path, .. } => Some(path),
            Self::Unknown | Self::Tcp { .. } | Self::OneWire { .. } | Self::Ble { .. } => None,
        }
    }
}

/// What to do about `device`.
#[must_use]
pub fn advice(cause: Cause, device: &str, road: &Road) -> String {
    let text = match cause {
        Cause::Starting => format!("wait a moment: {device} has not been asked for long"),
        Cause::Mute => mute(device, road),
        Cause::Noise => noise(device, road),
        Cause::Refused => refused(device, road),
        Cause::SensorFault => {
            format!("the controller of {device} answers, its probe does not work: check the probe's plug and wires, then replace the probe")
        }
        Cause::PortMissing | Cause::PortAmbiguous | Cause::PortFault => port(cause, device, road),
        Cause::GatewayUnreachable => {
            let at = if let Road::Tcp { bus, .. } = road { &*bus.at } else { device };
            format!("check power and network cable of the Modbus gateway at {at}, and that it listens on that port")
        }
        Cause::AdapterLost => {
            "check that the Bluetooth adapter is plugged in and that bluetoothd runs (systemctl status bluetooth)".to_owned()
        }
        Cause::ProbeMissing => {
            let sensor = if let Road::OneWire { sensor } = road { &**sensor } else { device };
            format!("probe {sensor} is not on the 1-Wire bus: check its plug and wires, and the bus adapter")
        }
        Cause::TagSilent => {
            let address = if let Road::Ble { address } = road { address.to_string() } else { device.to_owned() };
            format!("tag {address} is not heard: check that it hangs in its place, then its battery; too far from the adapter?")
        }
        Cause::DriverPanicked => {
            format!("nothing to do at {device}: its driver is restarted by itself; keep the log for the maker")
        }
        Cause::DriverGivenUp => {
            format!("restart the daemon (systemctl restart edge-agent) and send its log: the driver of {device} failed too often")
        }
    };
    clip_to(&text, ADVICE_BYTES_MAX)
}

fn mute(device: &str, road: &Road) -> String {
    match road {
        Road::Rtu { bus, unit } => {
            format!(
                "unit {unit} on bus {} does not answer: check its power, address switch, A/B wires, termination",
                bus.bus
            )
        }
        Road::Tcp { bus, unit } => format!(
            "unit {unit} of {} behind {} does not answer: check its power, address switch and the wires to the gateway",
            bus.bus, bus.at
        ),
        Road::Serial { port } => format!(
            "{device} does not answer at {port}: check its power, its data cable, and protocol and baud rate in its menu"
        ),
        Road::I2c { path, address } => format!(
            "chip {address:#04x} at {path} does not answer: check its power, SDA and SCL, and its address pins"
        ),
        Road::Unknown | Road::OneWire { .. } | Road::Ble { .. } => {
            format!("{device} does not answer: check its power and its cable")
        }
    }
}

fn noise(device: &str, road: &Road) -> String {
    match road {
        Road::Rtu { bus, unit } => format!(
            "answers of unit {unit} on bus {} are damaged: check termination at both ends, A/B wires, baud rate and parity, motors near the cable",
            bus.bus
        ),
        Road::Tcp { bus, unit } => format!(
            "answers of unit {unit} behind {} are damaged: check the wires behind the gateway, its baud rate and parity",
            bus.at
        ),
        Road::Serial { port } => format!(
            "answers of {device} at {port} are damaged: check baud rate, data bits and parity in its menu, then the cable"
        ),
        Road::OneWire { sensor } => {
            format!(
                "answers of probe {sensor} are damaged: check cable length, plugs and the pull-up resistor"
            )
        }
        Road::Ble { .. } => {
            format!("{device} sends what its model does not: check address and model in the configuration")
        }
        Road::Unknown | Road::I2c { .. } => {
            format!("answers of {device} are damaged: check its cable and its settings")
        }
    }
}

fn refused(device: &str, road: &Road) -> String {
    match road {
        Road::Rtu { unit, .. } | Road::Tcp { unit, .. } => format!(
            "unit {unit} says no: check that profile and unit number of {device} fit the controller and its firmware (edgectl device show {device})"
        ),
        Road::Ble { .. } => format!(
            "{device} did not take its image: check battery and distance, then model and encoding in the configuration"
        ),
        Road::Unknown | Road::Serial { .. } | Road::OneWire { .. } | Road::I2c { .. } => {
            format!("{device} says no: check its settings (edgectl device show {device})")
        }
    }
}

fn port(cause: Cause, device: &str, road: &Road) -> String {
    let (port, cable) = match road {
        Road::Serial { port } => (&**port, format!("the USB or serial cable of {device}")),
        Road::Rtu { bus, .. } => {
            (&*bus.at, format!("the USB cable of the RS-485 adapter of bus {}", bus.bus))
        }
        Road::I2c { path, .. } => (&**path, format!("the I2C adapter of {device}")),
        Road::Unknown | Road::Tcp { .. } | Road::OneWire { .. } | Road::Ble { .. } => {
            ("its port", format!("the cable of {device}"))
        }
    };
    match cause {
        Cause::PortAmbiguous => format!(
            "more than one port is {port}: name it by its place (usb:path=…) or by its interface, or unplug the other one"
        ),
        Cause::PortMissing => {
            format!("check {cable} at {port}; it is read again as soon as it is plugged in")
        }
        _ => format!(
            "{port} is there but cannot be used: does another program have it open, is the daemon in group dialout? Else replug {cable}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roads() -> [Road; 7] {
        [
            Road::Unknown,
            Road::Serial { port: "usb:serial=A10K".into() },
            Road::Rtu { bus: BusAt::boxed("cold", "usb:path=1-1.2:1.0"), unit: 7 },
            Road::Tcp { bus: BusAt::boxed("net", "10.0.0.9:502"), unit: 8 },
            Road::OneWire { sensor: "28-0316a2794c1f".into() },
            Road::I2c { path: "/dev/i2c-1".into(), address: 0x44 },
            Road::Ble { address: Address([0xFF, 0xFF, 0x92, 0, 0, 1]) },
        ]
    }

    #[test]
    fn every_cause_has_a_name_of_its_own_and_advice_on_every_road() {
        let names: std::collections::BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            for road in roads() {
                let text = advice(cause, "dev-1", &road);
                assert!(text.len() > 20 && text.len() <= ADVICE_BYTES_MAX, "{cause} {road:?}: {text}");
                let long = advice(cause, &"é".repeat(200), &road);
                assert!(long.len() <= ADVICE_BYTES_MAX, "{cause}");
            }
        }
    }

    #[test]
    fn advice_names_what_to_touch() {
        let [_, serial, rtu, tcp, wire, chip, ble] = roads();
        let has = |text: String, words: &[&str]| {
            for word in words {
                assert!(text.contains(word), "{word} is missing in: {text}");
            }
        };
        has(advice(Cause::PortMissing, "scale-2", &serial), &["cable of scale-2", "usb:serial=A10K"]);
        has(advice(Cause::Mute, "room", &chip), &["chip 0x44", "/dev/i2c-1", "SDA"]);
        has(
            advice(Cause::PortMissing, "cold-1", &rtu),
            &["RS-485 adapter", "bus cold", "usb:path=1-1.2:1.0"],
        );
        has(
            advice(Cause::Mute, "cold-1", &rtu),
            &["unit 7 on bus cold", "power", "address switch", "A/B wires", "termination"],
        );
        has(advice(Cause::Noise, "cold-1", &rtu), &["termination", "baud rate"]);
        has(advice(tcp.closed(), "cold-2", &tcp), &["10.0.0.9:502", "network cable"]);
        has(advice(wire.silence(), "cold-3", &wire), &["28-0316a2794c1f"]);
        has(advice(ble.closed(), "tag-1", &ble), &["Bluetooth adapter"]);
        has(advice(ble.silence(), "tag-1", &ble), &["FF:FF:92:00:00:01", "battery"]);
        has(advice(serial.silence(), "scale-2", &serial), &["scale-2", "baud rate"]);
    }
}
