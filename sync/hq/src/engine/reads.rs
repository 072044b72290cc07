//! Reading for the engine, on a thread of its own: a ledger that is slow or away must not hold the loop up.
//!
//! The hub asks for a bounded number of things at a time, so the queue is bounded by it. A read that fails is answered with
//! nothing: the hub asks again later.

use super::Done;
use crate::vault::{Vault, VaultReader};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use sync_core::SendRange;
use sync_core::replica::Token;
use sync_model::{LogId, Seq};
use sync_store::LedgerError;
use tokio::sync::mpsc::UnboundedSender;

/// A question.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// Records to send.
    Block { token: Token, range: SendRange },
    /// The chain link at a position.
    Link { token: Token, log: LogId, at: Seq },
}

/// The thread, as the engine holds it.
pub(super) struct Reads {
    asks: Option<Sender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

impl Reads {
    pub(super) fn start(vault: Vault, done: UnboundedSender<Done>) -> std::io::Result<Self> {
        let (asks, asked) = channel();
        let thread = std::thread::Builder::new()
            .name("hq-reader".into())
            .spawn(move || serve(&vault, &asked, &done))?;
        Ok(Self { asks: Some(asks), thread: Some(thread) })
    }

    pub(super) fn ask(&self, ask: Ask) {
        if self.asks.as_ref().is_none_or(|asks| asks.send(ask).is_err()) {
            tracing::error!(?ask, "the reading thread is gone");
        }
    }

    /// Ends the thread; the ledger is closed only after its last handle is gone.
    pub(super) async fn stop(mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
            tracing::debug!(clean = joined.unwrap_or(false), "reading thread ended");
        }
    }
}

fn serve(vault: &Vault, asked: &Receiver<Ask>, done: &UnboundedSender<Done>) {
    let mut reader: Option<VaultReader> = None;
    while let Ok(ask) = asked.recv() {
        let answer = answer(vault, &mut reader, ask).unwrap_or_else(|error| {
            tracing::error!(?ask, %error, "cannot read HQ's own log");
            // The next question opens another one.
            reader = None;
            match ask {
                Ask::Block { token, .. } => Done::Read { token, block: None },
                Ask::Link { token, .. } => Done::Link { token, link: None },
            }
        });
        if done.send(answer).is_err() {
            break;
        }
    }
}

fn answer(vault: &Vault, reader: &mut Option<VaultReader>, ask: Ask) -> Result<Done, LedgerError> {
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(vault.reader()?),
    };
    match ask {
        Ask::Block { token, range } => {
            let SendRange { log, first, max_records, max_bytes } = range;
            let block = reader.block(log, first, max_records, max_bytes)?;
            Ok(Done::Read { token, block })
        }
        Ask::Link { token, log, at } => Ok(Done::Link { token, link: reader.link(log, at)? }),
    }
}
