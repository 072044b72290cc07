//! The packages' trials: what dpkg, systemd and a technician find in a fresh Debian.

use crate::chroot::Chroot;
use anyhow::{Context, Result, ensure};
use ed25519_dalek::SigningKey;
use edge_update::{bundle, keys};
use hil_release::cross::{self, Built};
use hil_release::deb;
use hil_release::sign;
use hil_release::target::Target;
use hil_release::toolchain::Toolchain;
use hil_rig::processes::find_program;
use hil_rig::run;
use hil_trials::{Bench, Suite, Trial, Verdict};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The version before this one, as far as dpkg is concerned.
const BEFORE: &str = "0.0.9";
/// This one.
const NOW: &str = env!("CARGO_PKG_VERSION");
/// Most that `systemd-analyze security` may say, in tenths.
const EXPOSURE_TENTHS: u32 = 20;

/// The trials.
pub fn suite() -> Suite {
    let trial = |name, shows, run| Trial { name, shows, run };
    Suite {
        rig: "packages",
        trials: vec![
            trial("exposure", "both units stay below the agreed exposure", exposure),
            trial(
                "install",
                "files, link, user, conffiles; the service starts, feeds its watchdog, edgectl answers, backup",
                install,
            ),
            trial(
                "upgrade",
                "the ledger of the version before is there after the upgrade; older versions are refused",
                upgrade,
            ),
            trial(
                "update",
                "a signed update installs and stays; one that is not well is rolled back; bad ones are refused",
                update,
            ),
            trial("purge", "the ledger stays when the package goes, unless it is said otherwise", purge),
        ],
    }
}

/// `systemd-analyze security` on the unit files as they ship: the gate.
fn exposure(bench: &Bench<'_>) -> Result<Verdict> {
    if find_program("systemd-analyze").is_none() {
        return Ok(Verdict::Skipped("systemd-analyze is not installed".into()));
    }
    let folder = bench.place.root.join("hil-tests/release/debian");
    let mut seen = Vec::new();
    for unit in ["edge-agent.service", "sync-hq.service"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--no-pager", "--offline=true", &format!("--threshold={EXPOSURE_TENTHS}")]);
        let text = run::output(command.arg(folder.join(unit)))?;
        let line = text.lines().find(|line| line.contains("Overall exposure")).context("no verdict")?;
        seen.push(line.trim_start_matches(['→', ' ']).to_owned());
    }
    Ok(Verdict::Passed(seen.join("; ")))
}

/// The program for this machine's own kind of Debian.
fn built(bench: &Bench<'_>) -> Result<Built> {
    let toolchain = Toolchain::ready(Target::Amd64, false)?;
    cross::program(&bench.place.root, &toolchain, "edge-agent")
}

/// A chroot with the packages of both versions in `/`.
fn stand(bench: &Bench<'_>) -> Result<(Chroot, PathBuf)> {
    let built = built(bench)?;
    let chroot = Chroot::make(&bench.place.cache, &bench.folder)?;
    let mut now = PathBuf::new();
    for version in [BEFORE, NOW] {
        let file = deb::repack(&bench.place.root, "steelyard", &built, version)?;
        chroot.put(&file, &format!("{version}.deb"))?;
        now = file;
    }
    Ok((chroot, now))
}

/// Configures the store and says so to nobody else.
fn name_the_store(chroot: &Chroot) -> Result<()> {
    let text = "[store]\nid = 7\n[ledger]\nreserve_bytes = 1048576\n";
    std::fs::write(chroot.root.join("etc/steelyard/store.d/00-store.toml"), text).context("write the drop-in")
}

