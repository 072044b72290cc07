//! What a program file says of itself, as binutils reads it: a reader that is not ours judges what we built.

use anyhow::{Context, Result};
use hil_rig::run;
use std::path::Path;
use std::process::Command;

/// What matters of a program file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// `ELF32` or `ELF64`.
    pub class: String,
    /// As `readelf -h` says.
    pub machine: String,
    /// Libraries that it needs.
    pub needed: Vec<String>,
    /// Newest version of glibc's symbols that it needs.
    pub glibc: Option<(u32, u32)>,
    /// Whether it has a program interpreter: a dynamic linker must be there.
    pub interpreter: Option<String>,
    /// Whether it has no symbol table.
    pub stripped: bool,
    /// Bytes.
    pub size: u64,
}

impl Elf {
    /// Reads a file with `readelf`, which knows every architecture.
    pub fn read(path: &Path) -> Result<Self> {
        let mut command = Command::new("readelf");
        command.args(["--wide", "-h", "-l", "-S", "-d", "-V"]).arg(path).env("LC_ALL", "C");
        let text = run::output(&mut command).context("binutils reads the program")?;
        let size =
            std::fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?.len();
        Ok(Self::parse(&text, size))
    }

    fn parse(text: &str, size: u64) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(|rest| rest.trim_start_matches(':').trim().to_owned()).unwrap_or_default()
        };
        let needed = text.lines().filter(|line| line.contains("(NEEDED)")).filter_map(bracketed).collect();
        let interpreter = text.lines().find(|line| line.contains("Requesting program interpreter"));
        let versions = text.split("Name: GLIBC_").skip(1).filter_map(|rest| {
            let version = rest.split_whitespace().next()?;
            let mut parts = version.split('.');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        });
        Self {
            class: field("Class:"),
            machine: field("Machine:"),
            needed,
            glibc: versions.max(),
            interpreter: interpreter
                .and_then(bracketed)
                .and_then(|text| text.rsplit(' ').next().map(str::to_owned)),
            stripped: !text.contains(" .symtab "),
            size,
        }
    }

    /// Whether it needs nothing but the kernel.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }

    /// One line like that of `file`.
    pub fn line(&self) -> String {
        let linked = match (&self.interpreter, self.is_static()) {
            (_, true) => "statically linked".to_owned(),
            (Some(interpreter), _) => format!("dynamically linked, interpreter {interpreter}"),
            (None, false) => "dynamically linked".to_owned(),
        };
        let floor = self.glibc.map(|(a, b)| format!(", glibc {a}.{b} or newer")).unwrap_or_default();
        let stripped = if self.stripped { "stripped" } else { "not stripped" };
        format!("{} {}, {linked}{floor}, {stripped}, {} bytes", self.class, self.machine, self.size)
    }
}

/// What stands between the first pair of brackets.
fn bracketed(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DYNAMIC: &str = "  Class:                             ELF64\n  Machine:                           AArch64\n      \
        [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n 0x1 (NEEDED)  Shared library: [libc.so.6]\n  \
        0x0010:   Name: GLIBC_2.17  Flags: none  Version: 7\n  0x0020:   Name: GLIBC_2.34  Flags: none  Version: 5\n  \
        0x0030:   Name: GLIBC_2.4  Flags: none  Version: 3\n  [30] .symtab           SYMTAB\n";

    #[test]
    fn machine_floor_and_symbols_are_read() {
        let elf = Elf::parse(DYNAMIC, 5);
        assert_eq!((elf.class.as_str(), elf.machine.as_str()), ("ELF64", "AArch64"));
        assert_eq!((elf.glibc, elf.needed.as_slice()), (Some((2, 34)), &["libc.so.6".to_owned()][..]));
        assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld-linux-aarch64.so.1"));
        assert!(!elf.stripped && !elf.is_static());
        let lone = Elf::parse("  Class: ELF32\n  Machine: ARM\n", 7);
        assert_eq!(lone.line(), "ELF32 ARM, statically linked, stripped, 7 bytes");
    }

    #[test]
    fn the_program_of_this_test_is_one() {
        let elf = Elf::read(&std::env::current_exe().unwrap()).unwrap();
        assert!(elf.class.starts_with("ELF") && elf.size > 0 && !elf.machine.is_empty(), "{elf:?}");
    }
}
