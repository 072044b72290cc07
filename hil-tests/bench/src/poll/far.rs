//! The far ends of the poll benchmark, and the log of when they were asked.

use anyhow::{Context, Result};
use drv_protocol::modbus::{Table, timing};
use drv_sim::{Bank, ModbusSim, TcpLink, UnitFaults};
use hil_rig::pty::FarEnd;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Rate of the line in bits per second.
pub(super) const BAUD: u32 = 19_200;
/// How long a device thinks before it answers.
const THINKING: Duration = Duration::from_millis(5);
/// The function code that every visit asks with: the profile's fast read.
const READ_INPUT: u8 = 4;
/// Clock ticks per second in `/proc/PID/stat`: fixed at 100 for user space on Linux.
const TICKS_PER_S: f64 = 100.0;

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom a poll was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A TCP unit by index.
    Net(usize),
    /// A unit of the line.
    Line(u8),
}

#[derive(Default)]
struct Asked {
    times: BTreeMap<Who, Vec<Instant>>,
    line_busy: Duration,
}

/// When each unit was polled.
#[derive(Clone)]
pub(super) struct Log {
    asked: Arc<Mutex<Asked>>,
    interval: Duration,
}

/// What one measurement found.
pub(super) struct Window {
    pub(super) seconds: f64,
    pub(super) polls: usize,
    pub(super) expected: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    pub(super) line_p99: f64,
    pub(super) line_share: f64,
    pub(super) cpu_s: f64,
    pub(super) written: u64,
}

impl Log {
    pub(super) fn new(interval: Duration) -> Self {
        Self { asked: Arc::default(), interval }
    }

    fn polled(&self, who: Who, at: Instant) {
        lock(&self.asked).times.entry(who).or_default().push(at);
    }

