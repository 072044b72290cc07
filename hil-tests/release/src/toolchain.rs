//! The two ways to a cross compiler.
//!
//! * The user's: rustup's target, and zig from PyPI as C compiler and linker through cargo-zigbuild. No root, no system
//!   package; musl targets give one static file.
//! * Debian's: `rustc-web` and `cargo-web` with a GNU cross compiler, where no toolchain component can be fetched. The standard
//!   library of arm64 is taken out of its package; that of armv7 is built, because Debian's armhf package is not of the
//!   same build.

use crate::foreign::Foreign;
use crate::target::Target;
use anyhow::{Context, Result, bail, ensure};
use hil_rig::processes::find_program;
use hil_rig::python::Venv;
use hil_rig::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest glibc that zig links for: that of Debian 11.
const GLIBC_FLOOR: &str = "2.31";
/// Debian's cargo and rustc by their full names: rustup's proxies may come first on the path.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A way to build for one target, ready to use.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// For whom.
    pub target: Target,
    /// Rust's name of what comes out.
    pub triple: &'static str,
    /// `zig` or `debian`.
    pub way: &'static str,
    /// Compiler, linker and their versions, for people.
    pub used: Vec<String>,
    /// What the floor of glibc must not exceed; `None`: static.
    pub glibc: Option<(u32, u32)>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Zig { bin: PathBuf },
    Debian { sysroot: Option<PathBuf>, build_std: bool },
}

impl Toolchain {
    /// The user's way, or Debian's where that cannot be had or is asked for.
    pub fn ready(target: Target, debian: bool) -> Result<Self> {
        if debian {
            return Self::debian(target);
        }
        match Self::zig(target) {
            Ok(toolchain) => Ok(toolchain),
            Err(error) => {
                eprintln!(
                    "rustup and zig cannot build {}: {error:#}; taking Debian's compiler",
                    target.name()
                );
                Self::debian(target)
            }
        }
    }

    fn zig(target: Target) -> Result<Self> {
        let triple = target.by_zig();
        let rustup = find_program("rustup").context("rustup is not on the path")?;
        let installed = run::output(Command::new(&rustup).args(["target", "list", "--installed"]))?;
        if !installed.lines().any(|line| line == triple) {
            run::run(Command::new(&rustup).args(["target", "add", triple]))?;
        }
        let venv = Venv::for_cross()?;
        let zig = run::output(Command::new(venv.python()).args(["-m", "ziglang", "version"]))?;
        let rustc = run::output(Command::new("rustc").arg("--version"))?;
        Ok(Self {
            target,
            triple,
            way: "zig",
            used: vec![
                rustc.trim().to_owned(),
                format!("zig {} (C compiler and linker)", zig.trim()),
                run::version(&venv.program("cargo-zigbuild"), "--version")?,
            ],
            glibc: (target == Target::Aarch64Gnu).then_some((2, 31)),
            kind: Kind::Zig { bin: venv.program("cargo-zigbuild") },
        })
    }

    fn debian(target: Target) -> Result<Self> {
        let prefix = target.gnu_prefix();
        let gcc = format!("{prefix}-gcc");
        let libc = match target {
            Target::Aarch64Musl | Target::Aarch64Gnu => "libc6-dev-arm64-cross",
            Target::Armv7 => "libc6-dev-armhf-cross",
            Target::Amd64 => "libc6-dev",
        };
        let compiler = if target == Target::Amd64 { "gcc".to_owned() } else { format!("gcc-{prefix}") };
        let mut packages = vec!["rustc-web", "cargo-web", compiler.as_str(), libc];
        let build_std = target == Target::Armv7;
        let source = Path::new("/usr/lib/rustlib/src/rust/library/Cargo.lock");
        if build_std {
            packages.push("rust-web-src");
        }
        let there = Path::new(DEBIAN_RUSTC).is_file()
            && Path::new(DEBIAN_CARGO).is_file()
            && find_program(&gcc).is_some()
            && (!build_std || source.is_file());
        if !there {
            run::install(&packages)?;
        }
        let sysroot = if prefix == "aarch64-linux-gnu" { Some(arm64_std()?) } else { None };
        let mut used = vec![
            format!("{DEBIAN_RUSTC}: {}", run::version(Path::new(DEBIAN_RUSTC), "--version")?),
            format!("{gcc}: {} (C compiler and linker)", run::version(Path::new(&gcc), "--version")?),
        ];
        if let Some(sysroot) = &sysroot {
            used.push(format!("standard library of libstd-rust-web-dev:arm64 in {}", sysroot.display()));
        }
        if build_std {
            used.push("standard library built from rust-web-src".into());
        }
        Ok(Self {
            target,
            triple: target.by_debian(),
            way: "debian",
            used,
            glibc: Some((2, 36)),
            kind: Kind::Debian { sysroot, build_std },
        })
    }

