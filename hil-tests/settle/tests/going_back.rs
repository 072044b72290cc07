//! Ledgers that go back in time, with the real programs and a real broker: a store put back, a gateway that exists twice, a
//! store and HQ put back together.
//!
//! Every fact is a delivery of one piece, so the stock on hand counts facts: one too few is a loss, one too many counts twice.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hil_rig::http::{self, Request, Server};
use hil_rig::mosquitto::Broker;
use hil_rig::processes::Process;
use hil_rig::proxy::{Mode, Proxy};
use hil_rig::{ports, until};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use sync_core::Link;
use sync_model::{Direction, LogId, Seq, Sku, StoreId};
use sync_store::Reader;

const STORE: StoreId = StoreId(7);
const SKU: Sku = Sku(1001);
const LIMIT: Duration = Duration::from_secs(90);

/// The folder that the programs are built into: this test lies in its `deps`.
fn program(name: &str) -> PathBuf {
    let myself = std::env::current_exe().unwrap();
    let found = myself.parent().and_then(Path::parent).unwrap().join(name);
    assert!(found.is_file(), "{name} is not built: run `cargo build --workspace` once");
    found
}

/// Starts a program and waits until it answers.
async fn begin(name: &str, mut command: Command, log: &Path, port: u16) -> Process {
    command.env("RUST_LOG", "info");
    let process = Process::start(name, command, log).unwrap();
    let server = Server::Loopback(port);
    let answers = || async { http::get(&server, "/v1/health").await.is_ok() };
    until(&format!("{name} to answer, see {}", log.display()), LIMIT, answers).await.unwrap();
    process
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The reserve is a large file of zeros that the daemon makes itself.
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn put_back(copied: &Path, place: &Path) {
    std::fs::remove_dir_all(place).unwrap();
    copy(copied, place);
}

/// A gateway.
struct Gateway {
    folder: PathBuf,
    port: u16,
    link: Proxy,
    agent: Option<Process>,
}

impl Gateway {
    async fn new(folder: &Path, broker: u16) -> Self {
        std::fs::create_dir_all(folder.join("ledger")).unwrap();
        let (port, link) =
            (ports::reserve().unwrap(), Proxy::start(ports::reserve().unwrap(), broker).await.unwrap());
        let config = format!(
            "[store]\nid = 7\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\n[ledger]\ndir = \"ledger\"\n\
             reserve_bytes = 0\n\n[api]\nsocket = \"agent.sock\"\nlisten = \"127.0.0.1:{port}\"\n\n[hq]\n\
             host = \"127.0.0.1\"\nport = {}\nkeep_alive_s = 5\nlinger_ms = 50\nretry_min_ms = 300\n\
             retry_max_ms = 2000\nhello_s = 1\n",
            link.port()
        );
        std::fs::write(folder.join("store.toml"), config).unwrap();
        Self { folder: folder.to_owned(), port, link, agent: None }
    }

    async fn start(&mut self) {
        let mut command = Command::new(program("edge-agent"));
        command.arg("run").arg("--config").arg(self.folder.join("store.toml"));
        self.agent = Some(begin("edge-agent", command, &self.folder.join("agent.log"), self.port).await);
    }

    async fn stop(&mut self) {
        let status = self.agent.take().unwrap().stop(LIMIT).await.unwrap();
        assert!(status.success(), "{status}");
    }

    fn kill(&mut self) {
        self.agent.take().unwrap().kill().unwrap();
    }

    fn ledger(&self) -> PathBuf {
        self.folder.join("ledger")
    }

    /// One piece each, answered.
    async fn deliver(&self, name: &str, numbers: std::ops::RangeInclusive<u32>) {
        let server = Server::Loopback(self.port);
        for number in numbers {
            let key = format!("{name}-{number}");
            let line = json!({"sku": SKU.0, "quantity_milli": 1_000, "unit_cost_minor": 200});
            let body = json!({"reference": key, "lines": [line]});
            let headers = [("idempotency-key", key.as_str())];
            let request = || Request {
                method: "POST",
                path: "/v1/receipts",
                headers: &headers,
                body: Some(&body),
                limit: Duration::from_secs(10),
            };
            let taken = || async {
                let Ok(answer) = http::send(&server, &request()).await else { return false };
                assert!(answer.is_success() || answer.status >= 500, "{}: {}", answer.status, answer.text());
                answer.is_success()
            };
            until(&format!("delivery {key}"), LIMIT, taken).await.unwrap();
        }
    }

    fn view(&self) -> View {
        View::of(&self.ledger().join("ledger.db"))
    }
}

/// HQ.
struct Hq {
    folder: PathBuf,
    port: u16,
    broker: u16,
    process: Option<Process>,
}

impl Hq {
    fn new(folder: &Path, broker: u16) -> Self {
        std::fs::create_dir_all(folder.join("ledger")).unwrap();
        Self { folder: folder.to_owned(), port: ports::reserve().unwrap(), broker, process: None }
    }

    async fn start(&mut self) {
        let mut command = Command::new(program("sync-hq"));
        command.args(["run", "--store", &format!("sqlite:{}", self.file().display())]);
        command.args(["--broker", &format!("127.0.0.1:{}", self.broker)]);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--keep-alive-s", "5", "--reconnect-max-ms", "500"]);
        self.process = Some(begin("sync-hq", command, &self.folder.join("hq.log"), self.port).await);
    }

    async fn stop(&mut self) {
        let status = self.process.take().unwrap().stop(LIMIT).await.unwrap();
        assert!(status.success(), "{status}");
    }

    fn ledger(&self) -> PathBuf {
        self.folder.join("ledger")
    }

    fn file(&self) -> PathBuf {
        self.ledger().join("hq.sqlite")
    }

    fn view(&self) -> View {
        View::of(&self.file())
    }
}

/// What a ledger says of the store's own logs and of the article.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    logs: BTreeMap<LogId, (Seq, Link)>,
    pieces: i64,
}

