//! Bugs that can be planted into the simulation's drivers, one at a time, to show that the oracles see them. Production code is
//! not touched: each bug is something that a driver around the same `Replica`, `Hub` and `Ledger` could get wrong.

use crate::script::What;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal, [$($needs:ident),*];)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $doc])* $name,)*
        }

        impl Bug {
            /// Every bug.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Stable word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// What is wrong.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),*),)*
                }
            }

            /// Faults that show it: drawn more often while it is looked for.
            pub fn needs(self) -> &'static [What] {
                match self {
                    $(Self::$name => &[$(What::$needs),*],)*
                }
            }
        }
    };
}

bugs! {
    /// HQ acknowledges a block before its transaction is committed.
    AckBeforeCommit = "ack-before-commit", [Crash];
    /// A store goes on under the old names after a restore, and does not listen to HQ's acks that say so.
    EpochReused = "epoch-reused", [Restore];
    /// HQ books a block although records before it are missing.
    GapIgnored = "gap-ignored", [Drop, Reorder];
    /// Two workers own a bucket, and the late one applies what it holds without asking where the log stands.
    ApplyWithoutFence = "apply-without-fence", [WorkerLoss];
    /// A copied disk keeps its epoch, and with it the rights that the original spends too.
    GrantSpentTwice = "grant-spent-twice", [Clone];
    /// HQ folds a repeated block once more.
    DuplicateFolded = "duplicate-folded", [Duplicate];
    /// HQ's ack names one event more than it has.
    WatermarkBeyondCommit = "watermark-beyond-commit", [Drop];
    /// HQ does not take a block with a record that it cannot read.
    PoisonBlocks = "poison-blocks", [Poison];
    /// HQ books a block that continues another history.
    ChainUnchecked = "chain-unchecked", [Restore, Clone];
    /// Goods from another store are put on the shelf, and their arrival is not booked.
    TransferLegLost = "transfer-leg-lost", [Drop];
    /// HQ acknowledges what did not fit on its disk.
    AckWhenFull = "ack-when-full", [DiskFull];
    /// A store does not take back what it lost.
    RecallIgnored = "recall-ignored", [Restore];
    /// A till is answered before the store's ledger has committed.
    AnswerBeforeCommit = "answer-before-commit", [Crash];
}

impl Bug {
    /// A seed that showed it.
    pub fn seen(self) -> u64 {
        match self {
            Self::EpochReused | Self::RecallIgnored => 2,
            Self::AckWhenFull => 5,
            Self::GapIgnored => 21,
            Self::GrantSpentTwice => 28,
            Self::ChainUnchecked => 45,
            Self::AckBeforeCommit
            | Self::ApplyWithoutFence
            | Self::DuplicateFolded
            | Self::WatermarkBeyondCommit
            | Self::PoisonBlocks
            | Self::TransferLegLost
            | Self::AnswerBeforeCommit => 0,
        }
    }

    /// Inverse of [`Bug::word`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.word() == word)
    }
}
