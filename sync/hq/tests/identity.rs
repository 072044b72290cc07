//! Identity end to end: the `sync-hq` program as CA and endpoint, a real mosquitto with the configuration it wrote, stores with
//! certificates: enrolled, of another store, revoked, expired, of another CA.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use serde_json::{Value, json};
use stand::{Hq, PATIENCE, Peer, StandIn, assert_same, block, is_verdict, receipt, tickets, until, up_log};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;
use sync_core::replica::Letter;
use sync_core::{Hello, Link, Message};
use sync_evidence::{Seal, SigningKey};
use sync_hq::identity::{
    Authority, Enrolment, KeyChoice, Registry, STORE_FILES, Snippet, Standing, Validity, unix_now_s,
};
use sync_model::{Seq, StoreId, Text};
use sync_mqtt::{Backoff, Certificate, PipeConfig, PipeEvent, Publish, TlsFiles, read_seed};
use tokio::sync::mpsc::Receiver;

/// Runs `sync-hq` to its end.
fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sync-hq")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs `sync-hq`, which must succeed, and answers what it said.
fn said(args: &[&str]) -> String {
    let output = program(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `sync-hq`, which must refuse, and answers why.
fn refused(args: &[&str]) -> String {
    let output = program(args);
    assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// A mosquitto with the configuration that `sync-hq broker-config` wrote.
struct TlsBroker {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl TlsBroker {
    fn start(ca: &Path, folder: &Path) -> Self {
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let listen = format!("127.0.0.1:{port}");
            let out = folder.join("broker");
            said(&["broker-config", "--dir", text(ca), "--listen", &listen, "--out", text(&out)]);
            let (config, log) = (out.join("mosquitto.conf"), out.join("mosquitto.log"));
            let mut lines = std::fs::read_to_string(&config).unwrap();
            // The test's folders are private to whoever runs the test, and so are the keys.
            lines.push_str(&format!("log_dest file {}\nlog_type all\nuser root\n", log.display()));
            std::fs::write(&config, lines).unwrap();
            let child = Command::new("mosquitto")
                .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
                .arg("-c")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("mosquitto can be executed: apt-get install mosquitto");
            let mut broker = Self { child, port, log };
            if broker.listens() {
                return broker;
            }
        }
        panic!("mosquitto did not start on ten loopback ports in a row");
    }

    fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        false
    }

    /// Makes it read certificates and revocation list again.
    fn reload(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for TlsBroker {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A CA, a broker and HQ in one folder.
struct Scene {
    hq: Hq,
    broker: TlsBroker,
    ca: PathBuf,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        said(&["ca", "init", "--dir", text(&ca)]);
        let broker = TlsBroker::start(&ca, folder.path());
        let hq = Hq::start_with(&folder.path().join("hq.db"), broker.port, Some(ca.clone()));
        until("HQ is connected", || hq.get("/v1/health").1["broker"]["up"] == true).await;
        Self { hq, broker, ca, folder }
    }

    fn out(&self, store: u32) -> PathBuf {
        self.folder.path().join(format!("store-{store}"))
    }

    fn enroll(&self, store: u32) -> TlsFiles {
        let (out, broker) = (self.out(store), format!("127.0.0.1:{}", self.broker.port));
        let store = store.to_string();
        said(&[
            "ca",
            "enroll",
            "--dir",
            text(&self.ca),
            "--store",
            &store,
            "--out",
            text(&out),
            "--broker",
            &broker,
        ]);
        files(&out)
    }

    /// Enrols a store whose certificate ended yesterday.
    fn enroll_expired(&self, store: u32) -> TlsFiles {
        let (now_s, store) = (unix_now_s(), StoreId(store));
        let out = self.out(store.0);
        let snippet =
            Snippet { store, host: "127.0.0.1".into(), port: self.broker.port, folder: out.clone() };
        let validity = Validity { from_s: now_s - 10 * 86_400, until_s: now_s - 86_400 };
        let enrolment = Enrolment { store, out: out.clone(), snippet, validity };
        Authority::open(&self.ca).unwrap().enroll(&enrolment, now_s).unwrap();
        files(&out)
    }

    fn certificate(&self, store: u32) -> Value {
        self.hq.store(StoreId(store)).map_or(Value::Null, |row| row["certificate"].clone())
    }

    /// A client's connection attempts, until one fails; answers the reason.
    async fn refusal(&self, tls: &TlsFiles, filters: &[&str]) -> String {
        let mut config = PipeConfig::new("127.0.0.1", self.broker.port, "refused");
        config.subscriptions = filters.iter().map(|filter| (*filter).to_owned()).collect();
        config.backoff = Backoff { min_ms: 20, max_ms: 200 };
        config.tls = Some(tls.clone());
        let (pipe, mut events) = sync_mqtt::open(config);
        let reason = next_down(&mut events).await;
        assert!(!pipe.is_up());
        reason
    }
}

fn files(out: &Path) -> TlsFiles {
    let [ca, cert, key, _] = STORE_FILES.map(|name| out.join(name));
    TlsFiles { ca, cert, key }
}

async fn next_down(events: &mut Receiver<PipeEvent>) -> String {
    let found = async {
        loop {
            match events.recv().await.unwrap() {
                PipeEvent::Down { reason } => return reason,
                PipeEvent::Up => panic!("the connection came up"),
                PipeEvent::Message { .. } => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a refusal within the patience")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_store_settles_over_mutual_tls() {
    let mut scene = Scene::new().await;
    let tls = scene.enroll(7);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&tls.key), mode(&scene.ca.join("ca.key"))), (0o600, 0o600));
    let own = tls.check().unwrap();
    assert_eq!(own.name, "7");
    let snippet = std::fs::read_to_string(scene.out(7).join("hq.toml")).unwrap();
    assert!(snippet.contains(&format!("key = \"{}\"\n", tls.key.display())), "{snippet}");

    let store = StandIn::open_with(7, scene.folder.path(), scene.broker.port, Some(tls.clone()));
    store.append(receipt(1_000_000));
    store.sell(1, 300);
    until("the store settles", || store.settled()).await;
    until("HQ shows its certificate", || scene.certificate(7)["state"] == "valid").await;
    assert_eq!(scene.hq.get("/v1/health").1["certificates"], json!({"valid": 1}));

    // The next certificate for the same key, put in place while the store runs: used with the next connection.
    let out = scene.out(7);
    let key = std::fs::read(&tls.key).unwrap();
    said(&["ca", "rotate", "--dir", text(&scene.ca), "--store", "7", "--out", text(&out)]);
    let renewed = tls.check().unwrap();
    assert!(renewed.serial > own.serial && renewed.public_key == own.public_key);
    assert_eq!(std::fs::read(&tls.key).unwrap(), key, "the key stays");
    // And one with a new key: certificate and key belong together again.
    said(&["ca", "rotate", "--dir", text(&scene.ca), "--store", "7", "--out", text(&out), "--new-key"]);
    let replaced = tls.check().unwrap();
    assert_ne!(replaced.public_key, own.public_key);
    // The seed for the seals and the certificate are one key.
    let pair = rcgen::KeyPair::from_pem(&std::fs::read_to_string(&tls.key).unwrap()).unwrap();
    assert_eq!(read_seed(&tls.key), sync_mqtt::seed_from_der(pair.serialized_der()));
    assert_eq!(replaced.public_key.unwrap(), pair.public_key_raw());
    assert!(store.settled(), "rotation disturbs nothing");
    let at_store = store.close().await;
    let store = StandIn::open_with(7, scene.folder.path(), scene.broker.port, Some(tls.clone()));
    store.sell(301, 400);
    until("the store settles with its new key", || store.settled()).await;

    // The registry lists old and new: seals of either can be checked.
    let keys = Registry::load(&scene.ca.join("registry.json")).unwrap().keys(StoreId(7));
    let public: Vec<_> = keys.iter().map(|key| Some(key.public)).collect();
    assert_eq!(public, [own.public_key, replaced.public_key]);
    assert!(keys.iter().all(|key| key.revoked_s.is_none()));

    store.close().await;
    scene.hq.terminate();
    assert_eq!(assert_same(StoreId(7), &at_store, &scene.folder.path().join("hq.db")), 402);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_cannot_use_another_stores_topics() {
    let scene = Scene::new().await;
    let (seven, eight) = (scene.enroll(7), scene.enroll(8));
    // mosquitto grants every subscription and delivers by the access list: listening for another store's acks brings nothing.
    let mut config = PipeConfig::new("127.0.0.1", scene.broker.port, "eavesdropper");
    config.subscriptions = ["#", "sy1/07/7/a", "sy1/07/7/d"].map(str::to_owned).into();
    config.tls = Some(eight.clone());
    let (_listening, mut heard) = sync_mqtt::open(config);
    assert_eq!(heard.recv().await, Some(PipeEvent::Up));
    let mut owner = Peer::connect_with(scene.broker.port, StoreId(7), Some(seven)).await;
    let theirs = up_log(7, 2);
    let sound = block(theirs, 1, Link::genesis(theirs), &tickets(1..=2));
    owner.publish("sy1/07/7/u", Message::Block(sound).encode());
    assert_eq!(owner.next_ack().await.log, theirs);

    let peer = Peer::connect_with(scene.broker.port, StoreId(8), Some(eight)).await;
    let (theirs, own) = (up_log(7, 1), up_log(8, 1));
    let forged = block(theirs, 1, Link::genesis(theirs), &tickets(1..=3));
    for topic in ["sy1/07/7/u", "sy1/07/7/c", "sy1/07/7/p", "sy1/08/8/d", "sy1/08/8/a", "other"] {
        peer.publish(topic, Message::Block(forged.clone()).encode());
    }
    until("the broker refuses all six", || peer.pipe.stats().refused == 6).await;
    // On its own topic the broker lets the forgery through, and HQ does not.
    peer.publish("sy1/08/8/u", Message::Block(forged).encode());
    until("HQ keeps it aside", || scene.hq.quarantine_codes() == ["wrong-store"]).await;
    let sound = block(own, 1, Link::genesis(own), &tickets(1..=2));
    peer.publish("sy1/08/8/u", Message::Block(sound).encode());
    until("its own events are booked", || scene.hq.head(own) == 2).await;
    let first = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert!(
        matches!(&first, PipeEvent::Message { topic, .. } if topic.starts_with("sy1/08/8/")),
        "{first:?}"
    );
    assert_eq!(scene.hq.head(theirs), 0);
    assert!(scene.broker.log().contains("Denied PUBLISH"), "{}", scene.broker.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_store_is_fenced_by_hq_at_once_and_by_the_broker_at_its_next_connection() {
    let scene = Scene::new().await;
    let tls = scene.enroll(7);
    let mut peer = Peer::connect_with(scene.broker.port, StoreId(7), Some(tls.clone())).await;
    let log = up_log(7, 1);
    let hello = Hello { store: StoreId(7), head: None, down: None, software: Text::default() };
    peer.publish("sy1/07/7/u", Message::Hello(hello).encode());
    let first = block(log, 1, Link::genesis(log), &tickets(1..=3));
    peer.publish("sy1/07/7/u", Message::Block(first.clone()).encode());
    assert_eq!(peer.next_ack().await.upto, Seq(3));

    let revoke = ["ca", "revoke", "--dir", text(&scene.ca), "--store", "7", "--reason", "gateway stolen"];
    assert!(said(&revoke).contains("1 certificates revoked"));
    until("HQ knows", || scene.certificate(7)["state"] == "revoked").await;
    assert_eq!(scene.certificate(7)["reason"], "gateway stolen");
    // The connection is still there; what comes over it is refused, kept as evidence and answered.
    let second = block(log, 4, first.link(), &tickets(4..=6));
    peer.publish("sy1/07/7/u", Message::Block(second.clone()).encode());
    let (code, of) = peer.next_nak().await;
    assert_eq!((code.as_str(), of), ("revoked", Some((log, Seq(4), Seq(6)))));
    until("the evidence is kept", || scene.hq.quarantine_codes() == ["revoked"]).await;
    assert_eq!(scene.hq.head(log), 3);
    let verdict = |message| match message {
        Message::Block(block) => block.records.iter().find_map(|record| {
            let event = sync_model::Event::from_record(record).ok()?;
            is_verdict(&event.fact, "revoked").then_some(())
        }),
        _ => None,
    };
    assert_eq!(peer.next(verdict).await, ());

    // The broker reads the list again: existing connections aside, the door is closed.
    scene.broker.reload();
    let deadline = Instant::now() + PATIENCE;
    let reason = loop {
        let mut config = PipeConfig::new("127.0.0.1", scene.broker.port, "probe");
        config.tls = Some(tls.clone());
        let (pipe, mut events) = sync_mqtt::open(config);
        match tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            PipeEvent::Down { reason } => break reason,
            _ => drop(pipe),
        }
        assert!(Instant::now() < deadline, "the broker never refuses: {}", scene.broker.log());
    };
    assert!(reason.starts_with("broker refuses our certificate: it is revoked (CN 7, valid "), "{reason}");
    until("its log says why", || scene.broker.log().contains("certificate verify failed")).await;

    // Enrolled anew, with another key: it is heard again, from where it stood.
    std::fs::remove_dir_all(scene.out(7)).unwrap();
    let tls = scene.enroll(7);
    until("HQ knows", || scene.certificate(7)["state"] == "valid").await;
    let mut peer = Peer::connect_with(scene.broker.port, StoreId(7), Some(tls)).await;
    peer.publish("sy1/07/7/u", Message::Block(second).encode());
    peer.next(|message| matches!(message, Message::Ack(ack) if ack.upto == Seq(6)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_store_is_told_so_and_settles_after_a_rotation() {
    let scene = Scene::new().await;
    let tls = scene.enroll_expired(7);
    let until_day = sync_mqtt::day(tls.check().unwrap().not_after);
    let reason = scene.refusal(&tls, &["sy1/07/7/d"]).await;
    assert!(reason.starts_with("broker refuses our certificate: it expired (CN 7, valid "), "{reason}");
    assert!(reason.ends_with(&format!(" to {until_day})")), "{reason}");
    // HQ's side of the same fact.
    until("HQ knows", || scene.certificate(7)["state"] == "expired").await;
    assert_eq!(scene.certificate(7)["until"], until_day);
    assert!(scene.broker.log().contains("certificate verify failed"), "{}", scene.broker.log());

    // It trades on alone; then somebody brings the next certificate. The key is the old one, the program keeps running.
    let store = StandIn::open_with(7, scene.folder.path(), scene.broker.port, Some(tls.clone()));
    store.append(receipt(1_000_000));
    store.sell(1, 100);
    said(&["ca", "rotate", "--dir", text(&scene.ca), "--store", "7", "--out", text(&scene.out(7))]);
    until("the store settles", || store.settled()).await;
    until("HQ knows", || scene.certificate(7)["state"] == "valid").await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_with_a_reason_on_either_side() {
    let scene = Scene::new().await;
    let own = scene.enroll(7);
    let elsewhere = Scene::new().await;
    let foreign = elsewhere.enroll(7);
    // Their certificate, our CA file: we trust the broker, it does not trust us.
    let stranger = TlsFiles { ca: own.ca.clone(), ..foreign.clone() };
    let reason = scene.refusal(&stranger, &[]).await;
    assert!(reason.starts_with("broker refuses our certificate: its CA is unknown there (CN 7"), "{reason}");
    // Another CA file: the broker could be anybody.
    assert_eq!(scene.refusal(&foreign, &[]).await, "we refuse the broker's certificate: its CA is not ours");
    // A store's certificate does not make a broker, nor the broker's a client.
    let disguised =
        TlsFiles { cert: scene.ca.join("broker.pem"), key: scene.ca.join("broker.key"), ..own.clone() };
    let reason = scene.refusal(&disguised, &[]).await;
    assert!(reason.starts_with("broker refuses our certificate: it is not acceptable"), "{reason}");
    // Files that do not belong together, or are none, are named.
    let torn = TlsFiles { key: foreign.key.clone(), ..own.clone() };
    let reason = scene.refusal(&torn, &[]).await;
    assert!(reason.ends_with("store.key: the key is not the one of the certificate"), "{reason}");
    let missing = TlsFiles { cert: own.cert.with_file_name("none.pem"), ..own.clone() };
    let reason = scene.refusal(&missing, &[]).await;
    assert!(reason.contains("none.pem: expected a PEM block CERTIFICATE, found"), "{reason}");
    let swapped = TlsFiles { cert: own.key.clone(), ..own.clone() };
    assert!(scene.refusal(&swapped, &[]).await.contains("store.key: expected a PEM block"));

    // TLS against a plain port, and plain against the TLS port.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        for stream in plain.incoming() {
            drop(stream.unwrap().write_all(b"\x20\x03\x00\x00\x00 not TLS at all"));
        }
    });
    let mut config = PipeConfig::new("127.0.0.1", port, "lost");
    config.tls = Some(own);
    let (_pipe, mut events) = sync_mqtt::open(config);
    assert_eq!(next_down(&mut events).await, "broker does not speak TLS on this port");
    let (_pipe, mut events) = sync_mqtt::open(PipeConfig::new("127.0.0.1", scene.broker.port, "plain"));
    assert!(!next_down(&mut events).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hq_never_enrolled_is_refused_by_name() {
    // A certificate of the right CA that the registry does not know: its file was restored from an old backup.
    let scene = Scene::new().await;
    let before = std::fs::read(scene.ca.join("registry.json")).unwrap();
    let tls = scene.enroll(7);
    until("HQ knows it", || scene.certificate(7)["state"] == "valid").await;
    let mut peer = Peer::connect_with(scene.broker.port, StoreId(7), Some(tls)).await;
    std::fs::write(scene.ca.join("registry.json"), before).unwrap();
    until("HQ forgets it", || scene.certificate(7) == Value::Null).await;
    let log = up_log(7, 1);
    let sound = block(log, 1, Link::genesis(log), &tickets(1..=3));
    peer.publish("sy1/07/7/u", Message::Block(sound).encode());
    assert_eq!(peer.next_nak().await.0, "not-enrolled");
    // A registry that cannot be read changes nothing.
    std::fs::write(scene.ca.join("registry.json"), b"{").unwrap();
    peer.pipe.try_publish("sy1/07/7/u", b"x".to_vec(), Publish::Live).unwrap();
    assert_eq!(peer.next_nak().await.0, "undecodable");
    assert_eq!(scene.hq.get("/v1/health").1["status"], json!("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_by_another_key_refuses_the_block_and_the_true_one_counts() {
    let scene = Scene::new().await;
    let (tls, other) = (scene.enroll(7), scene.enroll(8));
    let peer = Peer::connect_with(scene.broker.port, StoreId(7), Some(tls.clone())).await;
    let log = up_log(7, 1);
    let sound = block(log, 1, Link::genesis(log), &tickets(1..=3));
    let signed = |tls: &TlsFiles| {
        let key = SigningKey::from_seed(&read_seed(&tls.key).unwrap());
        let seal = Seal::sign(&key, log, sound.last(), sound.link()).signature;
        Letter::block(&sync_codec::PACKED, 2, &sound, Some(&seal))
    };
    // Certificate, topic and payload are store 7's; the key is not.
    peer.publish("sy1/07/7/u", signed(&other));
    until("HQ keeps it aside", || scene.hq.quarantine_codes() == ["bad-seal"]).await;
    assert_eq!(scene.hq.head(log), 0, "nothing of it is booked");
    peer.publish("sy1/07/7/u", signed(&tls));
    until("the true one is booked", || scene.hq.head(log) == 3).await;
    let told = || scene.hq.get("/v1/stores/7/events?direction=down").1.to_string().contains("bad-seal");
    until("the verdict is in HQ's log for the store", told).await;
}

#[test]
fn commands_refuse_what_makes_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, out) = (folder.path().join("ca"), folder.path().join("out"));
    let (ca_text, out_text) = (text(&ca), text(&out));
    let enroll = |store: &'static str| {
        ["ca", "enroll", "--dir", ca_text, "--store", store, "--out", out_text, "--broker", "hq.example:8883"]
    };
    assert!(refused(&enroll("7")).contains("ca.key"), "no CA yet");
    said(&["ca", "init", "--dir", ca_text, "--broker-names", "hq.example,10.0.0.1"]);
    assert!(refused(&["ca", "init", "--dir", ca_text]).contains("exists already"));
    assert!(refused(&enroll("0")).contains("0"));
    let rotate = ["ca", "rotate", "--dir", ca_text, "--store", "7", "--out", out_text];
    assert!(refused(&rotate).contains("store 7 is not enrolled: enroll it"));
    said(&enroll("7"));
    assert!(refused(&enroll("7")).contains("store 7 is enrolled already"));
    assert!(
        refused(&enroll("8")).contains("store.key exists already"),
        "another store's key is not overwritten"
    );
    let revoke = |store: &'static str, reason: &'static str| {
        ["ca", "revoke", "--dir", ca_text, "--store", store, "--reason", reason]
    };
    assert!(refused(&revoke("9", "x")).contains("store 9 is not enrolled"));
    assert!(refused(&revoke("7", "a\nb")).contains("printable"));
    said(&revoke("7", "closed"));
    assert!(said(&revoke("7", "closed again")).contains("0 certificates"), "repeating is harmless");
    assert!(refused(&rotate).contains("store 7 is revoked: enroll it"));

    let list: Value = serde_json::from_str(&said(&["ca", "list", "--dir", ca_text, "--json"])).unwrap();
    let rows: Vec<_> = list["certificates"].as_array().unwrap().iter().collect();
    let brief = |row: &Value| format!("{} {} {}", row["serial"], row["role"], row["state"]);
    let brief: Vec<_> = rows.into_iter().map(brief).collect();
    assert_eq!(
        brief,
        ["1 \"ca\" \"valid\"", "2 \"broker\" \"valid\"", "3 \"hq\" \"valid\"", "4 \"store\" \"revoked\""]
    );
    assert!(said(&["ca", "list", "--dir", ca_text]).contains("closed"));
    // A store may be away for two and a half years and more: the rule in numbers.
    let certificate = Certificate::read(&out.join("store.pem")).unwrap();
    let days = (certificate.not_after - unix_now_s()) / 86_400;
    assert!((1_825..=1_826).contains(&days), "{days}");
}

#[test]
fn the_registry_tells_standing_and_keys_through_a_stores_whole_life() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    let (start, day, store) = (1_800_000_000, 86_400, StoreId(7));
    let mut authority = Authority::init(&ca, &["localhost".to_owned()], start).unwrap();
    let busy = Authority::open(&ca).err().unwrap().to_string();
    assert!(busy.ends_with("another command is at work"), "{busy}");
    assert_eq!(authority.registry().standing(store, start), Standing::Unknown);
    let out = folder.path().join("7");
    let snippet = Snippet { store, host: "h".into(), port: 1, folder: out.clone() };
    let validity = Validity::days(start, 1_000);
    let enrolment = Enrolment { store, out: out.clone(), snippet, validity };
    let first = authority.enroll(&enrolment, start).unwrap();
    let standing = |authority: &Authority, after: i64| {
        let now = start + after * day;
        let registry = authority.registry();
        assert_eq!(registry.standings(now).get(&store), Some(&registry.standing(store, now)));
        registry.standing(store, now).word()
    };
    assert_eq!(
        [0, 400, 510, 999, 1_001].map(|after| standing(&authority, after)),
        ["valid", "valid", "renewal-due", "renewal-due", "expired"]
    );
    // Rotated late, with the same key: valid again. Rotated with a new one, the old one revoked: still valid.
    let later = start + 1_200 * day;
    authority.rotate(store, KeyChoice::Keep, &out, Validity::days(later, 1_000), later).unwrap();
    assert_eq!(standing(&authority, 1_201), "valid");
    assert_eq!(authority.registry().keys(store).len(), 1);
    authority.rotate(store, KeyChoice::New, &out, Validity::days(later, 1_000), later).unwrap();
    assert_eq!(authority.revoke(store, Some(first.serial), "old", later).unwrap(), 1);
    let keys = authority.registry().keys(store);
    assert_eq!(
        (keys.len(), keys[0].revoked_s),
        (2, None),
        "a further certificate keeps the first key in force"
    );
    assert_eq!(authority.revoke(store, Some(first.serial + 1), "leaked", later + 5).unwrap(), 1);
    let keys = authority.registry().keys(store);
    assert_eq!((keys[0].revoked_s, keys[1].revoked_s), (Some(later + 5), None));
    assert_eq!(standing(&authority, 1_201), "valid");
    assert_eq!(authority.revoke(store, None, "closed", later).unwrap(), 1);
    assert_eq!(standing(&authority, 1_201), "revoked");
    // No certificate outlives its CA.
    let at = start + 10_900 * day;
    let enrolment = Enrolment { store: StoreId(8), out: folder.path().join("8"), ..enrolment };
    let last = authority.enroll(&Enrolment { validity: Validity::days(at, 1_826), ..enrolment }, at).unwrap();
    assert_eq!(last.not_after_s, authority.certificate().not_after);
    // What was written is what is read.
    let known = authority.registry().clone();
    drop(authority);
    assert_eq!(*Authority::open(&ca).unwrap().registry(), known);
}