impl View {
    fn of(path: &Path) -> Self {
        let read = || -> Result<Self, sync_store::LedgerError> {
            let reader = Reader::open(path)?;
            let up = reader.heads()?.into_iter().filter(|row| row.log.direction == Direction::Up);
            let logs = up.map(|row| (row.log, (row.head, row.link))).collect();
            Ok(Self { logs, pieces: reader.on_hand(STORE, SKU)?.0.0 / 1_000 })
        };
        read().unwrap_or(Self { logs: BTreeMap::new(), pieces: -1 })
    }
}

/// Waits until every party says the same, and so many pieces.
async fn equal(hq: &Hq, gateways: &[&Gateway], pieces: i64) -> View {
    let same = || async {
        let view = hq.view();
        view.pieces == pieces && gateways.iter().all(|gateway| gateway.view() == view)
    };
    if until("equal ledgers", LIMIT, same).await.is_err() {
        let views: Vec<View> = gateways.iter().map(|gateway| gateway.view()).collect();
        panic!("{pieces} pieces everywhere expected\nHQ {:#?}\nstores {views:#?}", hq.view());
    }
    hq.view()
}

/// Stops everything and recomputes chains and folds.
async fn verify(mut hq: Hq, gateways: Vec<Gateway>) {
    hq.stop().await;
    let mut files = vec![hq.file()];
    for mut gateway in gateways {
        gateway.stop().await;
        files.push(gateway.ledger().join("ledger.db"));
    }
    for file in files {
        let report = sync_store::verify_file(&file).unwrap();
        assert!(report.ok(), "{}: {:?}", file.display(), report.problems);
    }
}

struct Stage {
    folder: tempfile::TempDir,
    _broker: Broker,
    hq: Hq,
    gateway: Gateway,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path(), ports::reserve().unwrap()).await.unwrap();
        let mut hq = Hq::new(&folder.path().join("hq"), broker.port());
        hq.start().await;
        let mut gateway = Gateway::new(&folder.path().join("store"), broker.port()).await;
        gateway.start().await;
        // Goods are taken in once HQ has named them.
        let article = json!([{"sku": SKU.0, "name": "Plums", "unit": "piece", "price_minor": 300}]);
        let told = http::post(&Server::Loopback(hq.port), "/v1/stores/7/articles", &article).await.unwrap();
        assert!(told.is_success(), "{}: {}", told.status, told.text());
        let server = Server::Loopback(gateway.port);
        let known =
            || async { http::get(&server, "/v1/prices/1001").await.is_ok_and(|answer| answer.is_success()) };
        until("the article", LIMIT, known).await.unwrap();
        Self { folder, _broker: broker, hq, gateway }
    }
}

