//! Work for a fit worker, and its results.

use std::sync::Arc;
use std::time::Duration;

use forecastd_config::DatasetName;
use forecastd_models::{
    ChannelFit, ChannelMap, ChannelName, Decline, FitFailure, FitSpec, Method, Pool, RollingFit, Series, WindowMove,
};

use super::model::ModelVersion;

/// One life of a dataset: a reload that changes how histories are made, or that removes a dataset and brings it
/// back, begins another. What was asked in an earlier life is dropped when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// What a fit worker may have to do.
#[derive(Clone, Debug)]
pub enum FitWork {
    /// Fit a batch of channels.
    Fit(FitJob),
    /// Find out what channels have in common.
    Pool(PoolJob),
}

/// Channels of one dataset to pool.
#[derive(Clone, Debug)]
pub struct PoolJob {
    /// Whose channels.
    pub dataset: DatasetName,
    /// Which life of the dataset this is of; comes back in the report.
    pub epoch: Epoch,
    /// What is asked of their fits.
    pub spec: Arc<FitSpec>,
    /// How they are forecast; comes back in the report.
    pub method: Method,
    /// All of them, or a fair part.
    pub series: Vec<Series>,
}

/// What channels have in common.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// Whose channels.
    pub dataset: DatasetName,
    /// As in the job.
    pub epoch: Epoch,
    /// As in the job.
    pub spec: Arc<FitSpec>,
    /// As in the job.
    pub method: Method,
    /// Maps for all of them.
    pub pool: Arc<Pool>,
    /// Time at work.
    pub elapsed: Duration,
}

/// Channels of one dataset to fit, as one batch.
#[derive(Clone, Debug)]
pub struct FitJob {
    /// Whose channels.
    pub dataset: DatasetName,
    /// Which life of the dataset this is of; comes back in the report.
    pub epoch: Epoch,
    /// What is asked, the same for all of them.
    pub spec: Arc<FitSpec>,
    /// How they are forecast.
    pub method: Method,
    /// What the dataset's channels have in common, if that is known.
    pub pool: Option<Arc<Pool>>,
    /// The network that each channel is to be held against, if there is one that fits.
    pub network: Option<Arc<ModelVersion>>,
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
    /// All of it, for a map that was chosen before and is no older than it may be.
    Mapped(Arc<ChannelMap>, Series),
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
    /// How it came about.
    pub way: FitWay,
    /// For the next fit, if the window does nothing but move until then.
    pub rolling: Option<Box<RollingFit>>,
    /// For the next fits, until it is stale.
    pub map: Option<Arc<ChannelMap>>,
    /// The network could not be asked just now; until it is, the forecast is the map's.
    pub owed: bool,
}

/// How a fit came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FitWay {
    /// From the whole window.
    Whole,
    /// From what entered and left a window that only moved.
    Rolled,
    /// By a map that was fitted before, from the newest samples.
    Applied,
}
