//! One connection of the worker: its settings, its prepared statements, its staging table.

use crate::error::ledger_error;
use crate::schema::{self, Migrated};
use std::time::Duration;
use sync_store::{Column, FOLD_TABLES, FoldTable, LedgerError, TICKET_TABLE};
use tokio_postgres::{Client, Config, NoTls, Statement};

/// How long a connection attempt may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Settings that the promises rest on. The worker asks by key only: plans that read whole tables would be wrong guesses.
/// No `jit`: the forbidden scan of the staging table makes every plan look dear, and compiling one takes longer than a batch. A
/// transaction that stands still (its worker is paused) is ended by the server, so that it holds nothing up.
const SETTINGS: &str = "
SET synchronous_commit = on;
SET statement_timeout = '25s';
SET lock_timeout = '20s';
SET idle_in_transaction_session_timeout = '10s';
SET tcp_user_timeout = '20s';
SET enable_seqscan = off;
SET jit = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET client_min_messages = warning;
SET TIME ZONE 'UTC'";

/// Staging for rows that change. One table for all: the n-th integer of a row goes into `i<n>`, and so on.
const STAGE: &str = "
CREATE TEMP TABLE stage (
    tab smallint NOT NULL, i1 bigint, i2 bigint, i3 bigint, i4 bigint, i5 bigint, i6 bigint,
    t1 text, b1 bytea, b2 bytea, f1 boolean
) ON COMMIT DELETE ROWS";

/// The highest number of each till's tickets, in the order asked.
const TILLS: &str =
    "SELECT (SELECT max(t.number) FROM ticket AS t WHERE t.bucket = k.bucket AND t.store = k.store
                         AND t.form = k.form AND t.till = k.till)
                     FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[])
                         WITH ORDINALITY AS k(bucket, store, form, till, n) ORDER BY k.n";

/// Signatures; of several of one log the one furthest on stays.
const SIGNED: &str = "INSERT INTO signed_end (log, seq, link, signature)
                     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[])
                     ON CONFLICT (log) DO UPDATE SET seq = excluded.seq, link = excluded.link, signature = excluded.signature
                     WHERE excluded.seq > signed_end.seq";

/// Answers of letters that are still there.
const LETTERS: &str =
    "UPDATE letter SET answer = k.answer FROM unnest($1::bigint[], $2::bytea[]) AS k(id, answer)
                     WHERE letter.id = k.id AND letter.answer IS NULL RETURNING letter.id";

/// Statements on one fold table.
pub(crate) struct TableStatements {
    /// Rows by key; one array per key column (and one of buckets first, where the table is partitioned).
    pub(crate) fetch: Statement,
    /// Staged rows into the table.
    pub(crate) apply: Option<Statement>,
}

/// A connection that is ready for the worker.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) fence: Statement,
    pub(crate) new_logs: Statement,
    pub(crate) move_logs: Statement,
    pub(crate) copy_events: Statement,
    pub(crate) copy_tickets: Statement,
    pub(crate) copy_stage: Statement,
    pub(crate) seals: Statement,
    pub(crate) arrivals: Statement,
    pub(crate) overlap: Statement,
    pub(crate) signed: Statement,
    pub(crate) letters: Statement,
    pub(crate) tills: Statement,
    pub(crate) tables: Vec<TableStatements>,
}

/// Opens a connection; its IO runs on the current runtime.
pub(crate) async fn connect(config: &Config) -> Result<Client, LedgerError> {
    let mut config = config.clone();
    config.connect_timeout(CONNECT_WAIT).keepalives_idle(Duration::from_secs(30));
    let connecting = tokio::time::timeout(2 * CONNECT_WAIT, config.connect(NoTls));
    let (client, connection) = match connecting.await {
        Ok(done) => done.map_err(|error| ledger_error("connect", &error))?,
        Err(_) => {
            let detail = "no answer in time".to_owned();
            return Err(LedgerError::Storage { context: "PostgreSQL: connect".to_owned(), detail });
        }
    };
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "PostgreSQL connection ended");
        }
    });
    Ok(client)
}

impl Session {
    /// Connects, checks the server's durability, migrates, prepares.
    pub(crate) async fn open(config: &Config) -> Result<Self, LedgerError> {
        let mut client = connect(config).await?;
        let failed = |error: tokio_postgres::Error| ledger_error("open session", &error);
        client.batch_execute(SETTINGS).await.map_err(failed)?;
        let fsync: String = client.query_one("SHOW fsync", &[]).await.map_err(failed)?.get(0);
        if fsync != "on" {
            return Err(LedgerError::Storage {
                context: "PostgreSQL: open session".to_owned(),
                detail: "the server runs with fsync = off: what it commits can be lost, so nothing could be acknowledged"
                    .to_owned(),
            });
        }
        if let Migrated::Newer(found) = schema::migrate(&mut client).await.map_err(failed)? {
            let path = std::path::PathBuf::from(config.get_dbname().unwrap_or("postgres"));
            return Err(LedgerError::NewerSchema { path, found, known: schema::SCHEMA });
        }
        client.batch_execute(STAGE).await.map_err(failed)?;
        Self::prepare(client).await.map_err(failed)
    }

