//! A daemon without devices in a private folder, its price book, and a client.
#![allow(dead_code, reason = "each test file uses its own part of the stand")]

use edge_agent::config::{self, Config};
use edge_agent::daemon::{self, Running};
use edge_api::{Accepted, Client, ClientError, TicketLine, TicketRequest, TicketTender};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sync_core::Block;
use sync_model::{
    Article, ArticlesSet, ClockQuality, Direction, Event, Milli, Minor, Seq, Sku, Stamp, StockUnit, StoreId,
    Text, UnixMillis,
};
use sync_store::{Ledger, LedgerConfig, Owner};

/// The store of the tests.
pub(crate) const STORE: StoreId = StoreId(7);
/// Longest wait for a condition.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `look` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A private folder with a configuration file.
pub(crate) struct Folder {
    pub(crate) dir: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path("store.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("edge.sock")
    }

    /// Writes the configuration; `ledger` adds lines to `[ledger]`, `rest` whole tables.
    pub(crate) fn write(&self, ledger: &str, rest: &str) -> &Self {
        let text = format!(
            "[store]\nid = 7\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\
             [ledger]\ndir = \"ledger\"\n{ledger}\n\
             [api]\nsocket = \"edge.sock\"\nlisten = \"127.0.0.1:0\"\n\
             [channels]\nweb = 500\n\
             [prices]\ntick_ms = 20\n{rest}\n"
        );
        std::fs::write(self.file(), text).unwrap();
        self
    }

    pub(crate) fn load(&self) -> Config {
        config::load(&self.file()).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket(), Duration::from_secs(20))
    }
}

/// A running daemon.
pub(crate) struct Stand {
    pub(crate) folder: Folder,
    pub(crate) running: Running,
    pub(crate) client: Client,
}

impl Stand {
    pub(crate) async fn start() -> Self {
        Self::with("reserve_bytes = 0", "").await
    }

    pub(crate) async fn with(ledger: &str, rest: &str) -> Self {
        let folder = Folder::new();
        folder.write(ledger, rest);
        let running = daemon::start(folder.load()).await.unwrap();
        let client = folder.client();
        Self { folder, running, client }
    }

    /// Lets HQ say these articles, and waits until the tills charge the prices.
    pub(crate) async fn price_book(&self, articles: &[Article]) {
        let block = hq_block(&self.folder.path("hq"), articles);
        let daemon = &self.running.daemon;
        let received = UnixMillis(daemon.clock.wall_ms());
        daemon.commit(move |draft| draft.ingest(&block, received)).await.unwrap();
        for article in articles {
            let path = format!("/v1/prices/{}", article.sku);
            until("a till price", || async {
                let price: edge_api::Price = self.client.fetch(&path).await.ok()?;
                (price.price_minor == article.price.0).then_some(())
            })
            .await;
        }
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<(u16, Accepted), ClientError> {
        let reply = self.client.post(path, body, Some(key)).await?;
        Ok((reply.status, reply.parse()?))
    }

    /// The code of a refusal.
    pub(crate) async fn refusal(&self, path: &str, body: &Value, key: &str) -> (u16, String) {
        refusal(self.post(path, body, key).await)
    }

    pub(crate) async fn on_hand(&self, sku: u64) -> i64 {
        let stock: edge_api::Stock = self.client.fetch(&format!("/v1/stock?sku={sku}")).await.unwrap();
        stock.rows.iter().map(|row| row.on_hand_milli).sum()
    }
}

/// Status and code of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String) {
    match result {
        Err(ClientError::Refused { status, error }) => (status, error.code),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// An article in effect since long ago.
pub(crate) fn article(sku: u64, version: u64, price: i64) -> Article {
    Article {
        sku: Sku(sku),
        version,
        name: Text::new(format!("article {sku}")).unwrap(),
        unit: StockUnit::Piece,
        price: Minor(price),
        tax_rate: 900,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    }
}

/// HQ's log as one block, written by a ledger of HQ's own that goes on with every call.
pub(crate) fn hq_block(dir: &Path, articles: &[Article]) -> Block {
    std::fs::create_dir_all(dir).unwrap();
    let stamp = Stamp { at: UnixMillis(1_800_000_000_000), clock: ClockQuality::Synced };
    let config = LedgerConfig {
        path: dir.join("hq.db"),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::new("test").unwrap(),
        queue: 8,
    };
    let (ledger, _) = Ledger::open(config, stamp).unwrap();
    let event = Event::new(stamp, ArticlesSet { articles: articles.to_vec() });
    let id = ledger.call(move |draft| draft.append_down(STORE, &event)).unwrap();
    assert_eq!(id.log.direction, Direction::Down);
    ledger.reader().unwrap().block(id.log, Seq(1), 512, usize::MAX).unwrap().unwrap()
}

/// A ticket of one line.
pub(crate) fn ticket(till: u16, number: u64, sku: u64, pieces: i64, price: i64) -> Value {
    let amount = pieces * price;
    let request = TicketRequest {
        till,
        number,
        day: None,
        currency: "CNY".into(),
        lines: vec![TicketLine {
            sku,
            lot: None,
            quantity_milli: pieces * 1_000,
            unit_price_minor: price,
            discount_minor: 0,
            amount_minor: amount,
            weighing: None,
            batch: None,
        }],
        tenders: vec![TicketTender { kind: "cash".into(), amount_minor: amount }],
        total_minor: amount,
    };
    serde_json::to_value(request).unwrap()
}

/// A receipt of one line.
pub(crate) fn receipt(sku: u64, pieces: i64) -> Value {
    json!({"reference": "delivery 1", "lines": [{"sku": sku, "quantity_milli": pieces * 1_000, "unit_cost_minor": 200}]})
}
