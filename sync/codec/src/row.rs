//! Records as rows of numbers, and back to the exact bytes.
//!
//! Contract: [`parse`] accepts only what [`write`] gives back byte for byte (shortest LEB128, flags 0 or 1); anything else
//! is not a row and travels as bytes. A text is a number in the [`Pool`].

use crate::number::{unzigzag, zigzag};
use crate::schema::{Layout, Wire};
use std::collections::HashMap;
use sync_model::RECORD_BYTES_MAX;

/// Texts of a block, each known by a number that never leaves this process.
#[derive(Default)]
pub(crate) struct Pool {
    texts: Vec<Vec<u8>>,
    known: HashMap<Vec<u8>, u64>,
}

impl Pool {
    /// The number of a text.
    pub(crate) fn intern(&mut self, text: &[u8]) -> u64 {
        if let Some(found) = self.known.get(text) {
            return *found;
        }
        let number = u64::try_from(self.texts.len()).unwrap_or(u64::MAX);
        self.texts.push(text.to_vec());
        self.known.insert(text.to_vec(), number);
        number
    }

    /// The text of a number.
    pub(crate) fn text(&self, number: u64) -> &[u8] {
        usize::try_from(number).ok().and_then(|at| self.texts.get(at)).map_or(&[], Vec::as_slice)
    }
}

/// One record or line: a number per field; fields of an absent option are 0. Rows of lists hang below their field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) slots: Vec<u64>,
    pub(crate) lists: Vec<(usize, Vec<Row>)>,
}

impl Row {
    pub(crate) fn empty(layout: &Layout) -> Self {
        Self { slots: vec![0; layout.fields.len()], lists: Vec::new() }
    }

    /// The field as the model sees it: signed ones with their sign.
    pub(crate) fn signed(&self, at: usize) -> i64 {
        self.slots.get(at).copied().unwrap_or(0).cast_signed()
    }
}

/// Reads from the front of bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Shortest LEB128 of at most 64 bits.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let low = u64::from(byte & 0x7F);
            if at == 9 && *byte > 1 || at > 0 && *byte == 0 {
                return None;
            }
            value |= low << (7 * at);
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.bytes(count)
    }
}

/// Appends a LEB128 number.
pub(crate) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7F).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// Kind, time, clock and body of a record in canonical form.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u64,
    pub(crate) at: i64,
    pub(crate) clock: u64,
    pub(crate) body: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(record);
        let kind = reader.number().filter(|kind| *kind <= u64::from(u16::MAX))?;
        let at = unzigzag(reader.number()?);
        let clock = reader.number()?;
        let body = reader.sized()?;
        reader.0.is_empty().then_some(Self { kind, at, clock, body })
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 16);
        push(&mut out, self.kind);
        push(&mut out, zigzag(self.at));
        push(&mut out, self.clock);
        push(&mut out, u64::try_from(self.body.len()).unwrap_or(u64::MAX));
        out.extend_from_slice(self.body);
        out
    }
}

/// Reads a body; `None` when it is not one of this layout in canonical form.
pub(crate) fn parse(layout: &Layout, body: &[u8], pool: &mut Pool) -> Option<Row> {
    let mut reader = Reader(body);
    let row = parse_row(layout, &mut reader, pool)?;
    reader.0.is_empty().then_some(row)
}

fn parse_row(layout: &Layout, reader: &mut Reader<'_>, pool: &mut Pool) -> Option<Row> {
    let mut row = Row::empty(layout);
    let mut at = 0;
    while let Some((wire, _)) = layout.fields.get(at) {
        let value = match wire {
            Wire::U => reader.number()?,
            Wire::I => unzigzag(reader.number()?).cast_unsigned(),
            Wire::Text => pool.intern(reader.sized()?),
            Wire::Eight => u64::from_be_bytes(reader.bytes(8)?.try_into().ok()?),
            Wire::Option(_) => match reader.bytes(1)? {
                [0] => 0,
                [1] => 1,
                _ => return None,
            },
            Wire::List(inner) => {
                let count = usize::try_from(reader.number()?).ok()?;
                if count > reader.0.len() / inner.bytes_min().max(1) {
                    return None;
                }
                let rows: Option<Vec<Row>> = (0..count).map(|_| parse_row(inner, reader, pool)).collect();
                row.lists.push((at, rows?));
                u64::try_from(count).ok()?
            }
        };
        *row.slots.get_mut(at)? = value;
        at += match wire {
            Wire::Option(inner) if value == 0 => 1 + inner,
            _ => 1,
        };
    }
    Some(row)
}

/// The bytes of a row. Stops once they are more than a record may have: a text that is named again and again costs its sender
/// next to nothing.
pub(crate) fn write(layout: &Layout, row: &Row, pool: &Pool, out: &mut Vec<u8>) {
    let mut skip = 0;
    for (at, (wire, _)) in layout.fields.iter().enumerate() {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        if out.len() > RECORD_BYTES_MAX {
            return;
        }
        let value = row.slots.get(at).copied().unwrap_or(0);
        match wire {
            Wire::U => push(out, value),
            Wire::I => push(out, zigzag(value.cast_signed())),
            Wire::Text => {
                let text = pool.text(value);
                push(out, u64::try_from(text.len()).unwrap_or(u64::MAX));
                out.extend_from_slice(text);
            }
            Wire::Eight => out.extend_from_slice(&value.to_be_bytes()),
            Wire::Option(inner) => {
                out.push(u8::from(value != 0));
                skip = if value == 0 { *inner } else { 0 };
            }
            Wire::List(inner) => {
                push(out, value);
                for row in row.lists.iter().filter(|(list, _)| *list == at).flat_map(|(_, rows)| rows) {
                    write(inner, row, pool, out);
                }
            }
        }
    }
}
