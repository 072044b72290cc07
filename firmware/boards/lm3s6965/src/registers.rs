//! The microcontroller's registers, and all the unsafe code of the board.
//!
//! Source: LM3S6965 data sheet (Texas Instruments SPMS032), chapters in parentheses. No crate on the registry covers this
//! family with embedded-hal 1.0; what the node needs are the few registers below.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use fw_node_core::samples::Slots;

/// A 32-bit register.
#[derive(Clone, Copy)]
pub struct Register(usize);

impl Register {
    /// Reads it.
    pub fn get(self) -> u32 {
        // SAFETY: the address is one of the constants of this file, each a readable register or flash of this part; reads of
        // them do not touch memory that Rust knows of.
        unsafe { core::ptr::read_volatile(self.0 as *const u32) }
    }

    /// Writes it.
    pub fn set(self, value: u32) {
        // SAFETY: as for `get`; a write to flash or to what is not there ends in a fault, not in memory of Rust's.
        unsafe { core::ptr::write_volatile(self.0 as *mut u32, value) }
    }

    /// Sets bits.
    pub fn or(self, bits: u32) {
        self.set(self.get() | bits);
    }
}

/// System control (5).
pub mod sysctl {
    use super::Register;
    /// Raw interrupt status.
    pub const RIS: Register = Register(0x400F_E050);
    /// Reset cause.
    pub const RESC: Register = Register(0x400F_E05C);
    /// Run-mode clock configuration.
    pub const RCC: Register = Register(0x400F_E060);
    /// Clock gates.
    pub const RCGC0: Register = Register(0x400F_E100);
    /// Clock gates.
    pub const RCGC1: Register = Register(0x400F_E104);
    /// Clock gates.
    pub const RCGC2: Register = Register(0x400F_E108);
}

/// A UART (12, PL011).
#[derive(Clone, Copy)]
pub struct UartRegisters(usize);

impl UartRegisters {
    /// UART0.
    pub const ZERO: Self = Self(0x4000_C000);
    /// UART1.
    pub const ONE: Self = Self(0x4000_D000);
    /// Data and receive errors.
    pub const fn data(self) -> Register {
        Register(self.0)
    }
    /// Flags.
    pub const fn flags(self) -> Register {
        Register(self.0 + 0x18)
    }
    /// Integer divisor.
    pub const fn divisor(self) -> Register {
        Register(self.0 + 0x24)
    }
    /// Fractional divisor.
    pub const fn fraction(self) -> Register {
        Register(self.0 + 0x28)
    }
    /// Line control.
    pub const fn line(self) -> Register {
        Register(self.0 + 0x2C)
    }
    /// Control.
    pub const fn control(self) -> Register {
        Register(self.0 + 0x30)
    }
}

/// An I2C master (14).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct I2cRegisters(usize);

impl I2cRegisters {
    /// I2C0.
    pub const ZERO: Self = Self(0x4002_0000);
    /// I2C1.
    pub const ONE: Self = Self(0x4002_1000);
    /// Slave address and direction.
    pub const fn address(self) -> Register {
        Register(self.0)
    }
    /// Control when written, status when read.
    pub const fn control(self) -> Register {
        Register(self.0 + 4)
    }
    /// Data.
    pub const fn data(self) -> Register {
        Register(self.0 + 8)
    }
    /// Timer period.
    pub const fn period(self) -> Register {
        Register(self.0 + 0xC)
    }
    /// Configuration.
    pub const fn configuration(self) -> Register {
        Register(self.0 + 0x20)
    }
}

