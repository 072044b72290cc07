//! Columns of each event kind: how a field lies in the record and what predicts it.
//!
//! Contract: the tables belong to codec number 1 and never change; a new table is a new codec number. A kind without a
//! table travels as kind, time and body bytes, so that a newer store can speak to an older HQ.

/// How a field lies in the body (postcard).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// Unsigned LEB128.
    U,
    /// Signed: zigzag LEB128.
    I,
    /// Length (LEB128) and that many bytes.
    Text,
    /// Eight bytes, big-endian as a number.
    Eight,
    /// One byte, 0 or 1; on 0 the next so many fields are absent.
    Option(usize),
    /// Count (LEB128) and that many rows.
    List(&'static Layout),
}

/// What predicts a field. Slots are counted in the same row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Model {
    /// Nothing; statistics only.
    Plain,
    /// The value before in this column.
    Delta,
    /// One more than the last with the same value in that slot.
    CountBy(usize),
    /// The last value with the same value in that slot.
    LastBy(usize),
    /// The value of that slot.
    Near(usize),
    /// The record's own time.
    Before,
    /// The start of the minute before the record's own time.
    Minute,
    /// Epoch of the log.
    Epoch,
    /// Own position, counted back.
    Back,
    /// Own position, counted back; repeats within the block by table.
    BackAgain,
    /// Own position, counted back; weighings of the block by table.
    Weighed,
    /// Text of a group's table; the last one found in this column predicts the next.
    Name(usize),
    /// Article table.
    Sku,
    /// Price of the article in that slot.
    Price(usize),
    /// Tax rate of the article in that slot.
    Tax(usize),
    /// Lot of the article in that slot.
    Lot(usize),
    /// Quantity of the article in `sku`, weighed by the fact in `weighing`.
    Quantity { sku: usize, weighing: usize },
    /// Price times quantity less discount, from those slots.
    Amount { price: usize, quantity: usize, discount: usize },
    /// What the lines still leave to pay.
    Tender,
    /// Bytes without structure: eight of them, as they are.
    Noise,
}

use Model::{
    Amount, Back, BackAgain, Before, CountBy, Delta, Epoch, LastBy, Lot, Minute, Name, Near, Noise, Plain,
    Price, Quantity, Sku, Tax, Tender, Weighed,
};
use Wire::{Eight, I, List, Option as Maybe, Text, U};

/// Text groups: columns of one group share a table.
pub(crate) const GROUPS: usize = 6;
/// Device names.
const DEVICE: usize = 0;
/// Lots.
pub(crate) const LOT: usize = 1;
/// People.
const PERSON: usize = 2;
/// Stable words.
const WORD: usize = 3;
/// Free text and references.
const FREE: usize = 4;
/// Codes of currencies.
const MONEY: usize = 5;

/// One row's fields.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Number of the layout: statistics of field `i` belong to column 16 x number + i.
    pub(crate) number: u16,
    /// In the order of the record.
    pub(crate) fields: &'static [(Wire, Model)],
    /// In which order they are coded; empty is the order of the record.
    pub(crate) order: &'static [usize],
}

/// Number of columns of all layouts.
pub(crate) const COLUMNS: usize = 16 * 64;

impl Layout {
    const fn new(number: u16, fields: &'static [(Wire, Model)]) -> Self {
        Self { number, fields, order: &[] }
    }

    /// Bytes that a row has at least.
    pub(crate) fn bytes_min(&self) -> usize {
        let mut bytes = 0;
        let mut skip = 0;
        for (wire, _) in self.fields {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            match wire {
                Maybe(inner) => {
                    skip = *inner;
                    bytes += 1;
                }
                Eight => bytes += 8,
                U | I | Text | List(_) => bytes += 1,
            }
        }
        bytes
    }

    /// The field that is coded as number `step`.
    pub(crate) fn at(&self, step: usize) -> usize {
        self.order.get(step).copied().unwrap_or(step)
    }

    /// The layout of a kind.
    pub(crate) fn of(kind: u16) -> Option<&'static Self> {
        KINDS.iter().find(|(found, _)| *found == kind).map(|(_, layout)| *layout)
    }

    /// The kind with layout `number`.
    pub(crate) fn kind(number: u16) -> Option<(u16, &'static Self)> {
        KINDS.iter().find(|(_, layout)| layout.number == number).copied()
    }
}

