//! Which functions the daemon runs while a store trades, and the linker script that puts them side by side.
//!
//! The kernel maps a program's pages around those that are touched, 64 KiB at a time. Functions of the daily work that lie
//! scattered over six megabytes of code bring nearly all of it into memory; side by side they take what they are long.
//!
//! The program for arm64 runs in the ARM rig's machine, whose emulator writes down each piece of code that it translates in
//! the program's range of addresses; a static program that is not relocated has it to itself. Names are kept without the
//! parts that the compiler makes of a crate's version and the machine, so that the list holds for every build;
//! `edge-agent/agent/build.rs` hands the script to the linker. A function that is missing from it works as before, from
//! where the linker puts it; a name that no function has is passed over.

use crate::bloat;
use crate::target::Target;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, ensure};
use hil_rig::run;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::Path;
use std::process::Command;

/// Where the script lies in the checkout.
pub const SCRIPT: &str = "edge-agent/agent/order.ld";
/// Fewer functions than this are no working day of the daemon.
const FUNCTIONS_MIN: usize = 1_000;

/// Names the ARM rig a program that it takes instead of building one.
pub const PROGRAM: &str = "STEELYARD_ARM_PROGRAM";
/// Names the ARM rig a file for the trace of that program.
pub const TRACE: &str = "STEELYARD_ARM_TRACE";
/// Addresses of the program: where the linker puts a program that is not relocated, and enough behind it.
pub const RANGE: &str = "0x1000000..0x2ffffff";

/// Archives of the C library and of the compiler's own functions: small, needed everywhere, and not in sections by function.
const RUNTIMES: [&str; 4] = ["libc.a", "libzigc.a", "libcompiler_rt.a", "libcompiler_builtins-*.rlib"];
/// What LLVM's machine outliner calls its pieces, before a number.
const OUTLINED: &str = "OUTLINED_FUNCTION_";

/// Runs the command.
pub fn order(root: &Path) -> Result<bool> {
    let toolchain = Toolchain::ready(Target::Aarch64Musl, false)?;
    let program = bloat::with_symbols(root, &toolchain)?;
    let trace = root.join("target/order.trace");
    // A trace of another program must not be taken for this one's when the rig does not get as far.
    match fs::remove_file(&trace) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", trace.display()));
        }
        _ => {}
    }
    // The rig is told by its environment: what it runs with is one program and one file, and no option of every day.
    let rig = Command::new(std::env::current_exe().context("this program")?)
        .args(["hil", "--rig", "arm", "--trial", "trade"])
        .env(PROGRAM, &program)
        .env(TRACE, &trace)
        .current_dir(root)
        .status()
        .context("run the ARM rig")?;
    println!("the rig ended with {rig}; what ran is written down whether or not it holds");
    let functions = functions(&run::output(Command::new("nm").arg(&program))?);
    let script_path = root.join(SCRIPT);
    let before = match fs::read_to_string(&script_path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {SCRIPT}")),
    };
    let file = fs::File::open(&trace).with_context(|| format!("no trace in {}", trace.display()))?;
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let ran: BTreeSet<String> = lines
        .filter_map(|line| functions.range(..=address(&line)?).next_back().map(|(_, name)| name.clone()))
        .filter_map(|name| pattern(&name))
        .collect();
    let count = ran.len();
    ensure!(count >= FUNCTIONS_MIN, "{} has {count} functions, expected {FUNCTIONS_MIN}", trace.display());
    let names = united(ran, &before, &functions);
    fs::write(&script_path, script(&names)).with_context(|| format!("write {SCRIPT}"))?;
    println!("{count} functions ran, {} in {SCRIPT}", names.len());
    Ok(true)
}

/// What ran this time, and what ran in earlier rounds and is still in the program: no two days are alike.
fn united(ran: BTreeSet<String>, before: &str, functions: &BTreeMap<u64, String>) -> BTreeSet<String> {
    let present: BTreeSet<String> = functions.values().filter_map(|name| pattern(name)).collect();
    let earlier = listed(before).filter(|name| present.contains(name));
    earlier.chain(ran).collect()
}

/// The functions of a script.
fn listed(script: &str) -> impl Iterator<Item = String> {
    let of_line = |line: &str| Some(line.trim().strip_prefix("*(.text.")?.split_once(' ')?.0.to_owned());
    script.lines().filter_map(of_line)
}

/// Functions by their addresses, out of `nm`'s list.
fn functions(list: &str) -> BTreeMap<u64, String> {
    let function = |line: &str| {
        let mut words = line.split(' ');
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let code = matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with('$');
        Some((u64::from_str_radix(address, 16).ok().filter(|_| code)?, name.to_owned()))
    };
    list.lines().filter_map(function).collect()
}