fn install(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(reason) = Chroot::missing() {
        return Ok(Verdict::Skipped(reason));
    }
    let (chroot, file) = stand(bench)?;
    chroot.must(&format!("dpkg -i /{NOW}.deb"))?;
    ensure!(
        chroot.must("readlink /usr/bin/edgectl")?.trim() == "edge-agent",
        "edgectl is no link to the one binary"
    );
    let listed = chroot.must("dpkg -L steelyard")?;
    for path in [
        "/lib/systemd/system/edge-agent.service",
        "/lib/udev/rules.d/60-steelyard.rules",
        "/usr/share/man/man1/edgectl.1.gz",
        "/usr/share/man/man1/edge-agent.1.gz",
        "/usr/share/bash-completion/completions/edgectl",
        "/usr/share/steelyard/devices/danfoss-ak-cc55.toml",
        "/usr/share/doc/steelyard/changelog.gz",
        "/etc/steelyard/store.toml",
    ] {
        ensure!(listed.lines().any(|line| line == path), "the package has no {path}");
    }
    let user = chroot.must("id steelyard")?;
    ensure!(user.contains("dialout") && user.contains("i2c"), "the user lacks a group: {user}");
    let unnamed = chroot.run("edge-agent check --config /etc/steelyard/store.toml")?;
    ensure!(
        unnamed.code != 0 && unnamed.text.contains("store"),
        "a store without a number is accepted: {}",
        unnamed.text
    );
    name_the_store(&chroot)?;
    let check = chroot.must("edge-agent check --config /etc/steelyard/store.toml")?;
    let mut service = chroot.start(&bench.folder.join("agent.log"))?;
    service.hear("WATCHDOG=1", Duration::from_secs(30))?;
    let status = chroot.run("edgectl status")?;
    ensure!(matches!(status.code, 0 | 5), "edgectl status: {}: {}", status.code, status.text);
    ensure!(
        chroot.must("edge-agent ctl --json ledger verify")?.contains("\"ok\":true"),
        "the ledger does not verify"
    );
    chroot.must("edgectl ledger backup /var/lib/steelyard/backup.db")?;
    service.stop()?;
    restore(&chroot, bench)?;
    let lint = lint(&file)?;
    let bytes = std::fs::metadata(&file).context("look at the package")?.len();
    Ok(Verdict::Passed(format!(
        "{bytes} bytes; {}; READY and WATCHDOG heard (ExecStart run as the unit's user, no init in a chroot); edgectl status ends with {}; \
         backup restored and verified; lintian: {lint}",
        check.trim(),
        status.code
    )))
}

/// The backup in the ledger's place: what a technician does after a dead disk.
fn restore(chroot: &Chroot, bench: &Bench<'_>) -> Result<()> {
    chroot.must(
        "cd /var/lib/steelyard && rm -f ledger.db ledger.db-wal ledger.db-shm && mv backup.db ledger.db && chown steelyard: ledger.db",
    )?;
    let service = chroot.start(&bench.folder.join("agent.log"))?;
    ensure!(
        chroot.must("edgectl --json ledger verify")?.contains("\"ok\":true"),
        "the restored ledger does not verify"
    );
    service.stop()
}

/// What lintian calls an error; without lintian that is said.
fn lint(package: &Path) -> Result<String> {
    if find_program("lintian").is_none() {
        return Ok("not installed".into());
    }
    let out = Command::new("lintian")
        .args(["--no-cfg", "--allow-root", "--tag-display-limit", "0"])
        .arg(package)
        .output();
    let text = String::from_utf8_lossy(&out.context("lintian does not start")?.stdout).into_owned();
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("E: ")).collect();
    let warnings = text.lines().filter(|line| line.starts_with("W: ")).count();
    ensure!(errors.is_empty(), "lintian: {}", errors.join(" | "));
    Ok(format!("0 errors, {warnings} warnings"))
}

fn notes(chroot: &Chroot) -> Result<usize> {
    let text = chroot.must("edgectl --json override list")?;
    Ok(text.matches("note/").count())
}

fn upgrade(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(reason) = Chroot::missing() {
        return Ok(Verdict::Skipped(reason));
    }
    let (chroot, _) = stand(bench)?;
    let log = bench.folder.join("agent.log");
    chroot.must(&format!("dpkg -i /{BEFORE}.deb"))?;
    name_the_store(&chroot)?;
    let service = chroot.start(&log)?;
    for number in 0..20 {
        chroot.must(&format!("edgectl override set note/shelf-{number} 'seen by nobody' --by rig"))?;
    }
    let before = notes(&chroot)?;
    ensure!(before >= 20, "the notes are not there before the upgrade: {before}");
    service.stop()?;
    chroot.must(&format!("dpkg -i /{NOW}.deb"))?;
    let service = chroot.start(&log)?;
    let after = notes(&chroot)?;
    ensure!(after == before, "{before} notes before the upgrade, {after} after");
    ensure!(
        chroot.must("edgectl --json ledger verify")?.contains("\"ok\":true"),
        "the ledger does not verify"
    );
    service.stop()?;
    let older = chroot.run(&format!("dpkg -i /{BEFORE}.deb"))?;
    ensure!(
        older.code != 0 && older.text.contains(&format!("version {NOW} is installed")),
        "an older version: {}",
        older.text
    );
    let version = "dpkg-query -W -f '${Version} ${Status}' steelyard";
    let still = chroot.must(version)?;
    ensure!(still.starts_with(&format!("{NOW} install ok installed")), "after the refusal: {still}");
    // A ledger of the future: its schema stands in the header, so four bytes make one.
    chroot.must("printf '\\000\\000\\000\\143' | dd of=/var/lib/steelyard/ledger.db bs=1 seek=60 conv=notrunc status=none")?;
    let future = chroot.run(&format!("STEELYARD_ALLOW_DOWNGRADE=1 dpkg -i /{BEFORE}.deb"))?;
    ensure!(
        future.code != 0 && future.text.contains("has schema 99"),
        "a ledger of schema 99: {}",
        future.text
    );
    let reason = older
        .text
        .lines()
        .find(|line| line.contains("is not installed"))
        .unwrap_or_default()
        .trim()
        .to_owned();
    Ok(Verdict::Passed(format!(
        "{after} of {before} notes there after {BEFORE} -> {NOW} (the same program under two numbers), verified; back: \"{reason}\"; \
         a ledger of schema 99 refused also with the downgrade allowed"
    )))
}