    /// The build of `package` in the checkout at `root`, into `out`.
    pub fn build(&self, root: &Path, out: &Path, package: &str) -> Result<Command> {
        self.command("build", root, out, package)
    }

    /// The same, but linked with its symbols: what was compiled for [`Self::build`] is used again.
    pub fn build_with_symbols(&self, root: &Path, out: &Path, package: &str) -> Result<Command> {
        let mut command = self.command("rustc", root, out, package)?;
        command.args(["--bin", package, "--", "-Cstrip=none"]);
        Ok(command)
    }

    fn command(&self, verb: &str, root: &Path, out: &Path, package: &str) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Zig { bin } => {
                let mut command = Command::new(bin);
                let floor = if self.glibc.is_some() { format!(".{GLIBC_FLOOR}") } else { String::new() };
                let verb = if verb == "build" { "zigbuild" } else { verb };
                command.args([verb, "--target", &format!("{}{floor}", self.triple)]);
                let bin = bin.parent().context("cargo-zigbuild lies in no folder")?;
                let path = std::env::var_os("PATH").unwrap_or_default();
                let folders = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
                command.env("PATH", std::env::join_paths(folders).context("the search path")?);
                command
            }
            Kind::Debian { build_std, .. } => {
                let mut command = Command::new(DEBIAN_CARGO);
                command.args([verb, "--target", self.triple]);
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTDOC", "/usr/bin/rustdoc")
                    .env_remove("RUSTUP_TOOLCHAIN");
                let linker = format!("CARGO_TARGET_{}_LINKER", variable(self.triple).to_uppercase());
                command.env(linker, format!("{}-gcc", self.target.gnu_prefix()));
                if *build_std {
                    command.arg("-Zbuild-std=std,panic_unwind").env("RUSTC_BOOTSTRAP", "1");
                }
                command
            }
        };
        command.args(["--release", "--locked", "-p", package, "--target-dir"]).arg(out).current_dir(root);
        self.reproducible(&mut command, root)?;
        Ok(command)
    }

    /// Takes this machine's folders and the time out of what is built.
    fn reproducible(&self, command: &mut Command, root: &Path) -> Result<()> {
        let cargo_home = cargo_home()?;
        // Names that say which instance of a generic function they are: the order of functions goes by them.
        let mut flags = vec!["-Csymbol-mangling-version=v0".to_owned()];
        if let Kind::Debian { sysroot: Some(sysroot), .. } = &self.kind {
            flags.push(format!("--sysroot={}", sysroot.display()));
        }
        let root = root.canonicalize().with_context(|| format!("no checkout at {}", root.display()))?;
        let mut maps = vec![(root, "/steelyard"), (cargo_home, "/cargo")];
        if let Ok(home) = hil_rig::python::cache_dir() {
            maps.push((home, "/cache"));
        }
        for (from, to) in &maps {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
        let c: Vec<String> =
            maps.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
        command
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env(format!("CFLAGS_{}", variable(self.triple)), c.join(" "))
            .env("LIBSQLITE3_FLAGS", SQLITE_FLAGS)
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("RUSTFLAGS");
        Ok(())
    }

    /// Where the built program is.
    pub fn program(&self, out: &Path, name: &str) -> PathBuf {
        out.join(self.triple).join("release").join(name)
    }
}

/// 2026-01-01: what takes a date into a file takes this one.
pub(crate) const EPOCH: &str = "1767225600";
/// What SQLite leaves out: nothing of it is reached from `sync-store`.
const SQLITE_FLAGS: &str = "-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 \
-USQLITE_ENABLE_RTREE -USQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_OMIT_JSON -DSQLITE_OMIT_DEPRECATED";

/// A target's name as part of a variable's.
fn variable(triple: &str) -> String {
    triple.replace('-', "_")
}

fn cargo_home() -> Result<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    named.or_else(home).context("neither CARGO_HOME nor HOME is set")
}

/// The standard library for arm64 out of Debian's package, of the same version as the compiler.
fn arm64_std() -> Result<PathBuf> {
    let version = run::output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "rustc-web"]))?;
    let version = version.trim();
    let root = hil_rig::python::cache_dir()?.join(format!("std-arm64-{}", version.replace('+', "-")));
    let library = root.join("usr/lib/rustlib/aarch64-unknown-linux-gnu/lib");
    if !library.is_dir() {
        let file = Foreign::open("arm64")?.fetch(&format!("libstd-rust-web-dev={version}"))?;
        Foreign::unpack(&file, &root)?;
    }
    ensure!(library.is_dir(), "libstd-rust-web-dev:arm64 {version} has no {}", library.display());
    if std::fs::read_dir(&library).is_ok_and(|mut list| list.next().is_none()) {
        bail!("{} is empty", library.display());
    }
    Ok(root.join("usr"))
}
