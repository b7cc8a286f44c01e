//! What is to be done.

use std::sync::Arc;
use std::time::Duration;

use forecastd_config::{Dataset, DatasetName};

use crate::message::fit_job::{Epoch, FitWork};
use crate::message::landed_file::LandedFile;
use crate::message::snapshot::{ForecastBatch, Snapshot};

/// Every output of the planner.
#[derive(Clone, Debug)]
pub enum Command {
    /// Read a dataset's durable rows back. At most one of this or `Ingest` at a time; answered by `Recovered` events and one `RecoveryFinished`.
    Recover(DatasetName, Epoch),
    /// Claim, decode and commit a file; answered by `Ingested`. Rows that are no older than this behind the newest
    /// are within reach of a fit and stay, whatever the retention.
    Ingest(LandedFile, Arc<Dataset>, Duration),
    /// Fit a batch, or pool channels. At most one for each fit worker at a time; answered by `Fitted` or `Pooled`.
    Fit(FitWork),
    /// Show this to readers.
    Publish(Snapshot),
    /// Write a forecast file. At most one at a time; answered by `Written`.
    WriteForecasts(ForecastBatch, Arc<Dataset>),
}
