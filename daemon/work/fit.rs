//! Fits a batch of channels; one channel's failure is that channel's alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use forecastd_models::{FitFailure, FitSpec, Series};

use super::fit_on_device::FitDevice;
use super::worker::panic_message;
use crate::message::fit_job::{FitJob, FitOutcome, FitReport};

/// Fits every channel of a job, on `device` what it takes.
pub fn fit(job: FitJob, device: &FitDevice) -> FitReport {
    let started = Instant::now();
    let FitJob {
        dataset,
        epoch,
        spec,
        channels,
    } = job;
    let (versions, series): (Vec<u64>, Vec<Series>) = channels.into_iter().unzip();
    let results = device.fit_all(&series, &spec);
    let outcomes = series.into_iter().zip(versions).zip(results);
    let outcomes = outcomes.map(|((series, version), result)| FitOutcome {
        channel: series.channel,
        version,
        result: result.map(Arc::new),
    });
    FitReport {
        dataset,
        epoch,
        outcomes: outcomes.collect(),
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
