//! Numbered migrations, forward only, one worker at a time.

use tokio_postgres::{Client, Error};

/// Every migration, in order. Position + 1 is the version it leads to.
const MIGRATIONS: [&str; 4] = [
    include_str!("../migrations/001_ledger.sql"),
    include_str!("../migrations/002_folds.sql"),
    include_str!("../migrations/003_local.sql"),
    include_str!("../migrations/004_hq.sql"),
];

/// Newest schema version that this build knows.
pub const SCHEMA: i64 = 4;

/// Key of the advisory lock that migrating workers take: "SYLG".
const LOCK: i64 = 0x5359_4c47;

/// What became of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migrated {
    /// The schema has this build's version now.
    Ready,
    /// The database was written by newer software.
    Newer(i64),
}

/// Brings the database to [`SCHEMA`], all in one transaction.
pub(crate) async fn migrate(client: &mut Client) -> Result<Migrated, Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())")
        .await?;
    let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?;
    let version: i64 = row.get(0);
    if version > SCHEMA {
        return Ok(Migrated::Newer(version));
    }
    let mut reached = 0_i64;
    for migration in MIGRATIONS {
        reached += 1;
        if reached > version {
            transaction.batch_execute(migration).await?;
            transaction.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&reached]).await?;
        }
    }
    transaction.commit().await?;
    Ok(Migrated::Ready)
}
