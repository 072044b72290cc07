//! What a server's error means for the ledger.

use sync_store::LedgerError;
use tokio_postgres::error::SqlState;

/// Whether the server said it, so that the transaction is certainly not committed and the connection lives.
pub(crate) fn refused_by_server(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some() && !error.is_closed()
}

/// An error with what was being done. "No space" is told apart.
pub(crate) fn ledger_error(context: &str, error: &tokio_postgres::Error) -> LedgerError {
    let detail = match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => chain(error),
    };
    let full = [SqlState::DISK_FULL, SqlState::INSUFFICIENT_RESOURCES, SqlState::OUT_OF_MEMORY];
    match error.code() {
        Some(code) if full.contains(code) => LedgerError::Full { detail },
        _ => LedgerError::Storage { context: format!("PostgreSQL: {context}"), detail },
    }
}

/// The error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
