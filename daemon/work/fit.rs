//! Fits a batch of channels; one channel's failure is that channel's alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use forecastd_models::{ChannelFit, ChannelName, Decline, FitFailure, FitSpec, RollingFit, Series, WindowMove};

use super::fit_on_device::FitDevice;
use super::worker::panic_message;
use crate::message::fit_job::{ChannelJob, FitJob, FitOutcome, FitReport, JobWindow};

/// A fit, and what the next one may roll on from.
pub type Fitted = Result<(ChannelFit, Option<Box<RollingFit>>), FitFailure>;

/// Fits every channel of a job: here those that only moved, on `device` what it takes of the others.
pub fn fit(job: FitJob, device: &FitDevice) -> FitReport {
    let started = Instant::now();
    let (mut outcomes, mut declined) = (Vec::new(), Vec::new());
    let (mut asked, mut whole) = (Vec::new(), Vec::new());
    for ChannelJob {
        channel,
        version,
        window,
    } in job.channels
    {
        match window {
            JobWindow::Moved(rolling, moved) => match roll(rolling, &moved, &job.spec) {
                Ok(fitted) => outcomes.push(outcome(channel, version, fitted, true)),
                Err(decline) => declined.push((channel, decline)),
            },
            JobWindow::Whole(series) => {
                asked.push((channel, version));
                whole.push(series);
            }
        }
    }
    let fits = device.fit_all(&whole, &job.spec);
    let anchored = asked.into_iter().zip(fits);
    outcomes.extend(anchored.map(|((channel, version), fitted)| outcome(channel, version, fitted, false)));
    FitReport {
        dataset: job.dataset,
        epoch: job.epoch,
        outcomes,
        declined,
        elapsed: started.elapsed(),
    }
}

fn outcome(channel: ChannelName, version: u64, fitted: Fitted, rolled: bool) -> FitOutcome {
    let (result, rolling) = match fitted {
        Ok((fit, rolling)) => (Ok(Arc::new(fit)), rolling),
        Err(failure) => (Err(failure), None),
    };
    FitOutcome {
        channel,
        version,
        result,
        rolled,
        rolling,
    }
}

fn roll(rolling: Box<RollingFit>, moved: &WindowMove, spec: &FitSpec) -> Result<Fitted, Decline> {
    match contained(|| rolling.roll(moved, spec)) {
        Ok(rolled) => rolled.map(|(fit, rolling)| Ok((fit, Some(rolling)))),
        Err(panicked) => Ok(Err(panicked)),
    }
}

/// Fits a whole window, for others to roll on from.
pub fn anchor_channel(series: &Series, spec: &FitSpec) -> Fitted {
    contained(|| RollingFit::anchor(series, spec)).and_then(|fitted| fitted)
}

/// Fits a whole window, and no other after it.
pub fn fit_channel(series: &Series, spec: &FitSpec) -> Result<ChannelFit, FitFailure> {
    contained(|| forecastd_models::fit(series, spec)).and_then(|fit| fit)
}

/// A panic is that channel's failure.
fn contained<T>(fit: impl FnOnce() -> T) -> Result<T, FitFailure> {
    catch_unwind(AssertUnwindSafe(fit)).map_err(|panic| FitFailure::Panicked {
        message: panic_message(panic.as_ref()),
    })
}
