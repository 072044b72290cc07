//! Symbols of bars.

use alloc::vec::Vec;

use drv_protocol::gs1::check::is_checked;
use drv_protocol::gs1::element::FNC1;

use super::{CODE128_CHARS_MAX, SymbolError};

/// A row of modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bars {
    /// Dark modules are true; the first and the last are dark.
    pub modules: Vec<bool>,
    /// Light modules before.
    pub quiet_left: u16,
    /// Light modules after.
    pub quiet_right: u16,
}

impl Bars {
    /// All modules with the quiet zones.
    #[must_use]
    pub fn width(&self) -> u16 {
        u16::try_from(self.modules.len())
            .unwrap_or(u16::MAX)
            .saturating_add(self.quiet_left + self.quiet_right)
    }
}

/// Left digits of odd parity: seven modules, the first the most significant.
const ODD: [u8; 10] = [0x0D, 0x19, 0x13, 0x3D, 0x23, 0x31, 0x2F, 0x3B, 0x37, 0x0B];
/// Which left digits are of even parity, by the first digit: bit 5 is the second digit of the number.
const PARITY: [u8; 10] = [0x00, 0x0B, 0x0D, 0x0E, 0x13, 0x19, 0x1C, 0x15, 0x16, 0x1A];

/// The 95 modules of an EAN-13.
///
/// # Errors
/// Anything but 13 digits with a valid check digit.
pub fn ean13(number: &str) -> Result<Bars, SymbolError> {
    let digits: Vec<usize> =
        number.bytes().filter(u8::is_ascii_digit).map(|byte| usize::from(byte - b'0')).collect();
    let ([first, left @ .., _, _, _, _, _, _], true) =
        (digits.as_slice(), digits.len() == 13 && number.len() == 13)
    else {
        return Err(SymbolError::Digits);
    };
    if !is_checked(number.as_bytes()) {
        return Err(SymbolError::Check);
    }
    let mut modules = Vec::with_capacity(95);
    push(&mut modules, 0b101, 3);
    let parity = PARITY.get(*first).copied().unwrap_or(0);
    for (place, digit) in (0..6).zip(left) {
        let odd = ODD.get(*digit).copied().unwrap_or(0);
        // The even set is the complement of the odd one, read backwards.
        let even = (!odd & 0x7F).reverse_bits() >> 1;
        push(&mut modules, if parity & (0x20 >> place) == 0 { odd } else { even }, 7);
    }
    push(&mut modules, 0b01010, 5);
    for digit in digits.iter().skip(7) {
        push(&mut modules, !ODD.get(*digit).copied().unwrap_or(0) & 0x7F, 7);
    }
    push(&mut modules, 0b101, 3);
    Ok(Bars { modules, quiet_left: 11, quiet_right: 7 })
}

fn push(modules: &mut Vec<bool>, bits: u8, count: u8) {
    modules.extend((0..count).rev().map(|bit| bits & (1 << bit) != 0));
}

/// Widths of bars and spaces by symbol value, as decimal digits; 106 is the stop without its last bar.
const WIDTHS: [u32; 107] = [
    212222, 222122, 222221, 121223, 121322, 131222, 122213, 122312, 132212, 221213, 221312, 231212, 112232,
    122132, 122231, 113222, 123122, 123221, 223211, 221132, 221231, 213212, 223112, 312131, 311222, 321122,
    321221, 312212, 322112, 322211, 212123, 212321, 232121, 111323, 131123, 131321, 112313, 132113, 132311,
    211313, 231113, 231311, 112133, 112331, 132131, 113123, 113321, 133121, 313121, 211331, 231131, 213113,
    213311, 213131, 311123, 311321, 331121, 312113, 312311, 332111, 314111, 221411, 431111, 111224, 111422,
    121124, 121421, 141122, 141221, 112214, 112412, 122114, 122411, 142112, 142211, 241211, 221114, 413111,
    241112, 134111, 111242, 121142, 121241, 114212, 124112, 124211, 411212, 421112, 421211, 212141, 214121,
    412121, 111143, 111341, 131141, 114113, 114311, 411113, 411311, 113141, 114131, 311141, 411131, 211412,
    211214, 211232, 233111,
];
const TO_C: u8 = 99;
const TO_B: u8 = 100;
const FNC1_VALUE: u8 = 102;
const START_B: u8 = 104;
const START_C: u8 = 105;

/// The modules of a Code 128: digits in pairs where that is shorter, FNC1 for ASCII 29 (first in a GS1-128).
///
/// # Errors
/// Nothing, too much, or a character the code sets lack.
pub fn code128(text: &str) -> Result<Bars, SymbolError> {
    let chars = text.chars().count();
    if !(1..=CODE128_CHARS_MAX).contains(&chars) {
        return Err(SymbolError::Length { chars, max: CODE128_CHARS_MAX });
    }
    if let Some(character) = text.chars().find(|character| !matches!(*character, ' '..='~' | FNC1)) {
        return Err(SymbolError::Character { character });
    }
    let mut values = values(text.as_bytes());
    let weighted = values.iter().zip(core::iter::once(1_u32).chain(1..));
    let sum = weighted.fold(0, |sum, (value, weight)| (sum + u32::from(*value) * weight) % 103);
    values.push(u8::try_from(sum).unwrap_or(0));
    values.push(106);
    let mut modules = Vec::new();
    for value in values {
        let widths = WIDTHS.get(usize::from(value)).copied().unwrap_or(0);
        for place in (0..6).rev() {
            let width = widths / 10_u32.pow(place) % 10;
            modules.extend((0..width).map(|_| place % 2 == 1));
        }
    }
    modules.extend([true, true]);
    Ok(Bars { modules, quiet_left: 10, quiet_right: 10 })
}

/// Symbol values with the start and the changes of code set.
fn values(text: &[u8]) -> Vec<u8> {
    let fnc1 = u8::try_from(FNC1).unwrap_or(29);
    // How many digits stand from a place on; FNC1 between pairs does not end a run of pairs.
    let run = |at: usize| text.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
    let mut first = text.iter().take_while(|byte| **byte == fnc1).count();
    first = run(first);
    let mut pairs = first >= 4 || (first == 2 && text.len() == 2);
    let mut values = Vec::from([if pairs { START_C } else { START_B }]);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte == fnc1 {
            values.push(FNC1_VALUE);
            at += 1;
            continue;
        }
        let digits = run(at);
        if pairs && digits < 2 {
            values.push(TO_B);
            pairs = false;
        } else if !pairs && digits >= 4 && digits % 2 == 0 {
            values.push(TO_C);
            pairs = true;
        }
        if pairs {
            let pair = text.get(at..at + 2).unwrap_or(b"00");
            values.push(pair.iter().fold(0, |sum, digit| sum * 10 + (digit - b'0')));
            at += 2;
        } else {
            values.push(byte - 32);
            at += 1;
        }
    }
    values
}
