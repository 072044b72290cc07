//! The cold-cabinet node on an LM3S6965.
//!
//! UART0 is the line (19200 8N1), UART1 a console; probes (TMP105 at 48h to 4Bh) and settings (AT24C32 at 50h) on I2C0, or on
//! I2C1 where QEMU 10 puts them; the door's contact closes PC4 to ground. Time is SysTick, the watchdog is the part's own.
//!
//! Order at a start: the image is checked before anything is driven; a bad one says what was found and stays silent on the
//! line. Then settings, probes, line, watchdog.
#![no_std]
#![no_main]

mod clock;
mod i2c;
mod registers;
mod reset;
mod uart;

use core::fmt::Write;

use cortex_m_rt::{ExceptionFrame, entry, exception};
use drv_protocol::i2c::{Chip, Probe};
use drv_protocol::node::{PROBES, ResetReason};
use embedded_hal::delay::DelayNs;
use fw_node_core::eeprom::{self, Eeprom};
use fw_node_core::image;
use fw_node_core::line::Line;
use fw_node_core::node::{Facts, Node, Pump, ROUND_MS, Wish, round};
use fw_node_core::settings::{Found, load};

use crate::clock::Clock;
use crate::i2c::Master;
use crate::registers::{I2cRegisters, UartRegisters, gpio, sysctl, watchdog};
use crate::uart::Uart;

/// Rate of the line.
const BAUD: u32 = 19_200;
/// Flash of the part.
const FLASH_BYTES: u32 = 256 * 1024;
/// The watchdog's interrupt.
const WATCHDOG_IRQ: u32 = 18;
/// The watchdog bites after twice this: interrupt first, reset second.
const WATCHDOG_CYCLES: u32 = clock::CLOCK_HZ * 3;
/// The version as text.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version in the image's header.
const VERSION_WORD: u32 = version_word(VERSION);

/// Major, minor, patch, 0 as they lie in memory.
const fn version_word(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut parts, mut part, mut at) = ([0_u8; 4], 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'.' {
            part += 1;
        } else {
            parts[part] = parts[part] * 10 + (bytes[at] - b'0');
        }
        at += 1;
    }
    u32::from_le_bytes(parts)
}

/// Samples that the console tells; further ones would cost line time.
const FIRST_SAMPLES: u32 = 3;

/// Everything that is served while something else waits.
struct Board<'a> {
    node: Node<'a>,
    line: Line,
    uart: Uart,
    clock: Clock,
}

impl Board<'_> {
    /// Time, door, line, watchdog.
    fn serve(&mut self) {
        let now_us = self.clock.now_us();
        // Pulled up: an open door opens the contact.
        self.node.tick(now_us / 1_000, gpio::C_DOOR.get() != 0);
        while let Some(byte) = self.uart.receive() {
            self.line.take(now_us, byte);
        }
        if let Some(answer) = self.line.poll(now_us, &mut self.node) {
            self.uart.send(answer);
        }
        if self.node.liveness.is_alive(now_us / 1_000) {
            feed_watchdog();
        }
    }
}

impl DelayNs for Board<'_> {
    fn delay_ns(&mut self, ns: u32) {
        // One more: the present millisecond has begun already.
        let end = self.clock.now_us() + u64::from(ns.div_ceil(1_000)) + 1;
        while self.clock.now_us() < end {
            self.serve();
        }
    }
}

impl<'a> Pump<'a> for Board<'a> {
    fn node(&mut self) -> &mut Node<'a> {
        &mut self.node
    }
}

/// Busy waiting before there is a node.
struct Plain<'a>(&'a mut Clock);

impl DelayNs for Plain<'_> {
    fn delay_ns(&mut self, ns: u32) {
        let end = self.0.now_us() + u64::from(ns.div_ceil(1_000)) + 1;
        while self.0.now_us() < end {}
    }
}

/// Clocks and pins.
fn set_up_pins() {
    sysctl::RCGC0.or(1 << 3);
    sysctl::RCGC1.or(1 << 12 | 1 << 14 | 1 << 1 | 1);
    sysctl::RCGC2.or(0b1111);
    // The gates need three cycles; a read of the register takes longer.
    let _ = sysctl::RCGC2.get();
    gpio::A_ALTERNATE.or(0b11);
    gpio::A_DIGITAL.or(0b11);
    gpio::B_ALTERNATE.or(0b1100);
    gpio::B_OPEN_DRAIN.or(0b1000);
    gpio::B_DIGITAL.or(0b1100);
    gpio::C_PULL_UP.or(1 << 4);
    gpio::C_DIGITAL.or(1 << 4);
    gpio::D_ALTERNATE.or(0b1100);
    gpio::D_DIGITAL.or(0b1100);
}

fn start_watchdog() {
    watchdog::LOCK.set(0x1ACC_E551);
    watchdog::LOAD.set(WATCHDOG_CYCLES);
    watchdog::CONTROL.set(0b11);
    watchdog::LOCK.set(0);
    registers::enable_watchdog_interrupt();
}

fn feed_watchdog() {
    watchdog::LOCK.set(0x1ACC_E551);
    watchdog::CLEAR.set(1);
    watchdog::LOCK.set(0);
}

