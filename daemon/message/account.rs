//! The books: every row that was seen went to exactly one place.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Why a single row was refused while its file was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowReason {
    /// The time cell is empty, or lies outside the years 1677 to 2262.
    NoTime,
    /// The channel cell is empty, or its name is longer than 512 bytes.
    BadChannel,
    /// The value is infinite.
    NotFinite,
    /// Further ahead of the clock than `history.max_future`; of a sample than a day.
    Future,
    /// Older than `history.retention`.
    TooOld,
    /// The dataset has as many channels as `limits.channels` allows.
    TooManyChannels,
    /// The id of a sample is empty, or longer than 512 bytes.
    NoId,
    /// A row before it in the same file has its id.
    DuplicateId,
    /// The tile or sequence cannot be used: corrupt, not finite, of another shape.
    BadInput,
    /// The label is none that there may be.
    BadLabel,
    /// The split is a word that means none.
    BadSplit,
    /// The time of a sample is none, or lies outside the years 1677 to 2262.
    BadTime,
    /// The place of a sample is none on Earth, or half of one.
    BadPlace,
}

impl RowReason {
    /// Those of series, for counters that start at zero.
    pub const OF_SERIES: [Self; 6] = [
        Self::NoTime,
        Self::BadChannel,
        Self::NotFinite,
        Self::Future,
        Self::TooOld,
        Self::TooManyChannels,
    ];

    /// Those of samples, for counters that start at zero.
    pub const OF_SAMPLES: [Self; 8] = [
        Self::NoId,
        Self::DuplicateId,
        Self::BadInput,
        Self::BadLabel,
        Self::BadSplit,
        Self::BadTime,
        Self::Future,
        Self::BadPlace,
    ];

    /// Every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_samples_alone = |reason: &Self| !Self::OF_SERIES.contains(reason);
        let of_samples = Self::OF_SAMPLES.into_iter().filter(of_samples_alone);
        Self::OF_SERIES.into_iter().chain(of_samples)
    }

    /// The label value of this reason in metrics, and its name in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoTime => "no_time",
            Self::BadChannel => "bad_channel",
            Self::NotFinite => "not_finite",
            Self::Future => "future",
            Self::TooOld => "too_old",
            Self::TooManyChannels => "too_many_channels",
            Self::NoId => "no_id",
            Self::DuplicateId => "duplicate_id",
            Self::BadInput => "bad_input",
            Self::BadLabel => "bad_label",
            Self::BadSplit => "bad_split",
            Self::BadTime => "bad_time",
            Self::BadPlace => "bad_place",
        }
    }
}

/// Where the rows of a drop went. A row is one value of one channel at one time; an empty cell (null or NaN) is no
/// row, and counted apart.
///
/// The law: `seen = committed + duplicate + rejected`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowAccount {
    /// Rows in the file.
    pub seen: u64,
    /// Rows now in the history.
    pub committed: u64,
    /// Rows that the history or the same file already had: the same channel, time and value; or, within one file,
    /// the same channel and time as a later row.
    pub duplicate: u64,
    /// Rows refused, by reason.
    pub rejected: BTreeMap<RowReason, u64>,
    /// Empty cells.
    pub missing: u64,
}

impl RowAccount {
    /// Counts one row as seen and refused.
    pub fn reject(&mut self, reason: RowReason, rows: u64) {
        if rows > 0 {
            self.seen += rows;
            *self.rejected.entry(reason).or_default() += rows;
        }
    }

    /// Rows refused for whatever reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Whether the law holds.
    pub fn balances(&self) -> bool {
        self.seen == self.committed + self.duplicate + self.rejected_total()
    }
}

impl AddAssign<&Self> for RowAccount {
    fn add_assign(&mut self, other: &Self) {
        self.seen += other.seen;
        self.committed += other.committed;
        self.duplicate += other.duplicate;
        self.missing += other.missing;
        for (reason, rows) in &other.rejected {
            *self.rejected.entry(*reason).or_default() += rows;
        }
    }
}
