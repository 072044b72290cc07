//! Which crate takes how much of the program.
//!
//! Our own report from the sizes of symbols: `cargo-bloat` reads native builds only and knows neither zig nor a
//! compiler that is not in the path. C libraries are told apart by the prefixes of their symbols.
//!
//! Honest limits: the program is linked a second time with its symbols, which are not counted; code that was inlined counts for
//! the crate that it was inlined into, and a generic function for the crate that its name begins with.

use crate::toolchain::Toolchain;
use anyhow::{Result, ensure};
use hil_rig::run;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The crate, or the C library.
    pub name: String,
    /// Bytes of code and data that carry its name.
    pub bytes: u64,
}

/// The program with its symbols.
pub(crate) fn with_symbols(root: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let out = root.join("target/cross").join(toolchain.way);
    run::run(&mut toolchain.build_with_symbols(root, &out, "edge-agent")?)?;
    Ok(toolchain.program(&out, "edge-agent"))
}

/// Builds with symbols and sums them up, greatest first.
pub fn report(root: &Path, toolchain: &Toolchain) -> Result<Vec<Part>> {
    let program = with_symbols(root, toolchain)?;
    let text =
        run::output(Command::new("nm").args(["--size-sort", "--print-size", "--demangle"]).arg(&program))?;
    let parts = sum(&text);
    ensure!(!parts.is_empty(), "{} has no symbols", program.display());
    Ok(parts)
}

fn sum(listing: &str) -> Vec<Part> {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for line in listing.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some(_), Some(size), Some(_), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        if let Ok(size) = u64::from_str_radix(size, 16) {
            *sizes.entry(owner(name)).or_default() += size;
        }
    }
    let mut parts: Vec<Part> = sizes.into_iter().map(|(name, bytes)| Part { name, bytes }).collect();
    parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    parts
}

/// Prefixes of C symbols and whose they are.
const C: [(&str, &str); 12] = [
    ("sqlite3", "sqlite (C)"),
    ("ZSTD_", "zstd (C)"),
    ("HUF_", "zstd (C)"),
    ("FSE_", "zstd (C)"),
    ("HIST_", "zstd (C)"),
    ("dbus_", "libdbus (C)"),
    ("_dbus_", "libdbus (C)"),
    ("ring_core_", "ring (C)"),
    ("x25519_", "ring (C)"),
    ("_Unwind_", "unwinder"),
    ("__aarch64_", "compiler runtime"),
    ("str", "C library and C without a prefix"),
];

/// The crate that a demangled name begins with: `<` and `&` of an impl are passed over.
fn owner(name: &str) -> String {
    if let Some((_, owner)) = C.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        return (*owner).to_owned();
    }
    let path =
        name.trim_start_matches(['<', '&', '(', '*']).trim_start_matches("mut ").trim_start_matches("const ");
    let path = path.trim_start_matches("dyn ").trim_start_matches(['<', '&', '[']);
    match path.split_once("::") {
        Some((first, _))
            if !first.is_empty() && first.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
        {
            first.to_owned()
        }
        _ => "C library and C without a prefix".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_counted_for_their_crate() {
        let parts =
            sum("0000 0010 t <tokio::task::Task as core::fmt::Debug>::fmt\n0000 0020 T sqlite3_step\n\
                         0000 0001 t tokio::run\n0000 0004 r memcpy\nnonsense\n");
        let seen: Vec<(&str, u64)> = parts.iter().map(|part| (part.name.as_str(), part.bytes)).collect();
        assert_eq!(seen, [("sqlite (C)", 32), ("tokio", 17), ("C library and C without a prefix", 4)]);
    }
}
