//! The 1-Wire driver reading what `owserver`'s simulated sensors say: their names, families and temperatures come from a
//! program that nobody here wrote.
//!
//! The kernel's tree stands on a folder here, so this writes what the kernel would: owserver's temperature as a scratchpad
//! of the sensor's family. What it cannot show is the kernel's own timing; the rig's User-Mode Linux does that.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use drv_host::DeviceBody;
use drv_protocol::ds18b20::{Family, Fault, convert, crc8};
use hil_rig::processes::{Process, need_program};
use support::{Bench, PATIENCE};

/// Sensors of every family that the kernel's w1_therm knows, and one that measures nothing.
const FAKES: &str =
    "10.67C6697351FF,22.4AEC29CDBAAB,28.F2FBE3467CC2,3B.54F81BE8E78D,42.765A2E63339F,01.0000001926AF";

struct OwServer {
    _process: Process,
    address: String,
}

impl OwServer {
    async fn start(folder: &Path) -> Self {
        // owserver takes no inherited socket, so a port that was free a moment ago must do; a taken one is tried again.
        for _ in 0..8 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            let mut command = Command::new(need_program("owserver").unwrap());
            command.args(["--foreground", "--temperature_low=-40", "--temperature_high=60", "-p", &address]);
            command.arg(format!("--fake={FAKES}"));
            let mut process = Process::start("owserver", command, &folder.join("owserver.log")).unwrap();
            let listens = || async { ask("owdir", &address, "/").status.success() };
            let waited = hil_rig::until("owserver to answer", PATIENCE, listens).await;
            if waited.is_ok() && process.runs() {
                return Self { _process: process, address };
            }
        }
        panic!("owserver does not start, see {}", folder.join("owserver.log").display());
    }

    fn read(&self, path: &str) -> Vec<u8> {
        let answer = ask("owread", &self.address, path);
        assert!(answer.status.success(), "{path}: {answer:?}");
        answer.stdout
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).unwrap().trim().to_owned()
    }
}

fn ask(program: &str, address: &str, path: &str) -> Output {
    Command::new(need_program(program).unwrap()).args(["-s", address, path]).output().unwrap()
}

/// A sensor as owserver lists it, with its name in the kernel's tree: serial number reversed.
fn sensors(server: &OwServer) -> Vec<(String, String, Family)> {
    let list = String::from_utf8(ask("owdir", &server.address, "/").stdout).unwrap();
    let mut found = Vec::new();
    for place in list.lines().filter(|line| line.get(3..4) == Some(".")) {
        let name = format!(
            "{}-{}",
            server.text(&format!("{place}/family")).to_lowercase(),
            server.text(&format!("{place}/r_id")).to_lowercase()
        );
        if let Some(family) = Family::of_name(&name) {
            found.push((place.to_owned(), name, family));
        }
    }
    found
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What w1_therm shows for a temperature in sixteenths of a degree.
fn kernel_text(family: Family, sixteenths: i16) -> String {
    let mut pad = match family {
        Family::Ds18s20 => {
            // Halves, and the rest of the degree in the remainder: T = whole - 0.25 + (16 - remain) / 16.
            let shifted = sixteenths + 4;
            let (whole, part) = (shifted.div_euclid(16), shifted.rem_euclid(16));
            let [low, high] = (whole * 2).to_le_bytes();
            vec![low, high, 0x4B, 0x46, 0xFF, 0xFF, 16 - u8::try_from(part).unwrap(), 16]
        }
        Family::Ds1825 => {
            let [low, high] = sixteenths.to_le_bytes();
            vec![low, high, 0x4B, 0x46, 0x73, 0xFF, 0x0C, 0x10]
        }
        Family::Ds1822 | Family::Ds18b20 | Family::Ds28ea00 => {
            let [low, high] = sixteenths.to_le_bytes();
            vec![low, high, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10]
        }
    };
    pad.push(crc8(&pad));
    let hex: Vec<String> = pad.iter().map(|b| format!("{b:02x}")).collect();
    let (hex, crc) = (hex.join(" "), pad[8]);
    format!("{hex} : crc={crc:02x} YES\n{hex} t={}\n", i32::from(sixteenths) * 1000 / 16)
}

/// Replaced as a whole: a reader never sees half a file.
fn put(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join("w1_slave")).unwrap();
}

#[tokio::test]
async fn temperatures_of_owservers_sensors_reach_the_host() {
    let root = tempfile::tempdir().unwrap();
    let server = OwServer::start(root.path()).await;
    let sensors = sensors(&server);
    assert_eq!(sensors.iter().map(|(_, _, family)| *family).collect::<Vec<_>>(), Family::ALL, "{sensors:?}");
    let tree = root.path().join("devices");
    let mut config = format!("[w1]\nroot = \"{}\"\n", tree.display());
    let mut expected = Vec::new();
    for (place, name, family) in &sensors {
        let celsius: f64 = server.text(&format!("{place}/temperature")).parse().unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "-40 to 60 °C in sixteenths")]
        let sixteenths = (celsius * 16.0).round() as i16;
        put(&tree.join(name), &kernel_text(*family, sixteenths));
        let id = format!("c{}", expected.len());
        config += &format!("[[cabinet]]\nid = \"{id}\"\nw1 = \"{name}\"\npoll_ms = 20\n");
        expected.push((id, celsius));
    }
    let mut bench = Bench::start(&config);
    for (id, celsius) in expected {
        let pick = |body: &DeviceBody| match body {
            DeviceBody::Temperature(reading) => reading.value,
            _ => None,
        };
        let milli = bench.wait(&id, "a temperature", pick).await;
        let off = f64::from(milli.0) / 1000.0 - celsius;
        assert!(off.abs() <= 0.0325, "{id}: {milli}, owserver says {celsius}");
    }
    bench.host.stop().await;
}

#[tokio::test]
async fn owservers_checksums_hold_and_its_random_scratchpads_do_not() {
    let root = tempfile::tempdir().unwrap();
    let server = OwServer::start(root.path()).await;
    for (place, name, family) in sensors(&server) {
        // The registration number: family, serial, and the checksum over both.
        let number = bytes(&server.text(&format!("{place}/address")));
        assert_eq!(number.len(), 8, "{name}");
        assert_eq!(crc8(&number[..7]), number[7], "{name}");
        assert_eq!(format!("{:02X}", number[7]), server.text(&format!("{place}/crc8")));
        if family == Family::Ds28ea00 {
            continue; // owserver shows no scratchpad of this one
        }
        let pad: [u8; 9] = server.read(&format!("{place}/scratchpad")).try_into().unwrap();
        let holds = crc8(&pad[..8]) == pad[8];
        assert!(holds || matches!(convert(family, &pad), Err(Fault::CrcNo(_))), "{name}: {pad:02x?}");
    }
}
