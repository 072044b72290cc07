//! Statements at the store: signed when a day is over, again when a ticket comes late, in pieces when HQ disputes one.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "fixtures of tests: failing here fails the test"
)]

mod stand;

use edge_api::{Done, StatementBrief, StatementDetail, Statements};
use serde_json::json;
use stand::{Stand, article, refusal, until};
use std::path::Path;
use sync_evidence::{Seal, SignedStatement, SigningKey, Statement};
use sync_model::{
    BusinessDay, ClockQuality, Event, Fact, Stamp, StatementAnswer, StatementAnswered, Text, UnixMillis,
};
use sync_store::{Ledger, LedgerConfig, Owner};

/// `[hq]` with the identity of the fixtures; nobody listens there.
fn identity() -> String {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity").join(name);
    format!(
        "[hq]\nhost = \"127.0.0.1\"\nport = 1\n[hq.tls]\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
        file("ca.pem"),
        file("store-7.pem"),
        file("store-7.key")
    )
}

fn key() -> SigningKey {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity/store-7.key");
    SigningKey::from_seed(&sync_mqtt::read_seed(&file).unwrap())
}

/// Days since 1970 in the store's time zone.
fn today() -> i32 {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 8 * 3_600;
    i32::try_from(now / 86_400).unwrap()
}

fn day(back: i32) -> String {
    BusinessDay(today() - back).to_string()
}

/// Sells one piece on a day.
async fn sell(stand: &Stand, number: u64, day: &str) {
    let mut ticket = stand::ticket(1, number, 1001, 1, 350);
    ticket["day"] = json!(day);
    stand.post("/v1/tickets", &ticket, &format!("t-{number}")).await.unwrap();
}

async fn brief(stand: &Stand, day: &str) -> Option<StatementBrief> {
    let list: Statements = stand.client.fetch("/v1/statements").await.unwrap();
    list.statements.into_iter().find(|row| row.day == day)
}

