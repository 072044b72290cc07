//! The fake `org.bluez` keeps discovery sessions as BlueZ does: one per client, ended when the client is gone.

use hil_rig::bluez::{FakeBluez, PrivateBus};
use hil_rig::until;
use std::time::Duration;
use zbus::connection::Builder;
use zbus::{Connection, Proxy};

async fn client(bus: &PrivateBus) -> Connection {
    let builder = Builder::address(bus.address().as_str()).expect("a D-Bus address");
    builder.build().await.expect("the bus takes another client")
}

async fn scan(client: &Connection, method: &str) -> zbus::Result<()> {
    let adapter = Proxy::new(client, "org.bluez", "/org/bluez/hci0", "org.bluez.Adapter1").await?;
    adapter.call(method, &()).await
}

#[tokio::test]
async fn a_killed_client_takes_its_scan_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let fake = FakeBluez::start(&bus.address(), Vec::new(), Duration::from_secs(1)).await.unwrap();
    let (first, second) = (client(&bus).await, client(&bus).await);
    scan(&first, "StartDiscovery").await.unwrap();
    assert!(scan(&first, "StartDiscovery").await.is_err(), "one session per client");
    scan(&second, "StartDiscovery").await.unwrap();
    scan(&second, "StopDiscovery").await.unwrap();
    assert!(fake.scanned(), "the first client still scans");
    drop(first);
    let over = || async { !fake.scanned() };
    until("the dead client's scan to end", Duration::from_secs(10), over).await.unwrap();
}