fn purge(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(reason) = Chroot::missing() {
        return Ok(Verdict::Skipped(reason));
    }
    let (chroot, _) = stand(bench)?;
    let ledger = chroot.root.join("var/lib/steelyard/ledger.db");
    chroot.must(&format!("dpkg -i /{NOW}.deb"))?;
    name_the_store(&chroot)?;
    chroot.start(&bench.folder.join("agent.log"))?.stop()?;
    let kept = chroot.must("dpkg --purge steelyard")?;
    ensure!(ledger.is_file() && kept.contains("/var/lib/steelyard is kept"), "purge took the ledger: {kept}");
    chroot.must(&format!("dpkg -i /{NOW}.deb && STEELYARD_PURGE_DATA=yes dpkg --purge steelyard"))?;
    ensure!(!ledger.exists(), "the ledger is still there although its end was asked for");
    chroot.must(&format!("dpkg -i /{NOW}.deb && mkdir -p /var/lib/steelyard && touch /etc/steelyard/purge-data && dpkg --purge steelyard"))?;
    ensure!(!ledger.parent().is_some_and(Path::exists), "the file purge-data was not heeded");
    let left = chroot.run("ls /etc/steelyard /usr/bin/edge-agent /lib/systemd/system/edge-agent.service")?;
    Ok(Verdict::Passed(format!(
        "kept with a line that says how to delete it; deleted with STEELYARD_PURGE_DATA=yes and with /etc/steelyard/purge-data; left: {}",
        left.text.lines().filter(|line| !line.contains("No such file")).collect::<Vec<_>>().join(" ")
    )))
}

/// systemd's part in the chroot: starts and stops the daemon as the unit's user.
const SYSTEMCTL: &str = "#!/bin/sh\n\
case \"$1\" in stop|restart) pkill -TERM -x edge-agent; n=0; while pgrep -x edge-agent >/dev/null && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done;; esac\n\
case \"$1\" in start|restart) install -d -o steelyard -g steelyard -m 750 /var/lib/steelyard /run/steelyard\n\
setsid setpriv --reuid=steelyard --regid=steelyard --init-groups --no-new-privs --bounding-set=-all /usr/bin/edge-agent run \
--config /etc/steelyard/store.toml >>/var/log/edge-agent.log 2>&1 </dev/null & ;; esac\nexit 0\n";

/// What is tried one after the other: name, exit status, what must be said, what is installed afterwards.
const TRIES: [(&str, i32, &str, &str); 10] = [
    ("bare", 6, "a bare package is installed with dpkg -i", BEFORE),
    ("forged", 6, "none that holds", BEFORE),
    ("short", 6, "cut short", BEFORE),
    ("flipped", 6, "expected BLAKE3", BEFORE),
    ("foreign", 6, "found arm64; ask for the update for amd64", BEFORE),
    ("good", 0, "has run well", NOW),
    ("good", 6, "found the same", NOW),
    ("older", 6, "which is older", NOW),
    ("impostor", 1, "the version before runs again", NOW),
    ("dead", 1, "the version before runs again", NOW),
];

