//! A simulated Modbus bus behind a TCP port, as behind a serial gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drv_sim::{ModbusSim, TcpLink};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::RigError;
use crate::clock::now_ms;

/// Connections served at the same time; more wait.
const CONNECTIONS_MAX: usize = 16;

/// The port with the bus behind it. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct ModbusTcp {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl ModbusTcp {
    /// Listens on 127.0.0.1; port 0 takes a free one. The bus stays shared, so that a test can change it while it is served.
    /// The devices' time is [`now_ms`].
    pub async fn start(port: u16, bus: Arc<Mutex<ModbusSim>>) -> Result<Self, RigError> {
        let fail = |source| RigError::Io { what: format!("Modbus TCP on port {port}"), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { address, task: tokio::spawn(accept(listener, bus)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ModbusTcp {
    fn drop(&mut self) {
        // The task owns the listener and all connections.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, bus: Arc<Mutex<ModbusSim>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, bus.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, bus: Arc<Mutex<ModbusSim>>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut link = TcpLink::new();
    let mut buffer = [0u8; 1024];
    while let Ok(count) = stream.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        let answers = link.receive(&mut bus.lock().unwrap_or_else(PoisonError::into_inner), bytes, now_ms());
        let Ok(answers) = answers else { return };
        for answer in answers {
            if answer.after_ms > 0 {
                tokio::time::sleep(Duration::from_millis(answer.after_ms)).await;
            }
            if stream.write_all(&answer.bytes).await.is_err() {
                return;
            }
        }
    }
}
