//! An emulated ARM machine: QEMU without acceleration, a console in a file, a command channel, a power plug.
//!
//! `/dev/kvm` is not tried: where it opens and the processor is not ARM it is of no use, and a script must not choose it because
//! the file exists.

use crate::disk::Disk;
use crate::image::Image;
use anyhow::{Context, Result, bail};
use hil_release::order;
use hil_rig::processes::{Process, need_program};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the machine may take until its control channel answers: an emulated core on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(900);
/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    control: BufReader<UnixStream>,
    /// What the kernel and systemd say.
    pub console: PathBuf,
    /// From power on to the first answer.
    pub boot: Duration,
}

/// How a machine is plugged in.
#[derive(Debug)]
pub struct Plugs<'a> {
    /// Folder for its sockets and console.
    pub folder: &'a Path,
    /// A number that tells its boots apart.
    pub number: u32,
    /// Port of the host that leads to the tills' port.
    pub tills: u16,
    /// Pseudo-terminals behind its four serial ports.
    pub serial: &'a [PathBuf],
}

impl Machine {
    /// Power on; returns when systemd runs and answers commands.
    pub fn start(image: &Image, disk: &Disk, plugs: &Plugs<'_>) -> Result<Self> {
        let Plugs { folder, number, tills, serial } = plugs;
        let at = |name: &str| folder.join(format!("{name}.{number}"));
        let (console, control, data) = (at("console"), at("control"), at("data"));
        disk.serve(&data)?;
        let mut command = Command::new(need_program("qemu-system-aarch64")?);
        command.args([
            "-M",
            "virt",
            "-cpu",
            "cortex-a53",
            "-smp",
            "2",
            "-m",
            "512",
            "-nodefaults",
            "-display",
            "none",
        ]);
        command.args(["-no-reboot", "-kernel"]).arg(&image.kernel).arg("-initrd").arg(&image.initramfs);
        command.args(["-append", "console=ttyAMA0 net.ifnames=0 panic=-1 systemd.show_status=1 systemd.default_timeout_start_sec=900"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command
            .arg("-drive")
            .arg(format!("file={},format=raw,if=none,id=root,snapshot=on", image.root.display()));
        command.args(["-device", "virtio-blk-pci,drive=root"]);
        command.arg("-blockdev").arg(format!(
            "driver=nbd,node-name=data,server.type=unix,server.path={},cache.direct=off,cache.no-flush=off",
            data.display()
        ));
        command.args(["-device", "virtio-blk-pci,drive=data,write-cache=on"]);
        command.arg("-netdev").arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{tills}-10.0.2.15:7070"));
        command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        command.args(["-device", "virtio-serial-pci", "-chardev"]);
        command.arg(format!("socket,id=control,path={},server=on,wait=off", control.display()));
        command.args(["-device", "virtserialport,chardev=control,name=control"]);
        if let [a, b, c, d] = serial {
            for (id, port) in (1..).zip([a, b, c, d]) {
                command.arg("-chardev").arg(format!("serial,id=s{id},path={}", port.display()));
            }
            command.args(["-device", "pci-serial-4x,chardev1=s1,chardev2=s2,chardev3=s3,chardev4=s4"]);
        }
        if let Some(trace) = std::env::var_os(order::TRACE) {
            command.args(["-d", "in_asm", "-dfilter", order::RANGE, "-D"]).arg(trace);
        }
        let started = Instant::now();
        let mut process = Process::start("qemu-system-aarch64", command, &at("qemu"))?;
        let control = answering(&mut process, &control, &console)?;
        Ok(Self { process, control, console, boot: started.elapsed() })
    }

    /// Runs a command in the machine; its output when it succeeded.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let (code, text) = exchange(&mut self.control, command, COMMAND_LIMIT)?;
        if code != 0 {
            bail!("in the machine, `{command}` ended with {code}: {}", text.trim());
        }
        Ok(text)
    }

    /// The plug is pulled: nothing of the machine lives on, and the disk loses what it had not flushed.
    pub fn cut(mut self, disk: &Disk, seed: u64) -> Result<crate::disk::Counts> {
        self.process.kill()?;
        Ok(disk.cut(seed))
    }
}

/// Waits until a shell behind the channel answers.
fn answering(process: &mut Process, control: &Path, console: &Path) -> Result<BufReader<UnixStream>> {
    let started = Instant::now();
    let mut open: Option<BufReader<UnixStream>> = None;
    while started.elapsed() < BOOT_LIMIT {
        if !process.runs() {
            bail!("the machine ended at once, see {} and {}", process.log().display(), console.display());
        }
        if open.is_none() {
            open = UnixStream::connect(control).ok().map(BufReader::new);
        }
        if let Some(channel) = &mut open
            && exchange(channel, "true", Duration::from_secs(5)).is_ok_and(|(code, _)| code == 0)
        {
            // Answers to the questions that were asked before anybody listened.
            drain(channel)?;
            return open.context("the channel is open");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("no answer from the machine in {} s, see {}", BOOT_LIMIT.as_secs(), console.display())
}

/// Asks for a word that nothing else answers, and reads up to it.
fn drain(channel: &mut BufReader<UnixStream>) -> Result<()> {
    writeln!(channel.get_mut(), "echo @@CLEAR").context("write to the machine")?;
    channel.get_ref().set_read_timeout(Some(Duration::from_secs(60))).context("set a deadline")?;
    let mut line = String::new();
    while line.trim() != "@@CLEAR" {
        line.clear();
        if channel.read_line(&mut line).context("read from the machine")? == 0 {
            bail!("the machine closed its channel");
        }
    }
    line.clear();
    channel.read_line(&mut line).context("read from the machine")?;
    Ok(())
}

/// One command: exit status and output.
fn exchange(channel: &mut BufReader<UnixStream>, command: &str, limit: Duration) -> Result<(i32, String)> {
    channel.get_ref().set_read_timeout(Some(limit)).context("set a deadline")?;
    writeln!(channel.get_mut(), "{command}").context("write to the machine")?;
    let mut text = String::new();
    loop {
        let mut line = String::new();
        let read = channel.read_line(&mut line).with_context(|| format!("no answer to `{command}`"))?;
        if read == 0 {
            bail!("the machine closed its channel");
        }
        if let Some(code) = line.strip_prefix("@@END ") {
            return Ok((code.trim().parse().context("an exit status")?, text));
        }
        text.push_str(&line);
    }
}