const LINE: &[(Wire, Model)] = &[
    (U, Sku),
    (Text, Lot(0)),
    (I, Quantity { sku: 0, weighing: 9 }),
    (I, Price(0)),
    (I, Plain),
    (I, Amount { price: 3, quantity: 2, discount: 4 }),
    (U, Tax(0)),
    (Maybe(2), Plain),
    (U, Epoch),
    (U, Weighed),
    (Maybe(2), Plain),
    (U, Epoch),
    (U, BackAgain),
];
/// The weighing comes before the quantity that it explains.
const LINE_ORDER: &[usize] = &[0, 7, 8, 9, 1, 2, 3, 4, 5, 6, 10, 11, 12];
const PAID: &[(Wire, Model)] = &[(U, Plain), (I, Tender)];
const MOVED: &[(Wire, Model)] = &[(U, Sku), (Text, Lot(0)), (I, Quantity { sku: 0, weighing: 0 })];

static SALE_LINE: Layout = Layout { number: 48, fields: LINE, order: LINE_ORDER };
static SALE_TENDER: Layout = Layout::new(49, PAID);
static RETURN_LINE: Layout = Layout { number: 50, fields: LINE, order: LINE_ORDER };
static RETURN_TENDER: Layout = Layout::new(51, PAID);
static RECEIPT_LINE: Layout =
    Layout::new(52, &[(U, Sku), (Text, Lot(0)), (I, Quantity { sku: 0, weighing: 0 }), (I, LastBy(0))]);
static OUT_LINE: Layout = Layout::new(53, MOVED);
static IN_LINE: Layout = Layout::new(54, MOVED);
static ARTICLE: Layout = Layout::new(
    55,
    &[
        (U, Delta),
        (U, Delta),
        (Text, Name(FREE)),
        (U, Plain),
        (I, Plain),
        (U, Delta),
        (I, Delta),
        (I, Delta),
        (U, Plain),
    ],
);

static EPOCH_OPENED: Layout = Layout::new(
    1,
    &[
        (U, Plain),
        (U, Plain),
        (Maybe(6), Plain),
        (U, Epoch),
        (U, Plain),
        (Eight, Noise),
        (Eight, Noise),
        (Eight, Noise),
        (Eight, Noise),
        (Text, Name(FREE)),
    ],
);
static WEIGHING: Layout =
    Layout::new(2, &[(Text, Name(DEVICE)), (I, Plain), (I, LastBy(0)), (I, LastBy(0)), (Eight, Noise)]);
static SALE: Layout = Layout::new(
    3,
    &[
        (U, Plain),
        (U, CountBy(0)),
        (I, Delta),
        (Text, Name(MONEY)),
        (List(&SALE_LINE), Plain),
        (List(&SALE_TENDER), Plain),
    ],
);
static RETURN: Layout = Layout::new(
    4,
    &[
        (U, Plain),
        (U, CountBy(0)),
        (I, Delta),
        (Maybe(2), Plain),
        (U, Epoch),
        (U, Back),
        (Text, Name(MONEY)),
        (List(&RETURN_LINE), Plain),
        (List(&RETURN_TENDER), Plain),
    ],
);
static RECEIPT: Layout = Layout::new(5, &[(Text, Name(FREE)), (List(&RECEIPT_LINE), Plain)]);
static WASTE: Layout = Layout::new(
    6,
    &[
        (U, Sku),
        (Text, Lot(0)),
        (I, Quantity { sku: 0, weighing: 0 }),
        (U, Plain),
        (Maybe(2), Plain),
        (U, Epoch),
        (U, BackAgain),
    ],
);
static COUNT: Layout = Layout::new(
    7,
    &[
        (U, Sku),
        (Text, Lot(0)),
        (Text, Name(WORD)),
        (I, Quantity { sku: 0, weighing: 0 }),
        (I, Near(3)),
        (Text, Name(PERSON)),
    ],
);
static TRANSFER_OUT: Layout = Layout::new(8, &[(U, Delta), (List(&OUT_LINE), Plain)]);
static TRANSFER_IN: Layout =
    Layout::new(9, &[(U, Delta), (U, LastBy(0)), (U, LastBy(0)), (List(&IN_LINE), Plain)]);
