//! A file that is ripe to be claimed.

use std::fmt;
use std::path::PathBuf;

use forecastd_config::DatasetName;

/// What tells a file from another under the same name, and from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The filesystem.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since the epoch.
    pub modified: i64,
    /// Last change of content or attributes, nanoseconds since the epoch.
    pub changed: i64,
}

impl fmt::Display for Fingerprint {
    /// One word, stable across versions: the ledger keeps it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            inode,
            size,
            modified,
            changed,
        } = self;
        write!(f, "{device:x}.{inode:x}.{size:x}.{modified:x}.{changed:x}")
    }
}

/// A file that has held still, or was renamed in, or was given up waiting for: ready to be claimed and judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LandedFile {
    /// Whose folder it lies in: a dataset's, or a model's, where artifacts lie.
    pub dataset: DatasetName,
    /// Where it lies.
    pub path: PathBuf,
    /// As the listing saw it.
    pub fingerprint: Fingerprint,
}

/// One look at the folder of a dataset or a model: the truth about what waits there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whose folder: a dataset's or a model's.
    pub dataset: DatasetName,
    /// Ready to be claimed, oldest first.
    pub landed: Vec<LandedFile>,
    /// Files still settling or still being written.
    pub waiting: usize,
    /// Files that are not drops by their name, and not on their way in either: a mistake of somebody's.
    pub ignored: usize,
}
