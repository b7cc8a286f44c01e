//! Work for a fit worker, and its results.

use std::sync::Arc;
use std::time::Duration;

use forecastd_config::DatasetName;
use forecastd_models::{ChannelFit, ChannelName, FitFailure, FitSpec, Series};

/// One life of a dataset: a reload that changes how histories are made, or that removes a dataset and brings it
/// back, begins another. What was asked in an earlier life is dropped when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// Channels of one dataset to fit, as one batch.
#[derive(Clone, Debug)]
pub struct FitJob {
    /// Whose channels.
    pub dataset: DatasetName,
    /// Which life of the dataset this is of; comes back in the report.
    pub epoch: Epoch,
    /// What is asked, the same for all of them.
    pub spec: Arc<FitSpec>,
    /// Each channel's window, and the version of the history that it shows.
    pub channels: Vec<(u64, Series)>,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub struct FitReport {
    /// Whose channels.
    pub dataset: DatasetName,
    /// As in the job.
    pub epoch: Epoch,
    /// In the order of the job.
    pub outcomes: Vec<FitOutcome>,
    /// Time at work.
    pub elapsed: Duration,
}

/// One channel's result.
#[derive(Clone, Debug)]
pub struct FitOutcome {
    /// Whose.
    pub channel: ChannelName,
    /// The version of the history that the fit saw; the channel is due again if it has a newer one by now.
    pub version: u64,
    /// The fit, or why there is none.
    pub result: Result<Arc<ChannelFit>, FitFailure>,
}
