//! The bus's owner over a simulated bus: readings, faults by name, an adapter that leaves and comes back.

use std::sync::atomic::{AtomicUsize, Ordering};

use drv_protocol::i2c::Chip as Kind;
use drv_sim::{ChipFaults, I2cSim, SharedI2c};
use tokio::sync::mpsc;

use super::*;
use crate::config::HostConfig;
use crate::event::DeviceEvent;
use crate::health::HealthState;
use crate::registry::{DeviceClass, Registry};
use crate::supervise::spawn;

const PATIENCE: Duration = Duration::from_secs(20);
const CONFIG: &str = "
[[i2c]]
id = \"room\"
path = \"/dev/i2c-1\"
[[cabinet]]
id = \"dairy\"
i2c = { bus = \"room\", address = 0x44, chip = \"sht3x\" }
poll_ms = 10
lost_after_ms = 200
[[cabinet]]
id = \"freezer\"
i2c = { bus = \"room\", address = 0x48, chip = \"tmp117\" }
poll_ms = 10
lost_after_ms = 200
";

/// Opens the shared bus unless the adapter is away; counts what is open.
struct Simulated {
    bus: SharedI2c,
    open: Arc<AtomicUsize>,
}

struct Opened {
    bus: SharedI2c,
    open: Arc<AtomicUsize>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl embedded_hal::i2c::ErrorType for Opened {
    type Error = ErrorKind;
}

impl I2c for Opened {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [embedded_hal::i2c::Operation<'_>],
    ) -> Result<(), ErrorKind> {
        self.bus.transaction(address, operations)
    }
}

impl Opener for Simulated {
    type Bus = Opened;
    type Delay = SharedI2c;

    fn open(&mut self) -> Result<(Opened, SharedI2c), String> {
        if self.bus.bus().unplugged() {
            return Err("/dev/i2c-1: No such file or directory".to_owned());
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        Ok((Opened { bus: self.bus.clone(), open: self.open.clone() }, self.bus.clone()))
    }
}

struct Bench {
    bus: SharedI2c,
    open: Arc<AtomicUsize>,
    registry: Arc<Registry>,
    events: mpsc::Receiver<DeviceEvent>,
    thread: std::thread::JoinHandle<()>,
}

fn bench() -> Bench {
    let config: HostConfig = toml::from_str(CONFIG).unwrap();
    let mut sim = I2cSim::new(4);
    sim.insert(0x44, Kind::Sht3x);
    sim.insert(0x48, Kind::Tmp117);
    sim.set(0x48, -20_000, 0);
    let (bus, open) = (SharedI2c::new(sim), Arc::new(AtomicUsize::new(0)));
    let opener = Simulated { bus: bus.clone(), open: open.clone() };
    let driver = I2cDriver::over(opener, "room", &config.cabinet);
    let devices = driver.devices();
    let slots = devices.iter().map(|id| (id.clone(), DeviceClass::Cabinet, 200)).collect::<Vec<_>>();
    let registry = Arc::new(Registry::new(slots.into_iter()));
    let (sender, events) = mpsc::channel(4096);
    let desk = Desk::new(registry.clone(), sender);
    let thread = spawn("room", driver, desk).unwrap();
    Bench { bus, open, registry, events, thread }
}

impl Bench {
    async fn wait<T>(&mut self, what: &str, pick: impl Fn(&str, &DeviceBody) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the driver runs");
                if let Some(found) = pick(&event.device, &event.body) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited for {what}"))
    }

    async fn value(&mut self, device: &str, expected: i32) {
        let pick = |from: &str, body: &DeviceBody| match body {
            DeviceBody::Temperature(reading) if from == device => {
                reading.value.filter(|value| (value.0 - expected).abs() <= 8).map(|_| ())
            }
            _ => None,
        };
        self.wait(&format!("{device} at {expected}"), pick).await;
    }

    async fn fault(&mut self, device: &str, words: &str) {
        let pick = |from: &str, body: &DeviceBody| match body {
            DeviceBody::Temperature(reading) if from == device && reading.value.is_none() => {
                reading.fault.as_ref().filter(|text| text.contains(words)).map(|_| ())
            }
            _ => None,
        };
        self.wait(words, pick).await;
    }

    async fn health(&mut self, device: &str, state: HealthState) -> String {
        let pick = |from: &str, body: &DeviceBody| match body {
            DeviceBody::Health(health) if from == device && health.state == state => {
                Some(health.reason.to_string())
            }
            _ => None,
        };
        self.wait(&format!("{device} {}", state.name()), pick).await
    }

    fn stop(self) {
        self.registry.ask_stop();
        self.thread.join().unwrap();
        assert_eq!(self.open.load(Ordering::Acquire), 0, "nothing stays open");
    }
}

#[tokio::test]
async fn two_chips_are_read_and_one_that_falls_silent_harms_only_itself() {
    let mut bench = bench();
    bench.value("dairy", 4_000).await;
    bench.value("freezer", -20_000).await;
    bench.bus.bus().set_faults(0x48, ChipFaults { absent: true, ..ChipFaults::default() });
    bench.fault("freezer", "tmp117 at room:0x48: bus").await;
    bench.health("freezer", HealthState::Lost).await;
    bench.value("dairy", 4_000).await;
    bench.bus.bus().set_faults(0x48, ChipFaults::default());
    bench.health("freezer", HealthState::Ok).await;
    bench.stop();
}

#[tokio::test]
async fn wrong_checksums_and_dead_lines_degrade_and_never_read() {
    let mut bench = bench();
    bench.health("dairy", HealthState::Ok).await;
    bench.bus.bus().set_faults(0x44, ChipFaults { flip_permille: 1000, ..ChipFaults::default() });
    bench.fault("dairy", "checksum").await;
    assert!(bench.health("dairy", HealthState::Degraded).await.contains("checksum"));
    bench.bus.bus().set_faults(0x44, ChipFaults { level: Some(0), ..ChipFaults::default() });
    bench.fault("dairy", "only zeros or ones").await;
    bench.bus.bus().set_faults(0x44, ChipFaults::default());
    bench.health("dairy", HealthState::Ok).await;
    bench.stop();
}

#[tokio::test]
async fn a_held_line_fails_the_bus_by_name() {
    let mut bench = bench();
    bench.health("dairy", HealthState::Ok).await;
    bench.bus.bus().hold(true);
    let reason = bench.health("dairy", HealthState::Failed).await;
    assert!(reason.contains("sht3x at room:0x44: bus"), "{reason}");
    bench.bus.bus().hold(false);
    bench.health("dairy", HealthState::Ok).await;
    bench.stop();
}

#[tokio::test]
async fn an_unplugged_adapter_is_let_go_and_taken_up_again() {
    let mut bench = bench();
    bench.health("dairy", HealthState::Ok).await;
    bench.bus.bus().unplug(true);
    let reason = bench.health("dairy", HealthState::Failed).await;
    assert!(reason.contains("I2C bus room: /dev/i2c-1"), "{reason}");
    assert_eq!(bench.open.load(Ordering::Acquire), 0, "an open device would block the replug");
    bench.bus.bus().unplug(false);
    bench.bus.bus().reset(0x48);
    bench.health("dairy", HealthState::Ok).await;
    bench.value("freezer", -20_000).await;
    bench.stop();
}

#[test]
fn a_device_file_that_is_not_there_is_named() {
    let mut opener = DeviceFile("/nonexistent/i2c-7".to_owned());
    let reason = opener.open().err().unwrap();
    assert!(reason.starts_with("/nonexistent/i2c-7: ") && reason.len() > 22, "{reason}");
}