/// Makes the updates of [`TRIES`] in the chroot and has the key trusted there.
fn seal_all(bench: &Bench<'_>, chroot: &Chroot, now: &Path) -> Result<()> {
    let key = SigningKey::from_bytes(&[42; 32]);
    let sealed = |package: &Path, name: &str, key: &SigningKey| {
        sign::seal(package, key, &chroot.root.join(format!("{name}.update")))
    };
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(chroot.root.join(name), bytes).with_context(|| format!("write {name}"))
    };
    let manifest = sealed(now, "good", &key)?;
    sealed(now, "forged", &SigningKey::from_bytes(&[43; 32]))?;
    let package = std::fs::read(now).context("read the package")?;
    write("bare.update", &package)?;
    let mut bytes = std::fs::read(chroot.root.join("good.update")).context("read the update")?;
    write("short.update", &bytes[..bytes.len() - 1000])?;
    *bytes.last_mut().context("an empty update")? ^= 1;
    write("flipped.update", &bytes)?;
    let foreign = bundle::Manifest { architecture: "arm64".into(), ..manifest };
    write("foreign.update", &bundle::seal(&foreign, &package, &key)?)?;
    sealed(&chroot.root.join(format!("{BEFORE}.deb")), "older", &key)?;
    let built = built(bench)?;
    let later = deb::repack(&bench.place.root, "steelyard", &built, "0.2.0")?;
    sealed(&later, "impostor", &key)?;
    chroot.put(&later, "later.deb")?;
    let path = bench.folder.join("dead");
    std::fs::write(&path, "#!/bin/sh\nexit 1\n").context("write a program that ends at once")?;
    let dead = deb::repack(&bench.place.root, "steelyard", &Built { path, ..built }, "0.2.1")?;
    chroot.put(&dead, "dead.deb")?;
    // Its configuration is one that the version before cannot read.
    chroot.must("dpkg-deb -R /dead.deb /dead && echo '[unknown]' >>/dead/etc/steelyard/store.toml && dpkg-deb -b /dead /dead.deb")?;
    sealed(&chroot.root.join("dead.deb"), "dead", &key)?;
    chroot.must(&format!("dpkg -i /{BEFORE}.deb"))?;
    name_the_store(chroot)?;
    write(
        "etc/steelyard/update.keys",
        format!("{} rig\n", keys::hex(key.verifying_key().as_bytes())).as_bytes(),
    )
}

/// `edgectl update` against a real dpkg: the daemon lives as long as the one command in which everything happens.
fn update(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(reason) = Chroot::missing() {
        return Ok(Verdict::Skipped(reason));
    }
    let (chroot, now) = stand(bench)?;
    seal_all(bench, &chroot, &now)?;
    std::fs::write(chroot.root.join("usr/bin/systemctl"), SYSTEMCTL).context("write systemctl")?;
    chroot.must("chmod 755 /usr/bin/systemctl && mkdir -p /run/systemd/system")?;
    let names: Vec<&str> = TRIES.iter().map(|(name, ..)| *name).collect();
    let script = format!(
        "systemctl start edge-agent.service; n=0; until edgectl status >/dev/null 2>&1 || [ $? = 5 ] || [ $n -gt 300 ]; \
         do sleep 0.2; n=$((n+1)); done\nedgectl override set note/kept 'before the update' --by rig\n\
         for f in {}; do echo \"== $f\"; edgectl update /$f.update --watch 5 --patience 20 2>&1; echo \"= $?\"; \
         dpkg-query -W -f '${{Version}} ${{Status}}\\n' steelyard; edgectl --json override list | grep -c note/kept; done; \
         systemctl stop edge-agent.service",
        names.join(" ")
    );
    let said = chroot.must(&script)?;
    std::fs::write(bench.folder.join("update.log"), &said).context("keep what was said")?;
    let parts: Vec<&str> = said.split("== ").skip(1).collect();
    ensure!(parts.len() == TRIES.len(), "expected {} parts, found {}: {said}", TRIES.len(), parts.len());
    for ((name, code, words, version), text) in TRIES.iter().zip(parts) {
        let held = text.starts_with(&format!("{name}\n"))
            && text.contains(words)
            && text.contains(&format!("\n= {code}\n"))
            && text.contains(&format!("{version} install ok installed\n1\n"));
        ensure!(
            held,
            "{name}: expected \"{words}\", exit {code}, version {version} and the note; found {text}"
        );
    }
    let trusted = chroot.must("cat /etc/steelyard/update.keys")?;
    chroot.must(&format!(
        "dpkg-deb -x /{NOW}.deb /x && cmp /x/etc/steelyard/store.toml /etc/steelyard/store.toml"
    ))?;
    chroot.must("dpkg --force-confold -i /later.deb")?;
    let still = chroot.must("cat /etc/steelyard/update.keys")?;
    ensure!(trusted.ends_with(" rig\n") && still == trusted, "the trusted keys became {still}");
    Ok(Verdict::Passed(format!(
        "unsigned, forged, truncated, altered, foreign, same and older refused with the running version running on; \
         {BEFORE} -> {NOW} stayed after 5 s of watching; a package 0.2.0 whose program says {NOW} and a package 0.2.1 whose program \
         ends at once were rolled back by themselves, the shipped configuration with them, and a changed one stays also with the \
         next upgrade; the note from before is there after each (dpkg is real, systemctl is the rig's)"
    )))
}
