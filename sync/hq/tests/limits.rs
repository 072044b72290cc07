//! HQ at its limits: a full ledger, a taken port, command lines that name what is not there.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

#[path = "../../mqtt/tests/broker/mod.rs"]
mod broker;
mod stand;

use broker::Broker;
use stand::{PATIENCE, StandIn, assert_same, receipt, request, until};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use sync_core::SenderConfig;
use sync_hq::{BrokerAddress, Endpoint, EndpointConfig, StoreTarget};
use sync_model::StoreId;
use sync_mqtt::Backoff;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_ledger_stops_acknowledging_says_so_and_resumes_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let hq_file = folder.path().join("hq.db");
    let broker = Broker::start(&[]);
    let endpoint = Endpoint::start(EndpointConfig {
        store: StoreTarget::Sqlite(hq_file.clone()),
        max_bytes: Some(400_000),
        broker: BrokerAddress { host: "127.0.0.1".into(), port: broker.port() },
        embedded: None,
        client_id: "hq".into(),
        buckets: None,
        lease: std::time::Duration::from_secs(10),
        keep_alive_s: 30,
        backoff: Backoff { min_ms: 20, max_ms: 200 },
        listen: "127.0.0.1:0".parse().unwrap(),
        sender: SenderConfig::default(),
        identity: None,
    })
    .await
    .unwrap();
    let port = endpoint.http_address().port();
    let health =
        || request(port, "GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b"");

    let store = StandIn::open(7, folder.path(), broker.port());
    store.append(receipt(1_000_000_000));
    // Far more than fits.
    for round in 0..20 {
        store.sell(1 + round * 500, 500 + round * 500);
    }
    until("health says that the ledger is full", || health().0 == 503).await;
    let (_, body) = health();
    assert_eq!(body["status"], "failing");
    assert!(body["ledger"]["fault"].as_str().unwrap().contains("full"), "{body}");
    assert!(!store.settled());

    endpoint.ledger().unwrap().set_max_bytes(None).unwrap();
    until("health is fine again", || health().0 == 200).await;
    until("everything settles", || store.settled()).await;
    endpoint.stop().await;
    let at_store = store.close().await;
    assert_eq!(assert_same(StoreId(7), &at_store, &hq_file), 10_002);
}

/// Runs the program to its end.
fn run(args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sync-hq"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn command_lines_that_name_what_is_not_there_are_refused_with_the_expectation() {
    let refused = |args: &[&str], expected: &str| {
        let output = run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    };
    refused(&["run", "--store", "mysql://hq", "--broker", "h:1"], "expected sqlite:PATH or postgres://");
    refused(
        &["run", "--store", "postgres://hq@h/hq", "--broker", "h:1", "--buckets", "3-64"],
        "numbers and ranges from 0 to 63",
    );
    refused(&["run", "--store", "sqlite:x", "--broker", "h"], "expected HOST:PORT");
    refused(
        &["run", "--store", "sqlite:x", "--broker", "h:1", "--listen", "0.0.0.0:80"],
        "expected a loopback IP",
    );
    refused(&["run"], "--store");
}

#[test]
fn a_taken_port_and_an_impossible_file_end_with_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ledger = format!("sqlite:{}", folder.path().join("hq.db").display());
    let output = run(&["run", "--store", &ledger, "--broker", "127.0.0.1:1", "--listen", &address]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.contains(&format!("cannot listen on {address}"))).count(),
        1,
        "{text}"
    );

    let nowhere = format!("sqlite:{}", folder.path().join("no/such/folder/hq.db").display());
    let output = run(&["run", "--store", &nowhere, "--broker", "127.0.0.1:1", "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot open HQ's ledger"), "{text}");
}
