//! Fits a batch of channels on the CPU; one channel's failure is that channel's alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use forecastd_models::{FitFailure, FitSpec, Series};

use super::worker::panic_message;
use crate::message::fit_job::{FitJob, FitOutcome, FitReport};

/// Fits every channel of a job.
pub fn fit(job: FitJob) -> FitReport {
    let started = Instant::now();
    let FitJob {
        dataset,
        epoch,
        spec,
        channels,
    } = job;
    let outcomes = channels
        .into_iter()
        .map(|(version, series)| {
            let result = fit_channel(&series, &spec).map(Arc::new);
            FitOutcome {
                channel: series.channel,
                version,
                result,
            }
        })
        .collect();
    FitReport {
        dataset,
        epoch,
        outcomes,
        elapsed: started.elapsed(),
    }
}

/// Fits one channel; a panic is that channel's failure.
pub fn fit_channel(series: &Series, spec: &FitSpec) -> Result<forecastd_models::ChannelFit, FitFailure> {
    catch_unwind(AssertUnwindSafe(|| forecastd_models::fit::fit(series, spec))).unwrap_or_else(|panic| {
        Err(FitFailure::Panicked {
            message: panic_message(panic.as_ref()),
        })
    })
}
