//! Who owns which bucket.
//!
//! A lease row has an owner, an end by the server's clock, and a token that counts up with every change of owner. The end
//! decides when another worker may take the bucket; it protects nothing. What protects is the token: every writing
//! transaction reads its buckets' rows with their tokens `FOR SHARE`. A take-over updates the row, so it waits for
//! transactions that passed the check, and transactions after it fail the check. So two workers never both commit, whatever
//! their clocks say and however long one was paused.
//!
//! * Home buckets are taken when free, expired, or under our own name (a restarted worker need not wait for itself).
//! * Other buckets are taken only when their owner let them expire: it is dead, or was stopped.
//! * A worker that finds a home bucket in other hands notes its wish; the holder hands it over at its next renewal.

use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use sync_model::StoreId;
use tokio_postgres::Error;

/// Number of buckets.
pub const BUCKETS: u32 = 64;

/// The bucket of a store.
pub fn bucket_of(store: StoreId) -> i16 {
    i16::try_from(store.0 % BUCKETS).unwrap_or_default()
}

/// Buckets held, with their tokens.
pub(crate) type Held = BTreeMap<i16, i64>;

/// Who takes what, for how long.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) worker: String,
    pub(crate) home: BTreeSet<i16>,
    pub(crate) spare: BTreeSet<i16>,
    pub(crate) ttl_ms: i64,
}

const ACQUIRE: &str = "
UPDATE lease SET owner = $1, token = token + 1, wanted = NULL,
    expires = clock_timestamp() + $2::bigint * interval '1 millisecond'
WHERE bucket IN (
    SELECT bucket FROM lease
    WHERE bucket = ANY($3) AND (owner IS NULL OR owner = $1 OR expires < clock_timestamp())
       OR bucket = ANY($4) AND owner <> $1 AND expires < clock_timestamp()
    FOR UPDATE SKIP LOCKED)
RETURNING bucket, token";

/// Takes what may be taken and is not held yet.
pub(crate) async fn acquire(session: &Session, claim: &Claim, held: &Held) -> Result<Held, Error> {
    let want = |set: &BTreeSet<i16>| -> Vec<i16> {
        set.iter().filter(|bucket| !held.contains_key(bucket)).copied().collect()
    };
    let (home, spare) = (want(&claim.home), want(&claim.spare));
    if home.is_empty() && spare.is_empty() {
        return Ok(Held::new());
    }
    let rows = session.client.query(ACQUIRE, &[&claim.worker, &claim.ttl_ms, &home, &spare]).await?;
    let taken: Held = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let foreign: Vec<i16> = home.into_iter().filter(|bucket| !taken.contains_key(bucket)).collect();
    if !foreign.is_empty() {
        let wish = "UPDATE lease SET wanted = $1 WHERE bucket = ANY($2) AND owner <> $1 AND wanted IS DISTINCT FROM $1";
        session.client.execute(wish, &[&claim.worker, &foreign]).await?;
    }
    Ok(taken)
}

/// Prolongs what is held; answers what is still held after it, wishes of home workers granted.
pub(crate) async fn renew(session: &Session, claim: &Claim, held: &Held) -> Result<Held, Error> {
    let (buckets, tokens): (Vec<i16>, Vec<i64>) =
        held.iter().map(|(bucket, token)| (*bucket, *token)).unzip();
    let sql = "UPDATE lease SET expires = clock_timestamp() + $1::bigint * interval '1 millisecond'
        FROM unnest($2::smallint[], $3::bigint[]) AS k(bucket, token)
        WHERE lease.bucket = k.bucket AND lease.token = k.token RETURNING lease.bucket, lease.token, lease.wanted";
    let rows = session.client.query(sql, &[&claim.ttl_ms, &buckets, &tokens]).await?;
    let mut kept = Held::new();
    let mut give: Vec<i16> = Vec::new();
    for row in rows {
        let (bucket, token, wanted): (i16, i64, Option<String>) = (row.get(0), row.get(1), row.get(2));
        if wanted.is_some() && !claim.home.contains(&bucket) {
            give.push(bucket);
        } else {
            kept.insert(bucket, token);
        }
    }
    if !give.is_empty() {
        // The new token shuts our own later writes out; the end stays, so that a dead wisher's bucket is taken again.
        let sql = "UPDATE lease SET owner = wanted, wanted = NULL, token = token + 1
            WHERE bucket = ANY($1) AND owner = $2 AND wanted IS NOT NULL";
        session.client.execute(sql, &[&give, &claim.worker]).await?;
        tracing::info!(buckets = ?give, "handed buckets over to their home worker");
    }
    Ok(kept)
}

/// Lets everything go at once, at a clean stop: another worker may take it now.
pub(crate) async fn release(session: &Session, held: &Held) -> Result<(), Error> {
    let (buckets, tokens): (Vec<i16>, Vec<i64>) =
        held.iter().map(|(bucket, token)| (*bucket, *token)).unzip();
    let sql =
        "UPDATE lease SET expires = '-infinity' FROM unnest($1::smallint[], $2::bigint[]) AS k(bucket, token)
        WHERE lease.bucket = k.bucket AND lease.token = k.token";
    session.client.execute(sql, &[&buckets, &tokens]).await.map(|_| ())
}