    /// Counts for `span`; units of the line in `without` are not healthy and do not count.
    pub(super) async fn window(&self, span: Duration, process: u32, without: &[u8]) -> Result<Window> {
        {
            let mut asked = lock(&self.asked);
            // The last poll before the window begins the first interval in it.
            asked.times.values_mut().for_each(|times| drop(times.drain(..times.len().saturating_sub(1))));
            asked.line_busy = Duration::ZERO;
        }
        let (cpu, written, begun) = (cpu_s(process)?, written(process)?, Instant::now());
        tokio::time::sleep(span).await;
        let seconds = begun.elapsed().as_secs_f64();
        let (cpu_s, written) = (cpu_s(process)? - cpu, written_since(process, written)?);
        let asked = lock(&self.asked);
        let healthy = |who: &Who| !matches!(who, Who::Line(unit) if without.contains(unit));
        let (mut all, mut line, mut units) = (Vec::new(), Vec::new(), 0usize);
        for (who, times) in asked.times.iter().filter(|(who, _)| healthy(who)) {
            units += 1;
            let off = times.windows(2).filter_map(|pair| match pair {
                [first, second] => Some(second.duration_since(*first).abs_diff(self.interval)),
                _ => None,
            });
            let off: Vec<f64> = off.map(|off| off.as_secs_f64() * 1_000.0).collect();
            if matches!(who, Who::Line(_)) {
                line.extend(&off);
            }
            all.extend(off);
        }
        let intervals = seconds / self.interval.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a benchmark")]
        let expected = units * (intervals as usize);
        Ok(Window {
            seconds,
            polls: all.len(),
            expected,
            p50: quantile(&mut all, 0.5),
            p99: quantile(&mut all, 0.99),
            max: quantile(&mut all, 1.0),
            line_p99: quantile(&mut line, 0.99),
            line_share: asked.line_busy.as_secs_f64() / seconds,
            cpu_s,
            written,
        })
    }
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into some thousand values"
    )]
    let at = ((values.len().saturating_sub(1)) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Processor time of a process so far, user and system.
fn cpu_s(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; what follows it is numbers.
    let (_, numbers) = text.rsplit_once(')').context("no name in stat")?;
    let ticks = |at: usize| -> Result<f64> {
        Ok(numbers.split_whitespace().nth(at).context("a short line in stat")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// Bytes that a process has sent to storage so far.
fn written(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/io"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes in io")?;
    Ok(line.trim().parse()?)
}

fn written_since(process: u32, before: u64) -> Result<u64> {
    Ok(written(process)?.saturating_sub(before))
}

/// A node at 4 degrees.
fn node(unit: u8) -> Bank {
    let mut bank = Bank::new();
    (0..)
        .zip([40 + u16::from(unit % 7), 600, 0, 0, 900])
        .for_each(|(at, word)| bank.set(Table::Input, at, word));
    (0..).zip([u16::from(unit), 80, 0, 900, 10, 0]).for_each(|(at, word)| bank.set(Table::Holding, at, word));
    bank
}

/// Units behind TCP addresses of their own.
pub(super) struct Net {
    ports: Vec<u16>,
    tasks: Vec<JoinHandle<()>>,
}

impl Net {
    pub(super) async fn start(count: usize, log: &Log) -> Result<Self> {
        let (mut ports, mut tasks) = (Vec::new(), Vec::new());
        for index in 0..count {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a port for a unit")?;
            ports.push(listener.local_addr()?.port());
            let log = log.clone();
            tasks.push(tokio::spawn(async move {
                let mut sim = ModbusSim::new(1);
                sim.add_bank(1, node(u8::try_from(index % 256).unwrap_or(0)));
                while let Ok((stream, _)) = listener.accept().await {
                    // A connection that ends, however it ends, is followed by the next one.
                    drop(answer(stream, &mut sim, &log, index).await);
                }
            }));
        }
        Ok(Self { ports, tasks })
    }

    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(mut stream: TcpStream, sim: &mut ModbusSim, log: &Log, index: usize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut link = TcpLink::new();
    let mut buffer = [0u8; 512];
    loop {
        let count = stream.read(&mut buffer).await?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.get(7) == Some(&READ_INPUT) {
            log.polled(Who::Net(index), Instant::now());
        }
        for answer in link.receive(sim, bytes, hil_rig::clock::now_ms())? {
            stream.write_all(&answer.bytes).await?;
        }
    }
}

/// Units on one line, with the time that characters take on it.
pub(super) struct Line {
    far: FarEnd,
    bus: Arc<Mutex<ModbusSim>>,
}

impl Line {
    pub(super) fn start(at: &Path, units: u8, log: &Log) -> Result<Self> {
        let mut sim = ModbusSim::new(1);
        (1..=units).for_each(|unit| sim.add_bank(unit, node(unit)));
        let bus = Arc::new(Mutex::new(sim));
        let log = log.clone();
        let step = move |sim: &mut ModbusSim, now: u64, bytes: &[u8]| {
            if bytes.is_empty() {
                return Vec::new();
            }
            // The last character of the request has only now gone over the line.
            let asked = on_the_line(bytes.len());
            std::thread::sleep(asked);
            if let [unit, READ_INPUT, ..] = bytes {
                log.polled(Who::Line(*unit), Instant::now());
            }
            let answer: Vec<u8> =
                sim.receive_rtu(bytes, now).into_iter().flat_map(|answer| answer.bytes).collect();
            let answered = if answer.is_empty() { Duration::ZERO } else { on_the_line(answer.len()) };
            if !answer.is_empty() {
                std::thread::sleep(THINKING + answered);
            }
            lock(&log.asked).line_busy += asked + answered;
            answer
        };
        let far = FarEnd::plug(at, bus.clone(), step)?;
        Ok(Self { far, bus })
    }

    pub(super) fn path(&self) -> &Path {
        self.far.path()
    }

    /// Makes units mute for good.
    pub(super) fn mute(&self, units: &[u8]) {
        let mut bus = lock(&self.bus);
        for unit in units {
            bus.set_faults(*unit, UnitFaults { mute: true, ..UnitFaults::default() });
        }
    }
}

fn on_the_line(bytes: usize) -> Duration {
    Duration::from_micros(timing::transmission_us(BAUD, bytes))
}
