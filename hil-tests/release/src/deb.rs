//! `cargo xtask deb`: the packages `steelyard` (one binary: agent and edgectl) and `steelyard-hq`.
//!
//! Made with `dpkg-deb` from a staging tree, not with cargo-deb: the programs come out of two different cross toolchains that
//! cargo-deb does not know how to call or where to find the output of, the maintainer scripts carry the ledger's schema
//! number, and dpkg-deb is the reference for the format and reproducible by `SOURCE_DATE_EPOCH`. Only the compression is not
//! its own, see [`crate::squeeze`].
//!
//! Contract: every file's owner is root, every time the fixed one; `/etc` files are conffiles; what systemd, udev and sysusers
//! read lies where Debian 12 looks for it.

use crate::cross::{self, Built};
use crate::squeeze::squeeze;
use crate::target::Target;
use crate::toolchain::{EPOCH, Toolchain};
use anyhow::{Context, Result, bail};
use clap::Args;
use hil_rig::run;
use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was asked for.
#[derive(Args, Clone, Debug)]
pub struct DebArgs {
    /// arm64, armhf, amd64 or all
    #[arg(long, default_value = "arm64")]
    pub arch: String,
    /// Debian's compiler, also where rustup and zig are there
    #[arg(long)]
    pub debian: bool,
    /// Only this package: steelyard or steelyard-hq
    #[arg(long)]
    pub package: Option<String>,
    /// Prints one JSON line per package on standard output
    #[arg(long)]
    pub json: bool,
}

/// Aim of the agent's package.
const SIZE_AIM: u64 = 4_000_000;
/// What every process needs to be told about a package.
struct Package {
    name: &'static str,
    program: &'static str,
    unit: &'static str,
    state: &'static str,
    ledger: &'static str,
    summary: &'static str,
    text: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "steelyard",
        program: "edge-agent",
        unit: "edge-agent.service",
        state: "/var/lib/steelyard",
        ledger: "/var/lib/steelyard/ledger.db",
        summary: "offline-first store daemon and its command line",
        text: "Drives scales, cold cabinets, shelf tags and steamers of one store, keeps a\n \
               durable local ledger, serves the tills, and settles with headquarters when\n \
               there is a network.",
    },
    Package {
        name: "steelyard-hq",
        program: "sync-hq",
        unit: "sync-hq.service",
        state: "/var/lib/steelyard-hq",
        ledger: "/var/lib/steelyard-hq/hq.db",
        summary: "headquarters endpoint of Steelyard stores",
        text: "Settles stores over MQTT into one ledger on SQLite or PostgreSQL, and issues\n their certificates.",
    },
];

/// Runs the command. `Ok(false)`: a package was made, and what is checked does not hold.
pub fn deb(root: &Path, args: &DebArgs) -> Result<bool> {
    let targets: Vec<Target> = match args.arch.as_str() {
        "all" => vec![Target::Aarch64Musl, Target::Armv7, Target::Amd64],
        arch => {
            match [Target::Aarch64Musl, Target::Armv7, Target::Amd64].into_iter().find(|t| t.debian() == arch)
            {
                Some(target) => vec![target],
                None => bail!("expected one of arm64, armhf, amd64, all; found \"{arch}\""),
            }
        }
    };
    if let Some(wanted) = &args.package
        && !PACKAGES.iter().any(|package| package.name == wanted)
    {
        bail!("expected steelyard or steelyard-hq; found \"{wanted}\"");
    }
    let mut fine = true;
    for target in targets {
        let toolchain = Toolchain::ready(target, args.debian)?;
        for package in PACKAGES.iter().filter(|p| args.package.as_deref().is_none_or(|name| name == p.name)) {
            let built = cross::program(root, &toolchain, package.program)?;
            let file = pack(root, package, &built, env!("CARGO_PKG_VERSION"))?;
            let bytes = std::fs::metadata(&file).context("look at the package")?.len();
            let faults = cross::faults(&built);
            let missed = package.name == "steelyard" && bytes > SIZE_AIM;
            fine &= faults.is_empty();
            if args.json {
                println!(
                    "{}",
                    json!({"deb": true, "ok": faults.is_empty(), "package": package.name,
                    "arch": target.debian(), "file": file, "bytes": bytes, "program_bytes": built.elf.size,
                    "way": toolchain.way, "used": toolchain.used, "aim_missed": missed, "faults": faults})
                );
            } else {
                println!(
                    "{}: {bytes} bytes, program {} with {}",
                    file.display(),
                    built.elf.line(),
                    toolchain.used.join("; ")
                );
                if missed {
                    println!("  aim missed: {bytes} bytes of at most {SIZE_AIM}");
                }
                faults.iter().for_each(|fault| println!("WRONG: {fault}"));
            }
        }
    }
    Ok(fine)
}

