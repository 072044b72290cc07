//! The baseline: plain rows in SQLite, durable as often as the candidate, indexed for the same question.

use anyhow::Result;
use rusqlite::{Connection, params};
use std::path::Path;
use sync_model::UnixMillis;
use sync_store::telemetry::{Interval, Point, Spread};

/// A table of samples.
pub(super) struct PlainRows {
    connection: Connection,
    waiting: Vec<(usize, Point)>,
}

impl PlainRows {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE sample (device INTEGER NOT NULL, metric INTEGER NOT NULL, at INTEGER NOT NULL,
                 value INTEGER NOT NULL, good INTEGER NOT NULL) STRICT;
             CREATE INDEX sample_at ON sample (device, metric, at);",
        )?;
        Ok(Self { connection, waiting: Vec::new() })
    }

    pub(super) fn push(&mut self, device: usize, point: Point) {
        self.waiting.push((device, point));
    }

    /// Makes everything so far durable.
    pub(super) fn commit(&mut self) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO sample VALUES (?1, 1, ?2, ?3, ?4)")?;
            for (device, point) in self.waiting.drain(..) {
                insert.execute(params![i64::try_from(device)?, point.at.0, point.value, point.good])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The same sums as the candidate's.
    pub(super) fn intervals(
        &self,
        device: usize,
        (from, to): (i64, i64),
        every: i64,
    ) -> Result<Vec<Interval>> {
        let mut statement = self.connection.prepare(
            "SELECT at / ?4 * ?4, sum(good), sum(1 - good), min(iif(good, value, NULL)), max(iif(good, value, NULL)),
                 sum(iif(good, value, 0))
             FROM sample WHERE device = ?1 AND metric = 1 AND at >= ?2 AND at < ?3 GROUP BY 1 ORDER BY 1",
        )?;
        let rows = statement.query_map(params![i64::try_from(device)?, from, to, every], |row| {
            let (count, min, max): (i64, Option<i64>, Option<i64>) = (row.get(1)?, row.get(3)?, row.get(4)?);
            let (sum, bad): (i64, i64) = (row.get(5)?, row.get(2)?);
            let mean = (count > 0).then(|| (2 * sum + count).div_euclid(2 * count));
            let values = min.zip(max).zip(mean).map(|((min, max), mean)| Spread { min, mean, max });
            let (good, bad) = (count.cast_unsigned(), bad.cast_unsigned());
            Ok(Interval { from: UnixMillis(row.get(0)?), good, bad, values })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn close(self) -> Result<()> {
        self.connection.close().map_err(|(_, error)| error.into())
    }
}
