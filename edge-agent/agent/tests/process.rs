//! The program itself: exit codes, readiness and watchdog messages, clean stop, reload by signal.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_api::Events;
use stand::{Folder, PATIENCE, until};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn signal(agent: &Agent, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Receives messages until one has the line.
fn told(socket: &UnixDatagram, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = [0; 4096];
    while Instant::now() < deadline {
        let Ok(count) = socket.recv(&mut bytes) else { continue };
        if String::from_utf8_lossy(&bytes[..count]).lines().any(|found| found == line) {
            return;
        }
    }
    panic!("systemd was never told {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_watchdog_reload_and_a_clean_stop() {
    let folder = Folder::new();
    folder.write("reserve_bytes = 0", "");
    let systemd = UnixDatagram::bind(folder.path("notify")).unwrap();
    systemd.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_edge-agent"))
        .args(["run", "--config"])
        .arg(folder.file())
        .env("NOTIFY_SOCKET", folder.path("notify"))
        .env("WATCHDOG_USEC", "2000000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut agent = Agent(child);
    let systemd = tokio::task::spawn_blocking(move || {
        told(&systemd, "READY=1");
        told(&systemd, "WATCHDOG=1");
        systemd
    })
    .await
    .unwrap();
    folder.write("reserve_bytes = 1", "");
    signal(&agent, rustix::process::Signal::HUP);
    until("the reload", || async {
        let events: Events = folder.client().fetch("/v1/events?limit=20").await.ok()?;
        events.events.iter().any(|event| event.text.contains("config-reload")).then_some(())
    })
    .await;
    signal(&agent, rustix::process::Signal::TERM);
    tokio::task::spawn_blocking(move || told(&systemd, "STOPPING=1")).await.unwrap();
    let status = until("the end", || {
        let status = agent.0.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert!(status.success(), "{status}");
    assert!(!folder.socket().exists());
}

#[test]
fn check_answers_with_its_exit_code() {
    let folder = Folder::new();
    folder.write("reserve_bytes = 0", "");
    let check = || {
        Command::new(env!("CARGO_BIN_EXE_edge-agent")).args(["check", "--config"]).arg(folder.file()).output()
    };
    let fine = check().unwrap();
    assert!(fine.status.success());
    assert!(String::from_utf8_lossy(&fine.stdout).starts_with("ok: store 7, "));
    folder.write("reserve_bytes = -1", "");
    let wrong = check().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        text.contains("store.toml:7:17: ledger.reserve_bytes: expected u64, found integer `-1`"),
        "{text}"
    );
}
