//! Stores whose blocks are carried into HQ's ledger while HQ is stopped: what HQ makes of them, without a broker.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]
#![allow(dead_code, reason = "every test program uses its own part")]

use crate::stand::{PATIENCE, sale, stamp};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Instant;
use sync_core::replica::Incoming;
use sync_evidence::{Seal, SignedStatement, SigningKey, Statement};
use sync_hq::identity::{Authority, Enrolment, STORE_FILES, Snippet, Validity, unix_now_s};
use sync_model::{BusinessDay, Direction, Event, Fact, Seq, StatedEnd, StatementSigned, StoreId, Text};
use sync_store::{Ledger, LedgerConfig, LedgerError, Owner};

/// The day of the tickets that `stand::sale` makes.
pub(crate) const DAY: BusinessDay = BusinessDay(20_000);
pub(crate) const DAY_TEXT: &str = "2024-10-04";

/// Opens a ledger, waiting for its lock.
pub(crate) fn open(path: &Path, owner: Owner) -> Ledger {
    let config = LedgerConfig {
        path: path.to_owned(),
        owner,
        max_bytes: None,
        software: Text::new("test").unwrap(),
        queue: 64,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Ledger::open(config.clone(), stamp(1_700_000_000_000)) {
            Ok((ledger, _)) => return ledger,
            Err(LedgerError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A CA in a folder.
pub(crate) fn ca(folder: &Path) -> PathBuf {
    let ca = folder.join("ca");
    Authority::init(&ca, &["localhost".to_owned()], unix_now_s()).unwrap();
    ca
}

/// A store with its own ledger.
pub(crate) struct Store {
    pub(crate) id: StoreId,
    pub(crate) ledger: Ledger,
    /// The key of its certificate.
    pub(crate) key: Option<SigningKey>,
}

impl Store {
    pub(crate) fn new(folder: &Path, id: u32) -> Self {
        let id = StoreId(id);
        let ledger = open(&folder.join(format!("store-{id}.db")), Owner::Store(id));
        Self { id, ledger, key: None }
    }

    /// One with a certificate of `ca`.
    pub(crate) fn enrolled(folder: &Path, ca: &Path, id: u32) -> Self {
        let mut store = Self::new(folder, id);
        let out = folder.join(format!("identity-{id}"));
        let snippet = Snippet { store: store.id, host: "127.0.0.1".into(), port: 8883, folder: out.clone() };
        let now_s = unix_now_s();
        let validity = Validity::days(now_s, 365);
        let enrolment = Enrolment { store: store.id, out: out.clone(), snippet, validity };
        Authority::open(ca).unwrap().enroll(&enrolment, now_s).unwrap();
        let seed = sync_mqtt::read_seed(&out.join(STORE_FILES[2])).unwrap();
        store.key = Some(SigningKey::from_seed(&seed));
        store
    }

    pub(crate) fn append(&self, fact: impl Into<Fact>) {
        let event = Event::new(stamp(1_700_000_500_000), fact);
        self.ledger.call(move |draft| draft.append(&event)).unwrap();
    }

    pub(crate) fn sell(&self, from: u64, upto: u64) {
        for number in from..=upto {
            let event = sale(number);
            self.ledger.call(move |draft| draft.append(&event)).unwrap();
        }
    }

    /// The statement of [`DAY`] as the ledger stands.
    pub(crate) fn statement(&self) -> Statement {
        self.ledger.reader().unwrap().books(self.id).unwrap().statement(DAY)
    }

    /// Signs a statement and books the fact.
    pub(crate) fn sign(&self, statement: &Statement, key: &SigningKey) {
        let signed = SignedStatement::sign(statement.clone(), key).store.unwrap();
        let ends = statement
            .ends
            .iter()
            .map(|end| StatedEnd { epoch: end.epoch, upto: end.upto, link: end.link.0 })
            .collect();
        let digest = statement.digest();
        self.append(StatementSigned { day: statement.day, ends, digest, signature: signed.into() });
    }

    /// Carries everything that HQ lacks into its ledger, sealed, and HQ's words back.
    pub(crate) fn carry(&self, hq_file: &Path) {
        let hq = open(hq_file, Owner::Hq);
        for (from, to, direction) in
            [(&self.ledger, &hq, Direction::Up), (&hq, &self.ledger, Direction::Down)]
        {
            let mut rows = from.reader().unwrap().heads().unwrap();
            rows.retain(|row| row.log.store == self.id && row.log.direction == direction);
            for row in rows {
                let mut next =
                    to.reader().unwrap().head(row.log).unwrap().map_or(Seq(1), |row| row.head.next());
                while let Some(block) = from.reader().unwrap().block(row.log, next, 512, 48 * 1024).unwrap() {
                    next = block.last().next();
                    let link = from.reader().unwrap().link(block.log, block.last()).unwrap().unwrap();
                    let own = self.key.as_ref().filter(|_| direction == Direction::Up);
                    let seal = own.map(|key| Seal::sign(key, block.log, block.last(), link).signature);
                    let block = Incoming { seal, ..block.into() };
                    to.call(move |draft| draft.take_in(&block, stamp(1_700_000_600_000))).unwrap();
                }
            }
        }
        // The lock goes with the last handle: HQ starts next.
        drop(hq);
    }
}

/// A plain HTTP exchange whose body are bytes.
pub(crate) fn bytes(port: u16, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[..at]).split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_off(at + 4))
}

/// Tests that open HQ's file themselves take turns: a child process that another test is just starting holds copies of this
/// process's files, locks included, between fork and exec, and HQ would find its file taken.
pub(crate) static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
