//! LED jobs for pickers: one colour per order.

use super::TagNo;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Most tags of one order: a walk, not a store.
pub const ORDER_TAGS_MAX: usize = 256;

/// A colour that people tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Color {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Red and green.
    Yellow,
    /// Green and blue.
    Cyan,
    /// Red and blue.
    Magenta,
    /// All three.
    White,
}

impl Color {
    /// Every colour.
    pub const ALL: [Self; 7] =
        [Self::Red, Self::Green, Self::Blue, Self::Yellow, Self::Cyan, Self::Magenta, Self::White];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Cyan => "cyan",
            Self::Magenta => "magenta",
            Self::White => "white",
        }
    }

    /// The colour of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|color| color.name() == name)
    }
}

/// An LED to flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flash {
    /// The picker's order.
    pub order: u64,
    /// Its colour.
    pub color: Color,
    /// Flash until then; later the job is worth nothing.
    pub until_ms: u64,
}

/// Why an order is not flashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlashRefusal {
    /// The tag is not in the plan.
    #[error("tag {} is not in the plan", .0.0)]
    Unknown(TagNo),
    /// The tag's family has no LED that a public protocol drives.
    #[error("tag {} has no LED that can be driven", .0.0)]
    NoLed(TagNo),
    /// One order, one colour.
    #[error("order {order} flashes {}, not {}", .has.name(), .asked.name())]
    OtherColor {
        /// The order.
        order: u64,
        /// What it flashes in.
        has: Color,
        /// What was asked for.
        asked: Color,
    },
    /// One colour, one order.
    #[error("{} belongs to order {by} until it is done", .color.name())]
    ColorTaken {
        /// The colour.
        color: Color,
        /// Whose it is.
        by: u64,
    },
    /// More tags than an order has.
    #[error("an order of more than {ORDER_TAGS_MAX} tags")]
    TooMany,
    /// The end lies in the past.
    #[error("the flash would have ended before it began")]
    Over,
}

/// An order that is being picked.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) color: Color,
    pub(super) until_ms: u64,
    pub(super) tags: Vec<TagNo>,
}

/// Orders under way; as many as there are colours.
#[derive(Debug, Default)]
pub(super) struct Orders(pub(super) BTreeMap<u64, Order>);

impl Orders {
    /// Whether the order may flash in that colour.
    pub(super) fn admit(&self, flash: &Flash, now_ms: u64) -> Result<(), FlashRefusal> {
        if flash.until_ms <= now_ms {
            return Err(FlashRefusal::Over);
        }
        if let Some(order) = self.0.get(&flash.order).filter(|order| order.color != flash.color) {
            return Err(FlashRefusal::OtherColor {
                order: flash.order,
                has: order.color,
                asked: flash.color,
            });
        }
        let taken =
            self.0.iter().find(|(number, order)| **number != flash.order && order.color == flash.color);
        match taken {
            Some((by, _)) => Err(FlashRefusal::ColorTaken { color: flash.color, by: *by }),
            None => Ok(()),
        }
    }

    /// Whether the order stays small enough with these tags.
    pub(super) fn holds(&self, order: u64, tags: &[TagNo]) -> bool {
        let held = self.0.get(&order).map_or(0, |order| order.tags.len());
        held + tags.len() <= ORDER_TAGS_MAX
    }

    /// Takes over the tags of an admitted order.
    pub(super) fn add(&mut self, flash: &Flash, tags: &[TagNo]) {
        let order = self.0.entry(flash.order).or_insert_with(|| Order {
            color: flash.color,
            until_ms: flash.until_ms,
            tags: Vec::new(),
        });
        order.until_ms = order.until_ms.max(flash.until_ms);
        for tag in tags {
            if !order.tags.contains(tag) {
                order.tags.push(*tag);
            }
        }
    }

    /// Orders whose time is over.
    pub(super) fn over(&self, now_ms: u64) -> Option<u64> {
        self.0.iter().find(|(_, order)| order.until_ms <= now_ms).map(|(number, _)| *number)
    }
}
