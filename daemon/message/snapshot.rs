//! Everything a reader may see, immutable, under a generation number.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecastd_config::{Dataset, DatasetName};
use forecastd_models::{ChannelFit, ChannelName, FitFailure, Timestamp};

/// One consistent state of all forecasts. A scrape during a refit sees the last one and never waits.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each publication.
    pub generation: u64,
    /// In the order of the configuration.
    pub datasets: Vec<DatasetView>,
}

/// A dataset as readers see it.
#[derive(Clone, Debug)]
pub struct DatasetView {
    /// Its configuration: name, steps, levels.
    pub config: Arc<Dataset>,
    /// By name.
    pub channels: BTreeMap<ChannelName, ChannelView>,
    /// The newest sample of all channels.
    pub newest: Option<Timestamp>,
    /// Channels whose history is ahead of their fit.
    pub due: usize,
    /// Files in its folder that are not dealt with yet.
    pub files_waiting: usize,
    /// Slots without a sample, inside the windows that fits see.
    pub gap_points: u64,
    /// Rows that did not lie on their channel's grid, since the process started.
    pub off_grid_rows: u64,
}

/// A channel as readers see it.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// The last good fit, if there was one; its cutoff tells its age.
    pub fit: Option<Arc<ChannelFit>>,
    /// Why the latest attempt failed, if it did.
    pub failure: Option<FitFailure>,
}

/// Forecasts that are new since the last file of a dataset.
#[derive(Clone, Debug)]
pub struct ForecastBatch {
    /// Whose.
    pub dataset: DatasetName,
    /// By channel name.
    pub fits: Vec<Arc<ChannelFit>>,
}
