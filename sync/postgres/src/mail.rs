//! Orders between workers: any worker takes an order, the owner of the store's bucket carries it out.
//!
//! Contract: a letter is carried out at most once, by the transaction that also writes its answer; taking the row away is what
//! ends it. Whoever waits takes the row away with whatever answer it has by then: without one the order was not carried out
//! and never will be. The row lock decides between the two.

use crate::error::ledger_error;
use crate::job::{Answer, Order};
use crate::lease::{Held, bucket_of};
use crate::reader::PostgresReader;
use crate::session::Session;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use sync_model::{
    DeviceEntry, DeviceId, Epoch, Event, EventId, Milli, RegisterValue, Sku, Stamp, StoreId, Text,
};
use sync_store::{LedgerError, Refusal};

/// How long an order waits for its owner.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks for the answer.
const LOOK: Duration = Duration::from_millis(50);
/// Letters carried out at once.
const LETTERS_MAX: i64 = 64;

/// Refusals that callers tell apart; any other is `refused`.
const CODES: [&str; 12] = [
    "bad-order",
    "bad-record",
    "duplicate",
    "epochs",
    "gap",
    "log-full",
    "overflow",
    "pool-empty",
    "quantity",
    "record-too-long",
    "wrong-direction",
    "wrong-epoch",
];

/// A letter that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: i64,
}

/// An order as it travels.
#[derive(Serialize, Deserialize)]
enum Body {
    Append { store: StoreId, records: Vec<Vec<u8>> },
    Grant { stamp: Stamp, store: StoreId, sku: Sku, quantity: Milli },
    Fence { stamp: Stamp, store: StoreId, epoch: Epoch },
    WriteRegister { stamp: Stamp, store: StoreId, name: Text<64>, value: RegisterValue },
    ChangeRegistry { stamp: Stamp, store: StoreId, device: DeviceId, entry: Option<DeviceEntry> },
}

/// An answer as it travels: names, or code and text of a refusal.
type Reply = Result<Vec<EventId>, (String, String)>;

fn bad(detail: impl std::fmt::Display) -> LedgerError {
    Refusal::new("bad-order", detail.to_string()).into()
}

fn encode(order: &Order) -> Result<Vec<u8>, LedgerError> {
    let body = match order.clone() {
        Order::Append { store, events } => {
            let records: Result<Vec<_>, _> = events.iter().map(Event::to_record).collect();
            Body::Append { store, records: records.map_err(bad)? }
        }
        Order::Grant { stamp, store, sku, quantity } => Body::Grant { stamp, store, sku, quantity },
        Order::Fence { stamp, store, epoch } => Body::Fence { stamp, store, epoch },
        Order::WriteRegister { stamp, store, name, value } => {
            Body::WriteRegister { stamp, store, name, value }
        }
        Order::ChangeRegistry { stamp, store, device, entry } => {
            Body::ChangeRegistry { stamp, store, device, entry }
        }
    };
    postcard::to_allocvec(&body).map_err(bad)
}

fn decode(bytes: &[u8]) -> Result<Order, LedgerError> {
    Ok(match postcard::from_bytes(bytes).map_err(bad)? {
        Body::Append { store, records } => {
            let events: Result<Vec<_>, _> = records.iter().map(|record| Event::from_record(record)).collect();
            Order::Append { store, events: events.map_err(bad)? }
        }
        Body::Grant { stamp, store, sku, quantity } => Order::Grant { stamp, store, sku, quantity },
        Body::Fence { stamp, store, epoch } => Order::Fence { stamp, store, epoch },
        Body::WriteRegister { stamp, store, name, value } => {
            Order::WriteRegister { stamp, store, name, value }
        }
        Body::ChangeRegistry { stamp, store, device, entry } => {
            Order::ChangeRegistry { stamp, store, device, entry }
        }
    })
}

/// The answer's bytes.
pub(crate) fn answer(outcome: &Result<Answer, LedgerError>) -> Vec<u8> {
    let reply: Reply = match outcome {
        Ok(Answer::Appended(ids)) => Ok(ids.clone()),
        Ok(_) => Ok(Vec::new()),
        Err(LedgerError::Refused(refusal)) => Err((refusal.code.to_owned(), refusal.detail.clone())),
        Err(error) => Err(("storage".to_owned(), error.to_string())),
    };
    postcard::to_allocvec(&reply).expect("a growing buffer takes names and texts")
}

