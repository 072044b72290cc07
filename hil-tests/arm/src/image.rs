//! The machine's software: Debian's arm64 kernel, an initramfs that finds the disk, and a root file system with a real
//! systemd and the package under test.
//!
//! The root file system is unpacked, not installed: no program of the other architecture runs on the host, so no emulation
//! of user programs is needed. What maintainer scripts would do and matters here (users, enabling of units) is done with the
//! host's `systemd-sysusers --root` and links.

use crate::cpio::Cpio;
use anyhow::{Context, Result, ensure};
use hil_release::foreign::Foreign;
use hil_rig::run;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the root file system is made of, with everything that they need.
const PACKAGES: [&str; 11] = [
    "systemd",
    "systemd-sysv",
    "udev",
    "iproute2",
    "base-passwd",
    "base-files",
    "usr-is-merged",
    "coreutils",
    "dash",
    "grep",
    "sed",
];
/// Modules that must be there before the disk is, in order of loading.
const EARLY: [&str; 8] = [
    "virtio_ring.ko",
    "virtio.ko",
    "virtio_pci_legacy_dev.ko",
    "virtio_pci_modern_dev.ko",
    "virtio_pci.ko",
    "virtio_blk.ko",
    "failover.ko",
    "net_failover.ko",
];
/// Modules that the running system uses.
const LATER: [&str; 2] = ["virtio_net.ko", "virtio_console.ko"];
/// Size of the root file system; it is sparse.
const ROOT_SIZE: &str = "700M";

/// Files of a machine.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its version, from the package.
    pub version: String,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The root file system; machines write to a copy of their own.
    pub root: PathBuf,
}

impl Image {
    /// Makes it in `folder` out of cached packages, with `package` (a deb) and `extra` files, given as (path, text).
    pub fn make(cache: &Path, folder: &Path, package: &Path, extra: &[(&str, String)]) -> Result<Self> {
        let apt = Foreign::open("arm64")?;
        let (kernel, version, modules) = kernel(&apt, cache)?;
        let base = base(&apt, cache)?;
        let initramfs = folder.join("initramfs");
        std::fs::write(&initramfs, early(&apt, cache, &modules)?).context("write the initramfs")?;
        let tree = folder.join("tree");
        // Hard links: the base stays as it is, because everything below adds files or replaces them as a whole.
        run::run(Command::new("cp").arg("-al").arg(&base).arg(&tree))?;
        unpack(package, &tree)?;
        set_up(&tree, &modules, extra)?;
        let root = folder.join("root.ext4");
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(&tree).arg(&root).arg(ROOT_SIZE);
        run::run(&mut make)?;
        std::fs::remove_dir_all(&tree).context("remove the tree")?;
        Ok(Self { kernel, version, initramfs, root })
    }
}

/// Kernel, version, folder of its modules.
fn kernel(apt: &Foreign, cache: &Path) -> Result<(PathBuf, String, PathBuf)> {
    let names = apt.closure(&["linux-image-cloud-arm64"])?;
    let name = names.iter().find(|name| name.starts_with("linux-image-") && name.ends_with("-cloud-arm64"));
    let name =
        names.iter().find(|name| name.starts_with("linux-image-6")).or(name).context("no arm64 kernel")?;
    let version = name.trim_start_matches("linux-image-").to_owned();
    let root = cache.join("arm").join(name);
    let kernel = root.join(format!("boot/vmlinuz-{version}"));
    if !kernel.is_file() {
        Foreign::unpack(&apt.fetch(name)?, &root)?;
    }
    ensure!(kernel.is_file(), "{name} has no {}", kernel.display());
    let modules = root.join("lib/modules").join(&version).join("kernel");
    Ok((kernel, version, modules))
}

/// The unpacked distribution, made once per set of package versions.
fn base(apt: &Foreign, cache: &Path) -> Result<PathBuf> {
    let files = apt.fetch_all(&apt.closure(&PACKAGES)?)?;
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let tree = cache.join("arm/base");
    let mark = cache.join("arm/base.packages");
    let wanted = names.join("\n");
    if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(tree);
    }
    if tree.exists() {
        std::fs::remove_dir_all(&tree).context("remove the older base")?;
    }
    std::fs::create_dir_all(tree.join("usr")).context("make the base")?;
    for part in ["bin", "sbin", "lib"] {
        std::fs::create_dir_all(tree.join("usr").join(part)).context("make the base")?;
        symlink(format!("usr/{part}"), tree.join(part)).context("merge /usr")?;
    }
    for file in &files {
        unpack(file, &tree)?;
    }
    std::fs::write(&mark, wanted).context("remember the packages")?;
    Ok(tree)
}

/// Unpacks a package over a tree with a merged /usr: a folder of the archive does not replace a link to one.
pub fn unpack(package: &Path, tree: &Path) -> Result<()> {
    let script = "dpkg-deb --fsys-tarfile \"$1\" | tar --extract --preserve-permissions --keep-directory-symlink --directory \"$2\"";
    run::run(Command::new("sh").args(["-c", script, "unpack"]).arg(package).arg(tree))
        .with_context(|| format!("unpack {}", package.display()))
}

