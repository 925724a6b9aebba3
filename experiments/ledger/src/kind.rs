//! What a row does, and what its money is for.

use serde::{Deserialize, Serialize};

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first row: the amount is the cap.
    Open,
    /// The cap is another from here on: the amount. Never below what is spent.
    Cap,
    /// The amount is set aside for a quantum before it starts; counts as spent until settled.
    Reserve,
    /// The amount is charged without a reserve: a minimum billing period, a gap that nobody guarded.
    Spend,
    /// What the quantum of the same number cost; replaces its reserve.
    Settle,
    /// A reserve given back unspent; the amount is 0.
    Release,
    /// The price is another from here on; the amount is 0, the new price stands in its field.
    PriceChange,
    /// Money that was spent elsewhere. A fact, so it is taken in even above the cap.
    Import,
    /// A correction, either way, with its reason in the note; nothing is ever edited. With `of` it states the
    /// amount of a row whose amount was unknown. A fact, so it is taken in even above the cap.
    Adjust,
    /// A threshold of the budget was crossed; the amount is 0.
    Warn,
    /// Something worth remembering; the amount is 0.
    Note,
    /// A process let go of the run; the amount is 0, the note says why (`finished`, `cap_reached`,
    /// `interrupted`).
    End,
}

impl Kind {
    /// As it stands in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cap => "cap",
            Self::Reserve => "reserve",
            Self::Spend => "spend",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::PriceChange => "price_change",
            Self::Import => "import",
            Self::Adjust => "adjust",
            Self::Warn => "warn",
            Self::Note => "note",
            Self::End => "end",
        }
    }

    /// Whether the amount is money that was used: what `spent` without reserves is made of.
    #[must_use]
    pub fn is_charge(self) -> bool {
        matches!(self, Self::Spend | Self::Settle | Self::Import | Self::Adjust)
    }
}

/// What the money is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// About the run as a whole (`open`, `note` and `end` rows).
    Run,
    /// Opening the data, building the model, loading a checkpoint.
    SetUp,
    /// Training steps.
    Train,
    /// Evaluation.
    Evaluate,
    /// Writing a checkpoint.
    Checkpoint,
    /// Any other command under the cap.
    Command,
    /// A machine that was paid for and did nothing.
    Idle,
    /// Keeping files.
    Storage,
    /// Moving files out.
    Egress,
    /// Anything else.
    Other,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Run,
        Self::SetUp,
        Self::Train,
        Self::Evaluate,
        Self::Checkpoint,
        Self::Command,
        Self::Idle,
        Self::Storage,
        Self::Egress,
        Self::Other,
    ];

    /// As it stands in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::SetUp => "set_up",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Checkpoint => "checkpoint",
            Self::Command => "command",
            Self::Idle => "idle",
            Self::Storage => "storage",
            Self::Egress => "egress",
            Self::Other => "other",
        }
    }

    /// The purpose of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}
