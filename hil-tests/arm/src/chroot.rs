//! A Debian of its own in a folder: made once with mmdebstrap, copied for every trial.

use anyhow::{Context, Result, bail};
use hil_rig::processes::{Process, find_program};
use hil_rig::run;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the chroot has beyond the essential packages.
const INCLUDE: &str = "systemd,udev,procps";

/// A copy for one trial.
#[derive(Debug)]
pub struct Chroot {
    /// Its root.
    pub root: PathBuf,
}

/// How a command in the chroot ended, with everything it said.
#[derive(Debug)]
pub struct Said {
    /// Exit status, −1 for a signal.
    pub code: i32,
    /// Standard output and error.
    pub text: String,
}

impl Chroot {
    /// Why there can be none here.
    pub fn missing() -> Option<String> {
        let root = run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
        if !root {
            return Some("a chroot needs root".into());
        }
        let wanted = ["mmdebstrap", "setpriv", "unshare", "systemd-analyze"];
        if find_program("mmdebstrap").is_none()
            && let Err(error) = run::install(&["mmdebstrap"])
        {
            return Some(format!("mmdebstrap cannot be installed: {error:#}"));
        }
        let absent: Vec<&str> = wanted.into_iter().filter(|name| find_program(name).is_none()).collect();
        (!absent.is_empty()).then(|| format!("not installed: {}", absent.join(", ")))
    }

    /// A fresh copy in `folder`.
    pub fn make(cache: &Path, folder: &Path) -> Result<Self> {
        let base = cache.join("packages/bookworm");
        let mark = cache.join("packages/bookworm.done");
        if !mark.is_file() {
            if base.exists() {
                std::fs::remove_dir_all(&base).context("remove a half-made base")?;
            }
            std::fs::create_dir_all(cache.join("packages")).context("make the cache folder")?;
            let mut command = Command::new("mmdebstrap");
            command
                .args(["--variant=minbase", "--quiet"])
                .arg(format!("--include={INCLUDE}"))
                .arg("bookworm")
                .arg(&base);
            let sources = Path::new("/etc/apt/sources.list.d/debian.sources");
            if sources.is_file() {
                command.arg(sources);
            }
            run::run(&mut command)?;
            std::fs::write(&mark, INCLUDE).context("remember the base")?;
        }
        let root = folder.join("debian");
        run::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&base).arg(&root))?;
        Ok(Self { root })
    }

    /// Runs a shell command inside, with its own /proc for as long as it takes.
    pub fn run(&self, command: &str) -> Result<Said> {
        let out = self.inside(command).stdin(Stdio::null()).output().context("unshare does not start")?;
        let text = [out.stdout, out.stderr].concat();
        Ok(Said { code: out.status.code().unwrap_or(-1), text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// Runs a command that must succeed; what it said.
    pub fn must(&self, command: &str) -> Result<String> {
        let said = self.run(command)?;
        if said.code != 0 {
            bail!("in the chroot, `{command}` ended with {}: {}", said.code, said.text.trim());
        }
        Ok(said.text)
    }

    /// Puts a file in.
    pub fn put(&self, from: &Path, to: &str) -> Result<()> {
        std::fs::copy(from, self.root.join(to)).with_context(|| format!("copy {}", from.display()))?;
        Ok(())
    }

    fn inside(&self, command: &str) -> Command {
        let mut shell = Command::new("unshare");
        let script = "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" /bin/sh -c \"$2\"";
        shell.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "inside"]);
        shell.arg(&self.root).arg(command);
        shell
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C");
        shell
    }

    /// Starts the unit's ExecStart as the unit's user would be started, and waits for `READY=1`.
    pub fn start(&self, log: &Path) -> Result<Service> {
        for (folder, mode) in [("var/lib/steelyard", "750"), ("run/steelyard", "750")] {
            self.must(&format!("install -d -o steelyard -g steelyard -m {mode} /{folder}"))?;
        }
        let socket = self.root.join("run/notify");
        if socket.exists() {
            std::fs::remove_file(&socket).context("remove the last socket")?;
        }
        let notify = UnixDatagram::bind(&socket).context("the notification socket")?;
        self.must("chmod 666 /run/notify")?;
        let exec = self.must("sed -n 's/^ExecStart=//p' /lib/systemd/system/edge-agent.service")?;
        let mut command = self.inside(&format!(
            "umask 007; exec setpriv --reuid=steelyard --regid=steelyard --init-groups --no-new-privs --bounding-set=-all {}",
            exec.trim()
        ));
        command.env("NOTIFY_SOCKET", "/run/notify").env("WATCHDOG_USEC", "2000000");
        let process = Process::start("edge-agent", command, log)?;
        let mut service = Service { process, notify, heard: Vec::new() };
        service.hear("READY=1", Duration::from_secs(60))?;
        Ok(service)
    }
}

/// The daemon in the chroot.
#[derive(Debug)]
pub struct Service {
    process: Process,
    notify: UnixDatagram,
    heard: Vec<String>,
}

impl Service {
    /// Waits for a message to systemd.
    pub fn hear(&mut self, word: &str, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        self.notify.set_read_timeout(Some(Duration::from_millis(200))).context("set a deadline")?;
        while begun.elapsed() < limit {
            let mut buffer = [0; 4096];
            if let Ok(length) = self.notify.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let found = text.lines().any(|line| line == word);
                self.heard.push(text);
                if found {
                    return Ok(());
                }
            }
            if !self.process.runs() {
                bail!("the daemon ended, see {}", self.process.log().display());
            }
        }
        bail!(
            "{word} was not heard in {} s; heard {:?}, see {}",
            limit.as_secs(),
            self.heard,
            self.process.log().display()
        )
    }

    /// Ends it as systemd would.
    pub fn stop(mut self) -> Result<()> {
        // The daemon is the child of unshare, which hands no signal on: it is found by its program.
        run::run(Command::new("pkill").args(["-TERM", "-P"]).arg(self.process.id().to_string()))?;
        let begun = Instant::now();
        while self.process.runs() {
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("the daemon ignored SIGTERM for 60 s, see {}", self.process.log().display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
