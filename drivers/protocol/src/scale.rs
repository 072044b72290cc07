//! What every scale driver reports, whatever its protocol.
//!
//! A scale either states a weight or says why it cannot. Only a stable weight inside the range may become a fact.

use crate::unit::Grams;

/// One answer of a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Weight {
    /// The weight shown; `None` when the scale answered with its status instead (in motion, over, under).
    pub gross_or_net: Option<Grams>,
    /// The weight is net: a tare is subtracted.
    pub net: bool,
    /// The platform was at rest.
    pub stable: bool,
    /// More than the scale's capacity.
    pub over: bool,
    /// Less than zero.
    pub under: bool,
    /// Outside the range in which the scale can be zeroed.
    pub outside_zero: bool,
    /// Within a quarter interval of zero.
    pub centre_of_zero: bool,
}

impl Weight {
    /// A stable weight.
    #[must_use]
    pub const fn stable(value: Grams, net: bool) -> Self {
        Self {
            gross_or_net: Some(value),
            net,
            stable: true,
            over: false,
            under: false,
            outside_zero: false,
            centre_of_zero: value.0 == 0 && !net,
        }
    }

    /// The weight that may be recorded: stable, and neither over nor under the range.
    #[must_use]
    pub const fn usable(&self) -> Option<Grams> {
        match self.gross_or_net {
            Some(value) if self.stable && !self.over && !self.under => Some(value),
            _ => None,
        }
    }

    /// The platform is empty and at rest: the state that arms the next weighing.
    #[must_use]
    pub const fn stable_zero(&self) -> bool {
        let shows_zero = match self.gross_or_net {
            Some(value) => value.0 == 0,
            None => self.centre_of_zero,
        };
        shows_zero && self.stable && !self.over && !self.under
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stable_weight_inside_the_range_is_usable() {
        let good = Weight::stable(Grams(1250), false);
        assert_eq!(good.usable(), Some(Grams(1250)));
        assert!(!good.stable_zero());
        assert_eq!(Weight { stable: false, ..good }.usable(), None);
        assert_eq!(Weight { over: true, ..good }.usable(), None);
        assert_eq!(Weight { under: true, ..good }.usable(), None);
        assert_eq!(Weight { gross_or_net: None, ..good }.usable(), None);
        assert!(Weight::stable(Grams(0), false).stable_zero());
        assert!(Weight { stable: true, centre_of_zero: true, ..Weight::default() }.stable_zero());
    }
}
