//! Time since the start, from SysTick at 12.5 MHz.
//!
//! Its 24 bits wrap every 1.34 s and are extended in software at every look, which the loop takes far more often. No tick
//! interrupt: an emulator on a busy host merges ticks, and a clock that counts them runs slow there.

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

use crate::registers::sysctl;

/// The system clock in hertz: ample for this work, and the slowest that the PLL's divider gives.
pub const CLOCK_HZ: u32 = 12_500_000;
const RELOAD: u32 = 0x00FF_FFFF;

/// Sets the PLL to 200 MHz from the 8 MHz crystal, divided by 16 (data sheet 5.3).
pub fn start_pll() {
    const BYPASS: u32 = 1 << 11;
    const USE_DIVISOR: u32 = 1 << 22;
    const LOCKED: u32 = 1 << 6;
    let bypassed = (sysctl::RCC.get() | BYPASS) & !USE_DIVISOR;
    sysctl::RCC.set(bypassed);
    // Crystal 8 MHz, main oscillator, PLL and oscillator powered, divisor 16.
    let kept = bypassed & !(0xF << 6) & !(3 << 4) & !(1 << 13) & !1;
    let configured = kept | 0xE << 6 | 0xF << 23 | USE_DIVISOR;
    sysctl::RCC.set(configured);
    // The lock takes at most half a millisecond; a crystal that never locks leaves the slow clock, which is better than a loop.
    for _ in 0..100_000 {
        if sysctl::RIS.get() & LOCKED != 0 {
            sysctl::RCC.set(configured & !BYPASS);
            return;
        }
    }
}

/// The clock.
pub struct Clock {
    cycles: u64,
    last: u32,
    /// Held, so that nobody else sets it up.
    _syst: SYST,
}

impl Clock {
    /// Starts it.
    pub fn start(mut syst: SYST) -> Self {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(RELOAD);
        syst.clear_current();
        syst.enable_counter();
        Self { cycles: 0, last: RELOAD, _syst: syst }
    }

    /// Microseconds since the start. Must be asked more often than every 1.3 s.
    pub fn now_us(&mut self) -> u64 {
        let left = SYST::get_current();
        // It counts down.
        self.cycles += u64::from(self.last.wrapping_sub(left) & RELOAD);
        self.last = left;
        self.cycles * 2 / 25
    }

    /// Milliseconds since the start.
    pub fn now_ms(&mut self) -> u64 {
        self.now_us() / 1_000
    }
}
