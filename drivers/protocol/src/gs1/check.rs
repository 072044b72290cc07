//! Check digits: modulo 10 of a whole number, and the verifier of a price or weight field within it.
//!
//! Verifier tables: GS1 General Specifications 7.9.2 to 7.9.4. Each letter of the published formulas is a table by digit.

/// Weighting factor "2-".
const TWO_MINUS: [u8; 10] = [0, 2, 4, 6, 8, 9, 1, 3, 5, 7];
/// Weighting factor "3".
const THREE: [u8; 10] = [0, 3, 6, 9, 2, 5, 8, 1, 4, 7];
/// Weighting factor "5+".
const FIVE_PLUS: [u8; 10] = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9];
/// Weighting factor "5-".
const FIVE_MINUS: [u8; 10] = [0, 5, 9, 4, 8, 3, 7, 2, 6, 1];

/// The values of ASCII digits; `None` when anything else is among them.
pub(crate) fn digits(text: &[u8]) -> Option<impl DoubleEndedIterator<Item = u8> + Clone + '_> {
    text.iter().all(u8::is_ascii_digit).then(|| text.iter().map(|byte| byte - b'0'))
}

/// The check digit (0..=9) that follows these ASCII digits: weights 3, 1, 3, … from the right, modulo 10. `None` when a
/// character is no digit.
#[must_use]
pub fn check_digit(body: &[u8]) -> Option<u8> {
    let weighted = digits(body)?.rev().enumerate();
    let sum = weighted.fold(0_u32, |sum, (at, digit)| {
        sum.wrapping_add(u32::from(digit) * if at % 2 == 0 { 3 } else { 1 }) % 10
    });
    u8::try_from((10 - sum) % 10).ok()
}

/// Whether the last of these ASCII digits is the check digit of the others. A lone digit is none.
#[must_use]
pub fn is_checked(code: &[u8]) -> bool {
    code.split_last().is_some_and(|(last, body)| {
        !body.is_empty() && last.is_ascii_digit() && check_digit(body) == Some(last - b'0')
    })
}

/// The verifier (0..=9) of a price or weight field of 4 or 5 ASCII digits; `None` for any other field.
#[must_use]
pub fn verifier(field: &[u8]) -> Option<u8> {
    let sum = |tables: &[[u8; 10]]| -> Option<u8> {
        let weighted = digits(field)?.zip(tables).map(|(digit, table)| table[usize::from(digit)]);
        Some(weighted.sum::<u8>() % 10)
    };
    match field.len() {
        4 => Some(sum(&[TWO_MINUS, TWO_MINUS, THREE, FIVE_MINUS])? * 3 % 10),
        5 => {
            let rest = (10 - sum(&[FIVE_PLUS, TWO_MINUS, FIVE_MINUS, FIVE_PLUS, TWO_MINUS])?) % 10;
            FIVE_MINUS
                .iter()
                .position(|weighted| *weighted == rest)
                .and_then(|digit| u8::try_from(digit).ok())
        }
        _ => None,
    }
}
