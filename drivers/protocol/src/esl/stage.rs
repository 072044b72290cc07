//! The states of a label and the bits it reports of them (ESLS 2.5 to 2.7, 3.10.3.2).
//!
//! The transitions are those that Espressif's label (`esl_state.c`) allows, with its two one-hour timers. Where a label
//! that loses its link while it is configured goes is this module's reading: back to unassociated unless everything that
//! it must know was written.

/// A synchronized label that hears nothing for so long is unsynchronized; one that stays so for as long is unassociated.
pub const STAGE_TIMEOUT_MS: u64 = 60 * 60 * 1_000;

/// Where a label stands with its access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stage {
    /// Knows no access point; anybody may configure it.
    #[default]
    Unassociated,
    /// Connected for the first time.
    Configuring,
    /// Listens to periodic advertising.
    Synchronized,
    /// Associated and connected.
    Updating,
    /// Associated, neither connected nor synchronized.
    Unsynchronized,
}

/// What happens to a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An access point connects.
    Connected,
    /// The link ends.
    Disconnected,
    /// The command "update complete".
    UpdateComplete,
    /// Nothing of the periodic advertising was heard for [`STAGE_TIMEOUT_MS`].
    SyncLost,
    /// Nobody connected to an unsynchronized label for [`STAGE_TIMEOUT_MS`].
    Expired,
    /// The command "unassociate" or "factory reset".
    Forget,
}

/// What an access point has given a label so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Written {
    /// The address.
    pub address: bool,
    /// The key of the sync packets.
    pub sync_key: bool,
    /// The key of the responses.
    pub response_key: bool,
    /// The clock.
    pub time: bool,
    /// The sync information of the periodic advertising.
    pub synchronized: bool,
}

impl Written {
    /// Everything that a label must know of its access point before it may leave the configuration.
    #[must_use]
    pub const fn configured(&self) -> bool {
        self.address && self.sync_key && self.response_key && self.time
    }
}

impl Stage {
    /// The state after an event; an event that means nothing in a state changes nothing.
    #[must_use]
    pub const fn after(self, event: Event, written: &Written) -> Self {
        let synchronized = written.configured() && written.synchronized;
        match (self, event) {
            (Self::Unassociated, Event::Connected) => Self::Configuring,
            (Self::Synchronized | Self::Unsynchronized, Event::Connected) => Self::Updating,
            (Self::Configuring | Self::Updating, Event::UpdateComplete) if synchronized => Self::Synchronized,
            (Self::Configuring, Event::Disconnected) if !written.configured() => Self::Unassociated,
            (Self::Configuring | Self::Updating, Event::Disconnected)
            | (Self::Synchronized, Event::SyncLost) => Self::Unsynchronized,
            (Self::Unsynchronized, Event::Expired) | (_, Event::Forget) => Self::Unassociated,
            (same, _) => same,
        }
    }
}

/// The state bits of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BasicState(pub u16);

impl BasicState {
    /// Somebody has to look at the label, its battery for one.
    pub const SERVICE_NEEDED: Self = Self(1);
    /// Synchronized to the periodic advertising.
    pub const SYNCHRONIZED: Self = Self(1 << 1);
    /// An LED is lit or flashes.
    pub const ACTIVE_LED: Self = Self(1 << 2);
    /// A timed LED command waits.
    pub const PENDING_LED_UPDATE: Self = Self(1 << 3);
    /// A timed image waits.
    pub const PENDING_DISPLAY_UPDATE: Self = Self(1 << 4);

    /// Every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set or cleared.
    #[must_use]
    pub const fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { Self(self.0 & !other.0) }
    }
}