async fn sign(stand: &Stand, day: &str) -> Result<(), edge_api::ClientError> {
    let reply = stand.client.post(&format!("/v1/statements/{day}/sign"), &json!({}), None).await?;
    assert!(reply.parse::<Done>().unwrap().text.contains(day));
    Ok(())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// HQ says something, by a ledger of its own.
async fn hq_says(stand: &Stand, fact: impl Into<Fact>) {
    let stamp = Stamp { at: UnixMillis(1_800_000_100_000), clock: ClockQuality::Synced };
    let config = LedgerConfig {
        path: stand.folder.path("hq").join("hq.db"),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::new("test").unwrap(),
        queue: 8,
    };
    let (ledger, _) = Ledger::open(config, stamp).unwrap();
    let event = Event::new(stamp, fact);
    let id = ledger.call(move |draft| draft.append_down(stand::STORE, &event)).unwrap();
    let block = ledger.reader().unwrap().block(id.log, sync_model::Seq(1), 512, 48 * 1024).unwrap().unwrap();
    stand.running.daemon.commit(move |draft| draft.ingest(&block, stamp.at)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_over_is_signed_by_itself_and_a_late_ticket_signs_again() {
    let folder = stand::Folder::new();
    folder.write("reserve_bytes = 0", &identity());
    let running = edge_agent::daemon::start(folder.load()).await.unwrap();
    let client = folder.client();
    let stand = Stand { folder, running, client };
    stand.price_book(&[article(1001, 1, 350)]).await;
    let over = day(3);
    for number in 1..=20 {
        sell(&stand, number, &over).await;
    }
    sell(&stand, 21, &day(0)).await;
    // Whatever the daemon signed so far, it states all of it once somebody asks.
    sign(&stand, &over).await.unwrap();
    let first = brief(&stand, &over).await.unwrap();
    assert_eq!((first.state.as_str(), first.root), ("signed", None));
    let detail: StatementDetail =
        stand.client.fetch(&format!("/v1/statements/{over}?files=1")).await.unwrap();
    assert_eq!((detail.agrees, detail.sales, detail.lines), (Some(true), 20, 20));
    assert_eq!(detail.articles[0].charged_minor, 20 * 350);
    let signed = SignedStatement::from_bytes(&bytes(&detail.file_hex.unwrap())).unwrap();
    signed.verify_store(key().public()).unwrap();
    assert_eq!(signed.statement.digest().to_vec(), bytes(first.digest.as_deref().unwrap()));
    assert_eq!(detail.proof_hex, None);

    // A restart finds the days that nobody has stated yet, and those only: a late ticket's and no other.
    sell(&stand, 22, &over).await;
    let Stand { folder, running, .. } = stand;
    running.stop().await;
    let running = edge_agent::daemon::start(folder.load()).await.unwrap();
    let client = folder.client();
    let stand = Stand { folder, running, client };
    let again = until("the late ticket's statement", || async {
        brief(&stand, &over).await.filter(|row| row.digest != first.digest)
    })
    .await;
    assert_eq!(again.state, "signed");
    let detail: StatementDetail = stand.client.fetch(&format!("/v1/statements/{over}")).await.unwrap();
    assert_eq!((detail.sales, detail.agrees), (21, Some(true)));
    assert_eq!(brief(&stand, &day(0)).await, None, "today is not over");
    // The first statement is still true: up to its own ends.
    let reader = stand.running.daemon.ledger.reader().unwrap();
    let books = reader.books_at(stand::STORE, &signed.statement.ends).unwrap();
    assert_eq!(books.statement(signed.statement.day), signed.statement);
    // And the log's own end is sealed with the same key.
    let seals =
        until("a seal", || async { Some(reader.seals().unwrap()).filter(|seals| !seals.is_empty()) }).await;
    let own: Vec<&Seal> =
        seals.iter().filter(|seal| seal.log.direction == sync_model::Direction::Up).collect();
    own[0].verify(key().public()).unwrap();
    assert!(stand.running.daemon.ledger.verify().unwrap().ok());
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disputed_statement_is_sent_in_pieces_once() {
    let stand = Stand::with("reserve_bytes = 0", &identity()).await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let over = day(2);
    sell(&stand, 1, &over).await;
    sign(&stand, &over).await.unwrap();
    let reader = stand.running.daemon.ledger.reader().unwrap();
    let number = BusinessDay(today() - 2);
    let row = reader.statement(stand::STORE, number).unwrap().unwrap();
    let digest = row.signed.as_ref().unwrap().1.digest;
    let answer =
        StatementAnswer::Disputed { digest: [9; 32], reason: Text::new("rows").unwrap(), rows: Vec::new() };
    hq_says(&stand, StatementAnswered { day: number, digest, answer }).await;
    assert_eq!(brief(&stand, &over).await.unwrap().state, "disputed");
    // Any look sends them; asking for another day is one.
    for _ in 0..3 {
        sign(&stand, &day(0)).await.unwrap();
    }
    let row = reader.statement(stand::STORE, number).unwrap().unwrap();
    let sent = Statement::from_bytes(&row.bytes.unwrap()).unwrap();
    assert_eq!(sent.digest(), digest);
    let counts = reader.counts().unwrap();
    let parts = counts.iter().find(|row| row.kind == sync_model::Kind::STATEMENT_PART).unwrap();
    assert_eq!(parts.count, 1, "small enough for one piece, and sent once");
    let doctor = stand.client.get(&format!("/v1/statements/{over}")).await.unwrap();
    let detail: StatementDetail = doctor.parse().unwrap();
    assert_eq!(detail.brief.reason.as_deref(), Some("rows"));
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_statements_can_be_read_and_not_signed() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    sell(&stand, 1, &day(0)).await;
    let list: Statements = stand.client.fetch("/v1/statements").await.unwrap();
    assert_eq!((list.key, list.statements.len()), (None, 0));
    let detail: StatementDetail = stand.client.fetch(&format!("/v1/statements/{}", day(0))).await.unwrap();
    assert_eq!((detail.brief.state.as_str(), detail.agrees, detail.sales), ("unsigned", None, 1));
    assert_eq!(refusal(sign(&stand, &day(0)).await), (409, "no-identity".to_owned()));
    for bad in ["2026-13-01", "yesterday", "2026-1-1", "1"] {
        let path = format!("/v1/statements/{bad}");
        let refused = stand.client.get(&path).await;
        assert_eq!(refusal(refused), (400, "bad-field".to_owned()), "{bad}");
        assert_eq!(refusal(sign(&stand, bad).await), (400, "bad-field".to_owned()), "{bad}");
    }
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_the_future_is_not_signed() {
    let stand = Stand::with("reserve_bytes = 0", &identity()).await;
    assert_eq!(refusal(sign(&stand, &day(-2)).await), (422, "future-day".to_owned()));
    stand.running.stop().await;
}
