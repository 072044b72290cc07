//! Settlement against a real broker and an HQ made of the same ledger crate: both directions, a dead broker, bad messages.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_api::{Status, Sync};
use stand::{Stand, article, ticket, until};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use sync_core::Message;
use sync_model::{
    ArticlesSet, ClockQuality, Command as Ordered, Event, Fact, Kind, Seq, Stamp, Text, UnixMillis,
};
use sync_mqtt::topic::{self, Leaf};
use sync_mqtt::{Backoff, PipeConfig, PipeEvent, Publish, open};
use sync_store::{Ledger, LedgerConfig, Owner};

/// A broker that is killed when the test ends.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn broker(port: u16) -> Broker {
    let spawn = |program: &str| {
        Command::new(program)
            .args(["-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let child = spawn("mosquitto").or_else(|_| spawn("/usr/sbin/mosquitto"));
    let broker = Broker(child.expect("mosquitto is needed for this test: apt-get install mosquitto"));
    until("the broker", || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
    broker
}

/// HQ: takes blocks, acks after its commit, publishes its own log.
struct Hq {
    ledger: Ledger,
    refused: Arc<Mutex<Vec<String>>>,
    down_acked: Arc<Mutex<Seq>>,
    pipe: Arc<sync_mqtt::Pipe>,
}

const STAMP: Stamp = Stamp { at: UnixMillis(1_800_000_000_000), clock: ClockQuality::Synced };

impl Hq {
    fn start(dir: &std::path::Path, port: u16) -> Self {
        let config = LedgerConfig {
            path: dir.join("hq.db"),
            owner: Owner::Hq,
            max_bytes: None,
            software: Text::new("test").unwrap(),
            queue: 64,
        };
        let (ledger, _) = Ledger::open(config, STAMP).unwrap();
        let mut config = PipeConfig::new("127.0.0.1", port, "hq");
        config.subscriptions = topic::hq_filters();
        config.backoff = Backoff { min_ms: 20, max_ms: 200 };
        let (pipe, mut events) = open(config);
        let pipe = Arc::new(pipe);
        let (refused, down_acked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Seq::ZERO)));
        let hq =
            Self { ledger, refused: refused.clone(), down_acked: down_acked.clone(), pipe: pipe.clone() };
        let ledger = hq.ledger.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let PipeEvent::Message { payload, .. } = event else { continue };
                match Message::decode(&payload) {
                    Ok(Message::Block(block)) => {
                        let ledger = ledger.clone();
                        let ingested = tokio::task::spawn_blocking(move || {
                            ledger.call(move |draft| draft.ingest(&block, STAMP.at))
                        });
                        let ack = ingested.await.unwrap().unwrap().ack;
                        let name = topic::name(stand::STORE, Leaf::UpAck);
                        pipe.try_publish(&name, Message::Ack(ack).encode(), Publish::Retained).ok();
                    }
                    Ok(Message::Ack(ack)) => *down_acked.lock().unwrap() = ack.upto,
                    Ok(Message::Nak(nak)) => refused.lock().unwrap().push(nak.code.to_string()),
                    Ok(Message::Hello(_)) | Err(_) => {}
                }
            }
        });
        hq
    }

    async fn say(&self, fact: impl Into<Fact>) -> Seq {
        let event = Event::new(STAMP, fact);
        let ledger = self.ledger.clone();
        let block = tokio::task::spawn_blocking(move || {
            let id = ledger.call(move |draft| draft.append_down(stand::STORE, &event)).unwrap();
            ledger.reader().unwrap().block(id.log, Seq(1), 512, usize::MAX).unwrap().unwrap()
        })
        .await
        .unwrap();
        let last = block.last();
        let payload = Message::Block(block).encode();
        let name = topic::name(stand::STORE, Leaf::Down);
        until("HQ's pipe", || async { self.pipe.try_publish(&name, payload.clone(), Publish::Live).ok() })
            .await;
        last
    }

    fn sales(&self) -> u64 {
        let counts = self.ledger.reader().unwrap().counts().unwrap();
        counts.iter().filter(|row| row.kind == Kind::SALE).map(|row| row.count).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_go_up_prices_come_down_and_a_dead_broker_stops_nobody() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = broker(port).await;
    let hq_dir = tempfile::tempdir().unwrap();
    let hq = Hq::start(hq_dir.path(), port);
    let table = format!(
        "[hq]\nhost = \"127.0.0.1\"\nport = {port}\nlinger_ms = 20\nretry_min_ms = 200\nretry_max_ms = 1000\nhello_s = 1"
    );
    let stand = Stand::with("reserve_bytes = 0", &table).await;
    let connected = |wanted: bool| {
        let client = &stand.client;
        until("the broker's state", move || async move {
            let status: Status = client.fetch("/v1/status").await.ok()?;
            (status.sync.connected == wanted).then_some(())
        })
    };
    connected(true).await;
    let last = hq.say(ArticlesSet { articles: vec![article(1001, 1, 350)] }).await;
    until("the till price", || async { stand.client.fetch::<edge_api::Price>("/v1/prices/1001").await.ok() })
        .await;
    until("the store's ack", || async { (*hq.down_acked.lock().unwrap() == last).then_some(()) }).await;
    stand.post("/v1/tickets", &ticket(1, 1, 1001, 1, 350), "t-1").await.unwrap();
    let settled = |sales: u64| {
        let (client, hq) = (&stand.client, &hq);
        until("settlement", move || async move {
            let sync: Sync = client.fetch("/v1/sync").await.ok()?;
            (sync.brief.lag == 0 && hq.sales() == sales).then_some(())
        })
    };
    settled(1).await;
    drop(first);
    connected(false).await;
    for number in 2..=30 {
        stand.post("/v1/tickets", &ticket(1, number, 1001, 1, 350), &format!("t-{number}")).await.unwrap();
    }
    // The view of the log's end follows the commit; how soon is the machine's affair.
    until("the lag", || async {
        let sync: Sync = stand.client.fetch("/v1/sync").await.ok()?;
        (sync.brief.lag >= 29).then_some(())
    })
    .await;
    let _second = broker(port).await;
    settled(30).await;
    bad_messages(&stand, &hq).await;
    settled(30).await;
    open_epoch(&stand, &hq).await;
    stand.post("/v1/tickets", &ticket(1, 31, 1001, 1, 350), "t-31").await.unwrap();
    settled(31).await;
    stand.running.stop().await;
}

