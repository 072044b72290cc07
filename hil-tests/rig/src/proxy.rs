//! A TCP proxy that can cut and stall what passes through it: the network of the store day.
//!
//! Contract: [`Mode::Cut`] ends every connection and closes each new one at once; [`Mode::Stall`] keeps connections open
//! and moves no byte (the half-open link that only keep-alives notice). Dropping the handle ends everything.

use crate::RigError;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes moved at a time.
const CHUNK: usize = 16 * 1024;
/// Connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Nothing connects, what was connected is closed.
    Cut,
    /// Connections stay, no byte moves.
    Stall,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    moved: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on 127.0.0.1:`port` and forwards to 127.0.0.1:`target`.
    pub async fn start(port: u16, target: u16) -> Result<Self, RigError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|source| RigError::Io { what: format!("proxy cannot listen on port {port}"), source })?;
        let (mode, watched) = watch::channel(Mode::Pass);
        let moved = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, target, watched, Arc::clone(&moved)));
        Ok(Self { port, mode, moved, task })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the network does.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Bytes that passed in both directions.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts for ever; connections end with this task because the set that owns them does.
async fn accept(listener: TcpListener, target: u16, mode: watch::Receiver<Mode>, moved: Arc<AtomicU64>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                if *mode.borrow() == Mode::Cut || open.len() >= CONNECTIONS_MAX {
                    continue; // dropped: the peer sees the connection close
                }
                open.spawn(forward(near, target, mode.clone(), Arc::clone(&moved)));
            }
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

/// One connection: two directions, ended by either end or by a cut.
async fn forward(near: TcpStream, target: u16, mode: watch::Receiver<Mode>, moved: Arc<AtomicU64>) {
    let mut cut = mode.clone();
    let far = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
    let Ok(far) = TcpStream::connect(far).await else { return };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(near_read, far_write, mode.clone(), &moved) => {}
        () = pump(far_read, near_write, mode, &moved) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Moves bytes one way while the mode lets them pass.
async fn pump<R, W>(mut from: R, mut to: W, mut mode: watch::Receiver<Mode>, moved: &AtomicU64)
where
    R: AsyncReadExt + Unpin,
    W: AsyncWriteExt + Unpin,
{
    let mut buffer = vec![0; CHUNK];
    loop {
        if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        // What was read just as the stall began waits here.
        if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let Some(chunk) = buffer.get(..count) else { return };
        if to.write_all(chunk).await.is_err() {
            return;
        }
        moved.fetch_add(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports;
    use std::time::Duration;

    /// A far end that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut read, mut write) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
            }
        });
        port
    }

    async fn exchange(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_refuses_new_ones_until_healed() {
        let proxy = Proxy::start(ports::reserve().unwrap(), echo().await).await.unwrap();
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()));
        let mut stream = connect().await.unwrap();
        assert_eq!(exchange(&mut stream, b"before").await.unwrap(), b"before");
        proxy.set(Mode::Cut);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "the old connection must end");
        let mut refused = connect().await.unwrap();
        assert!(exchange(&mut refused, b"during").await.is_err());
        proxy.set(Mode::Pass);
        let mut healed = connect().await.unwrap();
        assert_eq!(exchange(&mut healed, b"after").await.unwrap(), b"after");
        assert_eq!(proxy.moved(), 2 * (6 + 5));
    }

    #[tokio::test]
    async fn a_stall_keeps_the_connection_and_moves_nothing() {
        let proxy = Proxy::start(ports::reserve().unwrap(), echo().await).await.unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(exchange(&mut stream, b"one").await.unwrap(), b"one");
        proxy.set(Mode::Stall);
        stream.write_all(b"two").await.unwrap();
        let mut back = [0; 3];
        let silent = tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut back)).await;
        assert!(silent.is_err(), "bytes passed a stalled link");
        proxy.set(Mode::Pass);
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"two");
    }
}
