//! A message bus of our own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::processes::{Process, find_program};
use crate::{RigError, until};

/// How long the daemon may take to listen on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A private `dbus-daemon`. Dropping it kills it.
#[derive(Debug)]
pub struct PrivateBus {
    folder: PathBuf,
    process: Option<Process>,
}

impl PrivateBus {
    /// Starts a bus whose files lie in `folder` (a short path: a socket's path has 107 characters at most).
    pub async fn start(folder: &Path) -> Result<Self, RigError> {
        let config = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig>\n\
             <type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\n\
             <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy>\n\
             <limit name=\"max_match_rules_per_connection\">100000</limit>\n</busconfig>\n",
            folder.join("bus").display()
        );
        let path = folder.join("bus.conf");
        std::fs::write(&path, config)
            .map_err(|source| RigError::Io { what: format!("write {}", path.display()), source })?;
        let mut bus = Self { folder: folder.to_owned(), process: None };
        bus.restart().await?;
        Ok(bus)
    }

    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.join("bus").display())
    }

    /// SIGKILL: every connection is gone.
    pub fn kill(&mut self) -> Result<(), RigError> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts again at the same address.
    pub async fn restart(&mut self) -> Result<(), RigError> {
        self.kill()?;
        let socket = self.folder.join("bus");
        // The killed daemon left its socket behind, and the next one would refuse to replace it.
        if socket.exists() {
            std::fs::remove_file(&socket)
                .map_err(|source| RigError::Io { what: format!("remove {}", socket.display()), source })?;
        }
        let program = find_program("dbus-daemon")
            .ok_or_else(|| RigError::State("dbus-daemon is missing: apt-get install dbus-daemon".into()))?;
        let mut command = Command::new(program);
        command.arg("--nofork").arg("--nosyslog").arg("--config-file").arg(self.folder.join("bus.conf"));
        let log = self.folder.join("bus.log");
        let mut process = Process::start("dbus-daemon", command, &log)?;
        let listens = || async { tokio::net::UnixStream::connect(&socket).await.is_ok() };
        let waited = until("dbus-daemon to listen", START_LIMIT, listens).await;
        if !process.runs() {
            return Err(RigError::State(format!("dbus-daemon ended at once, see {}", log.display())));
        }
        waited?;
        self.process = Some(process);
        Ok(())
    }
}