static TEMPERATURE: Layout = Layout {
    number: 10,
    fields: &[
        (Text, Name(DEVICE)),
        (I, Minute),
        (Maybe(1), Plain),
        (I, Near(5)),
        (Maybe(1), Plain),
        (I, LastBy(0)),
        (Maybe(1), Plain),
        (I, Near(5)),
        (U, LastBy(0)),
        (U, Plain),
    ],
    // The mean comes before low and high, which lie around it.
    order: &[0, 1, 4, 5, 2, 3, 6, 7, 8, 9],
};
static ALARM_RAISED: Layout = Layout::new(
    11,
    &[
        (Text, Name(DEVICE)),
        (U, Plain),
        (I, Before),
        (Maybe(1), Plain),
        (I, Plain),
        (Maybe(1), Plain),
        (I, Plain),
    ],
);
static ALARM_ACKNOWLEDGED: Layout = Layout::new(12, &[(U, Epoch), (U, BackAgain), (Text, Name(PERSON))]);
static ALARM_RETURNED: Layout = Layout::new(
    13,
    &[(U, Epoch), (U, BackAgain), (Maybe(1), Plain), (I, Plain), (Maybe(1), Plain), (I, Plain)],
);
static ALARM_SHELVED: Layout =
    Layout::new(14, &[(U, Epoch), (U, BackAgain), (I, Before), (Text, Name(PERSON))]);
static BATCH_QUEUED: Layout = Layout::new(
    15,
    &[
        (Text, Name(DEVICE)),
        (U, Sku),
        (I, Quantity { sku: 1, weighing: 1 }),
        (U, Delta),
        (I, LastBy(3)),
        (I, LastBy(3)),
        (U, LastBy(3)),
        (U, LastBy(3)),
    ],
);
static BATCH_MOVED: Layout = Layout::new(
    16,
    &[
        (U, Epoch),
        (U, BackAgain),
        (U, LastBy(1)),
        (U, Near(2)),
        (Maybe(1), Plain),
        (I, Plain),
        (Text, Name(WORD)),
    ],
);
static PRICE_CHANGED: Layout =
    Layout::new(17, &[(U, Sku), (Maybe(1), Plain), (I, Price(0)), (I, Near(2)), (U, Delta)]);
static TAG_CONFIRMED: Layout =
    Layout::new(18, &[(Text, Name(DEVICE)), (U, Sku), (I, Price(1)), (U, Delta), (Eight, Noise)]);
static DEVICE_SEEN: Layout = Layout::new(19, &[(Text, Name(DEVICE)), (U, Plain), (Text, Name(FREE))]);
static DEVICE_LOST: Layout = Layout::new(20, &[(Text, Name(DEVICE)), (U, Plain), (Text, Name(FREE))]);
static AUDIT: Layout = Layout::new(21, &[(Text, Name(PERSON)), (Text, Name(WORD)), (Text, Name(FREE))]);
static RESERVATION_OPENED: Layout = Layout::new(
    22,
    &[(U, Sku), (I, Quantity { sku: 0, weighing: 0 }), (Text, Name(WORD)), (Text, Name(FREE)), (I, Before)],
);
static RESERVATION_CLOSED: Layout = Layout::new(
    23,
    &[(U, Epoch), (U, BackAgain), (U, Sku), (I, Quantity { sku: 2, weighing: 2 }), (U, Plain)],
);
static CLOCK_JUMPED: Layout = Layout::new(24, &[(I, Plain)]);
static ARTICLES_SET: Layout = Layout::new(25, &[(List(&ARTICLE), Plain)]);

/// Kinds with a table.
pub(crate) static KINDS: &[(u16, &Layout)] = &[
    (1, &EPOCH_OPENED),
    (2, &WEIGHING),
    (3, &SALE),
    (4, &RETURN),
    (5, &RECEIPT),
    (6, &WASTE),
    (7, &COUNT),
    (8, &TRANSFER_OUT),
    (9, &TRANSFER_IN),
    (10, &TEMPERATURE),
    (11, &ALARM_RAISED),
    (12, &ALARM_ACKNOWLEDGED),
    (13, &ALARM_RETURNED),
    (14, &ALARM_SHELVED),
    (15, &BATCH_QUEUED),
    (16, &BATCH_MOVED),
    (17, &PRICE_CHANGED),
    (18, &TAG_CONFIRMED),
    (19, &DEVICE_SEEN),
    (20, &DEVICE_LOST),
    (21, &AUDIT),
    (22, &RESERVATION_OPENED),
    (23, &RESERVATION_CLOSED),
    (24, &CLOCK_JUMPED),
    (256, &ARTICLES_SET),
];