/// HQ orders a new epoch and says so twice: it is opened once, and the old log is settled to its end.
async fn open_epoch(stand: &Stand, hq: &Hq) {
    let daemon = &stand.running.daemon;
    let old = daemon.ledger.log().unwrap();
    hq.say(Ordered::OpenEpoch).await;
    until("the new epoch", || async { daemon.ledger.log().filter(|log| log.epoch > old.epoch) }).await;
    let new = daemon.ledger.log().unwrap();
    // The block is sent whole each time, so the order comes again with what follows it.
    let last = hq.say(ArticlesSet { articles: vec![article(1002, 1, 350)] }).await;
    until("the store's ack", || async { (*hq.down_acked.lock().unwrap() == last).then_some(()) }).await;
    assert_eq!(daemon.ledger.log(), Some(new));
    let heads = hq.ledger.reader().unwrap();
    until("both logs at HQ", || async {
        let end = daemon.ledger.reader().ok()?.head(old).ok()??.head;
        let there = heads.head(old).ok()??.head;
        (there == end && heads.head(new).ok()?.is_some()).then_some(())
    })
    .await;
    let first = heads.events(new, Seq(1), 1).unwrap();
    let Ok(Event { fact: Fact::EpochOpened(opened), .. }) = &first[0].event else { panic!("{first:?}") };
    assert_eq!(opened.parent.as_ref().map(|parent| parent.epoch), Some(old.epoch));
}

/// Garbage and another store's block on our topic: kept aside, answered, link up.
async fn bad_messages(stand: &Stand, hq: &Hq) {
    let name = topic::name(stand::STORE, Leaf::Down);
    for payload in [b"garbage".to_vec(), vec![1; 60_000]] {
        until("HQ's pipe", || async { hq.pipe.try_publish(&name, payload.clone(), Publish::Live).ok() })
            .await;
    }
    until("the quarantine", || async {
        let sync: Sync = stand.client.fetch("/v1/sync").await.ok()?;
        (sync.quarantined >= 2 && sync.brief.connected).then_some(())
    })
    .await;
    // Refusals have a bounded rate: at least the first one comes.
    until("a refusal", || async {
        hq.refused.lock().unwrap().iter().any(|code| code == "undecodable").then_some(())
    })
    .await;
}
