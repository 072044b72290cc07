//! `cargo xtask cross`: builds the gateway's program, checks what came out, and compares two clean builds.

use crate::bloat;
use crate::elf::Elf;
use crate::target::Target;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hil_rig::run;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What was asked for.
#[derive(Args, Clone, Debug)]
pub struct CrossArgs {
    /// aarch64-musl, aarch64-gnu, armv7 or amd64
    #[arg(long, default_value = "aarch64-musl")]
    pub target: String,
    /// Debian's compiler, also where rustup and zig are there
    #[arg(long)]
    pub debian: bool,
    /// Builds twice in two clean folders and compares the bytes
    #[arg(long)]
    pub twice: bool,
    /// Which crate takes how much
    #[arg(long)]
    pub bloat: bool,
    /// Prints one JSON line on standard output
    #[arg(long)]
    pub json: bool,
}

/// A program that was built and checked.
#[derive(Clone, Debug)]
pub struct Built {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself.
    pub elf: Elf,
    /// By what.
    pub toolchain: Toolchain,
    /// Seconds.
    pub took: f64,
}

/// Aim of the program's size: agent and command line in one file.
const SIZE_AIM: u64 = 6_000_000;

/// Runs the command. `Ok(false)`: built, and what it checks does not hold.
pub fn cross(root: &Path, args: &CrossArgs) -> Result<bool> {
    let target = Target::parse(&args.target)?;
    let toolchain = Toolchain::ready(target, args.debian)?;
    eprintln!("building {} with {}", toolchain.triple, toolchain.used.join("; "));
    if args.twice {
        return twice(root, &toolchain, args.json);
    }
    let built = program(root, &toolchain, "edge-agent")?;
    let faults = faults(&built);
    let parts = if args.bloat { Some(bloat::report(root, &toolchain)?) } else { None };
    if args.json {
        println!("{}", closing(&built, &faults, parts.as_deref()));
    } else {
        println!("{}", built.path.display());
        println!("  {}", built.elf.line());
        println!("  {} with {}, {:.0} s", toolchain.triple, toolchain.used.join("; "), built.took);
        parts.iter().flatten().for_each(|part| println!("  {:>9} bytes  {}", part.bytes, part.name));
        missed_aim(&built).iter().for_each(|missed| println!("  aim missed: {missed}"));
        faults.iter().for_each(|fault| println!("WRONG: {fault}"));
    }
    Ok(faults.is_empty())
}

/// Builds one program of the checkout at `root` under its `target/cross`.
pub fn program(root: &Path, toolchain: &Toolchain, package: &str) -> Result<Built> {
    let out = root.join("target/cross").join(toolchain.way);
    let started = Instant::now();
    run::run(&mut toolchain.build(root, &out, package)?)?;
    let path = toolchain.program(&out, package);
    let elf = Elf::read(&path)?;
    Ok(Built { path, elf, toolchain: toolchain.clone(), took: started.elapsed().as_secs_f64() })
}

/// What is not as it should be.
pub fn faults(built: &Built) -> Vec<String> {
    let Built { elf, toolchain, .. } = built;
    let mut faults = Vec::new();
    let machine = toolchain.target.machine();
    if elf.machine != machine {
        faults.push(format!("expected a program for {machine}, found {}", elf.machine));
    }
    if !elf.stripped {
        faults.push("it still has its symbol table".into());
    }
    match (toolchain.glibc, elf.glibc) {
        (None, _) if !elf.is_static() => {
            faults.push(format!("expected a static program, found that it needs {}", elf.needed.join(", ")));
        }
        (Some(most), Some(floor)) if floor > most => {
            faults.push(format!(
                "expected glibc {}.{} or older, found {}.{}",
                most.0, most.1, floor.0, floor.1
            ));
        }
        _ => {}
    }
    faults
}

/// The aim that it misses, if it does: said, and no fault of a build that is otherwise what it should be.
pub fn missed_aim(built: &Built) -> Option<String> {
    let size = built.elf.size;
    (size > SIZE_AIM).then(|| format!("{size} bytes, {} over the aim of {SIZE_AIM}", size - SIZE_AIM))
}