/// The bus on which the settings' part answers.
fn find_bus() -> (Master, &'static str) {
    let mut zero = Master::start(I2cRegisters::ZERO);
    if zero.is_there(eeprom::ADDRESS) {
        return (zero, "I2C0");
    }
    let mut one = Master::start(I2cRegisters::ONE);
    if one.is_there(eeprom::ADDRESS) { (one, "I2C1") } else { (zero, "I2C0, no settings part") }
}

/// The console cannot fail: a `fmt::Error` would come from a `Display` that refuses, and ours do not.
macro_rules! say {
    ($console:expr, $($text:tt)*) => {
        let told = writeln!($console, $($text)*);
        debug_assert!(told.is_ok());
    };
}

#[entry]
fn main() -> ! {
    clock::start_pll();
    set_up_pins();
    let reason = reset::reason();
    let mut console = Uart::start(UartRegisters::ONE, 115_200);
    say!(console, "steelyard node {VERSION} on lm3s6965");
    let image = match image::verify(FLASH_BYTES, registers::flash) {
        Ok(image) => image,
        Err(error) => {
            say!(console, "image refused: {error}");
            stop();
        }
    };
    say!(console, "image: {} bytes, CRC-32 {:08X}h", image.bytes, image.crc);
    say!(console, "start: {}", reason.name());
    let (Some(peripherals), Some(slots)) = (cortex_m::Peripherals::take(), registers::take_slots()) else {
        stop();
    };
    let mut clock = Clock::start(peripherals.SYST);
    let (mut i2c, bus) = find_bus();
    let found = load(&mut Eeprom { i2c: &mut i2c, delay: &mut Plain(&mut clock) });
    say!(console, "bus: {bus}; settings: generation {}, {} good copies", found.record.generation, found.good);
    let facts = Facts { reason, image, version: VERSION };
    let node = Node::new(&found, slots, facts);
    let uart = Uart::start(UartRegisters::ZERO, BAUD);
    say!(console, "line: unit {}, {BAUD} 8N1", node.settings().unit);
    start_watchdog();
    run(Board { node, line: Line::new(BAUD), uart, clock }, i2c, found, console)
}

/// The loop.
fn run(mut board: Board<'_>, mut i2c: Master, mut found: Found, mut console: Uart) -> ! {
    let addresses: [u8; PROBES] = [0x48, 0x49, 0x4A, 0x4B];
    let Ok(probes) = addresses.map(|address| Probe::new(Chip::Tmp105, address)).try_into_all() else {
        stop()
    };
    let mut probes = probes;
    let mut next_ms = 0;
    let mut told = board.node.samples().newest();
    let last_told = told + FIRST_SAMPLES;
    loop {
        board.serve();
        let now = board.clock.now_ms();
        if now >= next_ms {
            next_ms = (next_ms + ROUND_MS).max(now);
            round(&mut probes, &mut i2c, &mut board);
            let newest = board.node.samples().newest();
            if newest != told && newest <= last_told {
                told = newest;
                tell(&mut console, &board.node, newest);
            }
        }
        match board.node.wish() {
            Some(Wish::Save(settings, reserved)) => {
                let saved = found.save(&mut Eeprom { i2c: &mut i2c, delay: &mut board }, settings, reserved);
                board.node.saved(&found, saved.is_ok());
            }
            Some(Wish::Restart) => reset::restart(ResetReason::Command),
            Some(Wish::Hang) => loop {
                // Answers, but does not measure: exactly what the watchdog must not be fed for.
                board.serve();
            },
            None => {}
        }
    }
}

/// One line about the probes.
fn tell(console: &mut Uart, node: &Node<'_>, newest: u32) {
    let mut told = write!(console, "sample {newest}:");
    for probe in 0..PROBES {
        told = told.and(match node.reading(probe) {
            Ok(milli) => write!(console, " {milli}"),
            Err(why) => write!(console, " ({})", why.name()),
        });
    }
    debug_assert!(told.is_ok());
    say!(console, "");
}

/// All of an array of results.
trait TryIntoAll<T, const N: usize> {
    /// The values, if none failed.
    fn try_into_all(self) -> Result<[T; N], ()>;
}

impl<T: Clone, E, const N: usize> TryIntoAll<T, N> for [Result<T, E>; N] {
    fn try_into_all(self) -> Result<[T; N], ()> {
        if self.iter().any(Result::is_err) {
            return Err(());
        }
        let mut all = self.into_iter().flatten();
        let first = all.next().ok_or(())?;
        let mut out = core::array::from_fn(|_| first.clone());
        out.iter_mut().skip(1).zip(all).for_each(|(slot, value)| *slot = value);
        Ok(out)
    }
}

/// Ends without a restart: what cannot go on must not come back for ever either.
fn stop() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}

/// The watchdog's first bite: leaves the note and waits for the second, which resets.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    let watchdog = u32::try_from(number).is_ok_and(|number| number == WATCHDOG_IRQ);
    if !watchdog {
        reset::restart(ResetReason::Fault);
    }
    reset::announce(ResetReason::Watchdog);
    loop {
        cortex_m::asm::nop();
    }
}

#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    reset::restart(ResetReason::Fault)
}

#[panic_handler]
fn panic(panic: &core::panic::PanicInfo<'_>) -> ! {
    let mut console = Uart::start(UartRegisters::ONE, 115_200);
    say!(console, "panic: {panic}");
    reset::restart(ResetReason::Fault)
}
