//! A dataset as the program needs it: one folder, one layout, one kind of forecast.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forecastd_models::{FitSpec, Frequency, Method};

use crate::model::ModelName;

/// A dataset's name, shared: `[a-z0-9_-]`, at most 64 bytes.
pub type DatasetName = Arc<str>;

/// The method that lets networks compete.
pub(crate) const DASHA: &str = "dasha";

/// One dataset of kind `series`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Label in metrics and key in the state.
    pub name: DatasetName,
    /// The folder that drops land in.
    pub incoming: PathBuf,
    /// Where forecast files go.
    pub outgoing: PathBuf,
    /// Where files that cannot be read go, with the reason beside them.
    pub quarantine: PathBuf,
    /// What happens to a drop once its rows are durable.
    pub after: AfterIngest,
    /// When a file counts as complete.
    pub landing: Landing,
    /// Which columns mean what.
    pub columns: Columns,
    /// The step of the grid; `None`: inferred per channel.
    pub frequency: Option<Frequency>,
    /// What becomes of rows that lie off the grid.
    pub off_grid: OffGrid,
    /// What is kept.
    pub history: History,
    /// What is asked of a fit: horizon, levels, lookback, gap policy.
    pub fit: FitSpec,
    /// How channels are forecast.
    pub method: Method,
    /// The model whose networks are held against that method, channel by channel.
    pub network: Option<ModelName>,
    /// Steps shown on `/metrics`, ascending, each within the horizon.
    pub steps: Vec<usize>,
    /// Least time between two fits of one channel.
    pub refit_interval: Duration,
    /// How far a channel may fall behind the newest sample of its dataset before it is withdrawn; `None`: never.
    pub max_age: Option<Duration>,
    /// Forecast files kept in `outgoing`, newest first.
    pub keep_files: NonZeroUsize,
    /// What a single drop may ask of us.
    pub limits: Limits,
}

impl Dataset {
    /// The name of how channels are forecast, as the file has it.
    pub fn method_name(&self) -> &'static str {
        match self.network {
            Some(_) => DASHA,
            None => self.method.name(),
        }
    }
}

/// What happens to a drop once its rows are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterIngest {
    /// Renamed into this folder, which is on the same filesystem as `incoming`.
    Move(PathBuf),
    /// Removed.
    Delete,
    /// Left where it is.
    Keep,
}

/// When a file counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Time between two listings of the folder when nothing wakes us.
    pub scan_interval: Duration,
    /// Time for which size, times and inode must hold still, unless the file was renamed in.
    pub settle: Duration,
    /// Time after its last change at which a file without a whole footer is given up and quarantined.
    pub patience: Duration,
}

/// Which columns mean what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The column of times.
    pub time: String,
    /// How the channels lie in the file.
    pub layout: Layout,
}

/// How the channels lie in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One column a channel: those named, or every numeric column but the time.
    Wide {
        /// Only these, if given.
        only: Option<Vec<String>>,
    },
    /// One row a value.
    Long {
        /// The columns that together name the channel, at least one; joined by `/`.
        channel: Vec<String>,
        /// The column of values.
        value: String,
    },
}

/// What becomes of a row that does not lie on its channel's grid. It is committed either way; this decides what
/// a fit sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffGrid {
    /// It counts for the nearest slot; a later row for the same slot wins.
    Snap,
    /// It is left out.
    Drop,
}

/// What is kept of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Newest grid points that a fit sees, and that memory holds.
    pub window: NonZeroUsize,
    /// Rows older than this, behind the dataset's newest row, leave the disk and are refused when they come late.
    pub retention: Duration,
    /// Rows further ahead of the clock than this are refused.
    pub max_future: Duration,
}

/// What a single drop may ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Values in a file: rows × channels.
    pub file_values: u64,
    /// Channels of the dataset.
    pub channels: usize,
    /// Memory that decoding a file may take, in bytes.
    pub decode_memory: u64,
}
