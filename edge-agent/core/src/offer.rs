//! What a channel may promise: share x (on hand - reserved - safety), never below zero, never rounded up.
//!
//! Channels contend for the same units. Reserved counts the promises of *all* channels, so no unit is promised twice
//! whatever the shares add up to. Failure cases: a share above 1000 counts as 1000; sums beyond the range of a quantity
//! saturate towards promising less.

use sync_model::{Milli, StockUnit};

/// Stock of one article, as the ledger folds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// On hand.
    pub on_hand: Milli,
    /// Promised to any channel.
    pub reserved: Milli,
    /// Kept back.
    pub safety: Milli,
    /// Pieces are promised whole.
    pub unit: StockUnit,
}

/// Why a reservation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationRefusal {
    /// Zero, negative, or a fraction of a piece.
    #[error("quantity {0} cannot be reserved: expected more than 0, whole pieces for counted articles")]
    Quantity(Milli),
    /// More than the channel may promise.
    #[error("{wanted} wanted, {offered} on offer")]
    Short {
        /// Asked for.
        wanted: Milli,
        /// On offer.
        offered: Milli,
    },
}

impl ReservationRefusal {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "bad-quantity",
            Self::Short { .. } => "not-available",
        }
    }
}

/// What a channel with this share may promise now.
pub fn offer(standing: &Standing, share_permille: u16) -> Milli {
    let free = i128::from(standing.on_hand.0)
        - i128::from(standing.reserved.0.max(0))
        - i128::from(standing.safety.0.max(0));
    let share = i128::from(share_permille.min(1000));
    let offered = free.max(0) * share / 1000;
    let whole = match standing.unit {
        StockUnit::Piece => offered - offered % 1000,
        StockUnit::Kilogram | StockUnit::Litre => offered,
    };
    Milli(i64::try_from(whole).unwrap_or(i64::MAX))
}

/// Whether a channel with this share may promise `wanted` now.
pub fn check_reservation(
    wanted: Milli,
    standing: &Standing,
    share_permille: u16,
) -> Result<(), ReservationRefusal> {
    let split = standing.unit == StockUnit::Piece && wanted.0 % 1000 != 0;
    if wanted.0 <= 0 || split {
        return Err(ReservationRefusal::Quantity(wanted));
    }
    let offered = offer(standing, share_permille);
    if wanted > offered { Err(ReservationRefusal::Short { wanted, offered }) } else { Ok(()) }
}
