//! Stand-ins around HQ for its tests: the HQ program itself, a store made of the sync crates, and a peer that publishes whatever
//! it likes.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]
#![allow(dead_code, reason = "every test program uses its own part")]

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync_core::{Ack, Block, Hello, Link, Message, Sender, SenderConfig};
use sync_model::{
    BusinessDay, ClockQuality, Currency, Direction, Epoch, Event, Fact, LogId, LotId, Milli, Minor, Receipt,
    ReceiptLine, Sale, SaleLine, Seq, Sku, Stamp, StoreId, Tender, TenderKind, Text, TillId, UnixMillis,
};
use sync_mqtt::topic::{self, Leaf};
use sync_mqtt::{Backoff, Pipe, PipeConfig, PipeError, PipeEvent, Publish, TlsFiles, Will};
use sync_store::{Ledger, LedgerConfig, LedgerError, Owner, Reader};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, watch};

/// Longer than anything here takes on a busy machine; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Polls a condition until it holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within the patience: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The `sync-hq` program.
pub(crate) struct Hq {
    child: Option<Child>,
    broker: String,
    http_port: u16,
    /// Everything that is not the same for each.
    args: Vec<String>,
}

impl Hq {
    pub(crate) fn start(ledger: &Path, broker_port: u16) -> Self {
        Self::start_with(ledger, broker_port, None)
    }

    pub(crate) fn start_with(ledger: &Path, broker_port: u16, identity: Option<PathBuf>) -> Self {
        let mut args = vec!["--store".to_owned(), format!("sqlite:{}", ledger.display())];
        if let Some(folder) = identity {
            args.extend(["--identity".to_owned(), folder.display().to_string()]);
        }
        Self::start_args(broker_port, args)
    }

    /// One worker on PostgreSQL, with leases that end soon.
    pub(crate) fn start_worker(url: &str, name: &str, buckets: &str, broker_port: u16) -> Self {
        let args = ["--store", url, "--client-id", name, "--buckets", buckets, "--lease-ms", "1500"];
        Self::start_args(broker_port, args.map(str::to_owned).to_vec())
    }

    /// On a broker of its own.
    pub(crate) fn start_embedded(ledger: &Path, folder: &Path, broker_port: u16) -> Self {
        let (ledger, folder) = (format!("sqlite:{}", ledger.display()), folder.display().to_string());
        let args = ["--store", &ledger, "--broker-dir", &folder].map(str::to_owned).to_vec();
        Self::start_on(format!("embedded:{broker_port}"), args)
    }

    fn start_args(broker_port: u16, args: Vec<String>) -> Self {
        Self::start_on(format!("127.0.0.1:{broker_port}"), args)
    }