fn outcome(bytes: &[u8]) -> Result<Vec<EventId>, LedgerError> {
    let reply: Reply = postcard::from_bytes(bytes).map_err(bad)?;
    reply.map_err(|(code, detail)| match CODES.iter().find(|known| **known == code) {
        Some(known) => Refusal::new(known, detail).into(),
        None => Refusal::new("refused", format!("{code}: {detail}")).into(),
    })
}

/// Sends an order to the owner of its bucket, and waits.
pub(crate) fn send(reader: &PostgresReader, order: &Order) -> Result<Vec<EventId>, LedgerError> {
    let bucket = bucket_of(order.store());
    let body = encode(order)?;
    let sql = "INSERT INTO letter (bucket, body) VALUES ($1, $2) RETURNING id";
    let id: i64 = reader
        .write(sql, &[&bucket, &body])?
        .first()
        .map(|row| row.get(0))
        .ok_or_else(|| bad("the letter was not taken"))?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let rows = reader.query("SELECT answer IS NOT NULL FROM letter WHERE id = $1", &[&id])?;
        if rows.first().is_none_or(|row| row.get(0)) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    // Waits for a transaction that is answering it at this moment.
    let taken = reader.write("DELETE FROM letter WHERE id = $1 RETURNING answer", &[&id])?;
    let answer: Option<Vec<u8>> = taken.first().and_then(|row| row.get(0));
    match answer {
        Some(answer) => outcome(&answer),
        None => {
            let detail = format!("bucket {bucket} has no worker that answers: nothing was done");
            Err(LedgerError::Elsewhere { detail })
        }
    }
}

/// Letters for the held buckets, oldest first.
pub(crate) async fn fetch(
    session: &Session,
    held: &Held,
) -> Result<Vec<(Letter, Result<Order, LedgerError>)>, LedgerError> {
    let buckets: Vec<i16> = held.keys().copied().collect();
    let sql = "SELECT id, body FROM letter WHERE bucket = ANY($1) AND answer IS NULL ORDER BY id LIMIT $2";
    let rows = session.client.query(sql, &[&buckets, &LETTERS_MAX]).await;
    let rows = rows.map_err(|error| ledger_error("read letters", &error))?;
    Ok(rows.iter().map(|row| (Letter { id: row.get(0) }, decode(row.get(1)))).collect())
}

/// Answers a letter that cannot be read, and removes what nobody came back for.
pub(crate) async fn clear(session: &Session, unreadable: &[(Letter, Vec<u8>)]) -> Result<(), LedgerError> {
    for (letter, answer) in unreadable {
        let sql = "UPDATE letter SET answer = $2 WHERE id = $1 AND answer IS NULL";
        let done = session.client.execute(sql, &[&letter.id, answer]).await;
        done.map_err(|error| ledger_error("answer a letter", &error))?;
    }
    let sql = "DELETE FROM letter WHERE placed < clock_timestamp() - interval '1 hour'";
    let done = session.client.execute(sql, &[]).await;
    done.map(|_| ()).map_err(|error| ledger_error("clear letters", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_model::{ClockQuality, Command, UnixMillis};

    #[test]
    fn orders_and_answers_travel_whole() {
        let stamp = Stamp { at: UnixMillis(7), clock: ClockQuality::Synced };
        let store = StoreId(9);
        let orders = [
            Order::Append { store, events: vec![Event::new(stamp, Command::OpenEpoch)] },
            Order::Grant { stamp, store, sku: Sku(1), quantity: Milli(5) },
            Order::Fence { stamp, store, epoch: Epoch(3) },
            Order::WriteRegister {
                stamp,
                store,
                name: Text::lossy("note/door"),
                value: RegisterValue::Number(4),
            },
        ];
        for order in orders {
            assert_eq!(decode(&encode(&order).unwrap()).unwrap(), order);
        }
        assert!(
            matches!(decode(b"nonsense"), Err(LedgerError::Refused(refusal)) if refusal.code == "bad-order")
        );
        let refused = Err(Refusal::new("pool-empty", "nothing left").into());
        let heard = outcome(&answer(&refused));
        assert!(
            matches!(&heard, Err(LedgerError::Refused(refusal)) if refusal.code == "pool-empty"),
            "{heard:?}"
        );
        assert_eq!(outcome(&answer(&Ok(Answer::Appended(Vec::new())))).unwrap(), []);
    }
}
