//! Rows in the binary form of COPY, sent in large pieces.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use std::pin::pin;
use sync_store::Cell;
use tokio_postgres::Client;

/// Bytes handed to the connection at once.
const PIECE: usize = 256 * 1024;

/// Rows on their way into one COPY.
#[derive(Debug)]
pub(crate) struct CopyRows {
    bytes: BytesMut,
    rows: u64,
}

impl CopyRows {
    pub(crate) fn new() -> Self {
        let mut bytes = BytesMut::with_capacity(64 * 1024);
        bytes.put_slice(b"PGCOPY\n\xff\r\n\0");
        // No flags, no header extension.
        bytes.put_i32(0);
        bytes.put_i32(0);
        Self { bytes, rows: 0 }
    }

    /// Begins a row of `columns` values.
    pub(crate) fn row(&mut self, columns: i16) {
        self.rows += 1;
        self.bytes.put_i16(columns);
    }

    pub(crate) fn int(&mut self, value: i64) {
        self.bytes.put_i32(8);
        self.bytes.put_i64(value);
    }

    pub(crate) fn small(&mut self, value: i16) {
        self.bytes.put_i32(2);
        self.bytes.put_i16(value);
    }

    /// Bytes or UTF-8. Longer than 2 GiB does not occur: records and bodies are bounded.
    pub(crate) fn slice(&mut self, value: &[u8]) {
        self.bytes.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.bytes.put_slice(value);
    }

    pub(crate) fn null(&mut self) {
        self.bytes.put_i32(-1);
    }

    pub(crate) fn cell(&mut self, cell: &Cell) {
        match cell {
            Cell::Int(value) => self.int(*value),
            Cell::Text(value) => self.slice(value.as_bytes()),
            Cell::Bytes(value) => self.slice(value),
            Cell::Bool(value) => self.slice(&[u8::from(*value)]),
        }
    }

    /// Sends everything through `statement`; no rows, no COPY.
    pub(crate) async fn send(
        mut self,
        client: &Client,
        statement: &tokio_postgres::Statement,
    ) -> Result<(), tokio_postgres::Error> {
        if self.rows == 0 {
            return Ok(());
        }
        self.bytes.put_i16(-1);
        let mut sink = pin!(client.copy_in::<_, Bytes>(statement).await?);
        let mut all = self.bytes.freeze();
        while !all.is_empty() {
            sink.send(all.split_to(all.len().min(PIECE))).await?;
        }
        sink.finish().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_documented_bytes() {
        let mut rows = CopyRows::new();
        rows.row(3);
        rows.small(7);
        rows.cell(&Cell::Bool(true));
        rows.null();
        let expected: &[u8] =
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x02\0\x07\0\0\0\x01\x01\xff\xff\xff\xff";
        assert_eq!(&rows.bytes[..], expected);
    }
}