/// The package of a program that is already built, under a version of the caller's: for trials of upgrades.
pub fn repack(root: &Path, name: &str, built: &Built, version: &str) -> Result<PathBuf> {
    let package = PACKAGES.iter().find(|package| package.name == name);
    pack(root, package.with_context(|| format!("no package \"{name}\""))?, built, version)
}

fn pack(root: &Path, package: &Package, built: &Built, version: &str) -> Result<PathBuf> {
    let arch = built.toolchain.target.debian();
    let folder = root.join("target/deb");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // One at a time: a rig and a person, or two rigs, would stage into the same tree. Held until this function ends.
    let lock = std::fs::File::create(folder.join("lock")).context("make the lock file of the packages")?;
    lock.lock().context("wait for whoever else makes packages here")?;
    let tree = folder.join(format!("{}_{arch}", package.name));
    if tree.exists() {
        std::fs::remove_dir_all(&tree).with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    let stage =
        Stage { tree: tree.clone(), source: root.join("hil-tests/release/debian"), root: root.into() };
    let schema = pages(root, &folder.join("pages"))?;
    stage.common(package, built, &folder.join("pages"))?;
    let conffiles = if package.name == "steelyard" { stage.agent()? } else { stage.hq()? };
    stage.control(package, built, version, &schema, &conffiles)?;
    let file = folder.join(format!("{}_{version}_{arch}.deb", package.name));
    stage.set_times()?;
    let plain = folder.join(format!("{}_{arch}.plain.deb", package.name));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&plain);
    run::run(command.env("SOURCE_DATE_EPOCH", EPOCH))?;
    squeeze(&plain, &file, built.toolchain.target)?;
    std::fs::remove_file(&plain).with_context(|| format!("cannot remove {}", plain.display()))?;
    Ok(file)
}

/// Man pages and completions, and the ledger's schema number, of the programs' own definitions.
fn pages(root: &Path, into: &Path) -> Result<String> {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "--package", "hil-pages", "--"]).arg(into).current_dir(root);
    Ok(run::output(&mut command)?.trim().to_owned())
}

/// A tree that becomes a package.
struct Stage {
    tree: PathBuf,
    source: PathBuf,
    root: PathBuf,
}

