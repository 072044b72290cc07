//! The two wires of a Modbus bus: RTU on a serial port and TCP, one request at a time.
//!
//! Contract
//! * An exchange takes at most the time given plus one read slice, whatever the far end sends.
//! * TCP waits as a task, so that one thread serves many connections; RTU waits in the kernel, on a thread of its own, because
//!   the silences of the line are shorter than what a timer of a shared thread keeps.
//! * RTU: nothing of an earlier exchange is read as an answer: after anything but a clean answer the line is drained until
//!   it has been silent for t3.5. TCP: answers of earlier transactions are recognised by number and skipped.
//! * [`WireFault::Broken`] means that the wire itself must be reopened; every other fault belongs to the unit.

use std::time::{Duration, Instant};

use drv_protocol::modbus::{
    BROADCAST, Exception, ModbusError, Request, Response, guard_broadcast, rtu, tcp, timing,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout_at;

use crate::config::{BusConfig, BusKind};
use crate::serial::{Line, OpenPort};

/// Longest wait for a TCP connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses tried per connect.
const ADDRESSES_MAX: usize = 4;
/// Longest drain of a noisy line between two requests.
const DRAIN_MAX: Duration = Duration::from_millis(100);
/// Silence that user space can measure at all.
const QUIET_MIN: Duration = Duration::from_millis(2);
/// Time that devices get to carry out a broadcast (Modbus over Serial Line V1.02, 2.4.1: 100 to 200 ms).
const BROADCAST_DELAY: Duration = Duration::from_millis(150);

/// Why an exchange gave no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireFault {
    /// No answer in time, here or at a gateway's far side.
    Silent,
    /// An answer that cannot be right.
    Malformed(String),
    /// The device said no.
    Refused(String),
    /// The wire cannot be used any more.
    Broken(String),
}

/// One exchange with its bytes.
pub(crate) struct Exchange {
    /// The request as sent.
    pub(crate) sent: Vec<u8>,
    /// What came back, bounded by one frame.
    pub(crate) received: Vec<u8>,
    /// What it means.
    pub(crate) outcome: Result<Response, WireFault>,
}

/// Where a bus leads to.
#[derive(Debug, Clone)]
pub(crate) enum WireConfig {
    /// A serial line, with the silence to keep between frames.
    Rtu(Line, Duration),
    /// `host:port`, with the pause to keep between frames.
    Tcp(String, Duration),
}

impl WireConfig {
    /// The wire must be waited for on a thread of its own.
    pub(crate) const fn blocks(&self) -> bool {
        matches!(self, Self::Rtu(..))
    }

    /// How long the line is taken by a read of `count` addresses and its answer, the silences included.
    pub(crate) fn exchange_ms(&self, count: u16) -> u64 {
        let Self::Rtu(line, gap) = self else { return 1 };
        let bytes = rtu::FRAME_BYTES_MIN + 4 + rtu::FRAME_BYTES_MIN + 1 + 2 * usize::from(count);
        let gap = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        timing::transmission_us(line.baud, bytes).saturating_add(gap.saturating_mul(2)).div_ceil(1_000)
    }

    pub(crate) fn new(bus: &BusConfig) -> Self {
        let turnaround = Duration::from_millis(bus.turnaround_ms.into());
        match bus.kind {
            BusKind::ModbusTcp => Self::Tcp(bus.address.clone().unwrap_or_default(), turnaround),
            BusKind::ModbusRtu => {
                let baud = bus.baud.unwrap_or(9600);
                let gap = Duration::from_micros(timing::frame_gap_us(baud)).max(turnaround);
                let line = Line {
                    port: bus.port.clone().unwrap_or_default(),
                    baud,
                    data_bits: 8,
                    parity: bus.parity,
                    stop_bits: bus.stop_bits,
                };
                Self::Rtu(line, gap)
            }
        }
    }

    pub(crate) async fn open(&self) -> Result<Wire, String> {
        let (link, gap) = match self {
            Self::Rtu(line, gap) => (Link::Rtu { port: line.open()?, dirty: true }, *gap),
            Self::Tcp(address, gap) => (Link::Tcp { stream: connect(address).await?, transaction: 0 }, *gap),
        };
        Ok(Wire { link, gap, idle_since: Instant::now() })
    }
}

enum Link {
    Rtu { port: OpenPort, dirty: bool },
    Tcp { stream: TcpStream, transaction: u16 },
}

/// An open wire.
pub(crate) struct Wire {
    link: Link,
    gap: Duration,
    idle_since: Instant,
}

impl Wire {
    /// Sends a request and waits for its answer.
    ///
    /// Unit 0 is refused, for reads always and for writes unless `broadcast` allows it; a broadcast has no answer.
    pub(crate) async fn exchange(
        &mut self,
        unit: u8,
        request: &Request,
        timeout: Duration,
        broadcast: bool,
    ) -> Exchange {
        let mut exchange =
            Exchange { sent: Vec::new(), received: Vec::new(), outcome: Err(WireFault::Silent) };
        if let Err(error) = guard_broadcast(unit, request, broadcast) {
            exchange.outcome = Err(fault(&error));
            return exchange;
        }
        let wait = (self.idle_since + self.gap).saturating_duration_since(Instant::now());
        let outcome = match &mut self.link {
            Link::Rtu { port, dirty } => {
                if !wait.is_zero() {
                    std::thread::sleep(wait);
                }
                rtu_exchange(port, dirty, self.gap, unit, request, timeout, &mut exchange)
            }
            Link::Tcp { stream, transaction } => {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                *transaction = transaction.wrapping_add(1);
                tcp_exchange(stream, *transaction, unit, request, timeout, &mut exchange).await
            }
        };
        exchange.outcome = outcome;
        self.idle_since = Instant::now();
        exchange
    }
}

