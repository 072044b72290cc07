//! The User-Mode Linux kernel: one file in the cache, named by the version of its source and by what it is built with.
//!
//! Contract
//! * `uml/linux-VERSION-HASH` below the cache is used as it is; of several versions the newest name.
//! * It is built only where that is asked for ([`ASK`]): about fifteen minutes of processor time, and packages that
//!   only this rig needs. Source and objects are removed after; a build that was broken off is begun again.
//! * Every option of the fragment that the source did not take is an error: a kernel without a driver would skip its trial.

use anyhow::{Context, Result, ensure};
use hil_rig::processes::find_program;
use hil_rig::run::{install, run};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set to 1, it lets the rig install packages and build the kernel.
pub const ASK: &str = "STEELYARD_BUILD_KERNEL";
/// What is built in.
const FRAGMENT: &str = include_str!("../machine/uml.fragment");
/// Debian's package with the source.
const SOURCE: &str = "linux-source-6.12";
/// Where bluetoothd is.
pub(crate) const BLUETOOTHD: &str = "/usr/libexec/bluetooth/bluetoothd";

/// A Debian package and how to see that it is there.
type Package = (&'static str, fn() -> bool);

/// Packages that run in the machine.
const RUNTIME: [Package; 4] = [
    ("bluez", || Path::new(BLUETOOTHD).is_file()),
    ("dbus", || find_program("dbus-daemon").is_some()),
    ("mosquitto", || find_program("mosquitto").is_some()),
    ("iproute2", || find_program("ip").is_some()),
];
/// Packages that build the kernel.
const BUILD: [&str; 9] =
    [SOURCE, "gcc", "make", "flex", "bison", "bc", "libelf-dev", "xz-utils", "libc6-dev"];

/// What there is to run on.
pub enum Found {
    /// The kernel.
    Kernel(PathBuf),
    /// Why there is none, and the command that changes it.
    Missing(String),
}

/// Finds the kernel, or builds it where that is asked for.
pub fn kernel(cache: &Path) -> Result<Found> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Ok(Found::Missing("User-Mode Linux runs on x86-64 Linux only".into()));
    }
    let folder = cache.join("uml");
    let absent: Vec<&str> = RUNTIME.iter().filter(|(_, there)| !there()).map(|(name, _)| *name).collect();
    let built = newest(&folder);
    if absent.is_empty()
        && let Some(path) = built
    {
        return Ok(Found::Kernel(path));
    }
    if std::env::var_os(ASK).is_none_or(|value| value != "1") {
        let mut what = Vec::new();
        if built.is_none() {
            what.push(format!("no kernel linux-VERSION-{} in {}", hash(), folder.display()));
        }
        if !absent.is_empty() {
            what.push(format!("not installed: {}", absent.join(", ")));
        }
        let once =
            "once (installs packages with apt-get, builds the kernel: about 15 minutes of processor time)";
        return Ok(Found::Missing(format!(
            "{}; run `{ASK}=1 cargo xtask hil --rig kernel` {once}",
            what.join("; ")
        )));
    }
    install(&absent)?;
    built.map_or_else(|| build(&folder), Ok).map(Found::Kernel)
}

/// The newest kernel with the fragment's hash, by its name.
fn newest(folder: &Path) -> Option<PathBuf> {
    let ending = format!("-{}", hash());
    let names =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let fits = |name: &String| name.starts_with("linux-") && name.ends_with(&ending);
    names.filter(fits).max().map(|name| folder.join(name))
}

/// FNV-1a over the lines of the fragment that are not comments.
fn hash() -> String {
    let lines = FRAGMENT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let bytes = lines.flat_map(|line| line.bytes().chain([b'\n']));
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("{hash:016x}")
}

fn build(folder: &Path) -> Result<PathBuf> {
    let absent: Vec<&str> = BUILD.into_iter().filter(|package| installed(package).is_none()).collect();
    install(&absent)?;
    let version = installed(SOURCE).with_context(|| format!("{SOURCE} is not installed"))?;
    std::fs::create_dir_all(folder)?;
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(folder)?;
    let archive = format!("/usr/src/{SOURCE}.tar.xz");
    run(Command::new("tar").args(["xf", &archive, "-C"]).arg(work.path()))?;
    let source = work.path().join(SOURCE);
    let (output, fragment) = (work.path().join("output"), work.path().join("fragment"));
    std::fs::create_dir(&output)?;
    std::fs::write(&fragment, FRAGMENT)?;
    let into = format!("O={}", output.display());
    let make = |target: &[&str]| {
        run(Command::new("make").current_dir(&source).args(["ARCH=um", &into]).args(target))
    };
    make(&["x86_64_defconfig"])?;
    run(Command::new("scripts/kconfig/merge_config.sh")
        .current_dir(&source)
        .env("ARCH", "um")
        .arg("-O")
        .arg(&output)
        .arg(output.join(".config"))
        .arg(&fragment))?;
    let left_out = left_out(&std::fs::read_to_string(output.join(".config"))?);
    ensure!(left_out.is_empty(), "{SOURCE} {version} does not take {left_out}");
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    make(&[&format!("-j{jobs}"), "linux"])?;
    let built = output.join("linux");
    run(Command::new("strip").arg(&built))?;
    let named = folder.join(format!("linux-{version}-{}", hash()));
    std::fs::rename(&built, &named).with_context(|| format!("cannot keep {}", named.display()))?;
    Ok(named)
}

/// Options that are wanted and that the configuration has not.
fn left_out(configuration: &str) -> String {
    let has: std::collections::BTreeSet<&str> = configuration.lines().collect();
    let wanted = FRAGMENT.lines().filter(|line| line.starts_with("CONFIG_") && !line.ends_with("=n"));
    wanted.filter(|line| !has.contains(line)).collect::<Vec<_>>().join(" ")
}

/// The version of an installed package.
fn installed(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status} ${Version}", package])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.strip_prefix("installed ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_with_this_fragment_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(folder.path()), None);
        for name in
            [format!("linux-6.12.9-{}", hash()), format!("linux-6.12.1-{}", hash()), "linux-6.13-0".into()]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(newest(folder.path()), Some(folder.path().join(format!("linux-6.12.9-{}", hash()))));
    }

    #[test]
    fn an_option_that_the_source_does_not_know_is_named() {
        let all = FRAGMENT.replace("CONFIG_W1=y\n", "");
        assert_eq!(left_out(&all), "CONFIG_W1=y");
        assert_eq!(left_out(FRAGMENT), "");
    }
}
