//! `cargo xtask firmware`: builds the board's image and compares what it says at its start with what it must say.

use crate::image::{self, Image};
use crate::machine::{Chip, Machine, Plan};
use anyhow::{Context, Result, ensure};
use hil_rig::pty::Pair;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// What a run showed.
#[derive(Debug)]
pub struct Golden {
    /// The image.
    pub image: Image,
    /// What the console said.
    pub console: String,
    /// From power on to the first sample on the console, in milliseconds.
    pub first_sample_ms: u128,
}

impl Golden {
    /// As one JSON value.
    pub fn json(&self) -> Value {
        json!({
            "firmware": true, "ok": true, "image": self.image.path, "bytes": self.image.bytes.len(),
            "crc32": format!("{:08x}", self.image.header.crc), "built_with": self.image.way,
            "first_sample_ms": self.first_sample_ms, "console": self.console.lines().collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{}\nimage {}: {} bytes, CRC-32 {:08X}h, built with {}; first sample after {} ms\n",
            self.console.trim_end(),
            self.image.path.display(),
            self.image.bytes.len(),
            self.image.header.crc,
            self.image.way,
            self.first_sample_ms
        )
    }
}

/// What the console must say, of a part that was never written, with a probe of 4.125 degrees.
fn expected(image: &Image) -> String {
    let [major, minor, patch] = image.header.version;
    format!(
        "steelyard node {major}.{minor}.{patch} on lm3s6965\n\
         image: {} bytes, CRC-32 {:08X}h\n\
         start: power on\n\
         bus: I2C0; settings: generation 0, 0 good copies\n\
         line: unit 1, 19200 8N1\n\
         sample 1: ",
        image.bytes.len(),
        image.header.crc
    )
}

/// Runs an image in `folder` until its first sample.
pub fn run(image: Image, folder: &Path) -> Result<Golden> {
    let pair = Pair::open()?;
    let plan = Plan {
        image: image.path.clone(),
        folder: folder.into(),
        line: pair.theirs().into(),
        chips: vec![(0x48, Chip::Probe)],
    };
    let begun = Instant::now();
    let mut machine = Machine::start(&plan)?;
    machine.temperature(0x48, 4_125)?;
    machine.says("(not fitted)\n", 1)?;
    let first_sample_ms = begun.elapsed().as_millis();
    // The samples are ten seconds apart; the first may have been taken before the temperature was set.
    let console = machine.console();
    let must = expected(&image);
    let rest = console.strip_prefix(&must).with_context(|| format!("expected\n{must}\nfound\n{console}"))?;
    let sample = "(not fitted) (not fitted) (not fitted)\n";
    ensure!(
        [format!("0 {sample}"), format!("4125 {sample}")].contains(&rest.to_owned()),
        "the first sample is \"{rest}\""
    );
    machine.kill()?;
    Ok(Golden { image, console, first_sample_ms })
}

/// Builds and runs.
pub fn firmware(root: &Path) -> Result<Golden> {
    let image = image::build(root)?;
    let folder = root.join("target/firmware/run");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    run(image, &folder)
}
