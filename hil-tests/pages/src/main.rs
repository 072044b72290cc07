//! Man pages and completions out of the programs' own command line definitions, and the ledger's schema number.
//!
//! A program of its own: it links the agent and HQ, which `cargo xtask` must not need for anything else.
#![allow(clippy::print_stdout, reason = "its output is its answer")]

use anyhow::{Context, Result, bail};
use clap::Command;
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// `hil-pages FOLDER` writes `FOLDER/PROGRAM/{man1,bash,zsh,fish}/…` and prints the schema number.
fn main() -> Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        bail!("expected the folder to write to");
    };
    for (name, command) in [
        ("edge-agent", edge_agent::program::command()),
        ("edgectl", edge_ctl::command()),
        ("sync-hq", sync_hq::program::command()),
    ] {
        write(&folder.join(name), name, command)?;
    }
    println!("{}", sync_store::SCHEMA);
    Ok(())
}

fn write(folder: &Path, name: &str, mut command: Command) -> Result<()> {
    let make = |part: &str| -> Result<PathBuf> {
        let path = folder.join(part);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    };
    let man = make("man1")?;
    clap_mangen::generate_to(command.clone(), &man).with_context(|| format!("man pages of {name}"))?;
    for (shell, part) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        clap_complete::generate_to(shell, &mut command, name, make(part)?)
            .with_context(|| format!("{part} completions of {name}"))?;
    }
    Ok(())
}