    fn start_on(broker: String, args: Vec<String>) -> Self {
        let http_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut hq = Self { child: None, broker, http_port, args };
        hq.restart();
        hq
    }

    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "stop first");
        let child = Command::new(env!("CARGO_BIN_EXE_sync-hq"))
            .arg("run")
            .args(["--broker", &self.broker])
            .args(["--listen", &format!("127.0.0.1:{}", self.http_port)])
            .args(["--reconnect-max-ms", "200"])
            .args(&self.args)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.http_port)).is_err() {
            assert!(Instant::now() < deadline, "sync-hq does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; the program must end by itself with success.
    pub(crate) fn terminate(&mut self) {
        let child = self.child.as_mut().unwrap();
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                self.child = None;
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("sync-hq did not end on SIGTERM");
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        request(
            self.http_port,
            &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"),
            b"",
        )
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        request(self.http_port, &head, body.as_bytes())
    }

    pub(crate) fn raw(&self, head: &str, body: &[u8]) -> (u16, Value) {
        request(self.http_port, head, body)
    }

    pub(crate) fn port(&self) -> u16 {
        self.http_port
    }

    /// What HQ says about a store, if it lists it.
    pub(crate) fn store(&self, store: StoreId) -> Option<Value> {
        let (_, fleet) = self.get("/v1/stores");
        fleet["stores"].as_array()?.iter().find(|row| row["store"] == store.0).cloned()
    }

    /// Last position of a log at HQ.
    pub(crate) fn head(&self, log: LogId) -> u64 {
        let Some(store) = self.store(log.store) else { return 0 };
        let logs = store["logs"].as_array().cloned().unwrap_or_default();
        logs.iter()
            .find(|row| row["log"] == log.to_string())
            .and_then(|row| row["head"].as_u64())
            .unwrap_or(0)
    }

    /// Codes of the quarantine.
    pub(crate) fn quarantine_codes(&self) -> Vec<String> {
        let (_, body) = self.get("/v1/quarantine");
        let rows = body["entries"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["code"].as_str().unwrap_or("?").to_owned()).collect()
    }
}

impl Drop for Hq {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A plain HTTP/1.1 exchange; answers status and JSON (a string where the body is none).
pub(crate) fn request(port: u16, head: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses a large body early may close before all of it is written.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_ok() || !answer.is_empty(), "no answer");
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
}

pub(crate) fn stamp(at: i64) -> Stamp {
    Stamp { at: UnixMillis(at), clock: ClockQuality::Synced }
}

/// Ticket `number`: one line of 250 g of one of four articles, tax 13 %, paid in cash.
pub(crate) fn sale(number: u64) -> Event {
    let amount = Minor(i64::try_from(number % 700).unwrap() + 100);
    let line = SaleLine {
        sku: Sku(1_000 + number % 4),
        lot: LotId::default(),
        quantity: Milli(250),
        unit_price: Minor(amount.0 * 4),
        discount: Minor(0),
        amount,
        tax_rate: 1_300,
        weighing: None,
        batch: None,
    };
    let sale = Sale {
        till: TillId(1),
        number,
        day: BusinessDay(20_000),
        currency: Currency::CNY,
        lines: vec![line],
        tenders: vec![Tender { kind: TenderKind::Cash, amount }],
    };
    Event::new(stamp(1_700_000_000_000 + i64::try_from(number).unwrap()), sale)
}

pub(crate) fn receipt(quantity: i64) -> Event {
    let line = |sku| ReceiptLine {
        sku: Sku(sku),
        lot: LotId::default(),
        quantity: Milli(quantity),
        unit_cost: Minor(5),
    };
    let lines = (1_000..1_004).map(line).collect();
    Event::new(stamp(1_700_000_000_000), Receipt { reference: Text::lossy("delivery"), lines })
}

/// Opens a ledger, waiting for its lock: a child process that another test is just starting holds copies of this process's
/// files, locks included, between fork and exec.
fn open_ledger(config: &LedgerConfig) -> Ledger {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Ledger::open(config.clone(), stamp(1_700_000_000_000)) {
            Ok((ledger, _)) => return ledger,
            Err(LedgerError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A store: ledger, sender, pipe, and the pump between them.
pub(crate) struct StandIn {
    pub(crate) id: StoreId,
    pub(crate) ledger: Ledger,
    pub(crate) path: PathBuf,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl StandIn {
    pub(crate) fn open(id: u32, folder: &Path, broker_port: u16) -> Self {
        Self::open_with(id, folder, broker_port, None)
    }

    pub(crate) fn open_with(id: u32, folder: &Path, broker_port: u16, tls: Option<TlsFiles>) -> Self {
        let id = StoreId(id);
        let path = folder.join(format!("store-{id}.db"));
        let config = LedgerConfig {
            path: path.clone(),
            owner: Owner::Store(id),
            max_bytes: None,
            software: Text::lossy("stand-in"),
            queue: 1_024,
        };
        let ledger = open_ledger(&config);
        let (stop, stopped) = watch::channel(false);
        let grown = Arc::new(Notify::new());
        let bell = Arc::clone(&grown);
        ledger.on_commit(move |_| bell.notify_one());
        let pump = Pump::new(id, ledger.clone(), broker_port, grown, tls);
        let task = tokio::spawn(pump.run(stopped));
        Self { id, ledger, path, stop, task }
    }

    pub(crate) fn log(&self) -> LogId {
        self.ledger.log().unwrap()
    }

    pub(crate) fn append(&self, event: Event) -> Seq {
        self.ledger.call(move |draft| draft.append(&event)).unwrap().seq
    }

    /// Sells tickets `from` to `upto`, as many tills would: queued together, then awaited.
    pub(crate) fn sell(&self, from: u64, upto: u64) {
        let (done, answers) = std::sync::mpsc::channel();
        for number in from..=upto {
            let done = done.clone();
            let reply = move |result: Result<_, _>| done.send(result.map(drop)).unwrap();
            self.ledger.submit(move |draft| draft.append(&sale(number)), reply).unwrap();
        }
        drop(done);
        for answer in answers {
            answer.unwrap();
        }
    }

    /// Everything of its own log is durable at HQ, as far as the store knows.
    pub(crate) fn settled(&self) -> bool {
        let reader = self.ledger.reader().unwrap();
        reader
            .heads()
            .unwrap()
            .iter()
            .filter(|row| row.log.direction == Direction::Up)
            .all(|row| row.acked == row.head)
    }

    pub(crate) async fn close(self) -> PathBuf {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.path
    }
}

/// The store's side of settlement, as plain as it can be.
struct Pump {
    id: StoreId,
    ledger: Ledger,
    reader: Reader,
    pipe: Pipe,
    events: Receiver<PipeEvent>,
    sender: Sender,
    grown: Arc<Notify>,
    down: Option<Ack>,
    begun: Instant,
    hello_at: u64,
}

impl Pump {
    fn new(id: StoreId, ledger: Ledger, broker_port: u16, grown: Arc<Notify>, tls: Option<TlsFiles>) -> Self {
        let mut config = PipeConfig::new("127.0.0.1", broker_port, format!("store-{id}"));
        config.subscriptions = topic::store_filters(id);
        config.will =
            Some(Will { topic: topic::name(id, Leaf::Presence), payload: b"0".to_vec(), retain: true });
        config.backoff = Backoff { min_ms: 20, max_ms: 200 };
        config.tls = tls;
        let (pipe, events) = sync_mqtt::open(config);
        let reader = ledger.reader().unwrap();
        let down = reader
            .heads()
            .unwrap()
            .iter()
            .rfind(|row| row.log.direction == Direction::Down)
            .map(|row| Ack { log: row.log, upto: row.head, link: row.link, gap: None });
        let sender_config =
            SenderConfig { linger_ms: 2, retry_min_ms: 300, retry_max_ms: 2_000, ..SenderConfig::default() };
        let sender = Sender::new(sender_config);
        Self {
            id,
            ledger,
            reader,
            pipe,
            events,
            sender,
            grown,
            down,
            begun: Instant::now(),
            hello_at: u64::MAX,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let grown = Arc::clone(&self.grown);
        loop {
            self.announce();
            self.send();
            let tick = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                event = self.events.recv() => self.handle(event.unwrap()),
                () = grown.notified() => {}
                () = tick => {}
            }
        }
        drop(self.pipe.try_publish(&topic::name(self.id, Leaf::Presence), b"0".to_vec(), Publish::Retained));
        self.pipe.close().await;
    }

    fn announce(&mut self) {
        let now = self.now();
        for row in self.reader.heads().unwrap() {
            if row.log.direction == Direction::Up {
                self.sender.handle_head(now, row.log, row.head);
            }
        }
        if now >= self.hello_at && self.sender.status().lag() > 0 {
            self.hello();
        }
    }

    fn hello(&mut self) {
        let head = self
            .reader
            .heads()
            .unwrap()
            .iter()
            .rfind(|row| row.log.direction == Direction::Up)
            .map(|row| (row.log, row.head));
        let hello = Hello { store: self.id, head, down: self.down, software: Text::lossy("stand-in") };
        drop(self.pipe.try_publish(
            &topic::name(self.id, Leaf::Up),
            Message::Hello(hello).encode(),
            Publish::Live,
        ));
        self.hello_at = self.now() + 1_000;
    }

    fn send(&mut self) {
        while let Some(range) = self.sender.poll(self.now()) {
            let block = self
                .reader
                .block(range.log, range.first, range.max_records, range.max_bytes)
                .unwrap()
                .unwrap();
            let (first, last) = (block.first, block.last());
            let bytes = block.records.iter().map(Vec::len).sum();
            let payload = Message::Block(block).encode();
            match self.pipe.try_publish(&topic::name(self.id, Leaf::Up), payload, Publish::Live) {
                Ok(()) => self.sender.handle_sent(self.now(), range.log, first, last, bytes),
                Err(PipeError::Full | PipeError::Down) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn handle(&mut self, event: PipeEvent) {
        let now = self.now();
        match event {
            PipeEvent::Up => {
                self.sender.handle_up(now);
                drop(self.pipe.try_publish(
                    &topic::name(self.id, Leaf::Presence),
                    b"1".to_vec(),
                    Publish::Retained,
                ));
                self.hello();
            }
            PipeEvent::Down { .. } => {
                self.sender.handle_down();
                self.hello_at = u64::MAX;
            }
            PipeEvent::Message { payload, .. } => self.take(Message::decode(&payload).unwrap()),
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.now();
        match message {
            Message::Ack(ack) => {
                self.hello_at = now + 1_000;
                self.sender.handle_ack(now, &ack);
                self.ledger.call(move |draft| draft.acked(&ack)).unwrap();
            }
            Message::Nak(nak) => self.sender.handle_nak(now, &nak),
            Message::Block(block) => {
                let ingested = self.ledger.call(move |draft| draft.ingest(&block, UnixMillis(1))).unwrap();
                self.down = Some(Ack { gap: None, ..ingested.ack });
                let payload = Message::Ack(ingested.ack).encode();
                drop(self.pipe.try_publish(&topic::name(self.id, Leaf::DownAck), payload, Publish::Retained));
            }
            Message::Hello(_) => panic!("HQ does not greet"),
        }
    }
}

/// A peer that publishes bytes of the test's choice in the place of a store.
pub(crate) struct Peer {
    pub(crate) pipe: Pipe,
    events: Receiver<PipeEvent>,
}

impl Peer {
    pub(crate) async fn connect(broker_port: u16, listen_for: StoreId) -> Self {
        Self::connect_with(broker_port, listen_for, None).await
    }

    pub(crate) async fn connect_with(broker_port: u16, listen_for: StoreId, tls: Option<TlsFiles>) -> Self {
        let mut config = PipeConfig::new("127.0.0.1", broker_port, format!("peer-{listen_for}"));
        config.subscriptions = topic::store_filters(listen_for);
        config.packet_bytes_max = 1024 * 1024;
        config.tls = tls;
        let (pipe, mut events) = sync_mqtt::open(config);
        while tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() != PipeEvent::Up {}
        Self { pipe, events }
    }

    pub(crate) fn publish(&self, topic: &str, payload: Vec<u8>) {
        self.pipe.try_publish(topic, payload, Publish::Live).unwrap();
    }

    /// The next message that the picker takes.
    pub(crate) async fn next<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        let found = async {
            loop {
                if let PipeEvent::Message { payload, .. } = self.events.recv().await.unwrap()
                    && let Some(found) = pick(Message::decode(&payload).unwrap())
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("a message within the patience")
    }

    pub(crate) async fn next_ack(&mut self) -> Ack {
        self.next(|message| if let Message::Ack(ack) = message { Some(ack) } else { None }).await
    }

    pub(crate) async fn next_nak(&mut self) -> (String, Option<(LogId, Seq, Seq)>) {
        self.next(
            |message| {
                if let Message::Nak(nak) = message { Some((nak.code.to_string(), nak.of)) } else { None }
            },
        )
        .await
    }
}

/// An up log.
pub(crate) fn up_log(store: u32, epoch: u32) -> LogId {
    LogId { store: StoreId(store), direction: Direction::Up, epoch: Epoch(epoch) }
}

/// A block of the given records after `prev`.
pub(crate) fn block(log: LogId, first: u64, prev: Link, records: &[Vec<u8>]) -> Block {
    Block { log, first: Seq(first), prev, records: records.to_vec() }
}

/// Records of tickets.
pub(crate) fn tickets(numbers: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| sale(number).to_record().unwrap()).collect()
}

/// Every fold and every byte of a store's log are equal in two ledgers, and both verify.
pub(crate) fn assert_same(store: StoreId, at_store: &Path, at_hq: &Path) -> u64 {
    for path in [at_store, at_hq] {
        let report = sync_store::verify_file(path).unwrap();
        assert!(report.ok(), "{}: {:?}", path.display(), report.problems);
    }
    // Readers only: a ledger's lock may outlive its holder for a moment here, because a child process that another test is
    // just starting holds copies of this process's files between fork and exec.
    let (ours, theirs) = (Reader::open(at_store).unwrap(), Reader::open(at_hq).unwrap());
    assert_eq!(ours.stock(store, None).unwrap(), theirs.stock(store, None).unwrap());
    assert_eq!(ours.money(store).unwrap(), theirs.money(store).unwrap());
    let heads = |reader: &Reader, direction| {
        let mut rows = reader.heads().unwrap();
        rows.retain(|row| row.log.store == store && row.log.direction == direction);
        rows.iter().map(|row| (row.log, row.head, row.link)).collect::<Vec<_>>()
    };
    assert_eq!(heads(&ours, Direction::Up), heads(&theirs, Direction::Up));
    assert_eq!(heads(&ours, Direction::Down), heads(&theirs, Direction::Down));
    let mut events = 0;
    for (log, head, _) in heads(&ours, Direction::Up) {
        let records = |reader: &Reader| -> Vec<Vec<u8>> {
            let rows = reader.events(log, Seq(1), usize::try_from(head.0).unwrap()).unwrap();
            rows.into_iter().map(|row| row.record).collect()
        };
        let ours = records(&ours);
        assert_eq!(u64::try_from(ours.len()).unwrap(), head.0);
        assert_eq!(ours, records(&theirs));
        events += head.0;
    }
    events
}

/// Whether an event is a verdict with this code.
pub(crate) fn is_verdict(fact: &Fact, code: &str) -> bool {
    matches!(fact, Fact::Verdict(verdict) if verdict.code.as_str() == code)
}
