//! Fuzz targets: every decoder that takes bytes from outside, with what must hold for any bytes.
//!
//! Purpose: one table ([`TARGETS`]) that three drivers share: the slice in `cargo test` ([`slice`]), the long plain run and
//! the coverage-guided run of `cargo xtask soak fuzz` ([`soak`]).
//!
//! Contract of a target: it takes any bytes, panics when something does not hold, keeps no state between calls and bounds
//! what it does by the length of its input. Beyond "no panic", each asserts what its module promises: what is read is
//! written and read again alike, a stream is read alike in any pieces, nothing is longer than stated.
//!
//! A new decoder is one row in [`TARGETS`] and one function. An input that once broke something lies in
//! `cases/<target>/` and is tried first, for ever.

pub mod mutate;
pub mod slice;
pub mod soak;
mod targets;

use std::path::PathBuf;
use targets::{air, codes, devices, scales, settlement};
#[cfg(feature = "files")]
use targets::{files, texts};

/// One decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name on the command line and of its folder of cases.
    pub name: &'static str,
    /// Tries one input; panics when something does not hold.
    pub run: fn(&[u8]),
    /// Published vectors, and what our own encoders write: where mutation begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What the decoder looks for.
    pub words: &'static [&'static [u8]],
    /// Inputs of the slice in `cargo test`; fewer where one input costs a file.
    pub slice: u32,
}

/// Inputs of a slice for a decoder without IO.
const PURE: u32 = 3_000;
/// Inputs of a slice for a decoder that reads a file.
#[cfg(feature = "files")]
const FILE: u32 = 120;

const fn row(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    words: &'static [&'static [u8]],
    slice: u32,
) -> Target {
    Target { name, run, seeds, words, slice }
}

/// Every target. A new decoder is one line here.
pub const TARGETS: &[Target] = &[
    row("toledo8217", devices::toledo8217, devices::toledo8217_seeds, devices::TOLEDO_WORDS, PURE),
    row("modbus-rtu-request", devices::rtu_request, devices::rtu_request_seeds, &[], PURE),
    row("modbus-rtu-response", devices::rtu_response, devices::rtu_response_seeds, &[], PURE),
    row("modbus-tcp-request", devices::tcp_request, devices::tcp_request_seeds, &[], PURE),
    row("modbus-tcp-response", devices::tcp_response, devices::tcp_response_seeds, &[], PURE),
    row("profile", devices::profile, devices::profile_seeds, devices::PROFILE_WORDS, 400),
    row("ds18b20-text", devices::w1_text, devices::w1_text_seeds, devices::W1_WORDS, PURE),
    row("ds18b20-scratchpad", devices::scratchpad, devices::scratchpad_seeds, &[], PURE),
    row("gicisky-advert", devices::advert, devices::advert_seeds, &[], 500),
    row("gicisky-chunk", devices::chunk, devices::chunk_seeds, &[], PURE),
    row("gicisky-compress", devices::compress, devices::chunk_seeds, &[], PURE),
    row("gicisky-image", devices::image, devices::image_seeds, &[], 600),
    row("gicisky-transfer", devices::transfer, devices::transfer_seeds, &[], PURE),
    row("scales", scales::stream, scales::stream_seeds, scales::WORDS, 2 * PURE),
    row("sensor-advert", air::advert, air::advert_seeds, &[], PURE),
    row("esl-tlv", air::esl_tlv, air::esl_tlv_seeds, &[], PURE),
    row("esl-session", air::esl_session, air::esl_session_seeds, &[], PURE),
    row("oepl", air::oepl, air::oepl_seeds, &[], PURE),
    row("gs1", codes::gs1, codes::gs1_seeds, codes::GS1_WORDS, PURE),
    row("zpl-status", codes::zpl_status, codes::zpl_status_seeds, &[], PURE),
    row("template", codes::template, codes::template_seeds, codes::TEMPLATE_WORDS, 400),
    row("record", settlement::record, settlement::record_seeds, &[], PURE),
    row("message", settlement::message, settlement::message_seeds, &[], PURE),
    row("letter", settlement::letter, settlement::letter_seeds, &[], 1_000),
    row("packed-block", settlement::packed, settlement::packed_seeds, &[], 1_000),
    row("dictionary", settlement::dictionary, settlement::dictionary_seeds, &[], 300),
    row("statement", settlement::statement, settlement::statement_seeds, &[], PURE),
    row("seal", settlement::seal, settlement::seal_seeds, &[], 1_000),
    row("capture", settlement::capture, settlement::capture_seeds, &[], PURE),
    #[cfg(feature = "files")]
    row("telemetry-block", files::telemetry_block, files::telemetry_block_seeds, &[], PURE),
    #[cfg(feature = "files")]
    row("snapshot", files::snapshot, files::snapshot_seeds, &[], 40),
    #[cfg(feature = "files")]
    row("agent-config", texts::agent_config, texts::agent_config_seeds, texts::CONFIG_WORDS, FILE),
    #[cfg(feature = "files")]
    row("topic", texts::topic, texts::topic_seeds, texts::TOPIC_WORDS, PURE),
    #[cfg(feature = "files")]
    row("posting", texts::posting, texts::posting_seeds, texts::JSON_WORDS, PURE),
];

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Folder of the inputs that once broke a target.
#[must_use]
pub fn cases(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases").join(target)
}

/// What lies in that folder, in name order.
///
/// # Errors
/// A file that cannot be read; a folder that is missing has none.
pub fn read_cases(target: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let entries = match std::fs::read_dir(cases(target)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}
