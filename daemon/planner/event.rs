//! What can happen.

use std::path::PathBuf;
use std::sync::Arc;

use forecastd_config::{Config, DatasetName, ModelName};

use crate::message::fit_job::{Epoch, FitReport, PoolReport};
use crate::message::ingest_report::IngestReport;
use crate::message::landed_file::Listing;
use crate::message::model::{ModelReport, ServingReport};
use crate::message::prediction::{KeptPrediction, PredictReport};
use crate::message::sample::{ComparedMasks, SampleEntry};
use crate::message::series_drop::SeriesDrop;
use crate::message::training::TrainReport;

/// Every input of the planner.
#[derive(Clone, Debug)]
pub enum Event {
    /// A folder was listed: this is what waits in it now.
    Listed(Listing),
    /// A folder cannot be listed. It counts as looked at, or a missing mount would hold back readiness for ever.
    Unreadable(DatasetName),
    /// Rows that were durable before this process started, oldest first.
    Recovered(DatasetName, Epoch, SeriesDrop),
    /// Samples that were durable before this process started, oldest first.
    SamplesRecovered(DatasetName, Epoch, Vec<SampleEntry>),
    /// What was said of them before this process started.
    PredictionsRecovered(DatasetName, Epoch, Vec<KeptPrediction>),
    /// There are no more of them.
    RecoveryFinished(DatasetName, Epoch),
    /// A landed file was dealt with, or could not be.
    Ingested(IngestReport),
    /// A batch of channels was fitted.
    Fitted(FitReport),
    /// The channels of a dataset were pooled.
    Pooled(PoolReport),
    /// A forecast file was written, or could not be.
    Written,
    /// Samples of a drop were predicted, or could not be.
    Predicted(PredictReport),
    /// What was said of samples is kept, or could not be.
    PredictionsKept(DatasetName, Epoch, Result<ComparedMasks, String>),
    /// A folder that artifacts of a model land in was listed.
    ArtifactsListed(Listing),
    /// Such a folder cannot be listed.
    ArtifactsUnreadable(ModelName),
    /// Somebody asks for something about models, in these files.
    Asked(Vec<PathBuf>),
    /// Something was done about models, or could not be.
    Models(ModelReport),
    /// It stands otherwise with the serving of versions.
    Serving(ServingReport),
    /// A training is over.
    Trained(TrainReport),
    /// A new, valid configuration is in force.
    Reconfigured(Arc<Config>),
    /// Time has passed; see [`Planner::wake_at`](super::Planner::wake_at).
    Woken,
    /// No new work from now on.
    Stopping,
}
