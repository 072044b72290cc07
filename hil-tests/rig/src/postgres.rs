//! A real PostgreSQL server: Debian's, in a folder of its own, on a loopback port.
//!
//! It runs with the server's own durability (`fsync = on`). PostgreSQL refuses to run as root: then it runs as Debian's
//! `postgres` user, or `nobody`. Killing it is SIGKILL to the postmaster; its children notice and end by themselves, and
//! only then a new one can start, so [`Postgres::restart`] tries until it can.
//!
//! Synchronous, because the tests of the ledger are: nothing here needs a runtime.

use crate::processes::{Process, need_program};
use crate::{RigError, ports};
use rustix::fs::{Gid, Uid};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to begin or to end on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a stop by request may take before the server is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Where Debian keeps server programs: one folder per major version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A server program of the newest installed version.
pub fn find_server_program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin").join(name);
            program.is_file().then_some((number, program))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, program)| program).or_else(|| crate::processes::find_program(name))
}

fn need_server_program(name: &str) -> Result<PathBuf, RigError> {
    find_server_program(name).ok_or_else(|| RigError::Missing(format!("{name} (Debian package postgresql)")))
}

/// A user that may run the server: user and group.
fn unprivileged() -> Result<(u32, u32), RigError> {
    let passwd = std::fs::read_to_string("/etc/passwd")
        .map_err(|source| RigError::Io { what: "read /etc/passwd".into(), source })?;
    let find = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let none = || RigError::State("neither user postgres nor nobody exists to run PostgreSQL as".into());
    find("postgres").or_else(|| find("nobody")).ok_or_else(none)
}

/// A server that can be killed and started again on the same port with the same files.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    user: Option<(u32, u32)>,
    port: u16,
    process: Option<Process>,
}

impl Postgres {
    /// Creates an empty cluster in a temporary folder and starts the server.
    pub fn start() -> Result<Self, RigError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| RigError::Io { what, source }
        };
        let folder = tempfile::Builder::new()
            .prefix("steelyard-postgres-")
            .tempdir()
            .map_err(io("folder for PostgreSQL"))?;
        let user = if rustix::process::geteuid().is_root() { Some(unprivileged()?) } else { None };
        if let Some((uid, gid)) = user {
            // The folder itself is the user's, so that nothing outside it needs to be opened up.
            rustix::fs::chown(folder.path(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|errno| io("chown the folder for PostgreSQL")(errno.into()))?;
        }
        let mut server = Self { folder, user, port: ports::reserve()?, process: None };
        let mut command = server.command("initdb")?;
        command
            .args([
                "--no-sync",
                "--no-instructions",
                "--auth=trust",
                "--username=steelyard",
                "--encoding=UTF8",
            ])
            .args(["--locale=C", "--pgdata"])
            .arg(server.data());
        let out = command.output().map_err(io("initdb does not start"))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            return Err(RigError::State(format!("initdb failed: {said}")));
        }
        server.restart()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A server program, as the unprivileged user where we are root.
    fn command(&self, program: &str) -> Result<Command, RigError> {
        let program = need_server_program(program)?;
        let mut command = match self.user {
            Some((uid, gid)) => {
                let mut command = Command::new(need_program("setpriv")?);
                command
                    .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()])
                    .arg("--")
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        Ok(command)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://steelyard@127.0.0.1:{}/{database}", self.port)
    }

    /// The server's folder, its log included.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs SQL with the server's own client and answers what it prints, unaligned and without headings.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, RigError> {
        let mut command = self.command("psql")?;
        let out = command
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                "--command",
            ])
            .arg(sql)
            .arg(self.url(database))
            .output()
            .map_err(|source| RigError::Process { what: "psql does not start".into(), source })?;
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
        } else {
            Err(RigError::State(format!("psql: {}", String::from_utf8_lossy(&out.stderr).trim())))
        }
    }

    /// Creates a database and answers its address.
    pub fn database(&self, name: &str) -> Result<String, RigError> {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url(name))
    }

    /// SIGKILL, as a power cut of the server's machine would look from here.
    pub fn kill(&mut self) -> Result<(), RigError> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts again and waits until it answers.
    pub fn restart(&mut self) -> Result<(), RigError> {
        self.kill()?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let mut command = self.command("postgres")?;
            command
                .arg("-D")
                .arg(self.data())
                .args(["-p", &self.port.to_string()])
                .args(["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=64MB"])
                .args(["-c", "max_connections=40", "-c", "max_wal_size=512MB"])
                .arg("-c")
                .arg(format!("unix_socket_directories={}", self.folder.path().display()));
            let log = self.folder.path().join("server.log");
            let mut process = Process::start("postgres", command, &log)?;
            loop {
                if !process.runs() {
                    // Children of a killed postmaster may still hold the data folder.
                    break;
                }
                if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
                    && self.sql("postgres", "SELECT 1").is_ok()
                {
                    self.process = Some(process);
                    return Ok(());
                }
                if Instant::now() > deadline {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            if Instant::now() > deadline {
                return Err(RigError::State(format!("PostgreSQL does not start, see {}", log.display())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Asked to end at once, the server removes its shared memory; killed, it would leave that behind.
        if let Some(process) = &mut self.process
            && let Some(pid) = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw)
            && rustix::process::kill_process(pid, rustix::process::Signal::QUIT).is_ok()
        {
            let deadline = Instant::now() + STOP_LIMIT;
            while process.runs() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_a_kill() {
        let mut server = Postgres::start().unwrap();
        let url = server.database("one").unwrap();
        assert!(url.ends_with("/one"), "{url}");
        server.sql("one", "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)").unwrap();
        server.kill().unwrap();
        assert!(server.sql("one", "SELECT 1").is_err());
        server.restart().unwrap();
        assert_eq!(server.sql("one", "SELECT sum(n) FROM t").unwrap(), "3");
    }
}
