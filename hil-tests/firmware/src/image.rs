//! From the board's source to a sealed image.

use anyhow::{Context, Result, bail, ensure};
use fw_node_core::image::{self, HEADER_AT, Header};
use hil_rig::processes::find_program;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The board's target.
pub const TARGET: &str = "thumbv7m-none-eabi";
/// Flash of the board.
pub const FLASH_BYTES: u32 = 256 * 1024;

/// A built and sealed image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The file, to be loaded at address 0.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its header.
    pub header: Header,
    /// By which toolchain.
    pub way: &'static str,
}

/// Builds the board's program and seals it. Needs a toolchain for [`TARGET`]; the error says how to get one.
pub fn build(root: &Path) -> Result<Image> {
    let way = toolchain(root)?;
    let mut command = way.command();
    let boards = root.join("firmware/boards");
    // Cargo's and rustup's variables of the program that calls would choose another target folder or toolchain.
    for variable in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(variable);
    }
    let output =
        command.current_dir(&boards).stdin(Stdio::null()).output().context("cargo does not start")?;
    if !output.status.success() {
        bail!(
            "the board's program does not build ({}):\n{}",
            way.name(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let folder = root.join("target/firmware").join(TARGET).join("release");
    let elf = std::fs::read(folder.join("node")).context("the board's program is not where it is built")?;
    let bytes = seal(flatten(&elf)?)?;
    let header = check(&bytes)?;
    let path = folder.join("node.bin");
    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Image { path, bytes, header, way: way.name() })
}

/// How thumbv7m code is built.
#[derive(Clone, Copy)]
enum Way {
    Rustup,
    Debian,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup's target",
            Self::Debian => "Debian's rust-web-src, core built from source",
        }
    }

    fn command(self) -> Command {
        match self {
            Self::Rustup => {
                let mut command = hil_rig::run::cargo();
                command.args(["build", "--quiet", "--release", "--locked"]);
                command
            }
            Self::Debian => {
                let mut command = Command::new("/usr/bin/cargo");
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", "/usr/bin/rustc");
                command.args(["build", "--quiet", "--release", "--locked", "-Zbuild-std=core,alloc"]);
                command
            }
        }
    }
}

fn toolchain(root: &Path) -> Result<Way> {
    let added = Command::new("rustup").current_dir(root).args(["target", "add", TARGET]).output();
    let reason = match added {
        Ok(output) if output.status.success() => return Ok(Way::Rustup),
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    let source = Path::new("/usr/share/rustc-src").exists() || Path::new("/usr/lib/rustlib/src").exists();
    if source && find_program("cargo").is_some() && Path::new("/usr/bin/cargo").exists() {
        return Ok(Way::Debian);
    }
    let why = format!(
        "no core library for {TARGET} ({reason}). Either: rustup target add {TARGET}. Or, on Debian: apt-get install rustc-web cargo-web \
         rust-web-src rust-web-llvm lld-22"
    );
    Err(hil_trials::Absent(why).into())
}

/// The loadable segments of a 32-bit little-endian ELF file at their physical addresses, FFh between them (System V ABI,
/// chapter 5).
fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    const LOAD: usize = 1;
    let long = |at: usize| -> Result<usize> {
        let four =
            elf.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>()).context("ELF file cut short")?;
        usize::try_from(u32::from_le_bytes(*four)).context("an address of more than 32 bits")
    };
    ensure!(elf.starts_with(b"\x7FELF\x01\x01"), "the board's program is no 32-bit little-endian ELF file");
    let (table, count) = (long(28)?, long(44)? & 0xFFFF);
    let mut bytes = Vec::new();
    for entry in (0..count).map(|index| table + index * 32) {
        let (kind, offset, address, size) =
            (long(entry)?, long(entry + 4)?, long(entry + 12)?, long(entry + 16)?);
        if kind != LOAD || size == 0 {
            continue;
        }
        let end =
            address.checked_add(size).filter(|end| u32::try_from(*end).is_ok_and(|end| end <= FLASH_BYTES));
        let end = end.with_context(|| {
            format!("segment of {size} bytes at {address:#x} is not in the board's flash")
        })?;
        let content = elf.get(offset..offset + size).context("ELF file cut short")?;
        if bytes.len() < end {
            bytes.resize(end, 0xFF);
        }
        bytes[address..end].copy_from_slice(content);
    }
    Ok(bytes)
}

/// Writes length and CRC into the header.
fn seal(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let length = u32::try_from(bytes.len()).context("an image of 4 GB")?;
    let at = usize::try_from(HEADER_AT)?;
    ensure!(bytes.len() > at + 16, "the program is shorter than its header");
    bytes[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
    let crc = image::checksum(length, |offset| byte(&bytes, offset));
    bytes[at + 8..at + 12].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// Checks an image as the firmware does.
pub fn check(bytes: &[u8]) -> Result<Header> {
    let there = u32::try_from(bytes.len()).context("an image of 4 GB")?;
    Ok(image::verify(there, |offset| byte(bytes, offset))?)
}

fn byte(bytes: &[u8], offset: u32) -> u8 {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset)).copied().unwrap_or(0xFF)
}
