//! What every scale driver reports, whatever its protocol.
//!
//! A scale either states a weight or says why it cannot. Only a stable weight inside the range may become a fact.
//! [`Weight`] is the common reading, [`Mass`] the number exactly as shown, [`ScaleProtocol`] the common face of the
//! protocols in [`crate::scales`].

mod mass;
mod protocol;

pub use mass::{DIGITS_MAX, Mass, MassUnit};
pub use protocol::{Answer, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step};

use crate::unit::Grams;

/// What a shown weight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// The whole load: the scale says that no tare is subtracted.
    Gross,
    /// The scale says that a tare is subtracted.
    Net,
    /// The protocol does not say; it is what the display shows.
    #[default]
    Unstated,
}

/// One answer of a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Weight {
    /// The weight shown; `None` when the scale answered with its status instead (in motion, over, under).
    pub gross_or_net: Option<Grams>,
    /// The weight is net: the scale says that a tare is subtracted.
    pub net: bool,
    /// The protocol says whether a tare is subtracted; where false, `net` is false because nothing was said.
    pub kind_stated: bool,
    /// The tare in force, where the protocol says it.
    pub tare: Option<Grams>,
    /// The number as shown: its unit and its last digit. `None` where the protocol gave none.
    pub shown: Option<Mass>,
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
    /// Less than the scale's minimum load, as the scale itself says.
    pub below_minimum: bool,
    /// The display is held: what is shown is not what lies on the platform now.
    pub held: bool,
    /// The scale reports a fault of its own (memory, calibration, start-up zero): nothing that it shows is usable.
    pub faulty: bool,
    /// The weighing range in use, counted from 1, where the protocol says it.
    pub range: Option<u8>,
}

impl Weight {
    /// A stable weight of a scale that says whether it is net.
    #[must_use]
    pub const fn stable(value: Grams, net: bool) -> Self {
        Self {
            gross_or_net: Some(value),
            net,
            kind_stated: true,
            tare: None,
            shown: None,
            stable: true,
            over: false,
            under: false,
            outside_zero: false,
            centre_of_zero: value.0 == 0 && !net,
            below_minimum: false,
            held: false,
            faulty: false,
            range: None,
        }
    }

    /// What a scale shows, with nothing known about its state yet.
    #[must_use]
    pub fn shown(mass: Mass) -> Self {
        Self { gross_or_net: Some(mass.grams()), shown: Some(mass), ..Self::default() }
    }

    /// What the shown weight is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match (self.kind_stated, self.net) {
            (true, true) => Kind::Net,
            (true, false) => Kind::Gross,
            (false, _) => Kind::Unstated,
        }
    }

    /// The weight that may be recorded: stable, live, neither over nor under the range, of a scale without a fault.
    #[must_use]
    pub const fn usable(&self) -> Option<Grams> {
        match self.gross_or_net {
            Some(value) if self.sound() => Some(value),
            _ => None,
        }
    }

    /// The platform is empty and at rest: the state that arms the next weighing.
    #[must_use]
    pub const fn stable_zero(&self) -> bool {
        let shows_zero = match self.gross_or_net {
            Some(value) => value.0 == 0,
            None => self.centre_of_zero || self.below_minimum,
        };
        shows_zero && self.sound()
    }

    const fn sound(&self) -> bool {
        self.stable && !self.over && !self.under && !self.held && !self.faulty
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
        assert_eq!(Weight { held: true, ..good }.usable(), None);
        assert_eq!(Weight { faulty: true, ..good }.usable(), None);
        assert_eq!(Weight { gross_or_net: None, ..good }.usable(), None);
        assert_eq!((good.kind(), Weight::default().kind()), (Kind::Gross, Kind::Unstated));
        assert!(Weight::stable(Grams(0), false).stable_zero());
        assert!(Weight { stable: true, centre_of_zero: true, ..Weight::default() }.stable_zero());
    }
}