/// The address of an instruction that was translated: `0x01340680:  d503233f  paciasp`.
fn address(line: &str) -> Option<u64> {
    let (digits, _) = line.strip_prefix("0x")?.split_once(':')?;
    u64::from_str_radix(digits, 16).ok()
}

/// The section pattern of a function.
fn pattern(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    // What the optimizer cut out of several functions, and numbered: another number in every build.
    if name.starts_with(OUTLINED) {
        return Some(format!("{OUTLINED}*"));
    }
    if name.starts_with("_R") {
        return Some(any_crate(name.split('.').next().unwrap_or(name)));
    }
    // The standard library's: `_ZN4core3fmt5write17h0123456789abcdefE`, perhaps with a suffix of the optimizer.
    let hashed = name.rsplit_once("17h").filter(|(_, hash)| name.starts_with("_ZN") && hash.len() >= 17);
    Some(hashed.map_or_else(|| name.to_owned(), |(path, _)| format!("{path}17h*")))
}

/// A name of Rust's own mangling (RFC 2603) with any disambiguator, `s` to `_`, of each crate.
fn any_crate(name: &str) -> String {
    let mut parts = name.split("Cs");
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        pattern.push_str("Cs");
        // What follows is a disambiguator only if it ends with `_`.
        match part.split_once('_').filter(|(digits, _)| digits.chars().all(|c| c.is_ascii_alphanumeric())) {
            Some((_, rest)) => pattern += &format!("*_{rest}"),
            None => pattern.push_str(part),
        }
    }
    pattern + "*"
}

fn script(names: &BTreeSet<String>) -> String {
    let mut text = String::from(
        "/* Made by `cargo xtask order`: the functions that the daemon runs while a store trades lie side by side. */\n\
         SECTIONS\n{\n  .text.daily :\n  {\n",
    );
    for archive in RUNTIMES {
        text += &format!("    *{archive}:*(.text .text.*)\n");
    }
    for name in names {
        // What is marked as cold has another name; if it ran it belongs here all the same.
        text += &format!("    *(.text.{name} .text.unlikely.{name})\n");
    }
    text.push_str("  }\n}\nINSERT BEFORE .text;\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_hash_and_nothing_else() {
        let of = |line: &str| pattern(line);
        assert_eq!(of("_ZN4core3fmt5write17h0123456789abcdefE").unwrap(), "_ZN4core3fmt5write17h*");
        let suffixed = of("_ZN4core3fmt5write17h0123456789abcdefE.llvm.77").unwrap();
        assert_eq!(suffixed, "_ZN4core3fmt5write17h*");
        let own = of("_RNvMNtCs3YcWj0gRlsO_9edge_core5shelfNtB2_5Shelf6decide.llvm.9").unwrap();
        assert_eq!(own, "_RNvMNtCs*_9edge_core5shelfNtB2_5Shelf6decide*");
        assert_eq!(of("sqlite3VdbeExec").unwrap(), "sqlite3VdbeExec");
        assert_eq!(of("OUTLINED_FUNCTION_4711").unwrap(), "OUTLINED_FUNCTION_*");
        assert_eq!(of(""), None);
        assert_eq!(of("a b"), None, "what the linker's script could not have as one word");
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let list = "0000000001340680 T one\n0000000001340690 t $x.7\n00000000013406a0 W two\n0000000001930000 d data\n";
        let functions = functions(list);
        let of = |line: &str| {
            functions.range(..=address(line).unwrap()).next_back().map(|(_, name)| name.as_str())
        };
        assert_eq!(of("0x01340694:  d503233f      paciasp"), Some("one"));
        assert_eq!(of("0x013406a0:  d503233f"), Some("two"));
        assert_eq!(of("0x00000680:  d503233f"), None);
        assert_eq!(address("IN: "), None);
    }

    #[test]
    fn an_earlier_round_counts_as_long_as_its_functions_are_there() {
        let functions = functions("0000000001340680 T one\n0000000001340690 T two\n");
        let before = script(&["gone", "two"].map(str::to_owned).into());
        let names = united(["one".to_owned()].into(), &before, &functions);
        assert_eq!(names, ["one", "two"].map(str::to_owned).into());
    }

    #[test]
    fn the_script_of_the_checkout_is_one_that_this_makes() {
        let text = include_str!("../../../edge-agent/agent/order.ld");
        let names: BTreeSet<String> = listed(text).collect();
        assert!(names.len() >= FUNCTIONS_MIN, "{}", names.len());
        assert_eq!(script(&names), text);
    }
}
