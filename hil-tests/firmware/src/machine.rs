//! QEMU's lm3s6965evb as a node: probes, settings part, door, line, power.
//!
//! The line is a pseudo-terminal that stays while the machine comes and goes. The settings part is a file: killing the machine
//! is a power cut, and what the part had taken is there afterwards. Page writes are whole or not at all in QEMU; torn pages
//! are tried in `fw_node_core::settings`.

use anyhow::{Context, Result, bail, ensure};
use hil_rig::processes::{Process, need_program};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest wait for anything the machine does.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the settings part (AT24C32).
const EEPROM_BYTES: usize = 4_096;

/// What sits on the bus beside the settings part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chip {
    /// A TMP105.
    Probe,
    /// A memory that answers every read with this byte: what a shorted (00h) or open (FFh) data line reads as.
    Constant(u8),
}

/// A node to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The image, loaded at 0.
    pub image: PathBuf,
    /// Where its files go: the settings part, console, logs.
    pub folder: PathBuf,
    /// The line's far side.
    pub line: PathBuf,
    /// Address and chip.
    pub chips: Vec<(u8, Chip)>,
}

/// A running node.
pub struct Machine {
    process: Process,
    console: PathBuf,
    qmp: Connection,
    test: Connection,
}

struct Connection {
    out: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Connection {
    fn open(path: &Path, process: &mut Process) -> Result<Self> {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(out) => {
                    out.set_read_timeout(Some(PATIENCE))?;
                    let lines = BufReader::new(out.try_clone()?);
                    return Ok(Self { out, lines });
                }
                Err(error) if !process.runs() || begun.elapsed() > PATIENCE => {
                    let said = std::fs::read_to_string(process.log()).unwrap_or_default();
                    return Err(error)
                        .with_context(|| format!("QEMU does not listen; it said: {}", said.trim()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "QEMU has hung up");
        Ok(line)
    }
}

impl Machine {
    /// Power on.
    pub fn start(plan: &Plan) -> Result<Self> {
        let at = |name: &str| plan.folder.join(name);
        let eeprom = at("eeprom.bin");
        if !eeprom.exists() {
            std::fs::write(&eeprom, [0xFF; EEPROM_BYTES])?;
        }
        let sockets = [at("qmp.sock"), at("test.sock")];
        for socket in sockets.iter().filter(|socket| socket.exists()) {
            std::fs::remove_file(socket)?;
        }
        let mut command = Command::new(need_program("qemu-system-arm")?);
        command
            .args(["-M", "lm3s6965evb", "-nodefaults", "-display", "none", "-net", "none", "-kernel"])
            .arg(&plan.image);
        command.arg("-chardev").arg(format!("serial,id=line,path={}", plan.line.display()));
        // The console is a file that goes on over restarts, like a terminal that stays connected.
        command
            .arg("-chardev")
            .arg(format!("file,id=console,path={},append=on", at("console.log").display()));
        command.args(["-serial", "chardev:line", "-serial", "chardev:console"]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", sockets[0].display()));
        command.arg("-qtest").arg(format!("unix:{},server=on,wait=off", sockets[1].display()));
        command.args(["-qtest-log", "/dev/null"]);
        let mut memory = |address: u8, name: &str, file: &Path, writable: bool| {
            command.arg("-drive").arg(format!("if=none,id={name},format=raw,file={}", file.display()));
            command.arg("-device").arg(format!(
                "at24c-eeprom,bus=i2c,address={address},rom-size={EEPROM_BYTES},drive={name},writable={}",
                if writable { "on" } else { "off" }
            ));
        };
        memory(fw_node_core::eeprom::ADDRESS, "settings", &eeprom, true);
        for (address, chip) in &plan.chips {
            if let Chip::Constant(byte) = chip {
                let file = at(&format!("constant-{byte:02x}-{address:02x}.bin"));
                std::fs::write(&file, [*byte; EEPROM_BYTES])?;
                memory(*address, &format!("constant{address}"), &file, false);
            }
        }
        for (address, _) in plan.chips.iter().filter(|(_, chip)| *chip == Chip::Probe) {
            command.arg("-device").arg(format!("tmp105,id=t{address},address={address},bus=i2c"));
        }
        let mut process = Process::start("qemu-system-arm", command, &at("qemu.log"))?;
        let mut qmp = Connection::open(&sockets[0], &mut process)?;
        let test = Connection::open(&sockets[1], &mut process)?;
        qmp.line()?;
        let mut machine = Self { process, console: at("console.log"), qmp, test };
        machine.qmp("qmp_capabilities", &json!({}))?;
        Ok(machine)
    }

    /// Power off, without a warning.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// One QMP command.
    pub fn qmp(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let text = json!({"execute": command, "arguments": arguments}).to_string();
        writeln!(self.qmp.out, "{text}")?;
        loop {
            let line = self.qmp.line()?;
            let answer: Value = serde_json::from_str(&line).with_context(|| format!("QMP said {line}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QMP {command}: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// Sets the temperature at a probe, in thousandths of a degree.
    pub fn temperature(&mut self, address: u8, milli: i32) -> Result<()> {
        let path = format!("/machine/peripheral/t{address}");
        self.qmp("qom-set", &json!({"path": path, "property": "temperature", "value": milli})).map(drop)
    }

    /// Pulls the reset line; memory keeps its content, as it does on the part.
    pub fn reset(&mut self) -> Result<()> {
        self.qmp("system_reset", &json!({})).map(drop)
    }

    /// Writes a register from outside, as another master on the bus would change it.
    pub fn poke(&mut self, address: u32, value: u32) -> Result<()> {
        self.test(&format!("writel {address:#x} {value:#x}"))
    }

    /// Opens or closes the door's contact (PC4, pulled up).
    pub fn door(&mut self, open: bool) -> Result<()> {
        // GPIO ports are made in the order of their letters behind the watchdog.
        self.test(&format!("set_irq_in /machine/unattached/device[10] unnamed-gpio-in 4 {}", u8::from(open)))
    }

    fn test(&mut self, command: &str) -> Result<()> {
        writeln!(self.test.out, "{command}")?;
        let answer = self.test.line()?;
        ensure!(answer.starts_with("OK"), "qtest {command}: {}", answer.trim());
        Ok(())
    }

    /// What the console has said so far.
    pub fn console(&self) -> String {
        std::fs::read_to_string(&self.console).unwrap_or_default()
    }

    /// Waits until the console holds `text` for the `times`-th time.
    pub fn says(&mut self, text: &str, times: usize) -> Result<()> {
        wait(&format!("the console's {times}. \"{text}\""), || {
            ensure!(self.process.runs(), "QEMU has ended");
            Ok((self.console().matches(text).count() >= times).then_some(()))
        })
    }
}

/// Asks until there is something, at most [`PATIENCE`].
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