fn fault(error: &ModbusError) -> WireFault {
    match error {
        ModbusError::Exception(Exception::GatewayTarget) => WireFault::Silent,
        ModbusError::Exception(exception) => WireFault::Refused(exception.to_string()),
        ModbusError::Broadcast { .. } => WireFault::Refused(error.to_string()),
        other => WireFault::Malformed(other.to_string()),
    }
}

fn rtu_exchange(
    port: &mut OpenPort,
    dirty: &mut bool,
    gap: Duration,
    unit: u8,
    request: &Request,
    timeout: Duration,
    exchange: &mut Exchange,
) -> Result<Response, WireFault> {
    if *dirty {
        drain(port, gap.max(QUIET_MIN)).map_err(WireFault::Broken)?;
    }
    *dirty = true;
    exchange.sent = rtu::encode_request(unit, request).map_err(|e| fault(&e))?;
    port.discard_input().map_err(WireFault::Broken)?;
    port.send(&exchange.sent).map_err(WireFault::Broken)?;
    if unit == BROADCAST {
        std::thread::sleep(BROADCAST_DELAY);
        return Ok(Response::Written);
    }
    let deadline = Instant::now() + timeout;
    let mut buffer = [0u8; rtu::FRAME_BYTES_MAX];
    loop {
        let count = port.receive(&mut buffer, deadline).map_err(WireFault::Broken)?;
        exchange.received.extend(buffer.get(..count).unwrap_or_default());
        exchange.received.truncate(rtu::FRAME_BYTES_MAX);
        if let Some(len) = rtu::response_len(&exchange.received)
            && let Some(frame) = exchange.received.get(..len)
        {
            let response = rtu::decode_response(unit, request, frame).map_err(|e| fault(&e));
            *dirty = exchange.received.len() != len || matches!(response, Err(WireFault::Malformed(_)));
            return response;
        }
        if exchange.received.len() >= rtu::FRAME_BYTES_MAX || Instant::now() >= deadline {
            if exchange.received.is_empty() {
                return Err(WireFault::Silent);
            }
            let error = rtu::decode_response(unit, request, &exchange.received).err();
            let reason = error.map_or_else(|| "answer without an end".to_owned(), |e| e.to_string());
            return Err(WireFault::Malformed(reason));
        }
    }
}

/// Reads until the line has been silent for `quiet`, for at most [`DRAIN_MAX`].
fn drain(port: &mut OpenPort, quiet: Duration) -> Result<(), String> {
    let end = Instant::now() + DRAIN_MAX.max(quiet);
    let mut buffer = [0u8; 256];
    while Instant::now() < end {
        if port.receive(&mut buffer, Instant::now() + quiet)? == 0 {
            return Ok(());
        }
    }
    Ok(())
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let attempt = async {
        let found = lookup_host(address).await.map_err(|e| format!("{address}: {e}"))?;
        let mut last = format!("{address}: no address");
        for candidate in found.take(ADDRESSES_MAX) {
            match TcpStream::connect(candidate).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|e| format!("{address}: {e}"))?;
                    return Ok(stream);
                }
                Err(e) => last = format!("{address}: {e}"),
            }
        }
        Err(last)
    };
    let limited = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await;
    limited.unwrap_or_else(|_| Err(format!("{address}: no connection within {CONNECT_TIMEOUT:?}")))
}

async fn tcp_exchange(
    stream: &mut TcpStream,
    transaction: u16,
    unit: u8,
    request: &Request,
    timeout: Duration,
    exchange: &mut Exchange,
) -> Result<Response, WireFault> {
    exchange.sent = tcp::encode_request(transaction, unit, request).map_err(|e| fault(&e))?;
    let deadline = tokio::time::Instant::now() + timeout;
    match timeout_at(deadline, stream.write_all(&exchange.sent)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(WireFault::Broken(format!("write: {error}"))),
        Err(_) => return Err(WireFault::Broken("write: the far end takes nothing".to_owned())),
    }
    if unit == BROADCAST {
        tokio::time::sleep(BROADCAST_DELAY).await;
        return Ok(Response::Written);
    }
    loop {
        exchange.received.clear();
        match timeout_at(deadline, tcp_frame(stream, &mut exchange.received)).await {
            Ok(outcome) => outcome?,
            // The stream has lost its framing when the deadline falls inside a frame.
            Err(_) if exchange.received.is_empty() => return Err(WireFault::Silent),
            Err(_) => return Err(WireFault::Broken("deadline inside a frame".to_owned())),
        }
        match tcp::decode_response(transaction, unit, request, &exchange.received) {
            // The late answer of an earlier request: skip it, the deadline bounds how many.
            Err(ModbusError::Transaction { .. }) => {}
            other => return other.map_err(|e| fault(&e)),
        }
    }
}

/// Reads exactly one frame.
async fn tcp_frame(stream: &mut TcpStream, frame: &mut Vec<u8>) -> Result<(), WireFault> {
    let mut need = tcp::HEADER_BYTES;
    let mut buffer = [0u8; tcp::FRAME_BYTES_MAX];
    loop {
        let room = buffer.get_mut(..need.saturating_sub(frame.len())).unwrap_or_default();
        match stream.read(room).await {
            Ok(0) => return Err(WireFault::Broken("closed by the far end".to_owned())),
            Ok(count) => frame.extend(buffer.get(..count).unwrap_or_default()),
            Err(error) => return Err(WireFault::Broken(format!("read: {error}"))),
        }
        match tcp::frame_len(frame).map_err(|e| WireFault::Broken(e.to_string()))? {
            Some(len) if frame.len() >= len => return Ok(()),
            Some(len) => need = len,
            None => {}
        }
    }
}
