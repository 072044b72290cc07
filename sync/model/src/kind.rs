//! Registry of event kinds. Numbers are for ever: append only, never reuse, never change a body layout.
//! 1-255 are written by stores, 256-511 by HQ.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Number of an event kind. May be a number that this build does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(pub u16);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Every kind this build knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$name),*];

            /// Stable lower-case name for JSON and logs; `None` for a kind this build does not know.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// First event of every log: why the epoch began and what it continues.
    EPOCH_OPENED = 1, "epoch-opened";
    /// A stable weight on a scale.
    WEIGHING = 2, "weighing";
    /// A ticket closed at a till.
    SALE = 3, "sale";
    /// Goods returned by a customer.
    RETURN = 4, "return";
    /// Goods received.
    RECEIPT = 5, "receipt";
    /// Goods written off.
    WASTE = 6, "waste";
    /// A stocktake count.
    COUNT = 7, "count";
    /// Goods sent to another store.
    TRANSFER_OUT = 8, "transfer-out";
    /// Goods arrived from another store.
    TRANSFER_IN = 9, "transfer-in";
    /// One minute of one temperature probe.
    TEMPERATURE_MINUTE = 10, "temperature-minute";
    /// An alarm became active.
    ALARM_RAISED = 11, "alarm-raised";
    /// A person acknowledged an alarm.
    ALARM_ACKNOWLEDGED = 12, "alarm-acknowledged";
    /// The alarm's condition ended.
    ALARM_RETURNED = 13, "alarm-returned";
    /// A person shelved an alarm for a time.
    ALARM_SHELVED = 14, "alarm-shelved";
    /// A steam batch was queued.
    BATCH_QUEUED = 15, "batch-queued";
    /// A steam batch changed state.
    BATCH_MOVED = 16, "batch-moved";
    /// The price that the tills charge changed.
    PRICE_CHANGED = 17, "price-changed";
    /// A shelf tag confirmed what it shows.
    TAG_CONFIRMED = 18, "tag-confirmed";
    /// A device was seen after being lost, or for the first time.
    DEVICE_SEEN = 19, "device-seen";
    /// A device was lost.
    DEVICE_LOST = 20, "device-lost";
    /// Something a person or the daemon did that must stay on record.
    AUDIT = 21, "audit";
    /// Stock promised to a channel (pending).
    RESERVATION_OPENED = 22, "reservation-opened";
    /// A reservation was posted or voided.
    RESERVATION_CLOSED = 23, "reservation-closed";
    /// The wall clock jumped.
    CLOCK_JUMPED = 24, "clock-jumped";
    /// Shared stock promised to a channel: rights spent (pending).
    PROMISE_OPENED = 25, "promise-opened";
    /// A promise of shared stock was posted or voided.
    PROMISE_CLOSED = 26, "promise-closed";
    /// Shared stock left without a promise: rights consumed, the rest a shortfall.
    RIGHTS_TAKEN = 27, "rights-taken";
    /// Rights given back to HQ.
    RIGHTS_RETURNED = 28, "rights-returned";
    /// The store wrote a register.
    REGISTER_WRITTEN = 29, "register-written";
    /// The store changed the device registry.
    REGISTRY_CHANGED = 30, "registry-changed";
    /// A person at the store settled a conflict.
    CONFLICT_SETTLED = 31, "conflict-settled";
    /// Everything up to stated ends is folded into balances with a stated digest; the records may be forgotten here.
    CHECKPOINTED = 32, "checkpointed";
    /// The store signed its statement of a business day.
    STATEMENT_SIGNED = 36, "statement-signed";
    /// A piece of a statement that HQ does not agree with.
    STATEMENT_PART = 37, "statement-part";

    /// HQ: articles with their prices.
    ARTICLES_SET = 256, "articles-set";
    /// HQ: a verdict on something the store sent.
    VERDICT = 257, "verdict";
    /// HQ: a command to the store.
    COMMAND = 258, "command";
    /// HQ: stock of the store put into the shared pool, or taken out of it.
    RIGHTS_ISSUED = 259, "rights-issued";
    /// HQ: rights to shared stock granted to one epoch of the store.
    RIGHTS_GRANTED = 260, "rights-granted";
    /// HQ: an epoch of the store is fenced, its rights go back to the pool.
    EPOCH_FENCED = 261, "epoch-fenced";
    /// HQ: the rest of a transfer that the store sent is booked as shrink.
    TRANSFER_CLOSED = 262, "transfer-closed";
    /// HQ wrote a register of the store.
    HQ_REGISTER_WRITTEN = 263, "hq-register-written";
    /// HQ changed the store's device registry.
    HQ_REGISTRY_CHANGED = 264, "hq-registry-changed";
    /// HQ settled a conflict.
    HQ_CONFLICT_SETTLED = 265, "hq-conflict-settled";
    /// HQ countersigned a statement, or named what differs.
    STATEMENT_ANSWERED = 266, "statement-answered";
    /// HQ's signed root over the statements of a day.
    DAY_ROOTED = 267, "day-rooted";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind-{}", self.0),
        }
    }
}
