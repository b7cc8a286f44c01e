//! Everything that can reach the main loop.

use std::path::PathBuf;

use forecastd_config::DatasetName;

use crate::intake::watch::WatchEvent;
use crate::message::drop_totals::DropTotals;
use crate::message::torch_status::TorchStatus;
use crate::message::training::TrainingProgress;
use crate::planner::Event;
use crate::publish::forecast_writer::ForecastFileError;
use crate::state::StateError;

/// An input of the main loop.
#[derive(Debug)]
pub(super) enum AppEvent {
    /// For the planner.
    Plan(Event),
    /// What the ledger has of a dataset, before its rows are read back.
    Totals(DatasetName, DropTotals),
    /// A segment of a dataset is not what was written.
    Damaged(DatasetName, StateError),
    /// A folder was looked at.
    Watch(WatchEvent),
    /// The libtorch child changed.
    Torch(TorchStatus),
    /// A training is so far.
    Training(TrainingProgress),
    /// A forecast file was written, or not.
    Written(DatasetName, Result<PathBuf, ForecastFileError>),
    /// The watchdog asks whether this loop turns.
    Pulse,
    /// Going on would risk data: stop with this error and recover from disk.
    Fatal(anyhow::Error),
}
