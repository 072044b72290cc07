//! Advertising sensors as cabinets' probes, through our own fake `org.bluez` on a private bus.
//!
//! The host side runs in `drv-probe`, a process of its own, because the bus it talks to is named by its environment. The
//! decoders themselves are compared with other people's in `advert_oracle`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use drv_protocol::advert::{Address, bthome};
use drv_protocol::ccm::Key;
use hil_rig::bluez::{FakeBluez, PrivateBus, Spoken};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PATIENCE: Duration = Duration::from_secs(40);
const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";
const SEALED: &str = "54:48:E6:8F:80:A5";
const RUUVI: &str = "CB:B8:33:4C:88:4F";
const STALE_MS: u32 = 1_500;
/// Longer than any test: a counter that starts over after it is not what is tested here.
const NEVER_MS: u32 = 3_600_000;

struct Probe {
    _child: Child,
    _input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Probe {
    fn start(folder: &Path, bus: &str, config: &str) -> Self {
        let file = folder.join("probe.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_drv-probe"))
            .arg("--config")
            .arg(&file)
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, _input: input, lines: BufReader::new(output).lines() }
    }
}

struct Stand {
    fake: FakeBluez,
    probe: Probe,
    // Fields are dropped in order: the bus outlives what talks on it.
    _bus: PrivateBus,
    folder: tempfile::TempDir,
}

impl Stand {
    async fn start(cabinets: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = PrivateBus::start(folder.path()).await.unwrap();
        let fake = FakeBluez::start(&bus.address(), Vec::new(), Duration::from_millis(200)).await.unwrap();
        let text = cabinets.replace("FOLDER", &folder.path().display().to_string());
        let probe = Probe::start(folder.path(), &bus.address(), &format!("[ble]\n{text}"));
        let scans = || async { fake.scanned() };
        hil_rig::until("the host to scan", PATIENCE, scans).await.unwrap();
        Self { fake, probe, _bus: bus, folder }
    }

    /// Lets a sensor speak again and again, as sensors do, until the host says what is waited for.
    async fn until(
        &mut self,
        address: &str,
        spoken: &Spoken,
        what: &str,
        pick: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut heard = Vec::new();
        let mut speak = tokio::time::interval(Duration::from_millis(100));
        let search = async {
            loop {
                tokio::select! {
                    _ = speak.tick() => self.fake.say(address, spoken).await.unwrap(),
                    line = self.probe.lines.next_line() => {
                        let line = line.unwrap().expect("drv-probe runs");
                        let row: Value = serde_json::from_str(&line).unwrap();
                        if pick(&row) {
                            return row;
                        }
                        heard.push(line);
                    }
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, search).await;
        outcome.unwrap_or_else(|_| panic!("waited for {what}; heard:\n{}", heard.join("\n")))
    }

    /// Waits in silence.
    async fn silent(&mut self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let line = self.probe.lines.next_line().await.unwrap().expect("drv-probe runs");
                let row: Value = serde_json::from_str(&line).unwrap();
                if pick(&row) {
                    return row;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited for {what}"))
    }
}

fn reads(device: &'static str, milli: i64) -> impl Fn(&Value) -> bool {
    move |row| row["kind"] == "temperature" && row["device"] == device && row["temperature_mc"] == milli
}

fn fault(device: &'static str, words: &'static str) -> impl Fn(&Value) -> bool {
    move |row| {
        row["kind"] == "temperature"
            && row["device"] == device
            && row["temperature_mc"].is_null()
            && row["fault"].as_str().is_some_and(|text| text.contains(words))
    }
}

fn health(device: &'static str, state: &'static str) -> impl Fn(&Value) -> bool {
    move |row| row["kind"] == "health" && row["device"] == device && row["state"] == state
}

fn cabinet(id: &str, ble: &str, stale_ms: u32) -> String {
    format!("[[cabinet]]\nid = \"{id}\"\nble = {{ {ble} }}\npoll_ms = 50\nlost_after_ms = {stale_ms}\n")
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A Ruuvi frame of 24.30 °C (its published vector) with another sequence number.
fn ruuvi(sequence: u16) -> Spoken {
    let mut frame = hex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F");
    frame[16..18].copy_from_slice(&sequence.to_be_bytes());
    Spoken::Manufacturer(0x0499, frame)
}

fn sealed(counter: u32, centi: i16) -> Spoken {
    let [low, high] = centi.to_le_bytes();
    let (sender, key) = (Address::parse(SEALED).unwrap(), Key::from_hex(KEY).unwrap());
    Spoken::Service(0xFCD2, bthome::encode(sender, &[0x02, low, high], Some((&key, counter))).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_is_read_repeats_make_it_stale_and_silence_lost() {
    let text = cabinet("dairy", &format!("address = \"{RUUVI}\", format = \"ruuvi\""), STALE_MS);
    let mut stand = Stand::start(&text).await;
    stand.until(RUUVI, &ruuvi(1), "a reading", reads("dairy", 24_300)).await;
    // A sensor that hangs keeps sending what it sent last.
    let row = stand.until(RUUVI, &ruuvi(1), "stale", fault("dairy", "nothing but repeats of frame 1")).await;
    assert!(row["fault"].as_str().unwrap().contains(&STALE_MS.to_string()), "{row}");
    stand.until(RUUVI, &ruuvi(1), "degraded", health("dairy", "degraded")).await;
    stand.until(RUUVI, &ruuvi(2), "a reading", reads("dairy", 24_300)).await;
    stand.silent("lost", health("dairy", "lost")).await;
    stand.until(RUUVI, &ruuvi(3), "a reading", health("dairy", "ok")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_sensor_is_opened_and_recordings_and_plain_frames_are_refused() {
    let ble = format!("address = \"{SEALED}\", format = \"bthome\", key_file = \"FOLDER/key\"");
    let other = format!("address = \"{RUUVI}\", format = \"ruuvi\"");
    let text = cabinet("freezer", &ble, NEVER_MS) + &cabinet("other", &other, NEVER_MS);
    let mut stand = Stand::start(&text).await;
    // The key is not there yet: this sensor says so, the other one is read.
    stand.until(RUUVI, &ruuvi(1), "the missing key", health("freezer", "failed")).await;
    stand.until(RUUVI, &ruuvi(2), "the other's reading", reads("other", 24_300)).await;
    std::fs::write(stand.folder.path().join("key"), format!("{KEY}\n")).unwrap();
    stand.until(SEALED, &sealed(7, -1_900), "a reading", reads("freezer", -19_000)).await;
    stand.until(SEALED, &sealed(8, -500), "a reading", reads("freezer", -5_000)).await;
    let row = stand.until(SEALED, &sealed(7, -1_900), "a refusal", fault("freezer", "played back")).await;
    assert!(!row.to_string().contains(KEY), "{row}");
    let plain = Spoken::Service(0xFCD2, hex("4002CA09"));
    stand.until(SEALED, &plain, "a refusal", fault("freezer", "not encrypted")).await;
    stand.until(SEALED, &sealed(9, -1_850), "a reading", reads("freezer", -18_500)).await;
}
