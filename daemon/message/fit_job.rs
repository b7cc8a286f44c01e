//! Work for a fit worker, and its results.

use std::sync::Arc;
use std::time::Duration;

use forecastd_config::DatasetName;
use forecastd_models::{ChannelFit, ChannelName, Decline, FitFailure, FitSpec, RollingFit, Series, WindowMove};

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
    /// Each once.
    pub channels: Vec<ChannelJob>,
}

/// One channel to fit.
#[derive(Clone, Debug)]
pub struct ChannelJob {
    /// Whose window.
    pub channel: ChannelName,
    /// The version of the history that the window shows.
    pub version: u64,
    /// What the fit is to see.
    pub window: JobWindow,
}

/// What a fit sees of a channel.
#[derive(Clone, Debug)]
pub enum JobWindow {
    /// All of it.
    Whole(Series),
    /// How it moved since the fit that these statistics are of.
    Moved(Box<RollingFit>, WindowMove),
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub struct FitReport {
    /// Whose channels.
    pub dataset: DatasetName,
    /// As in the job.
    pub epoch: Epoch,
    /// One a channel that has a result.
    pub outcomes: Vec<FitOutcome>,
    /// Channels that could not be rolled, and why: their whole windows are wanted.
    pub declined: Vec<(ChannelName, Decline)>,
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
    /// Whether the fit followed a moved window.
    pub rolled: bool,
    /// For the next fit, if the window does nothing but move until then.
    pub rolling: Option<Box<RollingFit>>,
}