impl Stage {
    fn put(&self, at: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.tree.join(at);
        let parent = path.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))
            .with_context(|| format!("mode of {}", path.display()))
    }

    fn copy(&self, from: &Path, at: &str, mode: u32) -> Result<()> {
        let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.put(at, &content, mode)
    }

    /// A file of the packaging folder.
    fn own(&self, name: &str, at: &str) -> Result<()> {
        self.copy(&self.source.join(name), at, 0o644)
    }

    /// Compressed without name and time, as Debian wants its documentation.
    fn gzip(&self, content: &[u8], at: &str) -> Result<()> {
        let plain = at.strip_suffix(".gz").context("a compressed file ends in .gz")?;
        self.put(plain, content, 0o644)?;
        run::run(Command::new("gzip").args(["-9nf"]).arg(self.tree.join(plain)))
    }

    /// Program, unit, user, documentation: what both packages have.
    fn common(&self, package: &Package, built: &Built, pages: &Path) -> Result<()> {
        self.copy(&built.path, &format!("usr/bin/{}", package.program), 0o755)?;
        self.own(package.unit, &format!("lib/systemd/system/{}", package.unit))?;
        self.own(
            &format!("{}.sysusers", package.name),
            &format!("usr/lib/sysusers.d/{}.conf", package.name),
        )?;
        let doc = format!("usr/share/doc/{}", package.name);
        self.own("copyright", &format!("{doc}/copyright"))?;
        self.gzip(&std::fs::read(self.source.join("changelog"))?, &format!("{doc}/changelog.gz"))?;
        if built.elf.is_static() {
            // One file for every release of the distribution; lintian takes that for a mistake.
            let text = format!("{}: statically-linked-binary\n", package.name);
            self.put(&format!("usr/share/lintian/overrides/{}", package.name), text.as_bytes(), 0o644)?;
        }
        self.pages(package.program, pages)
    }

    fn pages(&self, program: &str, pages: &Path) -> Result<()> {
        let from = pages.join(program);
        for entry in std::fs::read_dir(from.join("man1")).context("no man pages were made")? {
            let path = entry?.path();
            let name = path.file_name().context("a page has a name")?.to_string_lossy().into_owned();
            self.gzip(&std::fs::read(&path)?, &format!("usr/share/man/man1/{name}.gz"))?;
        }
        self.copy(
            &from.join(format!("bash/{program}.bash")),
            &format!("usr/share/bash-completion/completions/{program}"),
            0o644,
        )?;
        self.copy(
            &from.join(format!("zsh/_{program}")),
            &format!("usr/share/zsh/vendor-completions/_{program}"),
            0o644,
        )?;
        self.copy(
            &from.join(format!("fish/{program}.fish")),
            &format!("usr/share/fish/vendor_completions.d/{program}.fish"),
            0o644,
        )
    }

    /// What only the store has; gives its conffiles.
    fn agent(&self) -> Result<Vec<&'static str>> {
        symlink("edge-agent", self.tree.join("usr/bin/edgectl")).context("link edgectl")?;
        self.pages("edgectl", &self.root.join("target/deb/pages"))?;
        self.own("60-steelyard.rules", "lib/udev/rules.d/60-steelyard.rules")?;
        self.own("store.toml", "etc/steelyard/store.toml")?;
        self.own("update.keys", "etc/steelyard/update.keys")?;
        let configs = self.root.join("configs");
        self.copy(&configs.join("store.toml"), "usr/share/doc/steelyard/examples/store.toml", 0o644)?;
        for (from, to) in
            [("devices", "usr/share/steelyard/devices"), ("templates", "usr/share/steelyard/templates")]
        {
            for entry in
                std::fs::read_dir(configs.join(from)).with_context(|| format!("no configs/{from}"))?
            {
                let path = entry?.path();
                if path.extension().is_some_and(|kind| kind == "toml") {
                    let name =
                        path.file_name().context("a profile has a name")?.to_string_lossy().into_owned();
                    self.copy(&path, &format!("{to}/{name}"), 0o644)?;
                }
            }
        }
        for folder in ["etc/steelyard/store.d", "etc/steelyard/update.d"] {
            std::fs::create_dir_all(self.tree.join(folder))
                .with_context(|| format!("cannot make {folder}"))?;
        }
        Ok(vec!["/etc/steelyard/store.toml", "/etc/steelyard/update.keys"])
    }

    /// What only headquarters has.
    fn hq(&self) -> Result<Vec<&'static str>> {
        self.own("steelyard-hq.default", "etc/default/steelyard-hq")?;
        Ok(vec!["/etc/default/steelyard-hq"])
    }

    fn control(
        &self,
        package: &Package,
        built: &Built,
        version: &str,
        schema: &str,
        conffiles: &[&str],
    ) -> Result<()> {
        let depends = match built.elf.glibc {
            Some((major, minor)) => format!("libc6 (>= {major}.{minor}), libgcc-s1, "),
            None => String::new(),
        };
        let (suggests, name) = if package.name == "steelyard" {
            ("bluez", "steelyard")
        } else {
            ("mosquitto, postgresql", "steelyard-hq")
        };
        let size = run::output(Command::new("du").args(["-sk", "--apparent-size"]).arg(&self.tree))?;
        let size = size.split_whitespace().next().unwrap_or("0").to_owned();
        let text = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {}\nMaintainer: Steelyard <packages@steelyard.example>\n\
             Installed-Size: {size}\nDepends: {depends}systemd (>= 252)\nSuggests: {suggests}\nSection: misc\nPriority: optional\n\
             Description: {}\n {}\n",
            built.toolchain.target.debian(),
            package.summary,
            package.text
        );
        self.put("DEBIAN/control", text.as_bytes(), 0o644)?;
        self.put("DEBIAN/conffiles", (conffiles.join("\n") + "\n").as_bytes(), 0o644)?;
        for script in ["preinst", "postinst", "prerm", "postrm"] {
            let text =
                std::fs::read_to_string(self.source.join(script)).with_context(|| format!("no {script}"))?;
            let text = [
                ("#PACKAGE#", package.name),
                ("#VERSION#", version),
                ("#SCHEMA#", schema),
                ("#LEDGER#", package.ledger),
                ("#UNIT#", package.unit),
                ("#STATE#", package.state),
            ]
            .into_iter()
            .fold(text, |text, (mark, value)| text.replace(mark, value));
            self.put(&format!("DEBIAN/{script}"), text.as_bytes(), 0o755)?;
        }
        Ok(())
    }

    /// One time for every file, so that the same content is the same package.
    fn set_times(&self) -> Result<()> {
        let mut find = Command::new("find");
        find.arg(&self.tree).args(["-exec", "touch", "-h", "-d", &format!("@{EPOCH}"), "{}", "+"]);
        run::run(&mut find)
    }
}
