//! A real MQTT broker: Eclipse mosquitto on a loopback port.
//!
//! It runs without persistence: a broker that forgets everything when killed is the harsher far end, because retained
//! acknowledgements and sessions must be re-made by the programs under test.

use crate::processes::{Process, need_program};
use crate::{RigError, until};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long mosquitto may take to listen on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A broker that can be killed and started again on the same port.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Broker {
    /// Writes the configuration into `folder` and starts.
    pub async fn start(folder: &Path, port: u16) -> Result<Self, RigError> {
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n\
             log_type error\nlog_type warning\nlog_type notice\nmax_queued_messages 1000\nmessage_size_limit 1048576\n"
        );
        let path = folder.join("mosquitto.conf");
        std::fs::write(&path, config)
            .map_err(|source| RigError::Io { what: format!("write {}", path.display()), source })?;
        let mut broker = Self { folder: folder.into(), port, process: None };
        broker.restart().await?;
        Ok(broker)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::runs)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), RigError> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts again and waits until it accepts connections.
    pub async fn restart(&mut self) -> Result<(), RigError> {
        self.kill()?;
        let mut command = Command::new(need_program("mosquitto")?);
        command.arg("-c").arg(self.folder.join("mosquitto.conf"));
        let mut process = Process::start("mosquitto", command, &self.folder.join("mosquitto.log"))?;
        let port = self.port;
        let listens =
            || async move { tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() };
        let waited = until("mosquitto to listen", START_LIMIT, listens).await;
        if !process.runs() {
            return Err(RigError::State(format!("mosquitto ended at once, see {}", process.log().display())));
        }
        waited?;
        self.process = Some(process);
        Ok(())
    }
}
