//! What is to be done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Dataset, DatasetName, Model, ModelName, SampleDataset};

use crate::message::fit_job::{Epoch, FitWork};
use crate::message::landed_file::LandedFile;
use crate::message::model::ModelChange;
use crate::message::prediction::{PredictJob, Predictions};
use crate::message::snapshot::{ForecastBatch, Snapshot};
use crate::message::training::{TrainJob, Training, TrainingFailure, TrainingPlan};

/// Every output of the planner.
#[derive(Clone, Debug)]
pub enum Command {
    /// Read a dataset's durable rows back. At most one of this or `Ingest` at a time; answered by `Recovered` events and one `RecoveryFinished`.
    Recover(DatasetName, Epoch),
    /// Claim, decode and commit a file; answered by `Ingested`. Rows that are no older than this behind the newest
    /// are within reach of a fit and stay, whatever the retention.
    Ingest(LandedFile, Arc<Dataset>, Duration),
    /// Tell what is known of a dataset's durable samples; as `Recover`, but answered by `SamplesRecovered` events.
    RecoverSamples(DatasetName, Epoch),
    /// Claim, decode and commit a file of samples; answered by `Ingested`.
    IngestSamples(LandedFile, Arc<SampleDataset>),
    /// Predict samples of a drop. At most [`PREDICTORS`](super::PREDICTORS) at a time, one a dataset; answered by
    /// `Predicted`.
    Predict(Box<PredictJob>),
    /// Keep what was said of samples. Not beside `Recover`, `Ingest` or `Models`; answered by `PredictionsKept`.
    KeepPredictions(DatasetName, Epoch, Arc<Predictions>),
    /// Do something about models. Not beside `Recover`, `Ingest` or another of these; answered by `Models`.
    Models(ModelJob),
    /// Fit a batch, or pool channels. At most one for each fit worker at a time; answered by `Fitted` or `Pooled`.
    Fit(FitWork),
    /// Train a network, or go on with it. At most one at a time; answered by `Trained`, unless the process ends before.
    Train(Box<TrainJob>),
    /// Give this training up, if it is still under way.
    CancelTraining(i64),
    /// Show this to readers.
    Publish(Snapshot),
    /// Write a forecast file. At most one at a time; answered by `Written`.
    WriteForecasts(ForecastBatch, Arc<Dataset>),
}

/// Something to do about models.
#[derive(Clone, Debug)]
pub enum ModelJob {
    /// Tell which versions there are.
    Recover,
    /// Claim an artifact and make it a candidate of this model.
    Import(LandedFile, Arc<Model>),
    /// Change a version's state.
    Change(ModelChange),
    /// Carry out what is asked for in this file, and answer. Trainings may be asked for of these models.
    Answer(PathBuf, Vec<ModelName>),
    /// Enter a training into the books.
    BeginTraining(TrainingPlan),
    /// Make the artifact of a training, which lies in this folder, a candidate of its model.
    ImportTrained(Training, PathBuf, Arc<Model>),
    /// Enter that nothing came of a training.
    EndTraining(Training, TrainingFailure),
}