/// GPIO port A, B, C: pin functions; the door is on port C (8).
pub mod gpio {
    use super::Register;
    /// Port A: alternate functions (UART0 on PA0 and PA1).
    pub const A_ALTERNATE: Register = Register(0x4000_4420);
    /// Port A: digital enable.
    pub const A_DIGITAL: Register = Register(0x4000_451C);
    /// Port B: alternate functions (I2C0 on PB2 and PB3).
    pub const B_ALTERNATE: Register = Register(0x4000_5420);
    /// Port B: open drain.
    pub const B_OPEN_DRAIN: Register = Register(0x4000_550C);
    /// Port B: digital enable.
    pub const B_DIGITAL: Register = Register(0x4000_551C);
    /// Port C: data of pin 4 alone (the address is a mask of pins).
    pub const C_DOOR: Register = Register(0x4000_6040);
    /// Port C: pull-up.
    pub const C_PULL_UP: Register = Register(0x4000_6510);
    /// Port C: digital enable.
    pub const C_DIGITAL: Register = Register(0x4000_651C);
    /// Port D: alternate functions (UART1 on PD2 and PD3).
    pub const D_ALTERNATE: Register = Register(0x4000_7420);
    /// Port D: digital enable.
    pub const D_DIGITAL: Register = Register(0x4000_751C);
}

/// Watchdog (11).
pub mod watchdog {
    use super::Register;
    /// What it counts down from.
    pub const LOAD: Register = Register(0x4000_0000);
    /// Interrupt and reset enable.
    pub const CONTROL: Register = Register(0x4000_0008);
    /// Any write feeds it.
    pub const CLEAR: Register = Register(0x4000_000C);
    /// The key opens the others.
    pub const LOCK: Register = Register(0x4000_0C00);
}

/// A byte of flash below `0x4_0000`.
pub fn flash(offset: u32) -> u8 {
    let word = Register((offset & 0x3_FFFC) as usize).get();
    word.to_le_bytes()[(offset & 3) as usize]
}

/// Lets the watchdog's interrupt through; its handler is the default one.
pub fn enable_watchdog_interrupt() {
    const ISER0: Register = Register(0xE000_E100);
    ISER0.set(1 << super::WATCHDOG_IRQ);
}

/// Memory that a start leaves alone.
struct Kept<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: `SLOTS` is handed out once (`TAKEN`), and `NOTE` is only accessed volatile, one aligned word at a time.
unsafe impl<T> Sync for Kept<T> {}

#[unsafe(link_section = ".uninit.slots")]
static SLOTS: Kept<Slots> = Kept(UnsafeCell::new(MaybeUninit::uninit()));
#[unsafe(link_section = ".uninit.note")]
static NOTE: Kept<[u32; 2]> = Kept(UnsafeCell::new(MaybeUninit::uninit()));
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The ring's memory, once.
pub fn take_slots() -> Option<&'static mut Slots> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    // SAFETY: given out once. `Slots` is an array of words of which every content is valid; it is memory of the part that
    // hardware filled, of which the compiler knows no initial value and so cannot assume one across the volatile read.
    unsafe {
        let place: *mut Slots = SLOTS.0.get().cast();
        let _ = core::ptr::read_volatile(place.cast::<u16>());
        Some(&mut *place)
    }
}

/// The note for the next start: a mark and a code.
pub fn note() -> [u32; 2] {
    let place: *const u32 = NOTE.0.get().cast();
    // SAFETY: two aligned words of our own memory, any content is valid.
    unsafe { [core::ptr::read_volatile(place), core::ptr::read_volatile(place.add(1))] }
}

/// Leaves a note for the next start.
pub fn leave_note(note: [u32; 2]) {
    let place: *mut u32 = NOTE.0.get().cast();
    // SAFETY: as in `note`.
    unsafe {
        core::ptr::write_volatile(place, note[0]);
        core::ptr::write_volatile(place.add(1), note[1]);
    }
}

/// No heap: whatever asks for memory gets none. `drv-protocol` links `alloc` for the gateway; nothing of it is reached here.
struct NoHeap;

// SAFETY: null is the answer that means failure, and nothing is ever freed.
unsafe impl core::alloc::GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
}

#[global_allocator]
static HEAP: NoHeap = NoHeap;

/// The header of the image; `cargo xtask firmware` fills in length and CRC.
#[used]
#[unsafe(link_section = ".image_header")]
static HEADER: [u32; 4] = [fw_node_core::image::MAGIC, 0, 0, super::VERSION_WORD];
