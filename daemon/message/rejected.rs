//! A file, or an artifact, that cannot be taken: a value, not an error.

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

/// Why a dropped artifact was refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactFault {
    /// A symlink, fifo, socket or device, or a file with a second hard link: itself or in it.
    NotPlain,
    /// The service's user may not read it.
    Unreadable,
    /// A file that belongs to an artifact is not there.
    Incomplete,
    /// A file that belongs to no artifact is there.
    UnknownFile,
    /// A file is not the one that `BLAKE3SUMS` has the sum of.
    Sums,
    /// `model.json` describes no network that can be built.
    Description,
    /// `card.json` cannot be read, or is another network's.
    Card,
    /// The weights do not lie in their file as its header says, or are too few.
    Weights,
    /// Larger than any network.
    TooLarge,
}

impl ArtifactFault {
    /// Every reason, for counters that start at zero.
    pub const ALL: [Self; 9] = [
        Self::NotPlain,
        Self::Unreadable,
        Self::Incomplete,
        Self::UnknownFile,
        Self::Sums,
        Self::Description,
        Self::Card,
        Self::Weights,
        Self::TooLarge,
    ];

    /// The label value of this reason in metrics, and its name beside the artifact in quarantine.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotPlain => "not_plain",
            Self::Unreadable => "unreadable",
            Self::Incomplete => "incomplete",
            Self::UnknownFile => "unknown_file",
            Self::Sums => "sums",
            Self::Description => "description",
            Self::Card => "card",
            Self::Weights => "weights",
            Self::TooLarge => "too_large",
        }
    }
}

/// A reason that has a word for counters and files.
pub trait Labelled {
    /// The word.
    fn label(&self) -> &'static str;
}

impl Labelled for RejectReason {
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl Labelled for ArtifactFault {
    fn label(&self) -> &'static str {
        (*self).label()
    }
}

/// A refused file's verdict: the reason, and a sentence that names column, row group or limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected<R = RejectReason> {
    /// For counters.
    pub reason: R,
    /// For people.
    pub detail: String,
}

impl<R> Rejected<R> {
    /// A verdict.
    pub fn new(reason: R, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}
