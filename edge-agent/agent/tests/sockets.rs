//! Taken sockets and ports, stale socket files, reload.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_agent::daemon::{self, RunError};
use edge_agent::listen::ListenError;
use edge_api::{Done, Events};
use serde_json::json;
use stand::{Folder, Stand, article, refusal, ticket};
use std::os::unix::fs::PermissionsExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_socket_is_named_and_a_stale_one_replaced() {
    let folder = Folder::new();
    folder.write("reserve_bytes = 0", "");
    // A socket file that nobody answers on, as a killed daemon leaves it.
    drop(std::os::unix::net::UnixListener::bind(folder.socket()).unwrap());
    let running = daemon::start(folder.load()).await.unwrap();
    let mode = std::fs::metadata(folder.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let other = Folder::new();
    other.write("reserve_bytes = 0", "");
    let mut config = other.load();
    config.api.socket = folder.socket();
    match daemon::start(config).await {
        Err(RunError::Listen(ListenError::SocketTaken(path))) => assert_eq!(path, folder.socket()),
        other => panic!("expected a taken socket, found {:?}", other.err()),
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_place_of_the_socket_is_left_alone() {
    let folder = Folder::new();
    folder.write("reserve_bytes = 0", "");
    std::fs::write(folder.socket(), b"notes").unwrap();
    match daemon::start(folder.load()).await {
        Err(RunError::Listen(ListenError::NotASocket(path))) => assert_eq!(path, folder.socket()),
        other => panic!("expected a refusal, found {:?}", other.err()),
    }
    assert_eq!(std::fs::read(folder.socket()).unwrap(), b"notes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_taken_ledger_are_named() {
    let stand = Stand::start().await;
    let other = Folder::new();
    other.write("reserve_bytes = 0", "");
    let mut config = other.load();
    config.api.listen = stand.running.address;
    match daemon::start(config).await {
        Err(RunError::Listen(ListenError::PortTaken(address))) => assert_eq!(address, stand.running.address),
        other => panic!("expected a taken port, found {:?}", other.err()),
    }
    match daemon::start(stand.folder.load()).await {
        Err(RunError::Ledger(error)) => assert!(error.to_string().contains("in use"), "{error}"),
        other => panic!("expected a taken ledger, found {:?}", other.err()),
    }
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reload_keeps_the_old_configuration_and_a_good_one_applies() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let reload = || async { stand.client.post("/v1/reload", &json!({}), None).await };
    stand.folder.write("reserve_bytes = 0", "[[cabinet]]\nid = \"A\"\nw1 = \"28-1\"\n");
    let error = reload().await.unwrap_err();
    assert!(error.to_string().contains("cabinet[0].id: expected 1 to 32 characters"), "{error}");
    assert_eq!(refusal(reload().await), (422, "bad-config".into()));
    let (status, _) = stand.post("/v1/tickets", &ticket(1, 1, 1001, 1, 350), "t-1").await.unwrap();
    assert_eq!(status, 201);
    stand.folder.write("reserve_bytes = 0\nqueue = 99", "");
    let error = reload().await.unwrap_err();
    assert!(error.to_string().contains("ledger.queue can only be changed by a restart"), "{error}");
    stand.folder.write("reserve_bytes = 0", "[[cabinet]]\nid = \"dairy-1\"\nw1 = \"28-1\"\n");
    let done: Done = reload().await.unwrap().parse().unwrap();
    assert_eq!(done.text, "configuration reloaded: 1 devices");
    stand::until("the new device", || async {
        let devices: edge_api::Devices = stand.client.fetch("/v1/devices").await.ok()?;
        (devices.devices.len() == 1).then_some(())
    })
    .await;
    let events: Events = stand.client.fetch("/v1/events?limit=50").await.unwrap();
    assert!(events.events.iter().any(|event| event.text.contains("config-reload")));
    stand.running.stop().await;
}