    async fn prepare(client: Client) -> Result<Self, tokio_postgres::Error> {
        let mut tables = Vec::new();
        for (index, table) in FOLD_TABLES.iter().enumerate() {
            let fetch = client.prepare(&fetch_sql(index, table)).await?;
            let apply = match index {
                TICKET_TABLE => None,
                _ => Some(client.prepare(&apply_sql(index, table)).await?),
            };
            tables.push(TableStatements { fetch, apply });
        }
        Ok(Self {
            tills: client.prepare(TILLS).await?,
            signed: client.prepare(SIGNED).await?,
            letters: client.prepare(LETTERS).await?,
            fence: client
                .prepare(
                    "SELECT lease.bucket FROM lease JOIN unnest($1::smallint[], $2::bigint[]) AS k(bucket, token)
                     ON lease.bucket = k.bucket AND lease.token = k.token FOR SHARE OF lease",
                )
                .await?,
            new_logs: client
                .prepare(
                    "INSERT INTO log (id, bucket, store, direction, epoch, head, link)
                     SELECT id, bucket, store, direction, epoch, 0, link FROM unnest($1::bigint[], $2::smallint[],
                     $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) AS k(id, bucket, store, direction, epoch, link)",
                )
                .await?,
            move_logs: client
                .prepare(
                    "UPDATE log SET head = k.head, link = k.link, closed = k.closed, acked = k.acked,
                         acked_link = coalesce(k.acked_link, log.acked_link)
                     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::boolean[], $6::bigint[],
                         $7::bytea[]) AS k(id, was, head, link, closed, acked, acked_link)
                     WHERE log.id = k.id AND log.head = k.was",
                )
                .await?,
            copy_events: client.prepare("COPY event (pos, bucket, record) FROM STDIN (FORMAT binary)").await?,
            copy_tickets: client
                .prepare("COPY ticket (bucket, store, form, till, number, pos) FROM STDIN (FORMAT binary)")
                .await?,
            copy_stage: client
                .prepare("COPY stage (tab, i1, i2, i3, i4, i5, i6, t1, b1, b2, f1) FROM STDIN (FORMAT binary)")
                .await?,
            seals: client
                .prepare("INSERT INTO seal (pos, link) SELECT * FROM unnest($1::bigint[], $2::bytea[])")
                .await?,
            arrivals: client
                .prepare("INSERT INTO arrival (pos, received) SELECT * FROM unnest($1::bigint[], $2::bigint[])")
                .await?,
            overlap: client
                .prepare(
                    "SELECT event.pos, event.record FROM unnest($1::smallint[], $2::bigint[], $3::bigint[])
                     AS k(bucket, low, high) JOIN event ON event.bucket = k.bucket AND event.pos BETWEEN k.low AND k.high",
                )
                .await?,
            tables,
            client,
        })
    }
}

/// SQL type of a column.
fn sql_type(column: Column) -> &'static str {
    match column {
        Column::Int => "bigint",
        Column::Text => "text",
        Column::Bytes => "bytea",
        Column::Bool => "boolean",
    }
}

/// Names of all columns of a fold table, in the order of its rows.
pub(crate) fn columns(table: &FoldTable) -> Vec<&'static str> {
    table.keys.iter().chain(table.values).map(|(name, _)| *name).collect()
}

fn fetch_sql(index: usize, table: &FoldTable) -> String {
    let mut keys: Vec<(&str, &str)> =
        table.keys.iter().map(|(name, column)| (*name, sql_type(*column))).collect();
    if index == TICKET_TABLE {
        keys.insert(0, ("bucket", "smallint"));
    }
    let arrays: Vec<String> =
        keys.iter().enumerate().map(|(at, (_, kind))| format!("${}::{kind}[]", at + 1)).collect();
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let columns: Vec<String> = columns(table).iter().map(|name| format!("t.{name}")).collect();
    format!(
        "SELECT {} FROM unnest({}) AS k({}) JOIN {} AS t USING ({})",
        columns.join(", "),
        arrays.join(", "),
        names.join(", "),
        table.name,
        names.join(", ")
    )
}

/// Where each value of a row stands in the staging table.
pub(crate) fn stage_columns(table: &FoldTable) -> Vec<usize> {
    let (mut ints, mut texts, mut bytes) = (0, 0, 0);
    let next = |count: &mut usize, from: usize| {
        *count += 1;
        from + *count - 1
    };
    table
        .keys
        .iter()
        .chain(table.values)
        .map(|(_, column)| match column {
            Column::Int => next(&mut ints, 0),
            Column::Text => next(&mut texts, 6),
            Column::Bytes => next(&mut bytes, 7),
            Column::Bool => 9,
        })
        .collect()
}

/// Columns of the staging table after `tab`.
const STAGED: [&str; 10] = ["i1", "i2", "i3", "i4", "i5", "i6", "t1", "b1", "b2", "f1"];

/// Number of columns of the staging table, `tab` included.
pub(crate) const STAGE_WIDTH: i16 = 11;

fn apply_sql(index: usize, table: &FoldTable) -> String {
    let columns = columns(table);
    let staged: Vec<&str> =
        stage_columns(table).into_iter().filter_map(|at| STAGED.get(at).copied()).collect();
    let keys: Vec<&str> = table.keys.iter().map(|(name, _)| *name).collect();
    let values: Vec<String> =
        table.values.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM stage WHERE tab = {index} ON CONFLICT ({}) DO UPDATE SET {}",
        table.name,
        columns.join(", "),
        staged.join(", "),
        keys.join(", "),
        values.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_table_fits_the_staging_table() {
        for table in &FOLD_TABLES {
            let mut staged = stage_columns(table);
            let columns = columns(table).len();
            staged.sort_unstable();
            staged.dedup();
            assert_eq!(staged.len(), columns, "{}", table.name);
            assert!(staged.iter().all(|at| *at < STAGED.len()), "{}", table.name);
        }
    }
}
