//! Child processes: each in a process group of its own, output to a file, ended with its handle.
//!
//! Contract: [`Process::kill`] is SIGKILL to the whole group and returns when the program is gone; [`Process::stop`] is
//! SIGTERM with a deadline. Dropping a handle kills. A group of its own means that Ctrl-C at the terminal reaches only the
//! rig, which then ends its children in order.

use crate::RigError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Folders with daemons that are not on every user's path.
const MORE_FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The executable `name` on the path or in the system's folders for daemons.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The path of this program, also when a build has replaced its file since the start: then what lies there now.
pub fn myself() -> Result<PathBuf, RigError> {
    let failed = |source| RigError::Process { what: "the path of this program".into(), source };
    Ok(without_mark(std::env::current_exe().map_err(failed)?))
}

/// Linux marks the name of a running program's file that is no longer there (proc(5), `/proc/PID/exe`).
fn without_mark(path: PathBuf) -> PathBuf {
    let name = path.to_str().and_then(|name| name.strip_suffix(" (deleted)"));
    name.map(PathBuf::from).filter(|_| !path.exists()).unwrap_or(path)
}

/// [`find_program`], or the error that says how to get it.
pub fn need_program(name: &str) -> Result<PathBuf, RigError> {
    find_program(name).ok_or_else(|| RigError::Missing(name.into()))
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output is appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, RigError> {
        let failed = |source| RigError::Process { what: format!("{name} does not start"), source };
        let out = append(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn().map_err(failed)?;
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL to the group; returns when the program is gone.
    pub fn kill(&mut self) -> Result<ExitStatus, RigError> {
        self.signal(Signal::KILL)?;
        self.child.wait().map_err(|source| RigError::Process {
            what: format!("{} cannot be waited for", self.name),
            source,
        })
    }

    /// SIGTERM, then waits up to `limit`. A program that is still there is killed and reported.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus, RigError> {
        self.signal(Signal::TERM)?;
        let started = Instant::now();
        loop {
            let state = self.child.try_wait().map_err(|source| RigError::Process {
                what: format!("{} cannot be waited for", self.name),
                source,
            })?;
            if let Some(status) = state {
                return Ok(status);
            }
            if started.elapsed() >= limit {
                self.kill()?;
                return Err(RigError::State(format!(
                    "{} ignored SIGTERM for {} ms and was killed",
                    self.name,
                    limit.as_millis()
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Signals the group. A program that is already gone is no error.
    fn signal(&mut self, signal: Signal) -> Result<(), RigError> {
        if !self.runs() {
            return Ok(());
        }
        match kill_process_group(Pid::from_child(&self.child), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(RigError::Process {
                what: format!("{} cannot be signalled", self.name),
                source: errno.into(),
            }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failure here means that the program is gone already, which is what is wanted.
        drop(self.kill());
    }
}

fn append(log: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn kill_reaches_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start("parent", shell("sleep 600 & echo $!; wait"), &log).unwrap();
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        crate::until("the child's id", Duration::from_secs(10), || async { read().ends_with('\n') })
            .await
            .unwrap();
        let child = PathBuf::from(format!("/proc/{}/stat", read().trim()));
        process.kill().unwrap();
        // Gone, or a zombie of a container's init that reaps late.
        let gone = || std::fs::read_to_string(&child).map_or(true, |stat| stat.contains(") Z "));
        crate::until("the grandchild's end", Duration::from_secs(10), || async { gone() }).await.unwrap();
    }

    #[test]
    fn the_mark_of_a_replaced_program_is_no_part_of_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let (gone, odd) = (folder.path().join("xtask (deleted)"), folder.path().join("odd (deleted)"));
        std::fs::write(&odd, "").unwrap();
        assert_eq!(without_mark(gone), folder.path().join("xtask"));
        assert_eq!(without_mark(odd.clone()), odd, "a file may really be called so");
    }

    #[tokio::test]
    async fn stop_waits_for_a_clean_end_and_kills_after_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ready = || std::fs::read_to_string(&log).unwrap_or_default().contains("ready");
        let polite = shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
        let mut process = Process::start("polite", polite, &log).unwrap();
        crate::until("ready", Duration::from_secs(10), || async { ready() }).await.unwrap();
        assert_eq!(process.stop(Duration::from_secs(10)).await.unwrap().code(), Some(3));

        std::fs::remove_file(&log).unwrap();
        let deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
        let mut process = Process::start("deaf", deaf, &log).unwrap();
        crate::until("ready", Duration::from_secs(10), || async { ready() }).await.unwrap();
        let refused = process.stop(Duration::from_millis(200)).await;
        assert!(matches!(refused, Err(RigError::State(_))), "{refused:?}");
        assert!(!process.runs());
    }
}