/// The initramfs: busybox, modules, a script that mounts the disk and goes on there.
fn early(apt: &Foreign, cache: &Path, modules: &Path) -> Result<Vec<u8>> {
    let file = apt.fetch("busybox-static")?;
    let at = cache.join("arm").join(file.file_stem().context("a package has a name")?);
    if !at.join("bin/busybox").is_file() {
        Foreign::unpack(&file, &at)?;
    }
    let mut cpio = Cpio::default();
    for folder in ["bin", "dev", "proc", "root", "mod"] {
        cpio.folder(folder);
    }
    cpio.program("bin/busybox", &std::fs::read(at.join("bin/busybox")).context("no busybox for arm64")?);
    for name in EARLY.into_iter().chain(LATER) {
        cpio.program(&format!("mod/{name}"), &std::fs::read(find(modules, name)?)?);
    }
    let load: String =
        EARLY.into_iter().chain(LATER).map(|name| format!("$B insmod /mod/{name}\n")).collect();
    let init = format!(
        "#!/bin/busybox sh\nB=/bin/busybox\n$B mount -t proc proc /proc\n$B mount -t devtmpfs dev /dev\n{load}\
         n=0\nwhile [ ! -b /dev/vda ] && [ $n -lt 100 ]; do $B sleep 0.1; n=$((n+1)); done\n\
         $B mount -t ext4 /dev/vda /root || {{ echo 'NO-ROOT'; $B poweroff -f; }}\n\
         $B umount /proc\n$B mount -o move /dev /root/dev\nexec $B switch_root /root /sbin/init\n"
    );
    cpio.program("init", init.as_bytes());
    Ok(cpio.finish())
}

/// A module by its file name, wherever the kernel's tree has it.
fn find(modules: &Path, name: &str) -> Result<PathBuf> {
    let mut open = vec![modules.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|found| found == name) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("the kernel has no module {name}")
}

/// What the rig adds: network, control channel, tills' way in, data disk.
fn set_up(tree: &Path, _modules: &Path, extra: &[(&str, String)]) -> Result<()> {
    let put = |at: &str, text: &str| -> Result<()> {
        let path = tree.join(at);
        std::fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {at}"))
    };
    for name in ["passwd", "group"] {
        let master = tree.join("usr/share/base-passwd").join(format!("{name}.master"));
        let text = std::fs::read_to_string(&master).with_context(|| format!("no {}", master.display()))?;
        put(&format!("etc/{name}"), &text)?;
    }
    if !tree.join("usr/bin/sh").exists() {
        symlink("dash", tree.join("usr/bin/sh")).context("link the shell")?;
    }
    put("etc/machine-id", "5e1f0a1d5e1f0a1d5e1f0a1d5e1f0a1d\n")?;
    put("etc/hostname", "store\n")?;
    // An emulated core on a busy machine may need minutes until udev has seen the disk.
    put("etc/fstab", "/dev/vdb /var/lib/steelyard ext4 defaults,x-systemd.device-timeout=900 0 0\n")?;
    put("var/lib/steelyard/.keep", "")?;
    put("etc/systemd/system/hil-network.service", NETWORK)?;
    put("etc/systemd/system/hil-tills.socket", TILLS_SOCKET)?;
    put("etc/systemd/system/hil-tills.service", TILLS)?;
    put("etc/systemd/system/hil-control.service", CONTROL)?;
    put("opt/control", CONTROL_SCRIPT)?;
    let wants = "etc/systemd/system/multi-user.target.wants";
    std::fs::create_dir_all(tree.join(wants))?;
    for unit in ["hil-network.service", "hil-control.service", "hil-tills.socket"] {
        symlink(format!("/etc/systemd/system/{unit}"), tree.join(wants).join(unit))?;
    }
    symlink("/lib/systemd/system/edge-agent.service", tree.join(wants).join("edge-agent.service"))?;
    // What nobody here asks for, and what takes an emulated machine seconds.
    for unit in
        ["systemd-timesyncd.service", "getty@tty1.service", "serial-getty@ttyAMA0.service", "getty.target"]
    {
        symlink("/dev/null", tree.join("etc/systemd/system").join(unit))?;
    }
    symlink("/lib/systemd/system/multi-user.target", tree.join("etc/systemd/system/default.target"))?;
    for (at, text) in extra {
        put(at, text)?;
    }
    let program = hil_rig::processes::need_program("systemd-sysusers")?;
    run::run(Command::new(program).arg(format!("--root={}", tree.display())))
}

const NETWORK: &str = "[Unit]\nDefaultDependencies=no\nAfter=systemd-udevd.service\nBefore=network.target\n\
[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/sbin/ip link set lo up\n\
ExecStart=/bin/sh -c 'n=0; while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done'\n\
ExecStart=/sbin/ip address add 10.0.2.15/24 dev eth0\nExecStart=/sbin/ip link set eth0 up\n\
ExecStart=/sbin/ip route add default via 10.0.2.2\n";
const TILLS_SOCKET: &str =
    "[Unit]\nAfter=hil-network.service\n[Socket]\nListenStream=10.0.2.15:7070\nFreeBind=yes\n";
const TILLS: &str =
    "[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd --connections-max=512 127.0.0.1:7070\n";
const CONTROL: &str = "[Unit]\nDefaultDependencies=no\nAfter=systemd-udevd.service\n[Service]\n\
ExecStart=/bin/sh /opt/control\nRestart=always\nRestartSec=1\n";
/// One command a line; its output and a line with its exit status come back.
const CONTROL_SCRIPT: &str = "until [ -c /dev/vport*p1 ]; do sleep 0.2; done\nexec 3<>\"$(echo /dev/vport*p1)\"\nwhile read -r line <&3; do\n  sh -c \"$line\" >/run/control.out 2>&1 </dev/null\n  \
code=$?\n  cat /run/control.out >&3\n  echo \"@@END $code\" >&3\ndone\nsleep 1\n";