fn closing(built: &Built, faults: &[String], parts: Option<&[bloat::Part]>) -> Value {
    let Built { elf, toolchain, path, took } = built;
    let parts = parts.map(|parts| {
        parts.iter().map(|part| json!({"crate": part.name, "bytes": part.bytes})).collect::<Vec<_>>()
    });
    json!({
        "cross": true, "ok": faults.is_empty(), "target": toolchain.target.name(), "triple": toolchain.triple,
        "way": toolchain.way, "used": toolchain.used, "file": path, "machine": elf.machine,
        "static": elf.is_static(), "glibc": elf.glibc.map(|(a, b)| format!("{a}.{b}")), "stripped": elf.stripped,
        "bytes": elf.size, "aim_missed": missed_aim(built), "seconds": took, "faults": faults, "crates": parts,
    })
}

/// Builds in two clean copies at different places and compares.
fn twice(root: &Path, toolchain: &Toolchain, json: bool) -> Result<bool> {
    let mut programs = Vec::new();
    let folder = root.join("target/cross/twice");
    // Names of different length: a path that leaks into the program moves everything behind it.
    for name in ["first", "the-second-one"] {
        let copy = folder.join(name);
        if copy.exists() {
            std::fs::remove_dir_all(&copy).with_context(|| format!("cannot empty {}", copy.display()))?;
        }
        copy_tracked(root, &copy.join("checkout"))?;
        let out = copy.join("out");
        run::run(&mut toolchain.build(&copy.join("checkout"), &out, "edge-agent")?)?;
        let kept = folder.join(format!("edge-agent.{name}"));
        let built = toolchain.program(&out, "edge-agent");
        std::fs::copy(&built, &kept).with_context(|| format!("cannot copy {}", built.display()))?;
        // The intermediate files of a build are a gigabyte.
        std::fs::remove_dir_all(&copy).with_context(|| format!("cannot empty {}", copy.display()))?;
        programs.push(kept);
    }
    let [first, second] = programs.as_slice() else { bail!("two builds were made") };
    let (a, b) = (std::fs::read(first)?, std::fs::read(second)?);
    let differ = a
        .iter()
        .zip(&b)
        .position(|(a, b)| a != b)
        .or_else(|| (a.len() != b.len()).then_some(a.len().min(b.len())));
    let digest = |file: &Path| run::output(Command::new("sha256sum").arg(file));
    let sums = [digest(first)?, digest(second)?];
    let sums: Vec<&str> = sums.iter().filter_map(|line| line.split_whitespace().next()).collect();
    let note = match differ {
        None => format!("identical: {} bytes, sha256 {}", a.len(), sums.first().unwrap_or(&"")),
        Some(at) => format!("they differ from byte {at} on: {} and {}", first.display(), second.display()),
    };
    if json {
        println!(
            "{}",
            json!({"cross": true, "twice": true, "ok": differ.is_none(), "note": note, "sha256": sums,
            "target": toolchain.target.name(), "way": toolchain.way, "bytes": a.len()})
        );
    } else {
        println!("two clean builds of {} ({}): {note}", toolchain.triple, toolchain.way);
    }
    Ok(differ.is_none())
}

/// Copies what git tracks or would track: a clean clone of what lies here, without asking for a commit first.
fn copy_tracked(root: &Path, to: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let names = run::output(&mut list)?;
    let mut copied = 0;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let from = root.join(name);
        // Deleted and not yet committed, or a link to nowhere.
        if !from.is_file() {
            continue;
        }
        let file = to.join(name);
        let parent = file.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        std::fs::copy(&from, &file).with_context(|| format!("cannot copy {name}"))?;
        copied += 1;
    }
    ensure!(copied > 0, "git names no files in {}", root.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_git_would_keep_is_copied() {
        let root = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| run::run(Command::new("git").args(args).current_dir(root.path())).unwrap();
        git(&["init", "--quiet"]);
        std::fs::create_dir(root.path().join("target")).unwrap();
        std::fs::write(root.path().join(".gitignore"), "/target\n").unwrap();
        std::fs::write(root.path().join("target/big"), "x").unwrap();
        std::fs::write(root.path().join("new.rs"), "y").unwrap();
        let copy = root.path().join("target/copy");
        copy_tracked(root.path(), &copy).unwrap();
        assert!(
            copy.join("new.rs").is_file()
                && copy.join(".gitignore").is_file()
                && !copy.join("target").exists()
        );
    }
}
