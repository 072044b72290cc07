//! A real mosquitto on a free loopback port, with a private configuration, killable and restartable.

#![allow(clippy::unwrap_used, reason = "a test's fixture: failing here fails the test")]
#![allow(dead_code, reason = "every test program uses its own part")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A mosquitto that dies with this object.
pub(crate) struct Broker {
    folder: tempfile::TempDir,
    program: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    /// Starts a broker; `lines` are appended to its configuration.
    pub(crate) fn start(lines: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut broker = Self { folder, program: find_mosquitto(), port: 0, child: None };
        // The port is free now and may be taken a moment later: then the broker ends at once, and the next port is tried.
        for _ in 0..10 {
            broker.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let port = broker.port;
            let mut config = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
            config.push_str("log_dest none\n");
            for line in lines {
                config.push_str(line);
                config.push('\n');
            }
            std::fs::write(broker.folder.path().join("mosquitto.conf"), config).unwrap();
            if broker.try_spawn() {
                return broker;
            }
        }
        panic!("mosquitto did not start on ten loopback ports in a row");
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, as a power cut does it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the broker is ours to kill");
            child.wait().expect("the broker is ours to wait for");
        }
    }

    /// Starts it again on the same port, with nothing remembered.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "kill first");
        assert!(self.try_spawn(), "mosquitto did not start again on port {}", self.port);
    }

    fn try_spawn(&mut self) -> bool {
        let mut child = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto can be executed");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn find_mosquitto() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|folder| folder.join("mosquitto"))
        .find(|program| Path::is_file(program))
        .unwrap_or_else(|| panic!("mosquitto is missing: apt-get install mosquitto"))
}
