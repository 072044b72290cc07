//! What people look at after a merge: the questions of `sync-store`, over the rows of this engine.

use crate::reader::PostgresReader;
use crate::worker::{link_of, log_of};
use std::collections::BTreeMap;
use sync_evidence::Seal;
use sync_model::{BusinessDay, DeviceEntry, DeviceId, Epoch, Milli, Seq, Sku, StoreId};
use sync_store::{
    ConflictRow, Inbox, LedgerError, RegisterRow, RightsRow, RootRow, Shelf, StatementRow, TransferRow,
};

type Answer<T> = Result<T, LedgerError>;

impl Shelf for PostgresReader {
    fn stores(&self) -> Answer<Vec<StoreId>> {
        let rows = self.query("SELECT DISTINCT store FROM log ORDER BY store", &[])?;
        Ok(rows.iter().filter_map(|row| Some(StoreId(u32::try_from(row.get::<_, i64>(0)).ok()?))).collect())
    }

    fn newest_up(&self, store: StoreId) -> Answer<Option<Epoch>> {
        let sql = "SELECT max(epoch) FROM log WHERE store = $1 AND direction = 0";
        let rows = self.query(sql, &[&i64::from(store.0)])?;
        let epoch: Option<i64> = rows.first().and_then(|row| row.get(0));
        Ok(epoch.and_then(|epoch| u32::try_from(epoch).ok()).map(Epoch))
    }

    fn items(&self, store: StoreId, class: i64) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        let sql = "SELECT key, body FROM item WHERE store = $1 AND class = $2 ORDER BY key";
        let rows = self.query(sql, &[&i64::from(store.0), &class])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn open_items(&self, store: StoreId, class: i64) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        let sql = "SELECT key, body FROM item WHERE store = $1 AND class = $2 AND open ORDER BY key";
        let rows = self.query(sql, &[&i64::from(store.0), &class])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn item(&self, store: StoreId, class: i64, key: &[u8]) -> Answer<Option<Vec<u8>>> {
        let sql = "SELECT body FROM item WHERE store = $1 AND class = $2 AND key = $3";
        let rows = self.query(sql, &[&i64::from(store.0), &class, &key])?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn items_anywhere(&self, class: i64, key: &[u8]) -> Answer<Vec<Vec<u8>>> {
        let sql = "SELECT body FROM item WHERE class = $1 AND key = $2 ORDER BY store";
        Ok(self.query(sql, &[&class, &key])?.iter().map(|row| row.get(0)).collect())
    }
}

/// One question each, answered as `sync-store` answers it.
macro_rules! inbox {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $arg:ident: $kind:ty)*) -> $out:ty;)*) => {
        impl PostgresReader {
            $(
                $(#[$doc])*
                pub fn $name(&self $(, $arg: $kind)*) -> Answer<$out> {
                    Inbox(self).$name($($arg),*)
                }
            )*
        }
    };
}

inbox! {
    /// Conflicts of a store, by subject; settled ones only on demand.
    fn conflicts(&self, store: StoreId, settled: bool) -> Vec<ConflictRow>;
    /// Rights of a store, of one article or of all.
    fn rights(&self, store: StoreId, sku: Option<Sku>) -> Vec<RightsRow>;
    /// Rights that HQ holds itself, by article.
    fn pools(&self) -> BTreeMap<Sku, Milli>;
    /// Transfers that a store sent, with what arrived anywhere.
    fn transfers_from(&self, store: StoreId) -> Vec<TransferRow>;
    /// Every transfer that is not finished.
    fn transfers(&self) -> Vec<TransferRow>;
    /// Registers of a store.
    fn registers(&self, store: StoreId) -> Vec<RegisterRow>;
    /// The device registry of a store.
    fn registry(&self, store: StoreId) -> Vec<(DeviceId, DeviceEntry)>;
    /// Statements of a store, newest day first.
    fn statements(&self, store: StoreId, count: usize) -> Vec<StatementRow>;
    /// Statements of a store about which HQ still has something to do, oldest day first.
    fn open_statements(&self, store: StoreId) -> Vec<StatementRow>;
    /// One statement.
    fn statement(&self, store: StoreId, day: BusinessDay) -> Option<StatementRow>;
    /// HQ's day roots, newest first.
    fn roots(&self, count: usize) -> Vec<RootRow>;
    /// One day root by its number.
    fn root(&self, number: u64) -> Option<RootRow>;
}

impl PostgresReader {
    /// Every store that has a log here.
    pub fn stores(&self) -> Answer<Vec<StoreId>> {
        Shelf::stores(self)
    }

    /// The newest seal of every log that has one.
    pub fn seals(&self) -> Answer<Vec<Seal>> {
        let sql = "SELECT log.store, log.direction, log.epoch, s.seq, s.link, s.signature
            FROM signed_end AS s JOIN log ON log.id = s.log ORDER BY log.store, log.direction, log.epoch";
        let rows = self.query(sql, &[])?;
        let seal = |row: &tokio_postgres::Row| {
            let log = log_of(row.get(0), row.get(1), row.get(2))?;
            let signature: [u8; 64] = row.get::<_, &[u8]>(5).try_into().ok()?;
            let upto = Seq(row.get::<_, i64>(3).cast_unsigned());
            Some(Seal { log, upto, link: link_of(row.get(4)), signature })
        };
        Ok(rows.iter().filter_map(seal).collect())
    }
}
