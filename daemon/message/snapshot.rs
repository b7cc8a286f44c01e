//! Everything a reader may see, immutable, under a generation number.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecastd_config::{Dataset, DatasetName, ModelName, SampleDataset};
use forecastd_models::dasha::{Agreement, LiveMetric};
use forecastd_models::{ChannelFit, ChannelName, FitFailure, Level, Timestamp};

use super::content_key::ContentKey;
use super::model::{ModelState, ModelVersion};
use super::training::TrainingView;

/// One consistent state of all forecasts. A scrape during a refit sees the last one and never waits.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each publication.
    pub generation: u64,
    /// In the order of the configuration.
    pub datasets: Vec<DatasetView>,
    /// Those of tiles and sequences, in the order of the configuration.
    pub samples: Vec<SampleView>,
    /// In the order of the configuration.
    pub models: Vec<ModelView>,
    /// Of those models that are trained here.
    pub trainings: Vec<TrainingView>,
}

/// A dataset of tiles or sequences as readers see it.
#[derive(Clone, Debug)]
pub struct SampleView {
    /// Its configuration.
    pub config: Arc<SampleDataset>,
    /// Samples without a label, for training, validation and test.
    pub unlabelled: [u64; 3],
    /// Samples with one, likewise.
    pub labelled: [u64; 3],
    /// Of each class the samples that have it, likewise.
    pub classes: BTreeMap<Arc<str>, [u64; 3]>,
    /// When the newest sample was taken, of those of which it is known.
    pub newest: Option<Timestamp>,
    /// Files in its folder that are not dealt with yet.
    pub files_waiting: usize,
    /// What its model says of them, if it has one.
    pub predictions: Option<PredictionView>,
}

/// Predictions of a dataset as readers see them.
#[derive(Clone, Debug, Default)]
pub struct PredictionView {
    /// The model.
    pub model: ModelName,
    /// Samples that wait for a prediction.
    pub waiting: u64,
    /// Why the active version cannot be asked about these samples, if it cannot.
    pub held: Option<String>,
    /// Samples without a label by what was said of them.
    pub classes: BTreeMap<Arc<str>, u64>,
    /// The share of the samples that were predicted lately, by class; of masks, of their positions.
    pub shares: Vec<(Arc<str>, f64)>,
    /// What predictions of the active version and of the one in its shadow were worth, once their truth came.
    pub live: Vec<LiveView>,
    /// How often these two say the same.
    pub agreement: Option<Agreement>,
    /// How far samples lie from those of the training; see `forecastd_models::dasha::drift`.
    pub drift: Option<f64>,
}

/// What predictions of one version were worth.
#[derive(Clone, Copy, Debug)]
pub struct LiveView {
    /// Which.
    pub version: ContentKey,
    /// What it is to its model.
    pub state: ModelState,
    /// Predictions that were held against their truth since the process started.
    pub scored: u64,
    /// In what it is told, and how much, the newest weighing most; `None` before anything can be.
    pub value: Option<(LiveMetric, f64)>,
}

/// A model as readers see it.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// Its name.
    pub model: ModelName,
    /// Every version that has its files, the oldest first.
    pub versions: Arc<[ModelVersion]>,
    /// By how much one must be better than the active one.
    pub margin: f64,
}

impl ModelView {
    /// The version that answers.
    pub fn active(&self) -> Option<&ModelVersion> {
        self.in_state(ModelState::Active)
    }

    /// The version that answers beside it, unheard.
    pub fn shadow(&self) -> Option<&ModelVersion> {
        self.in_state(ModelState::Shadow)
    }

    fn in_state(&self, state: ModelState) -> Option<&ModelVersion> {
        self.versions.iter().find(|version| version.state == state)
    }
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
    /// How good its forecasts turned out to be since the process started: one entry a published step.
    pub accuracy: Vec<StepAccuracy>,
    /// Rows that scored more than 1, since the process started.
    pub anomalies: u64,
    /// The model whose networks may forecast it, if it names one.
    pub network: Option<NetworkView>,
}

/// A model of networks that may forecast a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkView {
    /// The model.
    pub model: ModelName,
    /// Why its active version cannot forecast this dataset, if it cannot.
    pub held: Option<String>,
}

/// How good the forecasts of one step turned out to be, all channels together, the newest weighing most. `None` where
/// there is nothing to tell it from.
#[derive(Clone, Debug, PartialEq)]
pub struct StepAccuracy {
    /// Which step: 1, 2, …
    pub step: usize,
    /// Forecasts whose truth arrived.
    pub scored: u64,
    /// Mean absolute error, in units of each channel's mean absolute change from one sample to the next.
    pub mae: Option<f64>,
    /// Root of the mean squared error, in the same units.
    pub rmse: Option<f64>,
    /// 1 less the mean squared error over that of a random walk.
    pub skill: Option<f64>,
    /// The share of truths within the interval of each level.
    pub coverage: Vec<(Level, f64)>,
}

/// A channel as readers see it.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// The last good fit, if there was one; its cutoff tells its age.
    pub fit: Option<Arc<ChannelFit>>,
    /// Why the latest attempt failed, if it did.
    pub failure: Option<FitFailure>,
    /// The highest anomaly score among the rows that came last, if a forecast spoke of one; up to 1 is normal.
    pub anomaly: Option<f64>,
}

/// Forecasts that are new since the last file of a dataset.
#[derive(Clone, Debug)]
pub struct ForecastBatch {
    /// Whose.
    pub dataset: DatasetName,
    /// By channel name.
    pub fits: Vec<Arc<ChannelFit>>,
}