/// The image of the whole gateway is put back, and it trades before it can ask anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_put_back_gets_its_history_and_keeps_what_it_sold_since() {
    let Stage { folder, _broker, hq, mut gateway } = Stage::set().await;
    gateway.deliver("before", 1..=20).await;
    gateway.stop().await;
    let image = folder.path().join("image");
    copy(&gateway.ledger(), &image);
    gateway.start().await;
    gateway.deliver("lost", 1..=20).await;
    let old = equal(&hq, &[&gateway], 40).await;
    gateway.kill();
    put_back(&image, &gateway.ledger());
    gateway.link.set(Mode::Cut);
    gateway.start().await;
    gateway.deliver("since", 1..=10).await;
    gateway.link.set(Mode::Pass);
    let new = equal(&hq, &[&gateway], 50).await;
    assert!(new.logs.len() > old.logs.len(), "the old names are not used any longer: {new:?}");
    verify(hq, vec![gateway]).await;
}

/// Only the file is put back: what lies beside it says so at the start, without anybody's help.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_put_back_is_noticed_before_the_first_sale() {
    let Stage { folder, _broker, hq, mut gateway } = Stage::set().await;
    gateway.deliver("before", 1..=10).await;
    gateway.stop().await;
    let image = folder.path().join("image");
    copy(&gateway.ledger(), &image);
    gateway.start().await;
    gateway.deliver("lost", 1..=10).await;
    let old = equal(&hq, &[&gateway], 20).await;
    gateway.stop().await;
    for entry in std::fs::read_dir(gateway.ledger()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("ledger.db") && !name.ends_with(".generation") {
            std::fs::remove_file(&path).unwrap();
            std::fs::copy(image.join(&name), &path).ok();
        }
    }
    gateway.link.set(Mode::Cut);
    gateway.start().await;
    gateway.deliver("since", 1..=5).await;
    let alone = gateway.view();
    assert!(alone.logs.keys().any(|log| !old.logs.contains_key(log)), "{alone:?}");
    gateway.link.set(Mode::Pass);
    equal(&hq, &[&gateway], 25).await;
    verify(hq, vec![gateway]).await;
}

/// Two live gateways with one identity. Nobody can say which one is the store: what both booked is kept, under names of its
/// own, and both end with the same ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_exists_twice_loses_nothing_and_comes_to_rest() {
    let Stage { folder, _broker, hq, mut gateway } = Stage::set().await;
    gateway.deliver("before", 1..=10).await;
    equal(&hq, &[&gateway], 10).await;
    gateway.stop().await;
    let mut clone = Gateway::new(&folder.path().join("clone"), _broker.port()).await;
    put_back(&gateway.ledger(), &clone.ledger());
    gateway.start().await;
    clone.start().await;
    tokio::join!(gateway.deliver("one", 1..=15), clone.deliver("two", 1..=15));
    equal(&hq, &[&gateway, &clone], 40).await;
    // By now they have different names, and go on side by side.
    tokio::join!(gateway.deliver("one", 16..=20), clone.deliver("two", 16..=20));
    let rest = equal(&hq, &[&gateway, &clone], 50).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(hq.view(), rest, "it does not come to rest");
    assert!(rest.logs.len() >= 2, "{rest:?}");
    verify(hq, vec![gateway, clone]).await;
}

/// What both have lost is lost; everything else is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_hq_put_back_together_agree_again() {
    let Stage { folder, _broker, mut hq, mut gateway } = Stage::set().await;
    gateway.deliver("before", 1..=10).await;
    equal(&hq, &[&gateway], 10).await;
    gateway.stop().await;
    let (image, hq_image) = (folder.path().join("image"), folder.path().join("hq-image"));
    copy(&gateway.ledger(), &image);
    gateway.start().await;
    gateway.deliver("store-lost", 1..=5).await;
    equal(&hq, &[&gateway], 15).await;
    hq.stop().await;
    copy(&hq.ledger(), &hq_image);
    hq.start().await;
    gateway.deliver("both-lost", 1..=5).await;
    equal(&hq, &[&gateway], 20).await;
    gateway.kill();
    hq.stop().await;
    put_back(&image, &gateway.ledger());
    put_back(&hq_image, &hq.ledger());
    gateway.start().await;
    gateway.deliver("since", 1..=10).await;
    hq.start().await;
    equal(&hq, &[&gateway], 25).await;
    verify(hq, vec![gateway]).await;
}
