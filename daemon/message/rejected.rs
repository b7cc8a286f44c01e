//! A file that cannot be taken: a value, not an error.

use serde::{Deserialize, Serialize};

/// Why a file was refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// A symlink, fifo, socket, device, folder, or a file with a second hard link.
    NotARegularFile,
    /// The service's user may not read it.
    Unreadable,
    /// No byte in it.
    Empty,
    /// It does not begin with `PAR1`.
    NotParquet,
    /// It begins like parquet but has no whole footer: its writer died, or a copy broke off.
    Truncated,
    /// The footer or a page cannot be decoded.
    Corrupt,
    /// A column that the configuration names is absent or of a type that cannot serve.
    Schema,
    /// More than `limits` allows.
    TooLarge,
}

impl RejectReason {
    /// Every reason, for counters that start at zero.
    pub const ALL: [Self; 8] = [
        Self::NotARegularFile,
        Self::Unreadable,
        Self::Empty,
        Self::NotParquet,
        Self::Truncated,
        Self::Corrupt,
        Self::Schema,
        Self::TooLarge,
    ];

    /// The label value of this reason in metrics, and its name in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotARegularFile => "not_a_regular_file",
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
            Self::NotParquet => "not_parquet",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Schema => "schema",
            Self::TooLarge => "too_large",
        }
    }
}

/// A refused file's verdict: the reason, and a sentence that names column, row group or limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// For counters.
    pub reason: RejectReason,
    /// For people.
    pub detail: String,
}

impl Rejected {
    /// A verdict.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}
