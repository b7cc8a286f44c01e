//! Results become visible: the Prometheus page, the landing page, health, forecast files and files of predictions.
//!
//! Readers see the snapshot and the counters, nothing else; what is fitted, kept or due is decided elsewhere. Nothing
//! here waits for the planner: a scrape during a refit shows the last generation.

pub mod exposition;
#[cfg(test)]
mod fixture;
pub mod forecast_writer;
pub(crate) mod html;
pub mod http;
pub mod metrics;
pub mod prediction_file;
pub mod prediction_folder;

pub use exposition::{Exposition, Readiness};
pub use forecast_writer::{ForecastFile, ForecastFileError, ForecastWriter};
pub use metrics::Metrics;
